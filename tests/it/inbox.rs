//! The inbox in Redis, through a scheduler: programs that only have a Redis client submit tasks and
//! get their results, and each entry is one task, whoever is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ganger::client::{Failure, Task, Worker};
use ganger::server::Config;
use ganger::store::Options;
use redis::{Commands, Connection};

use crate::support::process::Process;
use crate::support::program::{eventually, ganger, say};
use crate::support::redis::Server as Redis;
use crate::support::{Peer, Server};

const INBOX: &str = "{ganger:0}:inbox";
const REFUSED: &str = "{ganger:0}:inbox:refused";

/// The same holder at each start, so that nobody waits for a lease.
fn config(redis: &Redis) -> Config {
    let store_options = Options { holder: "test:1".into(), ..Options::default() };
    Config { store: redis.url(), store_options, ..Config::default() }
}

fn push(client: &mut Connection, entry: impl AsRef<[u8]>) {
    client.lpush::<_, _, ()>(INBOX, entry.as_ref()).unwrap();
}

/// The next frame that a list is told.
fn told(client: &mut Connection, list: &str) -> Vec<u8> {
    let key = format!("{{ganger:0}}:reply:{list}");
    let popped: Option<(String, Vec<u8>)> = client.brpop(key, 30.0).unwrap();
    popped.unwrap_or_else(|| panic!("{list} is told nothing")).1
}

fn told_text(client: &mut Connection, list: &str) -> String {
    String::from_utf8(told(client, list)).unwrap()
}

fn waiting(client: &mut Connection) -> usize {
    client.llen(INBOX).unwrap()
}

/// The submitted id, told as OK.
fn ok_id(client: &mut Connection, list: &str) -> String {
    let ok = told_text(client, list);
    let id = ok.strip_prefix("OK ").and_then(|rest| rest.strip_suffix('\n'));
    id.unwrap_or_else(|| panic!("{ok:?}")).to_owned()
}

#[test]
fn a_line_typed_into_a_shell_is_a_task() {
    let redis = Redis::start();
    let server = Server::with(config(&redis));
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=resize slots=9");
    push(&mut redis.client(), "SUBMIT resize queue=photos");
    let (line, payload) = worker.expect("TASK ");
    assert!(line.ends_with(" 1 resize queue=photos #0") && payload.is_empty(), "{line}");
    // And one that comes when nobody has been heard of for long.
    push(&mut redis.client(), "SUBMIT resize\nhello\n");
    let (line, payload) = worker.expect("TASK ");
    assert!(line.ends_with(" 1 resize #6"), "{line}");
    assert_eq!(payload, b"hello\n");
}

#[test]
fn binary_payloads_and_results_go_both_ways() {
    let redis = Redis::start();
    let server = Server::with(config(&redis));
    let mut client = redis.client();
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=x slots=9");
    let payload: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for header in ["SUBMIT x reply=me".to_owned(), format!("SUBMIT x reply=me #{}", payload.len())]
    {
        push(&mut client, [header.as_bytes(), b"\n", &payload].concat());
        let id = ok_id(&mut client, "me");
        let (_, got) = worker.expect(&format!("TASK {id} 1 x #100000"));
        assert_eq!(got, payload);
        worker.send(format!("DONE {id} 1 #{}\n", payload.len()));
        worker.send([&payload[..], b"\n"].concat());
        worker.expect("OK ");
        let result = told(&mut client, "me");
        let end = result.iter().position(|&byte| byte == b'\n').unwrap();
        let header = String::from_utf8(result[..end].to_vec()).unwrap();
        assert!(header.starts_with(&format!("RESULT {id} done attempt=1 worker=w ")), "{header}");
        assert_eq!(result[end + 1..], [&payload[..], b"\n"].concat());
        // It is where every result is, too.
        let kept: Vec<u8> = client.hget(format!("{{ganger:0}}:results:{}", &id[..5]), &id).unwrap();
        assert_eq!(kept, result);
    }
}

