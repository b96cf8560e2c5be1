//! The inbox in Redis: what is found in it, and that what a batch takes goes with that batch, once,
//! whatever Redis, the network and the programs do meanwhile.

use ganger::store::inbox::{Bell, Bite, Found, Ring};
use ganger::store::redis::{Options, Redis};
use ganger::store::{Error, Store};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use redis::{Commands, Connection};

use super::model::{Model, START_MS, Turn, id};
use super::redis::{open, options};
use crate::support::program::eventually;
use crate::support::proxy::{Fault, Proxy};
use crate::support::redis::Server;

const INBOX: &str = "{ganger:0}:inbox";
const REFUSED: &str = "{ganger:0}:inbox:refused";

const BITE: Bite = Bite { entries: 1000, bytes: 1 << 20, entry_max: 10_000 };

fn push(client: &mut Connection, entries: &[&str]) {
    client.lpush::<_, _, ()>(INBOX, entries).unwrap();
}

/// What waits, oldest first.
fn waiting(client: &mut Connection) -> Vec<String> {
    let mut entries: Vec<String> = client.lrange(INBOX, 0, -1).unwrap();
    entries.reverse();
    entries
}

fn refused(client: &mut Connection) -> Vec<String> {
    client.lrange(REFUSED, 0, -1).unwrap()
}

/// What the store finds, as texts.
fn found(store: &mut Redis) -> Vec<String> {
    let texts = store.entries(BITE).unwrap().into_iter().map(|found| match found {
        Found::Whole(entry) => String::from_utf8(entry.to_vec()).unwrap(),
        Found::TooLarge { length, .. } => panic!("{length} bytes"),
    });
    texts.collect()
}

/// A turn that makes tasks of entries, numbered from `first`; their records are the entries.
fn taking(first: u64, entries: &[String]) -> Turn {
    let numbered = (first..).zip(entries);
    numbered.fold(Turn::at(START_MS), |turn, (n, entry)| turn.submit(id(n), entry).take(entry))
}

/// The records of the tasks that there are, as texts.
fn tasks(server: &Server) -> Vec<String> {
    let mut store = Redis::new(options(server.url())).unwrap();
    let records = Model::load(&mut store).tasks.into_values().map(|(frame, _)| frame);
    records.map(|frame| String::from_utf8(frame).unwrap()).collect()
}

fn texts(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|&entry| entry.to_owned()).collect()
}

#[test]
fn entries_are_found_oldest_first_and_stay_until_they_are_taken() {
    let server = Server::start();
    let mut client = server.client();
    push(&mut client, &["one", "two", "three"]);
    let mut store = open(options(server.url()));
    for _ in 0..2 {
        assert_eq!(found(&mut store), ["one", "two", "three"]);
    }
    store.commit(&taking(1, &texts(&["one", "two"])).0).unwrap();
    assert_eq!(waiting(&mut client), ["three"]);
    push(&mut client, &["four"]);
    assert_eq!(found(&mut store), ["three", "four"]);
    store.commit(&taking(3, &texts(&["three", "four"])).0).unwrap();
    assert!(found(&mut store).is_empty());
    assert!(!client.exists::<_, bool>(INBOX).unwrap());
    assert_eq!(tasks(&server), ["one", "two", "three", "four"]);
}

