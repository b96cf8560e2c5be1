//! What happens to a commit when the network or Redis fails: it is done exactly once, or not at
//! all and somebody is told. The names carry the rows of the catalogue of faults.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::{JoinHandle, spawn};

use ganger::store::redis::{Options, Redis};
use ganger::store::{Error, Store};
use redis::{Commands, Connection};

use super::model::{Model, START_MS, Turn, id, submit_frame};
use super::redis::{finished, open, options, whole_life};
use crate::support::proxy::{Fault, Proxy};
use crate::support::redis::Server;

/// A store behind a proxy.
struct Behind {
    server: Server,
    proxy: Proxy,
    store: Redis,
    commits: u64,
}

impl Behind {
    fn new() -> Self {
        let server = Server::start();
        let proxy = Proxy::to(server.port());
        let store = open(options(proxy.url()));
        Self { server, proxy, store, commits: 0 }
    }

    /// A commit must come to its end, and have had its effect once.
    fn commit(&mut self, what: &str) {
        self.store.commit(&whole_life(self.commits).0).unwrap();
        self.commits += 1;
        self.check(what);
    }

    fn check(&self, what: &str) {
        let expected: Vec<_> = (0..self.commits).map(id).collect();
        let mut client = self.server.client();
        assert_eq!(finished(&mut client), expected, "{what}");
        let seq: u64 = client.hget("{ganger:0}:fence", "seq").unwrap();
        assert_eq!(seq, self.commits, "{what}");
    }
}

/// Commits on a thread of its own.
fn commit_aside(mut store: Redis, turn: Turn) -> JoinHandle<(Redis, Result<(), Error>)> {
    spawn(move || {
        let done = store.commit(&turn.0);
        (store, done)
    })
}

/// Waits until Redis has answered with an error of this code.
fn wait_for_error(client: &mut Connection, code: &str) {
    loop {
        let stats: String = redis::cmd("INFO").arg("errorstats").query(client).unwrap();
        if stats.contains(&format!("errorstat_{code}:")) {
            return;
        }
    }
}

fn kill_clients(client: &mut Connection) {
    let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
    redis::cmd("CLIENT").arg(&kill).exec(client).unwrap();
}

fn config(client: &mut Connection, name: &str, value: &str) {
    redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(client).unwrap();
}

#[test]
fn t01_down_at_the_start_is_waited_for() {
    let mut server = Server::stopped();
    let options = options(server.url());
    let store = spawn(move || open(options));
    server.restart();
    store.join().unwrap().commit(&whole_life(0).0).unwrap();
}

#[test]
fn t01_down_at_the_start_ends_after_its_limit() {
    let server = Server::stopped();
    let limit = Some(std::time::Duration::from_millis(100));
    let mut store = Redis::new(Options { start_limit: limit, ..options(server.url()) }).unwrap();
    let error = store.load(&mut |_| Ok(())).unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("refused")), "{error}");
}

