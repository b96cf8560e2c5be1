//! Rows that Redis evicts, or that somebody deletes, are missed by the next batch, the next look and
//! the next start, whichever comes first.

use std::collections::BTreeMap;
use std::time::Duration;

use ganger::server::{self, Config};
use ganger::store::redis::{Options, Redis};
use ganger::store::{self, Error, Store};
use redis::{Commands, Connection};

use super::model::{Model, START_MS, Turn, id, result_frame, submit_frame};
use super::redis::{contents, everything, open, options, whole_life};
use crate::support::program::{Running, ganger};
use crate::support::proxy::{Fault, Proxy};
use crate::support::redis::Server;

const FENCE: &str = "{ganger:0}:fence";
const UNTIL_MS: u64 = START_MS + 3_600_000;

/// Every key that is read at the start.
const COUNTED: [&str; 10] =
    ["tasks", "state", "dead", "holds", "queues", "workers", "stats", "runs", "crons", "buckets"];

fn key(word: &str) -> String {
    format!("{{ganger:0}}:{word}")
}

/// A store that holds two rows of each key at least.
fn full(server: &Server) -> Redis {
    let mut store = open(options(server.url()));
    let second = Turn::at(START_MS)
        .submit(id(21), submit_frame(b""))
        .state(id(21), "leased at=5 attempt=1 used=0")
        .submit(id(22), submit_frame(b""))
        .bury(id(22), "cancelled at=6 attempt=0 used=0 reason=cancelled", submit_frame(b""))
        .end(id(1 << 45), result_frame(id(1 << 45), UNTIL_MS, b"later"), UNTIL_MS)
        .hold("photos other", "id=1 until=2")
        .queue("default", "spill=1")
        .run("0cb5x62000001 1", "timeout session=1 worker=w queue=q")
        .run("0cb5x62000001 2", "timeout session=1 worker=w queue=q")
        .cron("daily", "active every=1\nSUBMIT x\n")
        .cron("hourly", "active every=1\nSUBMIT x\n");
    store.commit(&everything().0).unwrap();
    store.commit(&second.0).unwrap();
    store
}

/// A turn that writes to every key.
fn everywhere(n: u64) -> Turn {
    let line = "leased at=5 attempt=1 used=0";
    let turn = Turn::at(START_MS)
        .submit(id(n), submit_frame(b""))
        .state(id(n), line)
        .submit(id(n + 100), submit_frame(b""))
        .bury(id(n + 100), line, submit_frame(b""))
        .submit(id(n + 200), submit_frame(b""))
        .end(id(n + 200), result_frame(id(n + 200), UNTIL_MS, b""), UNTIL_MS);
    let turn = turn.hold("q v", "id=1 until=2").queue("q", "spill=1").worker("w", "slots=1");
    turn.stats("k", "at=1").run("0cb5x62000001 3", "timeout").cron("c", "active\nSUBMIT x\n")
}

/// What the fence says, and what is there.
fn told_and_found(client: &mut Connection) -> [BTreeMap<String, usize>; 2] {
    let fields: BTreeMap<String, String> = client.hgetall(FENCE).unwrap();
    let told = fields.iter().filter_map(|(field, rows)| {
        Some((field.strip_prefix("rows:")?.to_owned(), rows.parse().unwrap()))
    });
    let found = COUNTED.map(|word| (word.to_owned(), client.hlen(key(word)).unwrap()));
    let there = found.iter().filter(|(_, rows)| *rows > 0).count();
    assert_eq!(fields["keys"], there.to_string());
    [told.collect(), found.into()]
}

/// The ways in which rows go: all of a key, or one of several.
fn losses() -> impl Iterator<Item = (&'static str, bool)> {
    COUNTED.into_iter().flat_map(|word| [(word, true), (word, false)])
}

fn lose(client: &mut Connection, (word, all): (&str, bool)) {
    let key = key(word);
    let fields: Vec<Vec<u8>> = client.hkeys(&key).unwrap();
    assert!(fields.len() >= 2, "{key} has {} rows", fields.len());
    match all {
        true => client.del::<_, ()>(&key).unwrap(),
        false => client.hdel::<_, _, ()>(&key, &fields[0]).unwrap(),
    }
}