#[test]
fn no_more_is_found_than_was_asked_for() {
    let server = Server::start();
    let mut client = server.client();
    let mut store = open(options(server.url()));
    let long = "x".repeat(600);
    push(&mut client, &["a", "b", &long, &long, &"y".repeat(10_001), "c"]);
    let mut take = |bite: Bite| {
        let found = store.entries(bite).unwrap();
        let entries: Vec<String> = found
            .iter()
            .filter_map(|found| match found {
                Found::Whole(entry) => Some(String::from_utf8(entry.to_vec()).unwrap()),
                Found::TooLarge { .. } => None,
            })
            .collect();
        store.commit(&taking(1, &entries).0).unwrap();
        (entries, found)
    };
    assert_eq!(take(Bite { entries: 1, ..BITE }).0, ["a"]);
    // The second does not fit beside the first.
    assert_eq!(take(Bite { bytes: 100, ..BITE }).0, ["b"]);
    assert_eq!(take(Bite { bytes: 100, ..BITE }).0, std::slice::from_ref(&long));
    // What is too long comes alone, and neither hides nor is hidden by what is before it.
    assert_eq!(take(BITE).0, [long]);
    let (_, found) = take(BITE);
    let [Found::TooLarge { length: 10_001, beginning }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(&beginning[..], "y".repeat(4096).as_bytes());
    let beginning = "y".repeat(4096);
    store.commit(&Turn::at(START_MS).cut(10_001, &beginning, "ERR too-large\n").0).unwrap();
    assert_eq!(refused(&mut client), [format!("ERR too-large\n{}", "y".repeat(10_001))]);
    assert_eq!(waiting(&mut client), ["c"]);
}

#[test]
fn refused_entries_are_kept_with_the_reason_and_not_without_bounds() {
    let server = Server::start();
    let mut client = server.client();
    let mut store = open(options(server.url()));
    let mut turn = Turn::at(START_MS);
    for n in 0..1500 {
        push(&mut client, &[&format!("bad {n}")]);
        turn = turn.refuse(&format!("bad {n}"), "ERR missing\n");
    }
    store.commit(&turn.0).unwrap();
    let kept = refused(&mut client);
    assert_eq!(kept.len(), 1000);
    assert_eq!((&*kept[0], &*kept[999]), ("ERR missing\nbad 1499", "ERR missing\nbad 500"));
    assert!(waiting(&mut client).is_empty());

    let long = "x".repeat(100_000);
    push(&mut client, &[&long]);
    store.commit(&Turn::at(START_MS).refuse(&long, "ERR missing\n").0).unwrap();
    assert_eq!(refused(&mut client)[0].len(), "ERR missing\n".len() + 65_536);
    assert_eq!(refused(&mut client).len(), 1000);
    assert!(waiting(&mut client).is_empty(), "what is cut there is gone here");
}

#[test]
fn lists_are_told_in_order_and_do_not_live_for_ever() {
    let server = Server::start();
    let mut client = server.client();
    let mut store = open(options(server.url()));
    let turn = Turn::at(START_MS).submit(id(1), "one").tell("a/b", "OK\n", 60_000);
    store.commit(&turn.tell("other", "ERR\n", 90_000).0).unwrap();
    store.commit(&Turn::at(START_MS).end(id(1), "", 0).tell("a/b", "RESULT\n", 70_000).0).unwrap();
    let told: Vec<String> = client.lrange("{ganger:0}:reply:a/b", 0, -1).unwrap();
    assert_eq!(told, ["RESULT\n", "OK\n"]);
    let mut lives = |list: &str, ms: i64| {
        let left: i64 = client.pttl(format!("{{ganger:0}}:reply:{list}")).unwrap();
        assert!((ms - 20_000..=ms).contains(&left), "{list}: {left}");
    };
    lives("a/b", 70_000);
    lives("other", 90_000);
    // What is to be kept for less long takes nothing from the frame before it.
    store.commit(&Turn::at(START_MS).submit(id(2), "").tell("other", "OK\n", 60_000).0).unwrap();
    lives("other", 90_000);
    let turn = (0..10_050).fold(Turn::at(START_MS), |turn, _| turn.tell("a/b", "OK\n", 60_000));
    store.commit(&turn.0).unwrap();
    assert_eq!(client.llen::<_, usize>("{ganger:0}:reply:a/b").unwrap(), 10_000);
}

#[test]
fn equal_entries_are_as_many_tasks() {
    let server = Server::start();
    let mut client = server.client();
    let mut store = open(options(server.url()));
    push(&mut client, &["same", "same", "other", "same"]);
    store.commit(&taking(1, &texts(&["same", "same"])).0).unwrap();
    assert_eq!(waiting(&mut client), ["other", "same"]);
}

#[test]
fn what_is_pushed_at_the_wrong_end_meanwhile_is_not_taken_for_another() {
    let server = Server::start();
    let mut client = server.client();
    let mut store = open(options(server.url()));
    push(&mut client, &["one", "two", "three"]);
    let bite = found(&mut store);
    client.rpush::<_, _, ()>(INBOX, &["wrong", "end"]).unwrap();
    store.commit(&taking(1, &bite).0).unwrap();
    assert_eq!(waiting(&mut client), ["end", "wrong"]);
    assert_eq!(tasks(&server), ["one", "two", "three"]);
}

#[test]
fn what_somebody_else_removed_meanwhile_takes_nothing_with_it() {
    let server = Server::start();
    let mut client = server.client();
    let mut store = open(options(server.url()));
    push(&mut client, &["one", "two", "three"]);
    let bite = found(&mut store);
    let popped: String = client.rpop(INBOX, None).unwrap();
    assert_eq!(popped, "one");
    push(&mut client, &["four"]);
    store.commit(&taking(1, &bite).0).unwrap();
    assert_eq!(waiting(&mut client), ["four"]);
    // The whole list is gone, or something else: the batch goes through.
    for harm in ["DEL", "SET"] {
        push(&mut client, &["five"]);
        let bite = found(&mut store);
        redis::cmd("DEL").arg(INBOX).exec(&mut client).unwrap();
        if harm == "SET" {
            client.set::<_, _, ()>(INBOX, "x").unwrap();
        }
        store.commit(&taking(9, &bite).0).unwrap();
    }
}

#[test]
fn only_the_large_entry_that_was_judged_is_refused_wherever_it_stands_now() {
    let server = Server::start();
    let mut client = server.client();
    let mut store = open(options(server.url()));
    let mut cut = |length: u64, beginning: &str| {
        store.commit(&Turn::at(START_MS).cut(length, beginning, "ERR too-large\n").0).unwrap();
    };
    let (judged, other) = ("y".repeat(10_001), "z".repeat(10_001));
    cut(10_001, "yyy");
    assert!(refused(&mut client).is_empty(), "somebody else has removed it");
    push(&mut client, &[&judged]);
    // Others came to the right end since.
    for entry in ["small", &other] {
        client.rpush::<_, _, ()>(INBOX, entry).unwrap();
    }
    cut(10_002, "yyy");
    assert_eq!(waiting(&mut client).len(), 3);
    cut(10_001, "yyy");
    assert_eq!(waiting(&mut client), [other.as_str(), "small"]);
    assert_eq!(refused(&mut client), [format!("ERR too-large\n{judged}")]);
}

#[test]
fn keys_of_another_type_stop_nobody() {
    for key in [INBOX, REFUSED, "{ganger:0}:reply:me"] {
        let server = Server::start();
        let mut client = server.client();
        let mut store = open(options(server.url()));
        client.set::<_, _, ()>(key, "not a list").unwrap();
        let is_inbox = key != "{ganger:0}:reply:me";
        if key != INBOX {
            push(&mut client, &["one"]);
        }
        // With the refused ones out of order, there is nowhere to put them.
        assert_eq!(found(&mut store).is_empty(), is_inbox, "{key}");
        let turn = taking(1, &texts(&["one"])).refuse("two", "ERR\n").tell("me", "OK\n", 60_000);
        store.commit(&turn.0).unwrap();
        assert_eq!(client.get::<_, String>(key).unwrap(), "not a list");
        redis::cmd("DEL").arg(key).exec(&mut client).unwrap();
        push(&mut client, &["two"]);
        assert_eq!(found(&mut store), ["two"], "{key}: it is well again");
    }
}

#[test]
fn a_deposed_scheduler_takes_nothing() {
    let server = Server::start();
    let mut client = server.client();
    let mut deposed = open(options(server.url()));
    push(&mut client, &["one"]);
    let bite = found(&mut deposed);
    let mut store = open(options(server.url()));
    let error = deposed.commit(&taking(1, &bite).0).unwrap_err();
    assert!(matches!(error, Error::Fenced(_)), "{error}");
    assert_eq!(waiting(&mut client), ["one"]);
    assert_eq!(found(&mut store), ["one"]);
    store.commit(&taking(1, &texts(&["one"])).0).unwrap();
    assert_eq!(tasks(&server), ["one"]);
}

#[test]
fn a_deposed_scheduler_finds_nothing_and_is_told() {
    let server = Server::start();
    let mut deposed = open(options(server.url()));
    let _store = open(options(server.url()));
    push(&mut server.client(), &["one"]);
    assert!(found(&mut deposed).is_empty());
    assert!(matches!(deposed.entries(BITE), Err(Error::Fenced(_))));
}

#[test]
fn a_redis_that_is_away_is_not_waited_for() {
    let mut server = Server::start();
    let mut store = open(options(server.url()));
    push(&mut server.client(), &["one"]);
    server.kill9();
    assert!(found(&mut store).is_empty());
    server.restart();
    // The first look notices that the connection is gone; how soon there is another is for Redis to say.
    eventually("a look at the inbox", || found(&mut store) == ["one"]);
}

/// Redis forgets a batch that took entries, and the pushes of some of them: the tasks are written again,
/// and what is back in the inbox is not found a second time.
#[test]
fn t25_entries_that_come_back_with_an_older_state_are_not_found_again() {
    for lost_pushes in [false, true] {
        let mut server = Server::with(&["--appendfsync", "always"]);
        let mut store = open(options(server.url()));
        store.commit(&Turn::at(START_MS).submit(id(1), "zero").0).unwrap();
        push(&mut server.client(), &["one"]);
        if !lost_pushes {
            push(&mut server.client(), &["two", "three"]);
        }
        server.kill9();
        let files = server.remember();
        server.restart();
        if lost_pushes {
            push(&mut server.client(), &["two", "three"]);
        }
        // The first look finds the connection broken.
        let _ = found(&mut store);
        let bite = found(&mut store);
        assert_eq!(bite, ["one", "two", "three"]);
        store.commit(&taking(2, &bite[..2]).0).unwrap();
        server.kill9();
        server.forget(&files);
        server.restart();
        // Pushed before the scheduler is back.
        push(&mut server.client(), &["four"]);
        let _ = found(&mut store);
        let expected: &[&str] = if lost_pushes { &["four"] } else { &["three", "four"] };
        assert_eq!(found(&mut store), expected, "pushes lost: {lost_pushes}");
        assert_eq!(tasks(&server), ["zero", "one", "two"]);
    }
}

#[test]
fn a_batch_that_is_sent_again_takes_nothing_more() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let mut store = open(options(proxy.url()));
    let mut client = server.client();
    for (round, fault) in
        [Fault::LoseReply, Fault::LoseRequest, Fault::HoldReply, Fault::HoldRequest]
            .into_iter()
            .enumerate()
    {
        push(&mut client, &["same", "same", "same"]);
        proxy.next(fault.clone());
        let first = 10 * round as u64;
        store.commit(&taking(first, &texts(&["same"])).0).unwrap();
        assert_eq!(waiting(&mut client).len(), 2, "{fault:?}");
        store.commit(&taking(first + 1, &texts(&["same", "same"])).0).unwrap();
        proxy.release();
        assert!(waiting(&mut client).is_empty(), "{fault:?}");
    }
}