/// What a start says that is to end by itself.
fn start_error(url: String) -> String {
    match Redis::new(options(url)).unwrap().load(&mut |_| Ok(())) {
        Err(Error::Unavailable(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn t01_t06_what_is_no_redis_ends_the_start() {
    let answers: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail ESMTP\r\n",
        b"ERR bad-hello HELLO comes first\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ];
    for answer in answers {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let answering = spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer).unwrap();
            // Until the other end has seen enough.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let text = start_error(url);
        assert!(text.contains("is no Redis"), "{text}");
        answering.join().unwrap();
    }
}

#[test]
fn t18_t20_what_passes_is_waited_for_at_the_start_too() {
    let server = Server::with(&["--requirepass", "secret"]);
    let proxy = Proxy::to(server.port());
    let url = proxy.url().replace("redis://", "redis://:secret@") + "/3";
    for (request, refusal) in [
        ("AUTH", "ERR max number of clients reached"),
        ("SELECT", "LOADING Redis is loading the dataset in memory"),
        ("INFO", "LOADING Redis is loading the dataset in memory"),
        ("EVALSHA", "MISCONF Errors writing to the AOF file: No space left on device"),
        ("EVALSHA", "BUSY Redis is busy running a script."),
    ] {
        proxy.next_with(request, Fault::Answer(format!("-{refusal}\r\n").into_bytes()));
    }
    open(options(url)).commit(&whole_life(0).0).unwrap();
}

#[test]
fn t02_dies_while_running_and_comes_back() {
    let mut server = Server::start();
    let mut store = open(options(server.url()));
    for n in 0..5 {
        store.commit(&whole_life(n).0).unwrap();
        server.kill9();
        let committing =
            commit_aside(store, Turn::at(START_MS).submit(id(100 + n), submit_frame(b"kept")));
        server.restart();
        let (back, done) = committing.join().unwrap();
        done.unwrap();
        store = back;
    }
    assert_eq!(finished(&mut server.client()), [0, 1, 2, 3, 4].map(id));
    let mut again = Redis::new(options(server.url())).unwrap();
    let tasks: Vec<_> = Model::load(&mut again).tasks.into_keys().collect();
    assert_eq!(tasks, [100, 101, 102, 103, 104].map(id));
}

#[test]
fn t02_status_does_not_wait_for_a_dead_redis() {
    let mut server = Server::start();
    let mut store = open(options(server.url()));
    let before = store.status().unwrap();
    server.kill9();
    assert_eq!(store.status().unwrap(), before);
}

#[test]
fn t03_a_slow_reply_is_an_unknown_outcome() {
    let mut behind = Behind::new();
    behind.proxy.next(Fault::HoldReply);
    behind.commit("the reply comes after the limit");
    behind.proxy.release();
    behind.commit("and then it is too late to be heard");
}

#[test]
fn t03_redis_itself_stalls() {
    let Behind { server, proxy, store, .. } = Behind::new();
    let signal = |name: &str| {
        let pid = server.pid().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    let committing = commit_aside(store, whole_life(0));
    // The first connection, one after the reply was late, and one after that was in vain.
    proxy.wait_connections(3);
    signal("-CONT");
    committing.join().unwrap().1.unwrap();
    assert_eq!(finished(&mut server.client()), [id(0)]);
}

#[test]
fn t04_a_lost_reply_is_found_out() {
    let mut behind = Behind::new();
    for _ in 0..20 {
        behind.proxy.next(Fault::LoseReply);
        behind.commit("lost reply");
    }
}

#[test]
fn t05_a_lost_request_is_sent_again() {
    let mut behind = Behind::new();
    for _ in 0..20 {
        behind.proxy.next(Fault::LoseRequest);
        behind.commit("lost request");
    }
}

#[test]
fn t04_t05_everything_is_lost_for_a_while() {
    let mut behind = Behind::new();
    for _ in 0..3 {
        for fault in [Fault::LoseReply, Fault::LoseRequest, Fault::LoseReply, Fault::LoseReply] {
            behind.proxy.next(fault);
        }
        behind.commit("losses in a row");
    }
    behind.proxy.cut();
    behind.commit("cut between two commits");
}

#[test]
fn t06_garbage_is_no_answer() {
    let mut behind = Behind::new();
    let nonce: String = behind.server.client().hget("{ganger:0}:fence", "nonce").unwrap();
    let done = |nonce: &str, seq: &str| {
        format!("*3\r\n$4\r\nDONE\r\n${}\r\n{nonce}\r\n$1\r\n{seq}\r\n", nonce.len()).into_bytes()
    };
    let garbage: Vec<Vec<u8>> = vec![
        b"what?\r\n".to_vec(),
        b"+DONE\r\n".to_vec(),
        b":7\r\n".to_vec(),
        b"$-1\r\n".to_vec(),
        b"*-1\r\n".to_vec(),
        b"%-1\r\n".to_vec(),
        b"=-5\r\n".to_vec(),
        b"-ERR what is this\r\n".to_vec(),
        b"*0\r\n".to_vec(),
        b"\xff\xfe\0\0".to_vec(),
        b"*1\r\n".repeat(500),
        b"*1000000000\r\n".to_vec(),
        b"$1000000000\r\nabc".to_vec(),
        b"*3\r\n$4\r\nDO".to_vec(),
        done(&nonce, "9"),
        done(&"0".repeat(32), "1"),
    ];
    for reply in garbage {
        let what = String::from_utf8_lossy(&reply).into_owned();
        behind.proxy.next(Fault::Garble(reply.clone()));
        behind.commit(&what);
        behind.proxy.next(Fault::Answer(reply));
        behind.commit(&what);
    }
}

#[test]
fn t07_a_late_reply_is_never_that_of_the_next_request() {
    let mut behind = Behind::new();
    let until_ms = START_MS + 1000;
    for n in 50..60 {
        let frame = super::model::result_frame(id(n), until_ms, &n.to_le_bytes());
        behind.store.commit(&Turn::at(START_MS).end(id(n), frame, until_ms).0).unwrap();
    }
    behind.proxy.next_with("HGET", Fault::HoldReply);
    for n in 50..60 {
        let frame = behind.store.result(id(n)).unwrap().unwrap();
        assert_eq!(frame, super::model::result_frame(id(n), until_ms, &n.to_le_bytes()));
        behind.proxy.release();
    }
}

#[test]
fn t13_a_demoted_redis_is_waited_for() {
    let server = Server::start();
    let store = open(options(server.url()));
    let mut client = server.client();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec(&mut client).unwrap();
    let committing = commit_aside(store, whole_life(0));
    wait_for_error(&mut client, "READONLY");
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut client).unwrap();
    committing.join().unwrap().1.unwrap();
    assert_eq!(finished(&mut client), [id(0)]);
}

#[test]
fn t18_refusals_that_pass_are_waited_for() {
    let mut behind = Behind::new();
    for refusal in [
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "BUSY Redis is busy running a script.",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "NOREPLICAS Not enough good replicas to write.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "CLUSTERDOWN The cluster is down",
        "TRYAGAIN Multiple keys request during rehashing of slot",
    ] {
        let reply = format!("-{refusal}\r\n").into_bytes();
        behind.proxy.next(Fault::Answer(reply.clone()));
        behind.proxy.next(Fault::Answer(reply));
        behind.commit(refusal);
    }
}

#[test]
fn t18_missing_replicas_are_waited_for() {
    let server = Server::start();
    let store = open(options(server.url()));
    let mut client = server.client();
    config(&mut client, "min-replicas-to-write", "1");
    let committing = commit_aside(store, whole_life(0));
    wait_for_error(&mut client, "NOREPLICAS");
    config(&mut client, "min-replicas-to-write", "0");
    committing.join().unwrap().1.unwrap();
    assert_eq!(finished(&mut client), [id(0)]);
}

#[test]
fn t18_t22_a_busy_script_of_somebody_is_waited_for_and_not_killed() {
    let server = Server::start();
    let store = open(options(server.url()));
    let mut client = server.client();
    config(&mut client, "busy-reply-threshold", "1");
    let mut other = server.client();
    let busy = spawn(move || redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut other));
    while redis::cmd("PING").exec(&mut client).is_ok() {}
    let committing = commit_aside(store, whole_life(0));
    redis::cmd("SCRIPT").arg("KILL").exec(&mut client).unwrap();
    assert!(busy.join().unwrap().is_err());
    committing.join().unwrap().1.unwrap();
    assert_eq!(finished(&mut client), [id(0)]);
}

#[test]
fn t19_a_forgotten_script_is_loaded_again() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    for n in 0..3 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut server.client()).unwrap();
        store.commit(&whole_life(n).0).unwrap();
    }
    redis::cmd("SCRIPT").arg("FLUSH").exec(&mut server.client()).unwrap();
    store.status().unwrap();
    assert_eq!(finished(&mut server.client()), [0, 1, 2].map(id));
}