fn is_missed(error: &Error, word: &str) {
    let Error::Corrupt(text) = error else { panic!("{word}: {error:?}") };
    for told in [format!("{} has ", key(word)), "--accept-repair".to_owned()] {
        assert!(text.contains(&told), "{word}: {text}");
    }
    assert_eq!(text.matches(" has ").count(), 1, "{text}");
}

fn start(options: Options) -> Result<Model, Error> {
    let mut model = Model::default();
    Redis::new(options)?.load(&mut |record| model.take(record))?;
    Ok(model)
}

#[test]
fn the_fence_tells_the_rows_of_every_key_that_is_read_at_the_start() {
    let server = Server::start();
    let mut client = server.client();
    let mut store = open(options(server.url()));
    let [told, found] = told_and_found(&mut client);
    assert!(told == found && told.values().all(|&rows| rows == 0), "{told:?}");
    drop(store);
    store = full(&server);
    let [told, found] = told_and_found(&mut client);
    assert!(told == found && told.values().all(|&rows| rows >= 2), "{told:?}");
    let turn = Turn::at(START_MS)
        .state(id(2), "ready at=1 attempt=1 used=0")
        .stats("resize", "at=2")
        .end(id(1), "", 0)
        .drop(id(4))
        .unhold("photos other")
        .worker_gone("img-8", "img/2")
        .cron_gone("daily")
        .run_gone("0cb5x62000001 1");
    store.commit(&turn.0).unwrap();
    while store.sweep(UNTIL_MS).unwrap() {}
    let [told, found] = told_and_found(&mut client);
    assert_eq!(told, found);
    assert_eq!((told["tasks"], told["state"], told["dead"], told["buckets"]), (2, 2, 1, 0));
    store.commit(&Turn::at(START_MS).cron_gone("hourly").0).unwrap();
    assert!(!client.exists::<_, bool>(key("crons")).unwrap(), "an empty hash is no key");
    store.status().unwrap();
    start(options(server.url())).unwrap();
}

#[test]
fn t10_rows_lost_while_running_stop_the_next_batch() {
    for loss in losses() {
        let server = Server::start();
        let mut store = full(&server);
        lose(&mut server.client(), loss);
        let before = contents(&server);
        // Where all of a key is gone any batch will do.
        let next = if loss.1 { whole_life(50) } else { everywhere(50) };
        is_missed(&store.commit(&next.0).unwrap_err(), loss.0);
        assert_eq!(contents(&server), before, "a refused batch has no effect");
    }
}

#[test]
fn t10_a_batch_does_not_hide_what_an_earlier_one_did_not_look_at() {
    let server = Server::start();
    let mut store = full(&server);
    lose(&mut server.client(), ("crons", false));
    store.commit(&whole_life(50).0).unwrap();
    is_missed(&store.status().unwrap_err(), "crons");
    is_missed(&store.commit(&everywhere(51).0).unwrap_err(), "crons");
    is_missed(&start(options(server.url())).unwrap_err(), "crons");
}

#[test]
fn t10_rows_lost_while_nothing_happens_are_missed_by_the_next_look() {
    for loss in losses() {
        let server = Server::start();
        let mut store = full(&server);
        store.status().unwrap();
        lose(&mut server.client(), loss);
        is_missed(&store.status().unwrap_err(), loss.0);
    }
}

#[test]
fn t10_rows_lost_while_stopped_are_missed_by_the_next_start() {
    for loss in losses() {
        let server = Server::start();
        full(&server).close().unwrap();
        lose(&mut server.client(), loss);
        let before = contents(&server);
        is_missed(&start(options(server.url())).unwrap_err(), loss.0);
        assert_eq!(contents(&server), before, "a refused start has no effect");
    }
}

#[test]
fn t10_rows_lost_while_reading_are_missed_before_anything_is_told() {
    let server = Server::start();
    full(&server).close().unwrap();
    let proxy = Proxy::to(server.port());
    // The last key is not told before a row of the first one is gone.
    proxy.next_with(":buckets\r\n$1\r\n0", Fault::HoldReply);
    let patient = Options { response_limit: Duration::from_secs(30), ..options(proxy.url()) };
    let mut client = server.client();
    redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut client).unwrap();
    let starting = std::thread::spawn(move || start(patient));
    let pages = |client: &mut Connection| {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(client).unwrap();
        stats.contains("cmdstat_hscan:calls=10,")
    };
    while !pages(&mut client) {}
    lose(&mut client, ("tasks", false));
    proxy.release();
    is_missed(&starting.join().unwrap().unwrap_err(), "tasks");
}

