//! What the ACL of Redis forbids: it is named with what to grant, waited for where waiting is worth it,
//! and leaves nothing half written.

use std::thread::spawn;
use std::time::Duration;

use ganger::store::inbox::{Bite, Found};
use ganger::store::redis::{Options, Redis};
use ganger::store::{Error, Store};
use redis::{Commands, Connection};

use super::model::{START_MS, Turn, id, submit_frame};
use super::redis::{contents, everything, open, options, whole_life};
use crate::support::program::{Running, eventually, ganger};
use crate::support::proxy::{Fault, Proxy};
use crate::support::redis::Server;

const FENCE: &str = "{ganger:0}:fence";

/// What protocol.md says that a scheduler needs.
const NEEDED: [&str; 6] =
    ["~{ganger:0}:*", "&{ganger:0}:*", "+@all", "-@admin", "-@dangerous", "+info"];

/// Makes or changes the user `w` with the password `pw`.
fn allow(client: &mut Connection, rules: &[&str]) {
    redis::cmd("ACL").arg("SETUSER").arg("w").arg(rules).exec(client).unwrap();
}

/// A server with a user that has everything it needs.
fn with_user() -> (Server, Connection) {
    let server = Server::start();
    let mut client = server.client();
    allow(&mut client, &["on", ">pw"]);
    allow(&mut client, &NEEDED);
    (server, client)
}

fn as_user(url: &str) -> String {
    url.replace("redis://", "redis://w:pw@")
}

fn held_by(holder: &str, url: String, lease: Duration) -> Options {
    Options { holder: holder.to_owned(), lease, ..options(url) }
}

