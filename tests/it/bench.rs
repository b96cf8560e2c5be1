//! `ganger bench`: its figures are all there, and nothing wrong passes unseen.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use clap::Parser;
use ganger::cli::bench::{Options, measure};
use ganger::server::Config;
use serde_json::Value;

use crate::support::Server;
use crate::support::program::{Running, eventually, ganger, say};

#[derive(Parser)]
#[command(args_override_self = true)]
struct Program {
    #[command(flatten)]
    options: Options,
}

/// Runs a small benchmark of a scheduler that is there.
fn bench(addr: SocketAddr, more: &[&str]) -> Result<Value, String> {
    let (addr, pid) = (addr.to_string(), std::process::id().to_string());
    let small = ["bench", "--connect", &addr, "--pid", &pid, "--limit", "60"];
    let program = Program::parse_from(small.iter().chain(more));
    measure(&program.options).map(|report| report.json()).map_err(|error| format!("{error:#}"))
}

const SMALL: [&str; 6] = [
    "--tasks=2000",
    "--serial-tasks=50",
    "--open-tasks=100",
    "--rate=2000",
    "--clients=3",
    "--workers=5",
];

fn positive(report: &Value, names: &[&str]) {
    for name in names {
        let figure = report[name].as_f64().unwrap_or_else(|| panic!("no {name} in {report}"));
        assert!(figure > 0.0, "{name} in {report}");
    }
}

fn has_all_figures(report: &Value) {
    positive(report, &["e2e_tps", "submit_tps", "drain_tps", "peak_rss_mb"]);
    for name in ["serial_us", "open_us"] {
        let quantiles =
            ["p50", "p99", "p999", "max"].map(|quantile| report[name][quantile].as_f64());
        assert!(quantiles.is_sorted() && quantiles[0] > Some(0.0), "{name} in {report}");
    }
    for name in ["server_cpu_s_per_100k", "server_cores", "client_cores", "foreign_cores"] {
        assert!(report[name].as_f64().is_some_and(|figure| figure >= 0.0), "{name} in {report}");
    }
    assert_eq!((&report["tasks"], &report["kind"]), (&2000.into(), &"phases".into()));
}

#[test]
fn every_phase_runs_in_memory() {
    let server = Server::start();
    has_all_figures(&bench(server.addr(), &SMALL).unwrap());
}

#[test]
fn every_phase_runs_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("file:{}", dir.path().display());
    let server = Server::with(Config { store, ..Config::default() });
    has_all_figures(&bench(server.addr(), &SMALL).unwrap());
    server.stop();
}

#[test]
fn tasks_can_have_keys_routes_and_unique_names() {
    let server = Server::start();
    let more =
        ["-n=2000", "--phases=e2e", "--route=hash", "--keys=100", "--unique", "--client-threads=2"];
    let report = bench(server.addr(), &more).unwrap();
    positive(&report, &["e2e_tps"]);
    assert_eq!((&report["route"], &report["submit_tps"]), (&"hash".into(), &Value::Null));
}

#[test]
fn policies_are_compared_with_first_come_and_random() {
    let server = Server::start();
    let more = "-n=500 --backlog=50 --rounds=2 --order=all --route=hash,round-robin --keys=9";
    let report = bench(server.addr(), &more.split(' ').collect::<Vec<_>>()).unwrap();
    let policies = report["policies"].as_array().expect("a list");
    assert_eq!(policies.len(), 1 + 4 * 2, "{report}");
    let base = &policies[0];
    assert_eq!((&base["order"], &base["route"]), (&"fcfs".into(), &"random".into()));
    assert_eq!((&base["ratio"], &base["ratio_least"]), (&1.0.into(), &1.0.into()));
    for policy in policies {
        positive(policy, &["tps", "ratio", "ratio_least", "ratio_most"]);
        assert!(policy["ratio_least"].as_f64() <= policy["ratio_most"].as_f64(), "{policy}");
    }
    assert_eq!((&report["kind"], &report["rounds"]), (&"policies".into(), &2.into()));
    assert_eq!(
        (&report["order"], &report["route"]),
        (&"fcfs,sjf,priority,deadline".into(), &"round-robin,hash".into())
    );
}