#[test]
fn what_cannot_be_taken_is_refused_with_the_reason_and_the_rest_goes_on() {
    let redis = Redis::start();
    let server = Server::with(Config { payload_max: 2000, ..config(&redis) });
    let mut client = redis.client();
    let cases = [
        ("".to_owned(), "bad-frame"),
        ("SUBMIT x  y".to_owned(), "bad-frame"),
        ("SUBMIT x\r\nhello".to_owned(), "bad-frame"),
        ("SUBMIT x #4\nhello".to_owned(), "bad-frame"),
        ("{\"kind\":\"x\"}".to_owned(), "unknown-verb"),
        ("PURGE default".to_owned(), "unknown-verb"),
        ("SUBMIT".to_owned(), "missing"),
        ("SUBMIT x prioritty=5".to_owned(), "unknown-option"),
        ("SUBMIT x watch=yes".to_owned(), "unknown-option"),
        ("SUBMIT x timeout=0".to_owned(), "bad-value"),
        ("SUBMIT x delay=1 at=1".to_owned(), "conflict"),
        ("SUBMIT x after=7zzzzzzz0007z".to_owned(), "unknown-task"),
        (format!("SUBMIT x\n{}", "y".repeat(2001)), "too-large"),
        (format!("SUBMIT x\n{}", "y".repeat(1 << 20)), "too-large"),
        (format!("SUBMIT x trace={}", "y".repeat(4100)), "too-large"),
    ];
    for (entry, _) in &cases {
        push(&mut client, entry);
    }
    push(&mut client, "SUBMIT x reply=me");
    ok_id(&mut client, "me");
    let refused: Vec<String> = client.lrange(REFUSED, 0, -1).unwrap();
    assert_eq!(refused.len(), cases.len());
    for ((entry, code), refused) in cases.iter().zip(refused.iter().rev()) {
        let (line, kept) = refused.split_once('\n').unwrap();
        assert!(line.starts_with(&format!("ERR {code} ")), "{line}");
        assert_eq!(kept, &entry[..entry.len().min(65_536)]);
    }
    // Who named a list is told, also of what is too large to be read.
    push(&mut client, format!("SUBMIT x reply=me\n{}", "y".repeat(1 << 20)));
    assert!(told_text(&mut client, "me").starts_with("ERR too-large an entry of 10485"));
    assert_eq!(waiting(&mut client), 0);
    drop(server);
}

#[test]
fn entries_wait_while_too_many_tasks_do() {
    let redis = Redis::start();
    let server = Server::with(Config { tasks_max: 2, ..config(&redis) });
    let mut client = redis.client();
    for n in 0..5 {
        push(&mut client, format!("SUBMIT x\n{n}"));
    }
    eventually("two are taken", || waiting(&mut client) == 3);
    let mut other = Peer::client(server.addr());
    other.send("SUBMIT x\n");
    other.expect("ERR busy ");
    assert_eq!(waiting(&mut client), 3);
    let mut watcher = Peer::client(server.addr());
    let mut told = || stats(&mut watcher)["inbox"].as_u64();
    eventually("it is told that three wait", || told() == Some(3));
    let shown = say(&mut ganger(["stats", "--connect", &server.addr().to_string()])).with(0).out;
    let row = shown.lines().find(|line| line.starts_with("entries in the inbox"));
    assert!(row.is_some_and(|row| row.ends_with(" 3")), "{shown}");
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=x");
    for n in 0..5 {
        let (line, payload) = worker.expect("TASK ");
        assert_eq!(payload, n.to_string().as_bytes());
        worker.send(format!("DONE {} 1\n", line.split(' ').nth(1).unwrap()));
        worker.expect("OK ");
    }
    assert_eq!(waiting(&mut client), 0);
    eventually("it is told that none waits", || told() == Some(0));
    assert!(!client.exists::<_, bool>(REFUSED).unwrap());
    client.hset::<_, _, _, ()>(INBOX, "no", "list").unwrap();
    eventually("it is told that it cannot be told", || told().is_none());
    client.del::<_, ()>(INBOX).unwrap();
    eventually("it is told again", || told() == Some(0));
}

fn stats(watcher: &mut Peer) -> serde_json::Value {
    watcher.send("STATS\n");
    serde_json::from_slice(&watcher.expect("OK #").1).unwrap()
}

