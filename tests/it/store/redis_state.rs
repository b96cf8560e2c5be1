//! What a store finds in Redis that should not be there, or misses: it stops and says what to do.

use ganger::store::redis::{Options, Redis};
use ganger::store::{Error, Store};
use redis::{Commands, Connection};

use super::model::{Model, START_MS, Turn, id, submit_frame};
use super::redis::{contents, open, options, whole_life};
use crate::support::redis::Server;

const FENCE: &str = "{ganger:0}:fence";

/// Does something to Redis under a running store; what the next commit says.
fn commit_after(harm: impl FnOnce(&mut Connection)) -> Error {
    let server = Server::start();
    let mut store = open(options(server.url()));
    store.commit(&whole_life(0).0).unwrap();
    harm(&mut server.client());
    let before = contents(&server);
    let error = store.commit(&whole_life(1).0).unwrap_err();
    assert_eq!(contents(&server), before, "a refused batch has no effect");
    error
}

/// What a start says.
fn start(options: Options) -> Result<(), Error> {
    Redis::new(options).unwrap().load(&mut |_| Ok(())).map(drop)
}

fn is_corrupt(error: &Error, words: &[&str]) {
    let Error::Corrupt(text) = error else { panic!("{error:?}") };
    words.iter().for_each(|word| assert!(text.contains(word), "no {word:?} in {text:?}"));
}

#[test]
fn t08_a_full_redis_takes_what_is_running_and_says_that_it_is_full() {
    let server = Server::with(&["--maxmemory", "8mb"]);
    let mut store = open(options(server.url()));
    assert!(!store.status().unwrap().pressure);
    let mut client = server.client();
    let mut n = 0;
    // Beyond the limit, where others are refused.
    while client.set::<_, _, ()>("other", "x").is_ok() {
        n += 1;
        let turn = Turn::at(START_MS).submit(id(n), submit_frame(&vec![7; 100_000]));
        store.commit(&turn.0).unwrap();
        assert!(n < 1000, "8 MB are full by now");
    }
    assert!(store.status().unwrap().pressure);
    redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).unwrap();
    let mut turn = Turn::at(START_MS);
    for n in 1..=n {
        turn = turn.end(id(n), "", 0);
    }
    store.commit(&turn.0).unwrap();
    assert!(!store.status().unwrap().pressure, "it recovers");
}

#[test]
fn t09_a_redis_that_evicts_is_refused() {
    let evicts = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let server = Server::with(&evicts);
    let error = start(options(server.url())).unwrap_err();
    let text = "maxmemory-policy noeviction";
    assert!(matches!(&error, Error::Unavailable(told) if told.contains(text)), "{error}");
}

#[test]
fn t09_eviction_switched_on_later_is_noticed() {
    let switch_on = |server: &Server| {
        let pairs = ["maxmemory", "100mb", "maxmemory-policy", "volatile-lru"];
        redis::cmd("CONFIG").arg("SET").arg(&pairs).exec(&mut server.client()).unwrap();
    };
    let server = Server::start();
    let mut store = open(options(server.url()));
    switch_on(&server);
    let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
    redis::cmd("CLIENT").arg(&kill).exec(&mut server.client()).unwrap();
    assert!(matches!(store.commit(&whole_life(0).0), Err(Error::Unavailable(_))), "reconnected");

    let server = Server::start();
    let every = std::time::Duration::ZERO;
    let mut store = open(Options { check_every: every, ..options(server.url()) });
    switch_on(&server);
    assert!(matches!(store.status(), Err(Error::Unavailable(_))), "looked again");
}

#[test]
fn a_redis_without_its_file_is_refused_unless_allowed() {
    let server = Server::with(&["--appendonly", "no"]);
    let error = start(options(server.url())).unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable(text) if text.contains("appendonly yes")),
        "{error}"
    );
    start(Options { allow_unsafe: true, ..options(server.url()) }).unwrap();
}

#[test]
fn t10_what_is_only_there_to_look_at_may_be_removed() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    let turn = Turn::at(START_MS).stats("k", "at=1").stats("l@w", "cost=1 at=1");
    store.commit(&turn.queue("q", "spill=1").end(id(1), "", 0).0).unwrap();
    let gone =
        ["stats:k", "queue:q", "cost", "finished"].map(|word| format!("{{ganger:0}}:{word}"));
    assert_eq!(server.client().del::<_, usize>(&gone).unwrap(), gone.len());
    store.commit(&whole_life(2).0).unwrap();
    let mut again = Redis::new(options(server.url())).unwrap();
    let model = Model::load(&mut again);
    assert_eq!((model.stats.len(), model.queues.len()), (2, 1));
}

#[test]
fn t11_another_nonce_or_epoch_is_another_holder() {
    for field in ["nonce", "epoch"] {
        let error = commit_after(|client| {
            let _: () = client.hset(FENCE, field, "7").unwrap();
            let _: () = client.hset(FENCE, "holder", "other:7330").unwrap();
        });
        assert!(matches!(&error, Error::Fenced(text) if text.contains("other:7330")), "{error}");
    }
}