/// What a start says that is to end by itself.
fn refusal(url: &str) -> String {
    match Redis::new(options(as_user(url))).unwrap().load(&mut |_| Ok(())) {
        Err(Error::Unavailable(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn t20_a_scheduler_needs_no_more_than_protocol_md_says() {
    let text = std::fs::read_to_string("protocol.md").unwrap();
    assert!(text.contains(&NEEDED.join(" ")), "section 19 tells {NEEDED:?}");
    let (server, mut client) = with_user();
    let mut store = open(options(as_user(&server.url())));
    store.commit(&everything().0).unwrap();
    for entry in ["SUBMIT a", "SUBMIT b", "SUBMIT c"] {
        let _: () = client.lpush("{ganger:0}:inbox", entry).unwrap();
    }
    let bite = Bite { entries: 10, bytes: 1000, entry_max: 1000 };
    let found = store.entries(bite).unwrap();
    assert!(matches!(&found[..], [Found::Whole(_), ..]), "{found:?}");
    let inbox = Turn::at(START_MS).take("SUBMIT a").refuse("SUBMIT b", "ERR b\n");
    let inbox = inbox.cut(8, "SUBMIT c", "ERR c\n").tell("me", "OK\n", 1000);
    store.commit(&inbox.worker_gone("img-7", "x").stats_gone("resize@img-7").0).unwrap();
    assert!(store.result(id(3)).unwrap().is_some());
    while store.sweep(START_MS + 86_400_000).unwrap() {}
    assert_eq!(store.status().unwrap().inbox, Some(0));
    store.close().unwrap();
}

#[test]
fn t20_a_command_that_is_not_permitted_is_named_with_what_to_grant() {
    let (server, mut client) = with_user();
    open(options(server.url())).commit(&everything().0).unwrap();
    let before = contents(&server);
    for command in [
        "type", "hmget", "hlen", "hset", "hdel", "exists", "hscan", "hget", "time", "llen",
        "lpush", "ltrim", "lrange", "lrem", "lindex", "pttl", "pexpire", "sadd", "srem", "zadd",
        "zrem", "del", "unlink",
    ] {
        allow(&mut client, &[&format!("-{command}")]);
        let told = refusal(&server.url());
        let named = told.contains(&format!("'{command}'"))
            || told.contains(&format!("{} {FENCE}", command.to_uppercase()));
        assert!(named && told.contains("grant"), "{command}: {told}");
        assert!(told.contains(&format!("+{command}")) || command == "hget", "{command}: {told}");
        assert!(!told.contains("belongs") && !told.contains("half way"), "{command}: {told}");
        allow(&mut client, &[&format!("+{command}")]);
    }
    assert_eq!(contents(&server), before, "a refused start has no effect");
}

#[test]
fn t20_keys_and_a_channel_that_are_not_permitted_are_named_with_what_to_grant() {
    let (server, mut client) = with_user();
    allow(&mut client, &["resetkeys", "~{ganger:0}:fence"]);
    let told = refusal(&server.url());
    assert!(told.contains("NoPerm") && told.contains("grant"), "{told}");
    assert!(told.contains("~{ganger:0}:*"), "{told}");
    allow(&mut client, &["~{ganger:0}:*", "resetchannels"]);
    let told = refusal(&server.url());
    assert!(told.contains("PUBLISH {ganger:0}:events"), "{told}");
    assert!(told.contains("&{ganger:0}:*"), "{told}");
}

#[test]
fn t20_a_permission_that_is_lost_while_running_is_waited_for_and_nothing_is_half_written() {
    let (server, mut client) = with_user();
    let proxy = Proxy::to(server.port());
    let mut store = open(options(as_user(&proxy.url())));
    store.commit(&Turn::at(START_MS).submit(id(1), submit_frame(b"")).0).unwrap();
    let before = contents(&server);
    for (n, command) in (0..).zip(["hdel", "publish", "hlen", "type"]) {
        allow(&mut client, &[&format!("-{command}")]);
        let turn = Turn::at(START_MS).submit(id(2 + n), submit_frame(b""));
        let mut turn = turn.end(id(1), "", 0).stats("k", "at=1");
        turn.0.events = b"EVENT done\n".to_vec();
        let (seen, mut aside) = (proxy.connections(), store);
        let committing = spawn(move || {
            aside.commit(&turn.0).unwrap();
            aside
        });
        // It is refused, and asks again on another connection.
        proxy.wait_connections(seen + 1);
        if n == 0 {
            assert_eq!(contents(&server), before, "a refused batch has no effect");
        }
        allow(&mut client, &[&format!("+{command}")]);
        store = committing.join().unwrap();
    }
    let seq: String = client.hget(FENCE, "seq").unwrap();
    assert_eq!(seq, "5");
}

#[test]
fn t20_an_idle_scheduler_tells_that_it_may_not_prolong_its_lease() {
    let (server, mut client) = with_user();
    let args = ["serve", "--listen", "127.0.0.1:0", "--store", &as_user(&server.url())];
    let mut serve = Running::start(&mut ganger(args));
    serve.wait_for("listens on");
    allow(&mut client, &["-hset"]);
    serve.wait_for("looking after the shard is not done: its ACL does not permit HSET");
    allow(&mut client, &["+hset"]);
    serve.wait_for("looking after the shard is done after");
    serve.signal("TERM");
    let said = serve.end().with(0);
    assert!(!said.err.contains("does not tell of new entries"), "{said:?}");
}

/// A scheduler that waits for the end of a lease.
fn standby(store: &str) -> Running {
    let args = ["serve", "--listen", "127.0.0.1:0", "--store", store];
    let mut standby = Running::start(&mut ganger(args));
    standby.wait_for("standby: shard 0 is held by a:1");
    standby
}

fn stop(mut standby: Running) {
    standby.wait_for("listens on");
    standby.signal("TERM");
    standby.end().with(0);
}

#[test]
fn t20_a_standby_waits_for_what_it_may_not_do_at_the_moment_of_its_takeover() {
    for (command, told) in
        [("hset", "taking the shard is not done"), ("info", "confirming the fence is not done")]
    {
        let (server, mut client) = with_user();
        let _first = open(held_by("a:1", server.url(), Duration::from_millis(1500)));
        let mut standby = standby(&as_user(&server.url()));
        allow(&mut client, &[&format!("-{command}")]);
        standby.wait_for(told);
        allow(&mut client, &[&format!("+{command}")]);
        stop(standby);
    }
}

/// A standby that holds the fence, before it begins to read: it goes on when the proxy lets it.
fn held_up(server: &Server, proxy: &Proxy, client: &mut Connection) -> Running {
    let mut first = open(held_by("a:1", server.url(), Duration::from_secs(3600)));
    first.commit(&whole_life(1).0).unwrap();
    let standby = standby(&as_user(&proxy.url()));
    proxy.next_with("*2\r\n$4\r\nINFO\r\n$11\r\npersistence", Fault::HoldReply);
    first.close().unwrap();
    let holder = |client: &mut Connection| client.hget::<_, _, String>(FENCE, "holder").unwrap();
    eventually("the standby takes the fence", || holder(client) != "a:1");
    standby
}

/// A standby that holds the fence and is not allowed to read.
fn blind(server: &Server, proxy: &Proxy, client: &mut Connection) -> Running {
    let mut standby = held_up(server, proxy, client);
    allow(client, &["-hscan"]);
    proxy.release();
    standby.wait_for("reading is not done: ");
    standby
}

#[test]
fn t20_a_standby_that_may_not_read_what_it_took_over_asks_again_until_it_may() {
    let (server, mut client) = with_user();
    let proxy = Proxy::to(server.port());
    let standby = blind(&server, &proxy, &mut client);
    allow(&mut client, &["+hscan"]);
    stop(standby);
}

#[test]
fn t18_t20_refusals_that_pass_do_not_end_a_standby_that_reads() {
    for refusal in [
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
    ] {
        let (server, mut client) = with_user();
        let proxy = Proxy::to(server.port());
        let mut standby = held_up(&server, &proxy, &mut client);
        proxy.next_with("HSCAN", Fault::Answer(format!("-{refusal}\r\n").into_bytes()));
        proxy.release();
        standby.wait_for("reading is not done: ");
        stop(standby);
    }
}

#[test]
fn t20_a_standby_that_is_overtaken_while_it_may_not_read_waits_again() {
    let (server, mut client) = with_user();
    let proxy = Proxy::to(server.port());
    let mut standby = blind(&server, &proxy, &mut client);
    let _: () = client.hset(FENCE, "deadline", "0").unwrap();
    let mut third = open(held_by("c:1", server.url(), Duration::from_secs(3600)));
    allow(&mut client, &["+hscan"]);
    standby.wait_for("standby: shard 0 is held by c:1");
    third.commit(&whole_life(2).0).unwrap();
    third.close().unwrap();
    stop(standby);
}

#[test]
fn t20_a_standby_ends_where_what_it_took_over_is_damaged() {
    let (server, mut client) = with_user();
    let proxy = Proxy::to(server.port());
    let standby = blind(&server, &proxy, &mut client);
    let _: () = client.hset("{ganger:0}:tasks", "no-id", "x").unwrap();
    let _: () = client.hset_multiple(FENCE, &[("rows:tasks", "1"), ("keys", "1")]).unwrap();
    allow(&mut client, &["+hscan"]);
    standby
        .end()
        .with(5)
        .tells("\"no-id\" in {ganger:0}:tasks is no task identifier")
        .tells("restore");
}