#[test]
fn entries_wait_while_redis_is_nearly_full() {
    let redis = Redis::with(&["--maxmemory", "100mb", "--maxmemory-policy", "noeviction"]);
    let server = Server::with(config(&redis));
    let mut client = redis.client();
    // Between nine tenths and all of it.
    client.setrange::<_, _, ()>("other", 92 << 20, "x").unwrap();
    let mut other = Peer::client(server.addr());
    eventually("it is busy", || {
        other.send("SUBMIT x\n");
        other.frame().0.starts_with("ERR busy ")
    });
    push(&mut client, "SUBMIT x reply=me");
    // It looks at Redis once a second, and would by then have looked into the inbox.
    let before: u64 = stat(&mut client, "evalsha");
    eventually("it has looked at Redis", || stat(&mut client, "evalsha") >= before + 2);
    assert_eq!(waiting(&mut client), 1);
    client.del::<_, ()>("other").unwrap();
    ok_id(&mut client, "me");
}

/// How often a command was called.
fn stat(client: &mut Connection, command: &str) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query(client).unwrap();
    let calls = stats.split(&format!("cmdstat_{command}:calls=")).nth(1).unwrap();
    calls.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn a_paused_queue_takes_entries_and_runs_none() {
    let redis = Redis::start();
    let server = Server::with(config(&redis));
    let mut client = redis.client();
    let mut operator = Peer::connect(server.addr());
    operator.send("HELLO 1 operator\nQUEUE photos weight=2\nPAUSE photos\n");
    operator.expect("OK 1 ");
    operator.expect("OK #");
    operator.expect("OK");
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=x slots=9");
    push(&mut client, "SUBMIT x queue=photos reply=me");
    let id = ok_id(&mut client, "me");
    push(&mut client, "SUBMIT x");
    let (line, _) = worker.expect("TASK ");
    assert!(!line.contains(&id), "the other queue is not paused: {line}");
    operator.send("RESUME photos\n");
    operator.expect("OK");
    worker.expect(&format!("TASK {id} 1 x queue=photos"));
}

#[test]
fn entries_and_results_outlast_the_scheduler() {
    let redis = Redis::start();
    let mut client = redis.client();
    push(&mut client, "SUBMIT x reply=me\nfirst");
    let server = Server::with(config(&redis));
    let first = ok_id(&mut client, "me");
    server.stop();
    eventually("all its connections end", || connections(&mut client) == 1);
    push(&mut client, "SUBMIT x reply=me\nsecond");
    assert_eq!(waiting(&mut client), 1, "nobody is there to take it");
    let server = Server::with(config(&redis));
    let second = ok_id(&mut client, "me");
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=x");
    for (id, payload) in [(&first, "first"), (&second, "second")] {
        let (_, got) = worker.expect(&format!("TASK {id} 1 x"));
        assert_eq!(got, payload.as_bytes());
        worker.send(format!("DONE {id} 1 #3\nyes\n"));
        worker.expect("OK ");
    }
    server.stop();
    for id in [first, second] {
        let result = told_text(&mut client, "me");
        assert!(result.starts_with(&format!("RESULT {id} done ")), "{result}");
        assert!(result.ends_with("#3\nyes\n"), "{result}");
    }
}

/// How many connections Redis has, with the test's own.
fn connections(client: &mut Connection) -> usize {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(client).unwrap();
    list.lines().count()
}

#[test]
fn the_order_of_the_list_is_the_order_of_the_tasks() {
    let redis = Redis::start();
    let mut client = redis.client();
    for n in 0..3000 {
        push(&mut client, format!("SUBMIT x reply=me\n{n}"));
    }
    let server = Server::with(config(&redis));
    let ids: Vec<String> = (0..3000).map(|_| ok_id(&mut client, "me")).collect();
    assert!(ids.is_sorted());
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=x slots=3000");
    for (n, id) in ids.iter().enumerate() {
        let (_, payload) = worker.expect(&format!("TASK {id} 1 x"));
        assert_eq!(payload, n.to_string().as_bytes());
    }
}

/// How often each payload was run.
type Runs = Arc<Mutex<BTreeMap<String, u32>>>;

fn work(addr: &str, runs: Runs) -> tokio::task::JoinHandle<()> {
    let handler = move |task: Task| {
        let text = String::from_utf8(task.payload().to_vec()).expect("a number");
        *runs.lock().unwrap().entry(text.clone()).or_default() += 1;
        async move { Ok::<_, Failure>(Bytes::from(format!("did {text}"))) }
    };
    let worker = Worker::builder(addr).name("w").slots(64).handle("count", handler).build();
    tokio::spawn(async move { _ = worker.expect("a worker").run().await })
}