/// A scheduler as far as the inbox goes, which dies, loses its connection, and is deposed, at random.
fn exactly_once(seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let mut client = server.client();
    let mut store = open(options(proxy.url()));
    let (mut pushed, mut last) = (Vec::new(), 0);
    for round in 0..60 {
        for _ in 0..random.random_range(0..6) {
            let entry = format!("entry {}", pushed.len());
            // Now and then at the wrong end, which changes the order and nothing else.
            if random.random_ratio(1, 5) {
                client.rpush::<_, _, ()>(INBOX, &entry).unwrap();
            } else {
                push(&mut client, &[&entry]);
            }
            pushed.push(entry);
        }
        let bite = Bite { entries: random.random_range(1..9), ..BITE };
        let Ok(found) = store.entries(bite) else {
            store = open(options(proxy.url()));
            continue;
        };
        let entries: Vec<String> = found
            .into_iter()
            .map(|found| match found {
                Found::Whole(entry) => String::from_utf8(entry.to_vec()).unwrap(),
                Found::TooLarge { .. } => unreachable!("none is"),
            })
            .collect();
        let taken = random.random_range(0..=entries.len());
        if random.random_ratio(1, 3) {
            let entry = format!("entry {}", pushed.len());
            client.rpush::<_, _, ()>(INBOX, &entry).unwrap();
            pushed.push(entry);
        }
        match random.random_range(0..9) {
            0 => proxy.next(Fault::LoseReply),
            1 => proxy.next(Fault::LoseRequest),
            2 => proxy.next(Fault::HoldRequest),
            3 => proxy.cut(),
            // It dies before it sends anything.
            4 => {
                store = open(options(proxy.url()));
                continue;
            }
            // Another takes over in between; this one is told, and starts again.
            5 => drop(open(Options { lease: std::time::Duration::ZERO, ..options(server.url()) })),
            _ => {}
        }
        let turn = taking(last + 1, &entries[..taken]);
        match store.commit(&turn.0) {
            Ok(()) => last += taken as u64,
            Err(Error::Fenced(_)) => store = open(options(proxy.url())),
            Err(error) => panic!("seed {seed}, round {round}: {error}"),
        }
        proxy.release();
        // It dies after that, or goes on.
        if random.random_ratio(1, 8) {
            store = open(options(proxy.url()));
        }
    }
    let mut all = tasks(&server);
    all.extend(waiting(&mut client));
    all.sort();
    pushed.sort();
    assert_eq!(all, pushed, "seed {seed}");
}

