//! The store in Redis: the suite, and what its keys look like from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use ganger::store::redis::{Options, Redis};
use ganger::store::{Error, Store};
use ganger::task::TaskId;
use redis::{Commands, Connection};

use super::conformance::{self, RESULT_CAP};
use super::model::{Model, START_MS, Turn, id, result_frame, submit_frame};
use crate::support::redis::Server;

const HOUR_MS: u64 = 3_600_000;

/// Options for a test's Redis: the defaults, with limits that a test can wait for.
pub(super) fn options(url: String) -> Options {
    let (connect_limit, response_limit) = (Duration::from_secs(1), Duration::from_millis(300));
    Options { connect_limit, response_limit, ..Options::new(url, "test:7330") }
}

/// A store that has loaded.
pub(super) fn open(options: Options) -> Redis {
    let mut store = Redis::new(options).unwrap();
    store.load(&mut |_| Ok(())).unwrap();
    store
}

/// A turn in which the n-th task begins and ends: its trace in the list of ended tasks is longer
/// if it is written twice.
pub(super) fn whole_life(n: u64) -> Turn {
    Turn::at(START_MS).submit(id(n), submit_frame(b"in")).end(id(n), "", 0)
}

/// Everything in a Redis, as DUMP spells it.
pub(super) fn contents(server: &Server) -> Vec<(String, Vec<u8>)> {
    let mut client = server.client();
    let mut keys: Vec<String> = client.keys("*").unwrap();
    keys.sort();
    let mut dump = |key: &String| redis::cmd("DUMP").arg(key).query(&mut client).unwrap();
    keys.iter().map(|key| (key.clone(), dump(key))).collect()
}

/// The tasks that ended, oldest first.
pub(super) fn finished(client: &mut Connection) -> Vec<TaskId> {
    let ids: Vec<String> = client.lrange("{ganger:0}:finished", 0, -1).unwrap();
    ids.iter().rev().map(|id| id.parse().unwrap()).collect()
}

/// One turn of everything that a store keeps.
pub(super) fn everything() -> Turn {
    let until_ms = START_MS + HOUR_MS;
    let mut turn = Turn::at(START_MS)
        .submit(id(1), submit_frame(b"hello"))
        .submit(id(2), submit_frame(b"world"))
        .state(id(2), "leased at=5 attempt=1 used=0 worker=img-7")
        .submit(id(3), submit_frame(b""))
        .end(id(3), result_frame(id(3), until_ms, b"small"), until_ms)
        .submit(id(4), submit_frame(b"!"))
        .bury(id(4), "dead at=6 attempt=3 used=3 reason=attempts", submit_frame(b"!"))
        .hold("photos order%201", "id=1 until=2")
        .queue("photos", "route=hash spill=1000")
        .worker("img-7", "host=B%C3%BCro%201 pid=4711 slots=8 seen=9")
        .worker("img-8", "host=img/2 pid=4712 slots=8 seen=9")
        .worker("homeless", "host= slots=1 seen=9")
        .stats("resize", "succeeded=7 mean-us=1500")
        .stats("resize@img-7", "succeeded=7 cost=0.25")
        .stats("resize@img-8", "succeeded=1 cost=3e2");
    turn.0.events = b"EVENT done\n".to_vec();
    turn
}

#[test]
fn redis_conforms() {
    let server = Server::start();
    conformance::exercise(|| {
        redis::cmd("FLUSHALL").exec(&mut server.client()).unwrap();
        let options = Options { result_bytes_max: RESULT_CAP, ..options(server.url()) };
        Box::new(move || Box::new(Redis::new(options.clone()).unwrap()))
    });
}

#[test]
fn the_keys_are_those_of_the_table() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    store.commit(&everything().0).unwrap();
    let mut client = server.client();
    let bucket = id(3).to_string()[..5].to_owned();
    let table = [
        ("fence", "hash"),
        ("tasks", "hash"),
        ("state", "hash"),
        (&format!("results:{bucket}"), "hash"),
        ("buckets", "hash"),
        ("dead", "hash"),
        ("finished", "list"),
        ("holds", "hash"),
        ("queues", "hash"),
        ("queue:photos", "hash"),
        ("workers", "hash"),
        ("machine:B%C3%BCro%201", "set"),
        ("machine:img/2", "set"),
        ("stats", "hash"),
        ("stats:resize", "hash"),
        ("stats:resize:img-7", "hash"),
        ("stats:resize:img-8", "hash"),
        ("cost", "zset"),
    ];
    let expected: BTreeMap<String, String> =
        table.iter().map(|(key, kind)| (format!("{{ganger:0}}:{key}"), (*kind).into())).collect();
    let keys: Vec<String> = client.keys("*").unwrap();
    let kind = |key: &String| redis::cmd("TYPE").arg(key).query(&mut server.client()).unwrap();
    let found: BTreeMap<String, String> = keys.iter().map(|key| (key.clone(), kind(key))).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_redis_cli_shows_can_be_read() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    store.commit(&everything().0).unwrap();
    let mut client = server.client();
    let mut field = |key: &str, field: &str| -> String {
        client.hget(format!("{{ganger:0}}:{key}"), field).unwrap()
    };
    let [first, second, third, fourth] = [1, 2, 3, 4].map(|n| id(n).to_string());
    assert_eq!(field("tasks", &first), "SUBMIT resize #5\nhello\n");
    assert_eq!(field("state", &second), "leased at=5 attempt=1 used=0 worker=img-7");
    assert_eq!(
        field("dead", &fourth),
        "dead at=6 attempt=3 used=3 reason=attempts\nSUBMIT resize #1\n!\n"
    );
    let until_ms = START_MS + HOUR_MS;
    let result = format!("RESULT {third} done attempt=1 until={until_ms} #5\nsmall\n");
    assert_eq!(field(&format!("results:{}", &third[..5]), &third), result);
    assert_eq!(field("buckets", &third[..5]), format!("{until_ms} {}", result.len() + 13));
    assert_eq!(field("holds", "photos order%201"), "id=1 until=2");
    assert_eq!(field("queue:photos", "route"), "hash");
    assert_eq!(field("workers", "img-8"), "host=img/2 pid=4712 slots=8 seen=9");
    assert_eq!(field("stats:resize", "mean-us"), "1500");
    assert_eq!(field("stats:resize:img-7", "cost"), "0.25");
    assert_eq!(field("fence", "last"), fourth);
    assert_eq!(field("fence", "schema"), ganger::record::VERSION.to_string());
    assert_eq!(field("fence", "holder"), "test:7330");
    let cost: Vec<(String, f64)> = client.zrange_withscores("{ganger:0}:cost", 0, -1).unwrap();
    assert_eq!(cost, [("resize@img-7".to_owned(), 0.25), ("resize@img-8".to_owned(), 300.0)]);
    let there: Vec<String> = client.smembers("{ganger:0}:machine:B%C3%BCro%201").unwrap();
    assert_eq!(there, ["img-7"]);
    assert_eq!(finished(&mut client), [id(3), id(4)]);
}