/// The tasks that a list was told of, by what they came to; none twice.
fn outcomes(client: &mut Connection, tasks: u32) -> BTreeSet<String> {
    let (mut ids, mut results) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..2 * tasks {
        let frame = told_text(client, "me");
        let words: Vec<&str> = frame.split([' ', '\n']).collect();
        match words[0] {
            "OK" => assert!(ids.insert(words[1].to_owned()), "{frame}"),
            _ => {
                let result = frame.split('\n').nth(1).unwrap().to_owned();
                assert!(ids.contains(words[1]) && results.insert(result), "{frame}");
            }
        }
    }
    results
}

fn all(tasks: u32) -> BTreeSet<String> {
    (0..tasks).map(|n| format!("did {n}")).collect()
}

/// Tasks of a kill test, and how often somebody is killed meanwhile.
const TASKS: u32 = 5_000;
const KILLS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_ends_once_while_the_scheduler_is_killed() {
    let redis = Redis::start();
    let mut process = Process::start(&redis.url(), &[]);
    let runs = Runs::default();
    let working = work(&process.addr().to_string(), runs.clone());
    let mut client = redis.client();
    let pushing = std::thread::spawn({
        let mut client = redis.client();
        move || (0..TASKS).for_each(|n| push(&mut client, format!("SUBMIT count reply=me\n{n}")))
    });
    let killing = std::thread::spawn({
        let mut client = redis.client();
        move || {
            for kill in 1..=KILLS {
                // As far into the work as that, and in the middle of it.
                let done = (kill * TASKS / (KILLS + 1)) as usize;
                eventually("the work goes on", || stat_told(&mut client) >= done);
                process.kill_and_restart();
            }
            process
        }
    });
    let process = killing.join().expect("it starts again");
    pushing.join().expect("Redis is there");
    assert_eq!(outcomes(&mut client, TASKS), all(TASKS));
    let runs = runs.lock().unwrap();
    assert_eq!(runs.len(), TASKS as usize);
    assert!(runs.values().all(|&times| times == 1), "the worker came back each time");
    assert_eq!((waiting(&mut client), client.exists(REFUSED).unwrap()), (0, false));
    assert_eq!(client.hlen::<_, u32>("{ganger:0}:tasks").unwrap(), 0);
    working.abort();
    drop(process);
}

/// Frames that the list of the test holds.
fn stat_told(client: &mut Connection) -> usize {
    client.llen("{ganger:0}:reply:me").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_ends_once_while_redis_is_killed() {
    const FEW: u32 = 1_000;
    // What was pushed is in the file, so that the test knows what there is.
    let mut redis = Redis::with(&["--appendfsync", "always"]);
    let process = Process::start(&redis.url(), &[]);
    let working = work(&process.addr().to_string(), Runs::default());
    for part in 0..4 {
        let mut client = redis.client();
        for n in part * FEW / 4..(part + 1) * FEW / 4 {
            push(&mut client, format!("SUBMIT count reply=me\n{n}"));
        }
        eventually("some are done", || stat_told(&mut client) > (part * FEW / 2) as usize);
        redis.kill9();
        redis.restart();
    }
    let mut client = redis.client();
    assert_eq!(outcomes(&mut client, FEW), all(FEW));
    assert_eq!(waiting(&mut client), 0);
    working.abort();
}

#[test]
fn a_standby_takes_what_waits_when_the_first_is_gone() {
    let redis = Redis::start();
    let mut client = redis.client();
    let first = Process::start(&redis.url(), &[]);
    let is_over = Arc::new(AtomicBool::new(false));
    let second = std::thread::spawn({
        let (url, is_over) = (redis.url(), is_over.clone());
        move || {
            let second = Process::start(&url, &[]);
            assert!(is_over.load(Ordering::Relaxed), "it waited for the first");
            second
        }
    });
    push(&mut client, "SUBMIT x reply=me");
    ok_id(&mut client, "me");
    is_over.store(true, Ordering::Relaxed);
    drop(first);
    push(&mut client, "SUBMIT x reply=me");
    ok_id(&mut client, "me");
    drop(second.join().unwrap());
}

#[test]
fn other_stores_have_no_inbox_and_no_lists() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    client.send("SUBMIT x reply=me\n");
    client.expect("ERR unknown-option ");
    assert!(stats(&mut Peer::client(server.addr()))["inbox"].is_null());
}