#[test]
fn the_cost_of_observers_is_measured() {
    let report = bench_alone("memory:", &["-n=500", "--rounds=1", "--observer=fast,slow"]);
    let observers = report["policies"].as_array().expect("a list").iter();
    let observers: Vec<&Value> = observers.map(|policy| &policy["observer"]).collect();
    assert_eq!(observers, [&Value::Null, &"fast".into(), &"slow".into()]);
    let said =
        say(&mut ganger("bench --store memory: -n 500 --rounds 1 --order sjf,priority".split(' ')))
            .with(0);
    assert!(said.out.contains("priority + random") && said.out.contains("% ("), "{said:?}");
}

#[test]
fn waiting_tasks_are_measured() {
    let server = Server::start();
    let report = bench(server.addr(), &["--queued=3000"]).unwrap();
    positive(&report, &["fill_tps", "idle_rss_mb", "full_rss_mb", "refill_drain_tps"]);
    assert_eq!(report["kind"], "queued");
}

/// Has the program start a scheduler of its own; its store, and the figures.
fn bench_alone(store: &str, more: &[&str]) -> Value {
    let alone = ["bench", "--json", "--store", store, "--limit", "60"];
    let said = say(&mut ganger(alone.iter().chain(more).copied())).with(0);
    assert_eq!(said.out.lines().count(), 1, "{said:?}");
    said.json()
}

#[test]
fn a_scheduler_is_started_for_the_purpose() {
    for store in ["memory:", "file:"] {
        let report = bench_alone(store, &SMALL);
        has_all_figures(&report);
        assert_eq!(report["store"], store);
    }
}

#[test]
fn waiting_tasks_outlast_the_kill_of_a_scheduler_that_keeps_them() {
    let report = bench_alone("file:", &["--queued=3000"]);
    positive(&report, &["fill_tps", "refill_drain_tps"]);
    positive(&report, &["listening_s", "restart_s", "restarted_rss_mb"]);
    assert!(report["listening_s"].as_f64() <= report["restart_s"].as_f64(), "{report}");
    // The files have room for so few already.
    assert!(report["disk_per_task"].is_number(), "{report}");
    // In memory there is nothing to start again with.
    let report = bench_alone("memory:", &["--queued=3000"]);
    positive(&report, &["fill_tps", "refill_drain_tps"]);
    assert_eq!(report["restart_s"], Value::Null);
}

#[test]
fn options_that_cannot_be_are_refused() {
    let addr = SocketAddr::from(([127, 0, 0, 1], 1));
    for (options, expected) in [
        (&["--payload=15"][..], "--payload is 16 to"),
        (&["--result=15"], "--result is 16 to"),
        (&["--order=all", "--phases=serial"], "no --phases but e2e"),
        (&["--route=hash,modulo", "--queued=9"], "no --queued"),
    ] {
        let error = bench(addr, options).unwrap_err();
        assert!(error.contains(expected), "{options:?}: {error}");
    }
    for (option, expected) in [
        ("--order=lifo", "give all, or of fcfs, sjf, priority, deadline"),
        ("--route=best", "give all, or of weighted-random"),
        ("--observer=lazy", "possible values: fast, slow"),
        ("--rounds=0", "give a whole number from 1 to 1000"),
        ("--tasks=-1", "give a whole number from 1 on"),
        ("--workers=65536", "give a whole number from 1 to 65535"),
        ("--rate=0", "give a number above 0"),
        ("--rate=inf", "give a number above 0"),
        ("--connect=nowhere", "give an IP address and a port"),
        ("--store=nope", "error: --store: \"nope\" names no store: give memory:"),
    ] {
        say(&mut ganger(["bench", option])).with(2).tells(expected);
    }
}

#[test]
fn why_the_scheduler_does_not_start_is_told_without_its_command_line() {
    let said = say(&mut ganger(["bench", "--store", "file:/proc/none"])).with(5);
    let said = said.tells("error: the scheduler did not get ready: it ended").tells("the store is");
    assert!(!said.err.contains("\"serve\""), "{said:?}");
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let said = say(&mut ganger(["bench", "--program", "/nonexistent"])).with(5);
    said.tells("error: the scheduler cannot be started: ");
}

