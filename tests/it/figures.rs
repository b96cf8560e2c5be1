//! The figures in Redis are those that anybody can compute from the published events.

use std::collections::BTreeMap;
use std::time::Instant;

use ganger::server::Config;
use ganger::store::Options;

use crate::support::peer::PATIENCE;
use crate::support::{Peer, Server, redis};

/// Everything that the events tell of a pair, kept as it is told.
#[derive(Default)]
struct Told {
    waits_us: Vec<f64>,
    durations_us: Vec<f64>,
    failures_us: Vec<f64>,
    successes_at_ms: Vec<u64>,
    failed: u64,
    lost: u64,
}

/// Reads EVENT frames until the tasks have had so many ends.
fn listen(events: &mut ::redis::PubSub<'_>, ends: usize) -> BTreeMap<String, Told> {
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    let (mut seen, mut last) = (0, None);
    while seen < ends {
        let message = events.get_message().expect("an event in time");
        let text: String = message.get_payload().expect("text");
        for frame in text.lines() {
            if let Some(event) = frame.strip_prefix("EVENT ") {
                let number = event.split(' ').next().and_then(|seq| seq.parse::<u64>().ok());
                let number = number.expect("a number");
                assert!(last.is_none_or(|last| number == last + 1), "{number} after {last:?}");
                last = Some(number);
            }
            seen += usize::from(note(frame, &mut told));
        }
    }
    told
}