#[test]
fn t10_a_loss_is_accepted_once() {
    for loss in losses() {
        let server = Server::start();
        full(&server).close().unwrap();
        lose(&mut server.client(), loss);
        let accepting = Options { accept_repair: true, ..options(server.url()) };
        start(accepting).unwrap();
        let [told, found] = told_and_found(&mut server.client());
        assert_eq!(told, found);
        open(options(server.url())).commit(&whole_life(50).0).unwrap();
    }
}

#[test]
fn t10_an_accepted_loss_costs_what_was_lost_alone() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    let mut turn = Turn::at(START_MS);
    for n in 1..=5 {
        turn = turn.submit(id(n), submit_frame(b"")).state(id(n), format!("leased at={n}"));
    }
    store.commit(&turn.0).unwrap();
    for n in [1, 3, 5] {
        let _: () = server.client().hdel(key("tasks"), id(n).to_string()).unwrap();
    }
    let error = start(options(server.url())).unwrap_err();
    assert!(error.to_string().contains("{ganger:0}:tasks has 2 of 5 rows"), "{error}");
    let model = start(Options { accept_repair: true, ..options(server.url()) }).unwrap();
    assert_eq!(model.tasks.keys().copied().collect::<Vec<_>>(), [2, 4].map(id));
    assert!(model.tasks.values().all(|(_, line)| line.is_some()));
}

/// A store that held tasks with states, and lost so many of them from the first on.
fn without_tasks(server: &Server, of: u64, lost: u64) {
    let mut store = open(options(server.url()));
    let mut turn = Turn::at(START_MS);
    for n in 1..=of {
        turn =
            turn.submit(id(n), submit_frame(b"")).state(id(n), "scheduled at=5 attempt=1 used=1");
    }
    store.commit(&turn.0).unwrap();
    store.close().unwrap();
    let gone: Vec<String> = (1..=lost).map(|n| id(n).to_string()).collect();
    let _: () = server.client().hdel(key("tasks"), gone).unwrap();
}

fn states(server: &Server) -> Vec<String> {
    let mut ids: Vec<String> = server.client().hkeys(key("state")).unwrap();
    ids.sort();
    ids
}

#[test]
fn t10_an_accepted_loss_of_tasks_leaves_no_states_behind() {
    let server = Server::start();
    without_tasks(&server, 25_000, 24_998);
    let model = start(Options { accept_repair: true, ..options(server.url()) }).unwrap();
    let left = [24_999, 25_000].map(id);
    assert_eq!(model.tasks.into_keys().collect::<Vec<_>>(), left);
    assert_eq!(states(&server), left.map(|id| id.to_string()));
    let [told, found] = told_and_found(&mut server.client());
    assert_eq!(told, found);
    start(options(server.url())).unwrap();
}

#[test]
fn t10_states_without_a_task_are_removed_only_where_a_loss_is_accepted() {
    let server = Server::start();
    without_tasks(&server, 3, 2);
    // Accepted by a scheduler that was killed before it removed them.
    let _: () = server.client().hset(FENCE, "rows:tasks", "1").unwrap();
    let all = [1, 2, 3].map(|n| id(n).to_string());
    assert_eq!(start(options(server.url())).unwrap().tasks.len(), 1);
    assert_eq!(states(&server), all, "whoever restores the tasks may need them");
    start(Options { accept_repair: true, ..options(server.url()) }).unwrap();
    assert_eq!(states(&server), all[2..]);
}

/// `ganger serve` that accepts a loss.
fn accepting(url: &str) -> Running {
    let args = ["serve", "--listen", "127.0.0.1:0", "--store", url, "--accept-repair"];
    Running::start(&mut ganger(args))
}

