//! Two schedulers on one Redis: one writes, the other waits.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::spawn;
use std::time::Duration;

use ganger::core::{Core, Effects, Event, Now, Settings};
use ganger::server::load::load;
use ganger::store::redis::{Options, Redis};
use ganger::store::{Error, Store};
use ganger::task::TaskId;
use redis::Commands;

use super::model::{Model, START_MS, Turn, id, submit_frame};
use super::redis::{open, options, whole_life};
use crate::support::program::{Running, ganger, say};
use crate::support::proxy::{Fault, Proxy};
use crate::support::redis::Server;

const FENCE: &str = "{ganger:0}:fence";

fn field(server: &Server, name: &str) -> String {
    server.client().hget(FENCE, name).unwrap()
}

fn deadline(server: &Server) -> u64 {
    field(server, "deadline").parse().unwrap()
}

/// Unix milliseconds by this Redis.
fn wall_ms(server: &Server) -> u64 {
    let (seconds, us): (u64, u64) = redis::cmd("TIME").query(&mut server.client()).unwrap();
    seconds * 1000 + us / 1000
}

fn held_by(holder: &str, url: String, lease: Duration) -> Options {
    Options { holder: holder.to_owned(), lease, ..options(url) }
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_standby_takes_over_when_the_lease_is_over_and_the_first_is_fenced() {
    let server = Server::start();
    let mut first = open(held_by("a:1", server.url(), Duration::from_millis(700)));
    first.commit(&Turn::at(START_MS).submit(id(1), submit_frame(b"one")).0).unwrap();
    let over = deadline(&server);
    let mut second = Redis::new(held_by("b:1", server.url(), LONG)).unwrap();
    let model = Model::load(&mut second);
    assert_eq!(model.tasks.into_keys().collect::<Vec<_>>(), [id(1)]);
    let epoch: u64 = field(&server, "epoch").parse().unwrap();
    assert!(epoch >= over, "the standby waited: the epoch contains the time of taking over");
    let error = first.commit(&whole_life(2).0).unwrap_err();
    assert!(matches!(&error, Error::Fenced(text) if text.contains("b:1")), "{error}");
    second.commit(&Turn::at(START_MS).submit(id(3), submit_frame(b"")).0).unwrap();
    let mut third = Redis::new(held_by("b:1", server.url(), LONG)).unwrap();
    let tasks: Vec<_> = Model::load(&mut third).tasks.into_keys().collect();
    assert_eq!(tasks, [id(1), id(3)], "nothing of the fenced batch is there");
}

#[test]
fn a_closed_store_leaves_its_lease_to_the_standby() {
    let server = Server::start();
    let mut first = open(held_by("a:1", server.url(), LONG));
    let url = server.url();
    let second = spawn(move || open(held_by("b:1", url, LONG)));
    first.commit(&whole_life(1).0).unwrap();
    first.close().unwrap();
    second.join().unwrap().commit(&whole_life(2).0).unwrap();
    assert_eq!(field(&server, "holder"), "b:1");
}

#[test]
fn closing_does_not_give_away_what_another_holds() {
    let server = Server::start();
    let mut first = open(held_by("a:1", server.url(), Duration::from_millis(1)));
    let _second = open(held_by("b:1", server.url(), LONG));
    let held = deadline(&server);
    first.close().unwrap();
    assert_eq!((deadline(&server), field(&server, "holder")), (held, "b:1".to_owned()));
}

#[test]
fn the_same_holder_takes_its_lease_over_at_once() {
    let server = Server::start();
    let mut before = (String::new(), 0_u64);
    for _ in 0..5 {
        let mut store = open(held_by("a:1", server.url(), LONG));
        let now = (field(&server, "nonce"), field(&server, "epoch").parse().unwrap());
        assert!(now.0 != before.0 && now.1 > before.1, "{before:?} {now:?}");
        store.commit(&whole_life(1).0).unwrap();
        before = now;
    }
}

#[test]
fn t23_epochs_rise_although_the_clock_of_redis_went_back() {
    let server = Server::start();
    drop(open(options(server.url())));
    let _: () = server.client().hset(FENCE, "epoch", "9000000000000").unwrap();
    drop(open(options(server.url())));
    assert_eq!(field(&server, "epoch"), "9000000000001");
}

#[test]
fn commits_and_status_prolong_the_lease() {
    let server = Server::start();
    let mut store = open(held_by("a:1", server.url(), LONG));
    let mut last = deadline(&server);
    for n in 0..6 {
        let _: () = server.client().hset(FENCE, "deadline", "5").unwrap();
        match n % 2 {
            0 => store.commit(&whole_life(n).0).unwrap(),
            _ => drop(store.status().unwrap()),
        }
        let now = deadline(&server);
        assert!(now >= last, "{last} {now}");
        last = now;
    }
}

#[test]
fn a_lapsed_lease_that_nobody_took_goes_on() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    let _: () = server.client().hset(FENCE, "deadline", "0").unwrap();
    store.commit(&whole_life(1).0).unwrap();
}

