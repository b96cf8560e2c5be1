//! Every example, as the processes that they are, against a real scheduler.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use crate::support::peer::{PATIENCE, Peer};
use crate::support::{Server, redis};

/// Where the examples are, built from the sources as they are now.
fn examples() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let target = test.parent().and_then(Path::parent).unwrap();
        // `cargo test` has built them, and this is quick; `cargo test --test it` has not.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--no-run", "--quiet", "--locked", "--offline", "--target-dir"]);
        cargo.arg(target.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        if target.ends_with("release") {
            cargo.arg("--release");
        }
        let built = cargo.status().expect("cargo runs");
        assert!(built.success(), "the examples are built");
        target.join("examples")
    })
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        let program = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Self(child.unwrap_or_else(|error| {
            panic!("this test needs {}, which does not start: {error}", program.display())
        }))
    }

    /// Waits for its end; what it printed.
    fn output(mut self) -> String {
        let status = self.0.wait().unwrap();
        let mut text = String::new();
        let mut stdout = self.0.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut stdout, &mut text).unwrap();
        assert!(status.success(), "{status}: {text}");
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client(addr: SocketAddr, args: &[&str]) -> String {
    let mut command = Command::new(examples().join("client"));
    command.arg(addr.to_string()).args(args);
    Running::start(command).output()
}

/// Asks the scheduler until its list of workers is as wanted.
#[expect(clippy::disallowed_methods, reason = "a test gives up at some time")]
fn until_workers(addr: SocketAddr, what: &str, wanted: impl Fn(&str) -> bool) {
    let mut operator = Peer::client(addr);
    let asked = Instant::now();
    loop {
        operator.send("WORKERS\n");
        let workers = String::from_utf8(operator.expect("OK #").1).unwrap();
        if wanted(&workers) {
            return;
        }
        assert!(asked.elapsed() < PATIENCE, "{what}: {workers}");
    }
}