#[test]
fn t10_a_loss_that_is_accepted_is_told_whatever_reply_is_lost() {
    for request in ["EVALSHA", "$3\r\nyes\r\n"] {
        let server = Server::start();
        without_tasks(&server, 5, 3);
        let proxy = Proxy::to(server.port());
        proxy.next_with(request, Fault::LoseReply);
        let mut serve = accepting(&proxy.url());
        serve.wait_for(
            "{ganger:0}:tasks has 2 of 5 rows: accepted, as told; what is missing is lost",
        );
        serve.wait_for("3 tasks are lost but for their states, from");
        serve.wait_for("listens on");
        serve.signal("TERM");
        let said = serve.end().with(0);
        assert_eq!(said.err.matches("accepted, as told").count(), 1, "{said:?}");
    }
}

#[test]
fn t10_rows_that_somebody_added_are_noticed_as_well() {
    let server = Server::start();
    let mut store = full(&server);
    let _: () = server.client().hset(key("tasks"), id(99).to_string(), "SUBMIT x\n").unwrap();
    is_missed(&store.commit(&whole_life(50).0).unwrap_err(), "tasks");
}

#[test]
fn t10_all_that_is_gone_is_told_together() {
    let server = Server::start();
    let mut store = full(&server);
    let _: () = server.client().del(&[key("tasks"), key("crons")]).unwrap();
    let error = store.commit(&whole_life(50).0).unwrap_err().to_string();
    let told = "{ganger:0}:tasks has 0 of 3 rows, {ganger:0}:crons has 0 of 2 rows";
    assert!(error.contains(told), "{error}");
}

#[test]
fn t10_t11_a_fence_that_does_not_tell_the_rows_is_refused() {
    for (field, rows) in [
        ("rows:tasks", None),
        ("rows:tasks", Some("x")),
        ("rows:tasks", Some("99")),
        ("keys", None),
        ("keys", Some("x")),
        ("keys", Some("11")),
    ] {
        let server = Server::start();
        let mut store = full(&server);
        let _: () = match rows {
            None => server.client().hdel(FENCE, field).unwrap(),
            Some(rows) => server.client().hset(FENCE, field, rows).unwrap(),
        };
        for error in [
            store.commit(&whole_life(50).0).unwrap_err(),
            store.status().unwrap_err(),
            start(options(server.url())).unwrap_err(),
        ] {
            assert!(matches!(&error, Error::Corrupt(text) if text.contains("row")), "{error}");
        }
        start(Options { accept_repair: true, ..options(server.url()) }).unwrap();
        start(options(server.url())).unwrap();
    }
}

#[test]
fn t09_t10_what_a_redis_evicts_is_missed() {
    let server = Server::start();
    let mut store = full(&server);
    let mut client = server.client();
    let set = |client: &mut Connection, pairs: [&str; 4]| {
        redis::cmd("CONFIG").arg("SET").arg(&pairs).exec(client).unwrap();
    };
    // Switched on behind the back of the scheduler, for as long as it takes to lose a key.
    set(&mut client, ["maxmemory", "8mb", "maxmemory-policy", "allkeys-lru"]);
    let is_whole = |client: &mut Connection| {
        COUNTED.iter().all(|word| client.exists::<_, bool>(key(word)).unwrap())
    };
    let mut filler = 0;
    while is_whole(&mut client) {
        filler += 1;
        client.set::<_, _, ()>(format!("filler{filler}"), vec![7; 100_000]).unwrap();
        assert!(filler < 1000, "8 MB are full by now");
    }
    set(&mut client, ["maxmemory", "0", "maxmemory-policy", "noeviction"]);
    assert!(matches!(store.commit(&whole_life(50).0), Err(Error::Corrupt(_))));
}

#[test]
fn t10_a_scheduler_ends_by_itself() {
    let server = Server::start();
    let store_options = store::Options { holder: "test:1".into(), ..store::Options::default() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config { listen, store: server.url(), store_options, ..Config::default() };
    let scheduler = server::Server::start(config).unwrap();
    let mut client = server.client();
    let entry = "SUBMIT x";
    let _: () = client.lpush(key("inbox"), entry).unwrap();
    while client.hlen::<_, usize>(key("tasks")).unwrap() == 0 {}
    let _: () = client.del(key("tasks")).unwrap();
    let (tell, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(scheduler.wait()));
    match ended.recv_timeout(Duration::from_secs(30)) {
        Ok(Err(server::Error::Store(error))) => is_missed(&error, "tasks"),
        other => panic!("{other:?}"),
    }
}