#[test]
fn a_worker_that_moves_leaves_its_machine() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    store.commit(&Turn::at(START_MS).worker("w", "host=one pid=1").0).unwrap();
    store = open(options(server.url()));
    store.commit(&Turn::at(START_MS).worker("w", "host=two pid=2").0).unwrap();
    let mut client = server.client();
    assert!(!client.exists::<_, bool>("{ganger:0}:machine:one").unwrap());
    assert!(client.sismember::<_, _, bool>("{ganger:0}:machine:two", "w").unwrap());
    store.commit(&Turn::at(START_MS).worker_gone("w", "two").0).unwrap();
    assert!(!client.exists::<_, bool>("{ganger:0}:machine:two").unwrap());
}

#[test]
fn figures_that_are_forgotten_leave_the_costs() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    let pair = |line: &str| Turn::at(START_MS).stats("k@w", line);
    let cost = |client: &mut Connection| -> Option<f64> {
        client.zscore("{ganger:0}:cost", "k@w").unwrap()
    };
    let mut client = server.client();
    store.commit(&pair("cost=1.5 at=1").0).unwrap();
    assert_eq!(cost(&mut client), Some(1.5));
    store.commit(&pair("cost=NaN at=2").0).unwrap();
    assert_eq!(cost(&mut client), None, "what is no number is not written");
    store.commit(&pair("cost=2 at=3").0).unwrap();
    store.commit(&Turn::at(START_MS).stats_gone("k@w").0).unwrap();
    assert_eq!(cost(&mut client), None);
    assert!(!client.exists::<_, bool>("{ganger:0}:stats:k:w").unwrap());
}

#[test]
fn events_are_published_once_per_turn_after_the_writes() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    let mut listening = server.client();
    let mut listener = listening.as_pubsub();
    listener.subscribe("{ganger:0}:events").unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    store.commit(&Turn::at(START_MS).submit(id(1), submit_frame(b"")).0).unwrap();
    let mut turn = Turn::at(START_MS).end(id(1), "", 0);
    turn.0.events = b"EVENT one\nEVENT two\n".to_vec();
    store.commit(&turn.0).unwrap();
    let message = listener.get_message().unwrap();
    assert_eq!(message.get_payload_bytes(), b"EVENT one\nEVENT two\n");
    assert!(store.wants_events());
    assert!(
        !Redis::new(Options { events: false, ..options(server.url()) }).unwrap().wants_events()
    );
}

#[test]
fn the_last_thousand_ended_tasks_are_listed() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    let mut turn = Turn::at(START_MS);
    for n in 0..2500 {
        turn = turn.submit(id(n), submit_frame(b"")).end(id(n), "", 0);
    }
    store.commit(&turn.0).unwrap();
    store.commit(&whole_life(2500).0).unwrap();
    let expected: Vec<TaskId> = (1501..=2500).map(id).collect();
    assert_eq!(finished(&mut server.client()), expected);
}

#[test]
fn shards_do_not_meet() {
    let server = Server::start();
    let mut zero = open(options(server.url()));
    let mut one = open(Options { shard: 1, ..options(server.url()) });
    zero.commit(&Turn::at(START_MS).submit(id(1), submit_frame(b"")).0).unwrap();
    one.commit(&Turn::at(START_MS).submit(id(2), submit_frame(b"")).0).unwrap();
    let mut again = Redis::new(options(server.url())).unwrap();
    assert_eq!(Model::load(&mut again).tasks.into_keys().collect::<Vec<_>>(), [id(1)]);
}

#[test]
fn an_address_of_another_kind_is_refused_with_its_reason() {
    for url in ["rediss://h", "redis+sentinel://h", "redis+cluster://h", "unix:///s", "h:6379"] {
        match Redis::new(Options::new(url, "test:7330")).err() {
            Some(Error::Unavailable(text)) => assert!(text.contains("not supported"), "{text}"),
            other => panic!("{url}: {other:?}"),
        }
    }
}