/// What every worker of the examples does, whatever it is written in, and how it leaves.
fn serves(name: &str, command: impl Fn(SocketAddr) -> Command, other: (&str, &str, &str)) {
    let server = Server::start();
    let addr = server.addr();
    let worker = Running::start(command(addr));
    let said = client(addr, &["upper", "hello", "", "a\nb c"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    for (line, told) in
        lines.iter().zip([r#""hello" -> "HELLO""#, r#""" -> """#, r#""a\nb c" -> "A\nB C""#])
    {
        assert!(line.contains(told) && line.contains(&format!("by {name} in ")), "{line}");
    }
    let (kind, payload, result) = other;
    let said = client(addr, &[kind, payload]);
    assert!(said.contains(&format!("-> {result:?} by {name}")), "{said}");

    // It comes back to a scheduler that was away.
    server.stop();
    let config =
        ganger::server::Config { listen: addr, store: "memory:".into(), ..Default::default() };
    let server = Server::with(config);
    until_workers(addr, "the worker is back", |workers| workers.contains(name));
    let said = client(addr, &["upper", "again"]);
    assert!(said.contains(r#""again" -> "AGAIN""#), "{said}");

    let mut operator = Peer::client(addr);
    operator.send(format!("DRAIN {name}\n"));
    operator.expect("OK");
    worker.output();
    until_workers(addr, "the worker is gone", |workers| !workers.contains(name));
    drop(server);
}

#[test]
fn the_worker_in_rust_serves() {
    let command = |addr: SocketAddr| {
        let mut command = Command::new(examples().join("worker"));
        command.args([&addr.to_string(), "rusty"]);
        command
    };
    serves("rusty", command, ("primes", "100", "25"));
}

#[test]
fn the_worker_in_python_serves() {
    let command = |addr: SocketAddr| {
        let mut command = Command::new("python3");
        command.arg(source("worker.py"));
        command.args([&addr.ip().to_string(), &addr.port().to_string(), "monty"]);
        command
    };
    serves("monty", command, ("words", "one two  three", "3"));
}

#[test]
fn the_worker_in_bash_serves() {
    let command = |addr: SocketAddr| {
        let mut command = Command::new("bash");
        command.arg(source("worker.sh"));
        command.args([&addr.ip().to_string(), &addr.port().to_string(), "bashful"]);
        command
    };
    serves("bashful", command, ("words", "one two  three", "3"));
}

#[test]
fn the_inbox_in_bash_submits_and_waits() {
    let redis = redis::Server::start();
    let store_options = ganger::store::Options { holder: "test:1".into(), ..Default::default() };
    let config = ganger::server::Config { store: redis.url(), store_options, ..Default::default() };
    let server = Server::with(config);
    let mut command = Command::new("bash");
    command.arg(source("worker.sh"));
    command.args([&server.addr().ip().to_string(), &server.addr().port().to_string(), "w"]);
    let _worker = Running::start(command);
    let inbox = |args: &[&str]| {
        let mut command = Command::new("bash");
        command.arg(source("inbox.sh")).args(args);
        command.env("REDIS_CLI", format!("-p {}", redis.port())).output().expect("bash runs")
    };
    for (kind, payload, result) in
        [("upper", "hello", "HELLO\n"), ("upper", "a\nb  c", "A\nB  C\n"), ("words", "a b", "2\n")]
    {
        let said = inbox(&[kind, payload]);
        assert_eq!(String::from_utf8_lossy(&said.stdout), result, "{said:?}");
        assert!(said.status.success() && said.stderr.starts_with(b"submitted: "), "{said:?}");
    }
    let said = inbox(&["no kind", "x"]);
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    assert!(said.stderr.starts_with(b"ERR unknown-option "), "{said:?}");
}

#[test]
fn a_handler_s_error_is_told_to_who_watches() {
    let server = Server::start();
    let mut command = Command::new("python3");
    command.arg(source("worker.py"));
    command.args([&server.addr().ip().to_string(), &server.addr().port().to_string(), "w"]);
    let _worker = Running::start(command);
    let mut peer = Peer::client(server.addr());
    peer.send(b"SUBMIT upper attempts=1 watch=yes #1\n\xff\n");
    peer.expect("OK ");
    let (line, error) = peer.expect("RESULT ");
    assert!(line.contains(" dead reason=attempts attempt=1 used=1 "), "{line}");
    assert!(String::from_utf8_lossy(&error).starts_with("UnicodeDecodeError"), "{error:?}");
}

#[test]
fn wordcount_reads_every_directory_with_one_worker() {
    let server = Server::start();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut command = Command::new(examples().join("wordcount"));
    command.arg(server.addr().to_string()).arg(&sources);
    let said = Running::start(command).output();
    let mut keys = Vec::new();
    let (mut tasks, mut hits, mut words) = (0, 0, 0);
    for line in said.lines() {
        let numbers = line.split([' ', ',']).filter_map(|word| word.parse::<usize>().ok());
        let numbers: Vec<usize> = numbers.collect();
        match line.strip_prefix("  ").and_then(|line| line.split_once(": ")) {
            Some((key, _)) => {
                keys.push(key);
                words += numbers[1];
            }
            None => {
                assert_eq!(numbers[2], numbers[0] - numbers[1], "{line}");
                tasks += numbers[0];
                hits += numbers[2];
            }
        }
    }
    // Each directory with one worker, which met it once and then hit.
    let (files, expected_words) = count(&sources);
    let mut distinct = keys.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), keys.len(), "{said}");
    assert_eq!((tasks, hits, words), (files, files - keys.len(), expected_words), "{said}");
}

/// Files and words below a directory.
fn count(directory: &Path) -> (usize, usize) {
    let (mut files, mut words) = (0, 0);
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let (more_files, more_words) = if path.is_dir() {
            count(&path)
        } else {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            let split = text.split(|c: char| !c.is_alphanumeric());
            (1, split.filter(|word| !word.is_empty()).count())
        };
        files += more_files;
        words += more_words;
    }
    (files, words)
}