#[test]
fn t11_a_fence_that_was_touched_stops_the_store() {
    is_corrupt(&commit_after(|client| client.del(FENCE).unwrap()), &[FENCE, "gone"]);
    let retyped = commit_after(|client| client.set(FENCE, "x").unwrap());
    is_corrupt(&retyped, &[FENCE, "string", "hash"]);
    for (field, value) in [("seq", "0"), ("seq", "2"), ("digest", "0"), ("seq", "x")] {
        let error = commit_after(|client| client.hset(FENCE, field, value).unwrap());
        is_corrupt(&error, &["batch"]);
    }
    for field in ["seq", "digest"] {
        is_corrupt(&commit_after(|client| client.hdel(FENCE, field).unwrap()), &["batch"]);
    }
    is_corrupt(&commit_after(|client| client.hdel(FENCE, "lineage").unwrap()), &["lineage"]);
}

#[test]
fn t11_t12_status_notices_too() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    let _: () = server.client().hset(FENCE, "nonce", "7").unwrap();
    assert!(matches!(store.status(), Err(Error::Fenced(_))));
    redis::cmd("FLUSHALL").exec(&mut server.client()).unwrap();
    assert!(matches!(store.status(), Err(Error::Corrupt(_))));
}

#[test]
fn t12_a_flushed_redis_stops_the_store() {
    let error = commit_after(|client| redis::cmd("FLUSHALL").exec(client).unwrap());
    is_corrupt(&error, &["gone", "flushed"]);
}

#[test]
fn t12_vanished_data_are_no_new_beginning_where_their_lineage_is_known() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    store.commit(&whole_life(0).0).unwrap();
    let lineage: String = server.client().hget(FENCE, "lineage").unwrap();
    let pinned = Options { lineage: Some(lineage), ..options(server.url()) };
    start(pinned.clone()).unwrap();
    redis::cmd("FLUSHALL").exec(&mut server.client()).unwrap();
    is_corrupt(&start(pinned).unwrap_err(), &["lineage"]);
    start(options(server.url())).unwrap();
}

#[test]
fn t11_data_without_a_fence_are_no_new_beginning() {
    let server = Server::start();
    open(options(server.url())).commit(&whole_life(0).0).unwrap();
    let _: () = server.client().del(FENCE).unwrap();
    let before = contents(&server);
    is_corrupt(&start(options(server.url())).unwrap_err(), &["finished", "without"]);
    assert_eq!(contents(&server), before);
    let _: () = server.client().set(FENCE, "x").unwrap();
    is_corrupt(&start(options(server.url())).unwrap_err(), &[FENCE, "string"]);
}

#[test]
fn t21_a_key_of_another_type_is_named_and_nothing_is_written() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    store.commit(&Turn::at(START_MS).submit(id(1), submit_frame(b"")).0).unwrap();
    // Written last of all by the turn below: everything before it must not have happened.
    let _: () = server.client().set("{ganger:0}:stats:k", "x").unwrap();
    let before = contents(&server);
    let turn = Turn::at(START_MS).submit(id(2), submit_frame(b"")).end(id(1), "", 0);
    let error = store.commit(&turn.stats("k", "at=1").0).unwrap_err();
    is_corrupt(&error, &["{ganger:0}:stats:k", "string", "hash"]);
    assert_eq!(contents(&server), before);
}

#[test]
fn t21_a_key_of_another_type_is_named_at_the_start() {
    for key in ["{ganger:0}:tasks", "{ganger:0}:queues", "{ganger:0}:buckets"] {
        let server = Server::start();
        open(options(server.url()));
        let _: () = server.client().set(key, "x").unwrap();
        is_corrupt(&start(options(server.url())).unwrap_err(), &[key]);
    }
}

#[test]
fn t27_other_data_are_refused() {
    let error = commit_after(|client| client.hset(FENCE, "lineage", "another").unwrap());
    is_corrupt(&error, &["another"]);
}

#[test]
fn t28_data_of_another_version_are_refused_and_left_alone() {
    for (version, words) in [("99", "newer"), ("0", "version"), ("x", "version")] {
        let server = Server::start();
        open(options(server.url())).commit(&whole_life(0).0).unwrap();
        let _: () = server.client().hset(FENCE, "schema", version).unwrap();
        let before = contents(&server);
        is_corrupt(&start(options(server.url())).unwrap_err(), &[version, words]);
        assert_eq!(contents(&server), before);
    }
}

#[test]
fn damaged_records_are_refused_at_the_start() {
    for (key, field, value) in [
        ("{ganger:0}:tasks", "no-id", "x"),
        ("{ganger:0}:dead", "0cb5x62000001", "no frame"),
        ("{ganger:0}:buckets", "0cb5x", "1"),
        (FENCE, "last", "x"),
        (FENCE, "seq", "x"),
    ] {
        let server = Server::start();
        open(options(server.url()));
        let _: () = server.client().hset(key, field, value).unwrap();
        is_corrupt(&start(options(server.url())).unwrap_err(), &[]);
    }
}
