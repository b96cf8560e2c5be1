//! The table of keys in protocol.md is what a scheduler that does everything leaves in a Redis.

use std::collections::{BTreeMap, BTreeSet};

use ganger::frame::{Word, Words};
use ganger::server::Config;
use ganger::store::Options;
use redis::{Commands, Connection};

use crate::support::program::eventually;
use crate::support::redis::Server as Redis;
use crate::support::{Peer, Server};

const PAGE: &str = include_str!("../../protocol.md");
const PREFIX: &str = "{ganger:0}:";

/// A row of the table.
struct Row {
    key: &'static str,
    kind: &'static str,
    lives: &'static str,
}

/// The part of the page that a heading begins.
fn section(heading: &str) -> &'static str {
    let start = PAGE.find(&format!("\n{heading}\n")).unwrap();
    &PAGE[start..]
}

fn cells(line: &'static str) -> Vec<&'static str> {
    line.split('|').map(str::trim).collect()
}

/// The rows of the first table after a heading.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let lines = section(heading).lines().skip_while(|line| !line.starts_with("|---"));
    lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
}

fn rows() -> Vec<Row> {
    let rows = table("## 19 The keys in Redis");
    let row = |cells: &Vec<&'static str>| Row {
        key: cells[1].trim_matches('`'),
        kind: cells[2],
        lives: cells[3],
    };
    rows.iter().map(row).collect()
}

impl Row {
    /// Whether a key is of this row: words in capitals stand for any name.
    fn is_of(&self, key: &str) -> bool {
        let (of, key): (Vec<_>, Vec<_>) = (self.key.split(':').collect(), key.split(':').collect());
        let is_name = |word: &str| word.chars().all(char::is_uppercase);
        of.len() == key.len() && of.iter().zip(&key).all(|(of, word)| is_name(of) || of == word)
    }
}

/// Lets a scheduler do everything that leaves a trace, and leave some of it unfinished.
fn everything(redis: &Redis) -> Server {
    let options = Options { holder: "test:1".into(), ..Options::default() };
    let server =
        Server::with(Config { store: redis.url(), store_options: options, ..Config::default() });
    let mut client = Peer::client(server.addr());
    for request in ["QUEUE photos route=hash spill=5", "CRON ADD daily k schedule=@daily"] {
        client.send(format!("{request}\n"));
        client.expect("OK #");
    }
    let hello = "name=w host=B%C3%BCro%201 pid=7 slots=9 kinds=k,l tags=gpu res=ram:9 heartbeat=9000 \
                 max-payload=5000 price=1.5";
    let (mut worker, _) = Peer::worker(server.addr(), hello);
    let done = client.submit("SUBMIT k queue=photos unique=a%20b unique-for=60000\n");
    worker.expect("TASK ");
    worker.send(format!("DONE {done} 1 #5\nsmall\n"));
    worker.expect("OK ");
    let dead = client.submit("SUBMIT k attempts=1\n");
    worker.expect("TASK ");
    worker.send(format!("FAIL {dead} 1 #3\nbad\n"));
    worker.expect("OK ");
    let failed = client.submit("SUBMIT l\n");
    worker.expect("TASK ");
    worker.send(format!("FAIL {failed} 1 #3\nbad\n"));
    worker.expect("OK ");
    let stopped = client.submit("SUBMIT l key=one serial=yes res=ram:1\n");
    worker.expect("TASK ");
    client.send(format!("CANCEL {stopped}\n"));
    client.expect("OK ");
    client.submit("SUBMIT l #2\nhi\n");
    worker.expect("CANCEL ");
    worker.expect("TASK ");
    let mut pushing = redis.client();
    let inbox = format!("{PREFIX}inbox");
    pushing.lpush::<_, _, ()>(&inbox, ["SUBMIT other reply=me", "nonsense"].as_slice()).unwrap();
    let keys = ["stats", "cost", "inbox:refused", "reply:me"].map(|word| format!("{PREFIX}{word}"));
    eventually("all is written", || pushing.exists::<_, usize>(&keys).unwrap() == keys.len());
    server
}

/// What is told after the colon of a key, by key.
fn kept(client: &mut Connection) -> Vec<String> {
    let keys: Vec<String> = client.keys("*").unwrap();
    keys.iter().map(|key| key.strip_prefix(PREFIX).unwrap().to_owned()).collect()
}

#[test]
fn the_keys_of_the_page_are_those_of_a_scheduler() {
    let redis = Redis::start();
    let server = everything(&redis);
    server.stop();
    let mut client = redis.client();
    // An entry that no scheduler is there to take.
    client.lpush::<_, _, ()>(format!("{PREFIX}inbox"), "SUBMIT x").unwrap();
    let rows = rows();
    let mut seen = BTreeSet::new();
    for key in kept(&mut client) {
        let row: Vec<_> = rows.iter().filter(|row| row.is_of(&key)).collect();
        let [row] = row[..] else { panic!("{key} is in {} rows of the table", row.len()) };
        let name = format!("{PREFIX}{key}");
        let kind: String = redis::cmd("TYPE").arg(&name).query(&mut client).unwrap();
        assert_eq!(kind, row.kind, "{key}");
        let lives_for_ever = client.ttl::<_, i64>(&name).unwrap() == -1;
        assert_eq!(lives_for_ever, !row.lives.starts_with("TTL"), "{key}");
        seen.insert(row.key);
    }
    let told: BTreeSet<_> = rows.iter().map(|row| row.key).collect();
    assert_eq!(seen, told);
}

#[test]
fn the_fields_of_the_fence_are_those_of_the_page() {
    let redis = Redis::start();
    everything(&redis).stop();
    let fields: BTreeSet<String> = redis.client().hkeys(format!("{PREFIX}fence")).unwrap();
    let rows = table("### The fence");
    let named = |cell: &'static str| cell.trim_matches('`');
    let mut told: BTreeSet<String> = rows.iter().map(|row| named(row[1]).to_owned()).collect();
    assert!(told.remove("rows:KEY"));
    let counted = rows.iter().find(|row| named(row[1]) == "rows:KEY").unwrap()[2];
    told.extend(counted.split('`').skip(1).step_by(2).map(|key| format!("rows:{key}")));
    assert_eq!(fields, told);
}

#[test]
fn the_lines_of_the_page_are_those_in_the_keys() {
    let redis = Redis::start();
    everything(&redis).stop();
    let lines = section("## 19 The keys in Redis");
    let lines = lines.lines().filter(|line| line.starts_with("| ")).map(cells);
    let lines: BTreeMap<_, _> = lines.map(|cells| (cells[1], cells)).collect();
    for (key, line) in [
        ("state", "state"),
        ("dead", "state"),
        ("holds", "hold"),
        ("workers", "worker"),
        ("stats", "figures"),
        ("runs", "run"),
        ("crons", "cron"),
    ] {
        let cells = &lines[line];
        let values: BTreeMap<String, String> =
            redis.client().hgetall(format!("{PREFIX}{key}")).unwrap();
        assert!(!values.is_empty(), "{key}");
        for value in values.values() {
            let value = value.lines().next().unwrap();
            for word in Words::of(value) {
                let (word, cell) = match word {
                    Word::Arg(word) => (word, cells[2]),
                    Word::Option(name, _) => (name, cells[3]),
                };
                let is_reason = key == "runs" && matches!(cell, "why the lease ended");
                assert!(is_reason || cell.contains(&format!("`{word}`")), "{key}: {value}");
            }
        }
    }
}