#[test]
fn t34_a_delayed_attempt_to_take_the_fence_has_no_effect() {
    let server = Server::start();
    drop(open(options(server.url())));
    let proxy = Proxy::to(server.port());
    proxy.next(Fault::HoldRequest);
    let mut store = open(options(proxy.url()));
    let nonce = field(&server, "nonce");
    proxy.release();
    let late = String::from_utf8(proxy.wait_late()).unwrap();
    assert!(late.contains("MOVED"), "{late:?}");
    assert_eq!(field(&server, "nonce"), nonce);
    store.commit(&whole_life(1).0).unwrap();
}

#[test]
fn a_lost_reply_to_taking_the_fence_is_found_out() {
    let server = Server::start();
    drop(open(options(server.url())));
    let proxy = Proxy::to(server.port());
    proxy.next(Fault::LoseReply);
    open(options(proxy.url())).commit(&whole_life(1).0).unwrap();
}

#[test]
fn reading_begins_anew_when_the_connection_breaks() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    for hundred in 0..20 {
        let mut turn = Turn::at(START_MS);
        for n in 0..100 {
            turn = turn.submit(id(hundred * 100 + n), submit_frame(&[7; 2000]));
        }
        store.commit(&turn.0).unwrap();
    }
    let proxy = Proxy::to(server.port());
    for word in ["HSCAN", ":state", ":stats", "HSCAN"] {
        proxy.next_with(word, Fault::LoseReply);
    }
    let mut again = Redis::new(options(proxy.url())).unwrap();
    let tasks: Vec<_> = Model::load(&mut again).tasks.into_keys().collect();
    assert_eq!(tasks, (0..2000).map(id).collect::<Vec<_>>());
}

#[test]
fn t31_the_lease_goes_on_while_much_is_read() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    for hundred in 0..100 {
        let mut turn = Turn::at(START_MS);
        for n in 0..100 {
            turn = turn.submit(id(hundred * 100 + n), submit_frame(&[7; 2000]));
        }
        store.commit(&turn.0).unwrap();
    }
    let mut client = server.client();
    redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut client).unwrap();
    // So short that every page is late.
    drop(open(held_by("test:7330", server.url(), Duration::from_nanos(4))));
    let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut client).unwrap();
    let calls = |command: &str| -> u64 {
        let line = stats.lines().find_map(|line| line.strip_prefix(command)).unwrap();
        line.split([':', '=', ',']).nth(2).unwrap().parse().unwrap()
    };
    // But for the last page of each of the eight hashes, and the fence itself.
    let (pages, renewals) = (calls("cmdstat_hscan"), calls("cmdstat_evalsha"));
    assert!(pages > 20 && renewals >= pages - 8, "{pages} pages, {renewals} renewals");
}

#[test]
fn a_standby_that_waited_its_turn_was_not_held_up() {
    let server = Server::start();
    // Long enough for a scheduler that hears nothing for that time to be held up.
    let _first = open(held_by("a:1", server.url(), Duration::from_millis(2500)));
    let store = server.url();
    let mut standby =
        Running::start(&mut ganger(["serve", "--listen", "127.0.0.1:0", "--store", &store]));
    standby.wait_for("standby: shard 0 is held by a:1");
    standby.wait_for("listens on");
    standby.signal("TERM");
    let said = standby.end().with(0);
    assert!(!said.err.contains("held up"), "{said:?}");
}

