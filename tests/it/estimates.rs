//! What was measured is measured still after the scheduler was killed: estimates, and so the order of
//! what waits; counts, means and spend.

use std::time::Duration;

use serde_json::Value;

use crate::support::process::Process;
use crate::support::program::{ganger, say};
use crate::support::{Peer, redis};

/// What a worker does with a kind; `quick` is answered at once.
const SLOW: Duration = Duration::from_millis(40);

/// Does one task; its kind.
fn do_one(worker: &mut Peer) -> String {
    let (line, _) = worker.expect("TASK ");
    let words: Vec<&str> = line.split(' ').collect();
    let (id, kind) = (words[1], words[3].to_owned());
    if kind == "slow" {
        std::thread::sleep(SLOW);
    }
    worker.send(format!("DONE {id} 1\n"));
    worker.expect(&format!("OK {id}"));
    kind
}

fn ask(client: &mut Peer, request: &str) -> Value {
    client.send(format!("{request}\n"));
    serde_json::from_slice(&client.expect("OK #").1).expect("JSON")
}

/// The keys of tasks in the order of their queue, to the last digit.
fn keys(client: &mut Peer, ids: &[String]) -> Vec<Value> {
    let key = |id: &String| {
        let told = ask(client, &format!("EXPLAIN {id}"));
        let reasons = told["reasons"].as_array().expect("reasons").clone();
        let order = reasons.into_iter().find(|reason| reason["code"] == "order");
        let order = order.unwrap_or_else(|| panic!("{told}"));
        assert_eq!(order["order"], "sjf");
        order["key"].clone()
    };
    ids.iter().map(key).collect()
}

/// The figures that do not run down: those of kinds, workers and pairs.
fn lasting(client: &mut Peer) -> Vec<Value> {
    let stats = ask(client, "STATS");
    let rows = ["kinds", "workers", "pairs"].map(|name| stats[name].as_array().unwrap().clone());
    let mut rows = rows.concat();
    for row in &mut rows {
        // A worker's own are put together from its pairs', which is the same but for rounding.
        for (name, value) in row.as_object_mut().expect("an object") {
            match name.as_str() {
                "throughput" | "cost" | "at" => *value = Value::Null,
                _ => *value = value.as_f64().map_or(value.clone(), |v| format!("{v:.9e}").into()),
            }
        }
    }
    rows
}

/// Waits until all that has happened is written: figures are, at the next whole second.
fn await_written(client: &mut Peer) {
    let at = |client: &mut Peer| ask(client, "STATS")["at_ms"].as_u64().expect("a time");
    let began_ms = at(client);
    while at(client) < began_ms + 2000 {}
}

fn survive(store: &str) {
    let mut process = Process::start(store, &[]);
    let mut client = Peer::connect(process.addr());
    client.send("HELLO 1 operator\n");
    client.expect("OK 1");
    ask(&mut client, "QUEUE q order=sjf");
    let (mut worker, _) =
        Peer::worker(process.addr(), "name=w kinds=slow,quick,failing price=3600000");
    for kind in ["slow", "quick", "slow", "quick"] {
        client.submit(&format!("SUBMIT {kind} queue=q\n"));
        do_one(&mut worker);
    }
    client.submit("SUBMIT failing attempts=1\n");
    let (line, _) = worker.expect("TASK ");
    worker.send(format!("FAIL {} 1\n", line.split(' ').nth(1).unwrap()));
    worker.expect("OK ");
    worker.send("BYE\n");
    worker.expect("OK");
    let kinds = ["slow", "unmeasured", "quick", "slow", "quick"];
    let ids = kinds.map(|kind| client.submit(&format!("SUBMIT {kind} queue=q\n")));
    let (keys_before, figures) = (keys(&mut client, &ids), lasting(&mut client));
    await_written(&mut client);

    process.kill_and_restart();
    let mut client = Peer::connect(process.addr());
    client.send("HELLO 1 operator\n");
    client.expect("OK 1");
    assert_eq!(keys(&mut client, &ids), keys_before, "the estimates, to the last digit");
    assert_eq!(lasting(&mut client), figures);
    let kind = |name: &str| figures.iter().find(|row| row["kind"] == *name).expect("a kind");
    let number = |value: &Value| value.as_str().and_then(|v| v.parse::<f64>().ok()).unwrap();
    let (slow, failing) = (kind("slow"), kind("failing"));
    assert_eq!((number(&slow["succeeded"]), number(&failing["failed"])), (2.0, 1.0));
    // At 3,600,000 an hour a second costs 1000, so 40 ms cost 40.
    assert!(number(&slow["spend"]) >= 80.0 && number(&failing["spend"]) > 0.0, "{slow}");
    let table = say(ganger(["stats"]).env("GANGER_CONNECT", process.addr().to_string()));
    let row = table.out.lines().find(|line| line.starts_with("slow")).expect("a row").to_owned();
    let spend = row.split_whitespace().last().and_then(|spend| spend.parse::<f64>().ok());
    assert!(
        spend.is_some_and(|spend| (spend / number(&slow["spend"]) - 1.0).abs() < 1e-3),
        "{row}"
    );

    let (mut worker, _) = Peer::worker(process.addr(), "name=w kinds=*");
    let order: Vec<String> = (0..5).map(|_| do_one(&mut worker)).collect();
    // By the keys, those of the same one as they were submitted. How quick `quick` was, the machine says.
    let mut expected: Vec<(&Value, &str)> = keys_before.iter().zip(kinds).collect();
    expected.sort_by(|a, b| a.0.as_f64().partial_cmp(&b.0.as_f64()).expect("numbers"));
    assert_eq!(order, expected.iter().map(|(_, kind)| *kind).collect::<Vec<_>>(), "{expected:?}");
}

#[test]
fn estimates_survive_a_kill_on_the_embedded_store() {
    let dir = tempfile::tempdir().unwrap();
    survive(&format!("file:{}", dir.path().join("data").display()));
}

#[test]
fn estimates_survive_a_kill_on_redis() {
    let redis = redis::Server::start();
    survive(&redis.url());
}
