//! A scheduler as a process of its own, which can be killed and started again.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// A running `ganger serve`, killed at the end.
pub(crate) struct Process {
    child: Child,
    addr: SocketAddr,
    args: Vec<String>,
}

impl Process {
    /// Starts one on a free port with this store and these further arguments.
    pub(crate) fn start(store: &str, args: &[&str]) -> Self {
        let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        args.extend(["--store".to_owned(), store.to_owned()]);
        let (child, addr) = launch("127.0.0.1:0", &args);
        Self { child, addr, args }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Kills it as a crash would, and starts it again on the same port and store.
    pub(crate) fn kill_and_restart(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
        (self.child, self.addr) = launch(&self.addr.to_string(), &self.args);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the program and waits until it says where it listens.
#[expect(clippy::zombie_processes, reason = "whoever gets the child waits for it")]
fn launch(listen: &str, args: &[String]) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ganger"))
        .args(["serve", "--listen", listen])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut said = String::new();
    loop {
        let Some(Ok(line)) = lines.next() else { panic!("it ended before it listened: {said}") };
        let addr = line.split_once(" listens on ").and_then(|(_, rest)| rest.split(' ').next());
        if let Some(addr) = addr.and_then(|addr| addr.parse().ok()) {
            // What it says later must not block it.
            std::thread::spawn(move || lines.for_each(drop));
            return (child, addr);
        }
        said.push_str(&line);
    }
}