#[test]
fn a_standby_does_not_take_over_a_redis_that_was_emptied() {
    let server = Server::start();
    let _first = open(held_by("a:1", server.url(), LONG));
    let store = server.url();
    let mut standby =
        Running::start(&mut ganger(["serve", "--listen", "127.0.0.1:0", "--store", &store]));
    standby.wait_for("standby: shard 0 is held by a:1");
    redis::cmd("FLUSHALL").exec(&mut server.client()).unwrap();
    standby.end().with(5).tells("Redis was emptied, or is another one");
}

#[test]
fn what_waits_is_due_in_time_after_a_takeover() {
    let server = Server::start();
    let mut first = open(held_by("a:1", server.url(), Duration::from_millis(3000)));
    let store = server.url();
    let mut standby =
        Running::start(&mut ganger(["serve", "--listen", "127.0.0.1:0", "--store", &store]));
    standby.wait_for("standby: shard 0 is held by a:1");
    let due_ms = wall_ms(&server) + 1000;
    let delayed = TaskId::next(TaskId::default(), due_ms - 3_600_000, 0);
    let submit = b"SUBMIT k delay=3600000\n";
    first.commit(&Turn::at(due_ms).submit(delayed, submit).0).unwrap();
    let line = standby.wait_for("listens on");
    let addr = line.split("listens on ").nth(1).and_then(|rest| rest.split(' ').next());
    let addr = addr.expect("an address").to_owned();
    let explain = ["explain", &delayed.to_string(), "--json", "--connect", &addr];
    let told = say(&mut ganger(explain)).with(0).json();
    assert_eq!(told["state"], "ready", "it was due before the takeover: {told}");
    standby.signal("TERM");
    standby.end().with(0);
}

#[test]
fn times_are_measured_from_the_records_and_not_from_the_wait_for_them() {
    let server = Server::start();
    let due_ms = START_MS + 3_605_000;
    for (submit, line) in [
        ("SUBMIT k delay=10000\n", None),
        ("SUBMIT k\n", Some(format!("scheduled at={due_ms} attempt=1 used=1"))),
    ] {
        let delayed = TaskId::next(TaskId::default(), due_ms - 10_000, 0);
        let turn = Turn::at(START_MS).submit(delayed, submit);
        let turn = line.iter().fold(turn, |turn, line| turn.state(delayed, line));
        open(options(server.url())).commit(&turn.0).unwrap();
        // The wait is longer than the task's own, and ends 5 s before it is due.
        let began = Now { mono_us: 1, wall_ms: START_MS };
        let waited = Now { mono_us: 3_600_000_001, wall_ms: START_MS + 3_600_000 };
        let mut core = Core::new(Settings::default(), 1, began);
        let mut store = Redis::new(options(server.url())).unwrap();
        let loaded = load(&mut store, &mut core, &mut || waited).unwrap();
        core.restored(waited, loaded.last, &mut Effects::default());
        core.handle(waited, Event::Due, &mut Effects::default());
        let due_us = waited.mono_us + 5_000_000;
        assert_eq!(core.next_deadline().mono_us, Some(due_us), "{submit} {line:?}");
    }
}

#[test]
fn a_standby_can_be_stopped() {
    let server = Server::start();
    let _first = open(held_by("a:1", server.url(), LONG));
    let mut standby = Command::new(env!("CARGO_BIN_EXE_ganger"))
        .args(["serve", "--listen", "127.0.0.1:0", "--store", &server.url()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(standby.stderr.take().unwrap()).lines();
    let waits = |line: &Result<String, _>| {
        line.as_ref().unwrap().contains("standby: shard 0 is held by a:1")
    };
    said.find(waits).unwrap().unwrap();
    let pid = standby.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(standby.wait().unwrap().success());
    assert_eq!(field(&server, "holder"), "a:1");
}