#[test]
fn nothing_wrong_passes_unseen() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    let rows: [(Twist, &str); 6] = [
        (|verb, frame| twice(verb == "RESULT", frame), "client 0: a second result of a task"),
        (|verb, frame| twice(verb == "TASK", frame), "a task came twice"),
        (|verb, frame| cut_short(verb == "RESULT", frame), "a result is not what the worker sent"),
        (|verb, frame| cut_short(verb == "TASK", frame), "a payload is not what was submitted"),
        (|verb, frame| other_id(verb == "RESULT", frame), "the result of another task"),
        (|verb, _| (verb == "RESULT").then(|| b"ERR busy later\n".to_vec()), "ERR busy later"),
    ];
    for (twist, expected) in rows {
        let addr = twisted(SERVER.addr(), twist);
        let error = bench(addr, &["-n=500", "--phases=e2e", "--clients=1"]).unwrap_err();
        assert!(error.contains(expected), "expected {expected:?}: {error}");
    }
}

#[test]
fn a_lost_result_ends_the_run() {
    let server = Server::start();
    let lose: Twist = |verb, _| (verb == "RESULT").then(Vec::new);
    let addr = twisted(server.addr(), lose);
    let error = bench(addr, &["-n=500", "--phases=e2e", "--limit=1"]).unwrap_err();
    assert!(error.contains("no end within 1s: 150 tasks"), "{error}");
}

/// What becomes of a frame of the scheduler, by its verb; `None` leaves it as it is.
type Twist = fn(&str, &[u8]) -> Option<Vec<u8>>;

fn twice(is_it: bool, frame: &[u8]) -> Option<Vec<u8>> {
    is_it.then(|| frame.repeat(2))
}

/// Another last byte of the payload.
fn cut_short(is_it: bool, frame: &[u8]) -> Option<Vec<u8>> {
    let mut frame = frame.to_vec();
    let last = frame.len() - 2;
    frame[last] = b'!';
    is_it.then_some(frame)
}

/// Another last character of the identifier, which is the first argument.
fn other_id(is_it: bool, frame: &[u8]) -> Option<Vec<u8>> {
    let mut frame = frame.to_vec();
    let last = frame.iter().position(|byte| *byte == b' ').unwrap() + 13;
    frame[last] = if frame[last] == b'0' { b'1' } else { b'0' };
    is_it.then_some(frame)
}

/// A scheduler that does something wrong once: what it says passes through `twist`.
fn twisted(addr: SocketAddr, twist: Twist) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let once = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for peer in listener.incoming() {
            let (mut peer, once) = (peer.unwrap(), once.clone());
            let mut scheduler = TcpStream::connect(addr).unwrap();
            let (from, to) = (scheduler.try_clone().unwrap(), peer.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut peer, &mut scheduler);
                let _ = scheduler.shutdown(std::net::Shutdown::Write);
            });
            thread::spawn(move || pass_on(from, to, twist, &once));
        }
    });
    address
}

fn pass_on(from: TcpStream, mut to: TcpStream, twist: Twist, once: &AtomicBool) {
    let mut from = BufReader::new(from);
    let mut frame = Vec::new();
    while from.read_until(b'\n', &mut frame).is_ok_and(|count| count > 0) {
        let header = String::from_utf8_lossy(&frame).into_owned();
        let length = header.trim_end().rsplit_once(" #").map(|(_, digits)| digits.parse::<usize>());
        if let Some(Ok(length)) = length {
            let start = frame.len();
            frame.resize(start + length + 1, 0);
            from.read_exact(&mut frame[start..]).unwrap();
        }
        let verb = header.split([' ', '\n']).next().unwrap();
        if let Some(other) = twist(verb, &frame)
            && !once.swap(true, Ordering::SeqCst)
        {
            frame = other;
        }
        if to.write_all(&frame).is_err() {
            return;
        }
        frame.clear();
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn whatever_is_told_to_end_a_run_that_starts_its_scheduler_leaves_none_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (program, told) = (dir.path().join("never-ready"), dir.path().join("pid"));
    let script =
        format!("#!/bin/sh\necho $$ > {0}.new; mv {0}.new {0}\nexec sleep 60\n", told.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    for signal in ["TERM", "INT"] {
        let program = program.to_str().unwrap();
        let run = Running::start(&mut ganger(["bench", "--store=memory:", "--program", program]));
        eventually("the scheduler is started", || told.exists());
        let pid = std::fs::read_to_string(&told).unwrap().trim().to_owned();
        run.signal(signal);
        let said = run.end();
        let is_there = say(std::process::Command::new("kill").args(["-0", &pid])).code == Some(0);
        assert!(!is_there, "{signal} leaves process {pid} behind: {said:?}");
        said.with(5).tells(if signal == "TERM" { "told to end" } else { "interrupted" });
        std::fs::remove_file(&told).unwrap();
    }
}
