//! A real `redis-server` for a test: on a free port, in a directory of its own, killed at the end.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use redis::Connection;
use tempfile::TempDir;

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server, or one that was killed and can be started again.
pub(crate) struct Server {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
    args: Vec<String>,
}

impl Server {
    /// A server that keeps an append-only file, synced each second.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// The same with further arguments, which win over the default ones.
    pub(crate) fn with(args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut server = Self { child: None, port: 0, dir: tempfile::tempdir().unwrap(), args };
        // A port that is free now may be taken a moment later: then another one.
        while server.child.is_none() {
            server.port = free_port();
            server.launch();
        }
        server
    }

    /// A server that is not running yet.
    pub(crate) fn stopped() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { child: None, port: free_port(), dir, args: Vec::new() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub(crate) fn client(&self) -> Connection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_connection_with_timeout(PATIENCE).unwrap()
    }

    /// The server's process, to be stopped and continued.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Kills the server as a crash would.
    pub(crate) fn kill9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Lets a server that was killed forget what it wrote since a directory was
    /// filled by [`Server::remember`].
    pub(crate) fn forget(&self, since: &TempDir) {
        assert!(self.child.is_none(), "a running server writes");
        std::fs::remove_dir_all(self.files()).unwrap();
        copy(since.path(), &self.files());
    }

    /// Copies the files of a server that was killed.
    pub(crate) fn remember(&self) -> TempDir {
        assert!(self.child.is_none(), "a running server writes");
        let to = tempfile::tempdir().unwrap();
        copy(&self.files(), to.path());
        to
    }

    fn files(&self) -> PathBuf {
        self.dir.path().join("appendonlydir")
    }

    /// Starts it again, on the same port and directory.
    pub(crate) fn restart(&mut self) {
        if self.child.is_some() {
            self.kill9();
        }
        self.launch();
        assert!(self.child.is_some(), "port {} was taken meanwhile", self.port);
    }

    /// Starts the process and waits until it says that it accepts connections; without a child
    /// afterwards if the port was taken.
    fn launch(&mut self) {
        let mut child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "everysec"])
            .args(&self.args)
            .arg("--dir")
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "redis-server does not start ({error}); these tests need one of version 7 or \
                     newer: apt install redis-server, brew install redis"
                )
            });
        let log = lines(BufReader::new(child.stdout.take().unwrap()));
        let mut seen = String::new();
        loop {
            match log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains("Ready to accept connections") => break,
                Ok(line) => seen += &format!("{line}\n"),
                Err(_) => {
                    let _ = child.kill();
                    child.wait().unwrap();
                    let taken = "Address already in use";
                    assert!(seen.contains(taken), "redis-server is not ready:\n{seen}");
                    return;
                }
            }
        }
        self.child = Some(child);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill9();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The lines of a process, read to its end so that it never waits for a reader.
fn lines(from: impl BufRead + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in from.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    lines
}

/// A port that is free at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