/// Notes one event; true for the end of a lease.
fn note(frame: &str, told: &mut BTreeMap<String, Told>) -> bool {
    if !frame.starts_with("EVENT ") {
        return false;
    }
    let what = frame.split(' ').nth(2).expect("what happened");
    let option = |name: &str| {
        let words = frame.split(' ').filter_map(|word| word.split_once('='));
        words.into_iter().find(|(its, _)| *its == name).map(|(_, value)| value)
    };
    let number = |name: &str| option(name).and_then(|value| value.parse::<f64>().ok());
    let (Some(kind), Some(worker)) = (option("kind"), option("worker")) else { return false };
    let pair = told.entry(format!("{kind}:{worker}")).or_default();
    match what {
        "leased" => pair.waits_us.push(number("wait-us").expect("a wait")),
        "done" => {
            pair.durations_us.push(number("us").expect("a duration"));
            pair.successes_at_ms.push(option("at").and_then(|at| at.parse().ok()).expect("a time"));
        }
        "failed" => {
            pair.failures_us.push(number("us").expect("a duration"));
            pair.failed += 1;
        }
        "lost" => pair.lost += 1,
        _ => {}
    }
    matches!(what, "done" | "failed" | "lost")
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn assert_close(what: &str, stored: f64, computed: f64) {
    let scale = stored.abs().max(computed.abs()).max(f64::MIN_POSITIVE);
    assert!(
        (stored - computed).abs() / scale < 1e-9,
        "{what}: {stored} stored, {computed} computed"
    );
}

#[test]
fn the_figures_in_redis_are_those_of_the_events() {
    let redis = redis::Server::start();
    let store_options = Options { holder: "test:1".into(), ..Options::default() };
    let config = Config { store: redis.url(), store_options, ..Config::default() };
    let server = Server::with(config);
    let mut connection = redis.client();
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut events = connection.as_pubsub();
    events.subscribe("{ganger:0}:events").expect("a channel");

    let ends = work(&server);
    let told = listen(&mut events, ends);
    assert_eq!(told.len(), 4, "two kinds on two workers");
    let mut client = redis.client();
    for (pair, told) in &told {
        let stored = wait_for(&mut client, &format!("{{ganger:0}}:stats:{pair}"), told);
        compare(pair, &stored, told);
        let member = pair.replace(':', "@");
        let cost: f64 = ::redis::cmd("ZSCORE")
            .arg("{ganger:0}:cost")
            .arg(&member)
            .query(&mut client)
            .expect("a cost");
        assert!(cost >= 0.0, "{member} costs {cost}");
    }
}

/// Has two workers do tasks of two kinds, some of which fail; how many leases end.
fn work(server: &Server) -> usize {
    let options = "kinds=resize,encode slots=4 price=7.2";
    let workers: Vec<_> = ["a", "b"]
        .iter()
        .map(|name| {
            let (worker, _) = Peer::worker(server.addr(), &format!("name={name} {options}"));
            std::thread::spawn(move || answer_all(worker))
        })
        .collect();
    let (mut client, mut ids) = (Peer::client(server.addr()), Vec::new());
    for number in 0..TASKS {
        let kind = if number % 3 == 0 { "encode" } else { "resize" };
        ids.push(client.submit(&format!("SUBMIT {kind} attempts=1\n")));
    }
    for id in ids {
        client.send(format!("WATCH {id}\n"));
        client.expect("OK ");
        client.expect("RESULT ");
    }
    for name in ["a", "b"] {
        client.send(format!("DRAIN {name}\n"));
        client.expect("OK");
    }
    workers.into_iter().for_each(|worker| worker.join().expect("a worker ends"));
    TASKS
}

const TASKS: usize = 200;

/// Answers every task that comes, the fifth of every five with FAIL, until it is told to drain.
fn answer_all(mut worker: Peer) {
    let mut answered = 0;
    loop {
        let (line, _) = worker.frame();
        let mut words = line.split(' ');
        match words.next() {
            Some("TASK") => {
                let id = words.next().expect("an id");
                answered += 1;
                let verb = if answered % 5 == 0 { "FAIL" } else { "DONE" };
                worker.send(format!("{verb} {id} 1\n"));
            }
            Some("OK") => {}
            Some("DRAIN") => return,
            _ => panic!("a worker was told {line}"),
        }
    }
}

/// Waits until everything told is in a stored row.
fn wait_for(client: &mut ::redis::Connection, key: &str, told: &Told) -> BTreeMap<String, f64> {
    let began = Instant::now();
    loop {
        let row: BTreeMap<String, f64> =
            ::redis::cmd("HGETALL").arg(key).query(client).expect("a hash of numbers");
        let figure = |name: &str| row.get(name).copied().unwrap_or(0.0) as usize;
        let last = told.successes_at_ms.last().copied().unwrap_or(0) as f64;
        let is_all = figure("succeeded") == told.durations_us.len()
            && figure("failed") as u64 == told.failed
            && figure("waits") == told.waits_us.len()
            && row.get("at").is_some_and(|at| *at >= last);
        if is_all {
            return row;
        }
        assert!(began.elapsed() < PATIENCE, "{key} does not get there: {row:?}");
    }
}

fn compare(pair: &str, stored: &BTreeMap<String, f64>, told: &Told) {
    let figure = |name: &str| stored.get(name).copied().unwrap_or(0.0);
    let duration = mean(&told.durations_us);
    let spread: f64 = told.durations_us.iter().map(|us| (us - duration).powi(2)).sum();
    let wait = mean(&told.waits_us);
    let at = figure("at") as u64;
    let recent = told.successes_at_ms.iter().filter(|&&ms| ms + 60_000 > at && ms <= at).count();
    let throughput = recent as f64 / 60.0;
    assert_close(&format!("{pair} mean"), figure("mean-us"), duration);
    assert_close(&format!("{pair} m2"), figure("m2"), spread);
    assert_close(
        &format!("{pair} variance"),
        figure("variance"),
        spread / told.durations_us.len().max(1) as f64,
    );
    assert_close(&format!("{pair} wait"), figure("wait-mean-us"), wait);
    assert_close(&format!("{pair} throughput"), figure("throughput"), throughput);
    let worked_us: f64 = told.durations_us.iter().chain(&told.failures_us).sum();
    assert_close(&format!("{pair} spend"), figure("spend"), worked_us / 1e6 * 0.002);
    let cost = throughput * (-wait / duration).exp();
    assert_close(&format!("{pair} cost"), figure("cost"), cost);
    assert_eq!(figure("lost") as u64, told.lost, "{pair} lost");
}