#[test]
fn t20_a_changed_password_is_waited_for() {
    let server = Server::start();
    let store = open(options(server.url()));
    let mut client = server.client();
    config(&mut client, "requirepass", "secret");
    redis::cmd("AUTH").arg("secret").exec(&mut client).unwrap();
    kill_clients(&mut client);
    let committing = commit_aside(store, whole_life(0));
    wait_for_error(&mut client, "NOAUTH");
    config(&mut client, "requirepass", "");
    committing.join().unwrap().1.unwrap();
    assert_eq!(finished(&mut client), [id(0)]);
}

#[test]
fn t20_a_password_is_used_and_never_told() {
    let server = Server::with(&["--requirepass", "secret"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port());
    open(options(url("secret"))).commit(&whole_life(0).0).unwrap();
    let error = start_error(url("wr0ng"));
    assert!(error.contains("WRONGPASS") && !error.contains("wr0ng"), "{error}");
}

#[test]
fn t20_what_redis_does_not_allow_ends_the_start() {
    let server = Server::with(&["--requirepass", "secret"]);
    let url = |user: &str, rest: &str| format!("redis://{user}127.0.0.1:{}{rest}", server.port());
    let mut client = redis::Client::open(url(":secret@", "")).unwrap().get_connection().unwrap();
    let acl = |client: &mut Connection, rules: &[&str]| {
        redis::cmd("ACL").arg("SETUSER").arg(rules).exec(client).unwrap();
    };
    acl(&mut client, &["weak", "on", ">pw", "~*", "&*", "+ping"]);
    acl(&mut client, &["blind", "on", ">pw", "~*", "&*", "+@all", "-hscan"]);
    for (url, told) in [
        (url("", ""), "NOAUTH"),
        (url("nobody:secret@", ""), "WRONGPASS"),
        (url(":secret@", "/99"), "out of range"),
        (url("weak:pw@", ""), "'info'"),
        (url("blind:pw@", ""), "does not permit HSCAN"),
    ] {
        let error = start_error(url.clone());
        assert!(error.contains(told), "{url}: {error}");
    }
    let open_to_all = Server::start();
    let error = start_error(format!("redis://:pw@127.0.0.1:{}", open_to_all.port()));
    assert!(error.contains("without any password"), "{error}");
}

#[test]
fn t32_a_killed_connection_is_replaced() {
    let server = Server::start();
    let mut store = open(options(server.url()));
    let mut client = server.client();
    for n in 0..10 {
        kill_clients(&mut client);
        store.commit(&whole_life(n).0).unwrap();
        kill_clients(&mut client);
        assert_eq!(store.result(id(n)).unwrap(), None);
    }
    assert_eq!(finished(&mut client).len(), 10);
}

#[test]
fn t34_a_delayed_copy_has_no_effect() {
    for later in [0, 1, 5] {
        let mut behind = Behind::new();
        behind.proxy.next(Fault::HoldRequest);
        behind.commit("the first copy is under way");
        for _ in 0..later {
            behind.commit("newer batches");
        }
        behind.proxy.release();
        let late = String::from_utf8(behind.proxy.wait_late()).unwrap();
        let expected = if later == 0 { "ALREADY" } else { "SEQ" };
        assert!(late.contains(expected), "{late:?}");
        behind.check("after the copy");
    }
}