#[test]
fn every_entry_is_one_task_whatever_fails() {
    (0..8).for_each(exactly_once);
}

/// Waits for the bell.
fn until_rung(bell: &mut dyn Bell) {
    while bell.wait() != Ring::Rung {}
}

#[test]
fn the_bell_rings_for_entries_and_for_nothing_else() {
    let mut server = Server::start();
    let mut store = open(options(server.url()));
    let mut bell = store.bell().unwrap();
    let mut client = server.client();
    assert_eq!(bell.wait(), Ring::Quiet, "there are none");
    push(&mut client, &["one"]);
    until_rung(&mut *bell);
    // Whether that one is taken or not.
    client.set::<_, _, ()>("another", "key").unwrap();
    let mut rings = 0;
    while bell.wait() == Ring::Rung {
        rings += 1;
        assert!(rings < 3, "nothing has happened");
    }
    push(&mut client, &["two"]);
    until_rung(&mut *bell);
    store.commit(&taking(1, &texts(&["one", "two"])).0).unwrap();
    while bell.wait() == Ring::Rung {}
    // Over a loss of the connection, and of Redis.
    let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
    redis::cmd("CLIENT").arg(&kill).exec(&mut client).unwrap();
    push(&mut client, &["three"]);
    until_rung(&mut *bell);
    server.kill9();
    assert_eq!(bell.wait(), Ring::Quiet);
    server.restart();
    until_rung(&mut *bell);
}

#[test]
fn a_bell_that_may_not_ring_says_so() {
    let server = Server::start();
    let mut client = server.client();
    let rules = ["SETUSER", "default", "on", "nopass", "~*", "&*", "+@all", "-client|tracking"];
    redis::cmd("ACL").arg(&rules).exec(&mut client).unwrap();
    let mut store = open(options(server.url()));
    assert_eq!(store.bell().unwrap().wait(), Ring::Deaf);
    push(&mut client, &["one"]);
    assert_eq!(found(&mut store), ["one"]);
}
