//! The program itself, as a process: what it is told, what it says, how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use super::peer::PATIENCE;

/// The program with arguments, and nothing of the caller's settings.
pub(crate) fn ganger<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ganger"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GANGER_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent").env("NO_COLOR", "1").args(args);
    command.stdin(Stdio::null());
    command
}

/// What a process said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Asserts that stderr tells something.
    #[track_caller]
    pub(crate) fn tells(self, text: &str) -> Self {
        assert!(self.err.contains(text), "expected {text:?}: {self:?}");
        self
    }

    /// stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command to its end.
pub(crate) fn say(command: &mut Command) -> Said {
    say_to(command, "")
}

/// Runs a command to its end, with something on stdin.
pub(crate) fn say_to(command: &mut Command, stdin: &str) -> Said {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    running.write(stdin);
    running.end()
}

/// A process whose words are read as they come.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    out: Words,
    err: Words,
}

struct Words {
    lines: Receiver<String>,
    so_far: String,
}

impl Words {
    fn of(from: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        Self::read(from, lines, move |line| sender.send(line).is_ok())
    }

    /// Read as far as they are asked for, and a little further: whoever says more is held up.
    fn as_asked(from: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::sync_channel(0);
        Self::read(from, lines, move |line| sender.send(line).is_ok())
    }

    fn read(
        from: impl Read + Send + 'static,
        lines: Receiver<String>,
        give: impl Fn(String) -> bool + Send + 'static,
    ) -> Self {
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                if !give(text) {
                    return;
                }
            }
        });
        Self { lines, so_far: String::new() }
    }

    fn next(&mut self) -> Option<String> {
        let line = self.lines.recv_timeout(PATIENCE);
        match line {
            Ok(line) => {
                self.so_far.push_str(&line);
                Some(line.trim_end_matches('\n').to_owned())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("nothing more is said after {:?}", self.so_far)
            }
        }
    }

    fn until(&mut self, text: &str) -> String {
        loop {
            match self.next() {
                Some(line) if line.contains(text) => return line,
                Some(_) => {}
                None => panic!("{text:?} is never said: {:?}", self.so_far),
            }
        }
    }

    fn rest(mut self) -> String {
        while self.next().is_some() {}
        self.so_far
    }
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let (child, stdin, out, err) = spawn(command);
        Self { child, stdin, out: Words::of(out), err: Words::of(err) }
    }

    /// Starts a command whose reader pauses whenever nothing is asked for. Its stdin is open.
    pub(crate) fn start_paused(command: &mut Command) -> Self {
        let (child, stdin, out, err) = spawn(command.stdin(Stdio::piped()));
        Self { child, stdin, out: Words::as_asked(out), err: Words::as_asked(err) }
    }

    /// Starts a command that is given lines as it goes on.
    pub(crate) fn start_open(command: &mut Command) -> Self {
        Self::start(command.stdin(Stdio::piped()))
    }

    /// Puts something on stdin, which stays open.
    pub(crate) fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        // A command need not read what it is given.
        let _ = stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush());
    }

    /// The next line of stdout.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let line = self.out.next();
        line.unwrap_or_else(|| panic!("stdout has ended: {:?}", self.out.so_far))
    }

    /// Waits for a line of stderr that holds a text.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        self.err.until(text)
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the process can be asked about").is_none()
    }

    /// Closes stdin and waits for the end.
    pub(crate) fn end(mut self) -> Said {
        drop(self.stdin.take());
        let out = std::mem::replace(&mut self.out, Words::of(std::io::empty()));
        let err = std::mem::replace(&mut self.err, Words::of(std::io::empty()));
        // Both at once: a process that is held up by one does not end the other.
        let (out, err) = std::thread::scope(|scope| {
            let out = scope.spawn(|| out.rest());
            let err = err.rest();
            (out.join().expect("stdout is read"), err)
        });
        Said { code: self.wait().code(), out, err }
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("the process ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command) -> (Child, Option<ChildStdin>, ChildStdout, ChildStderr) {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the process starts");
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    (child, stdin, out.expect("stdout"), err.expect("stderr"))
}

/// Waits until something holds that nothing announces.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} does not come true");
        std::thread::yield_now();
    }
}

/// `ganger serve` on a free port.
pub(crate) struct Serve {
    pub(crate) running: Running,
    pub(crate) addr: SocketAddr,
}

impl Serve {
    /// One that keeps nothing.
    pub(crate) fn start() -> Self {
        Self::with(&["--store", "memory:"])
    }

    pub(crate) fn with(args: &[&str]) -> Self {
        let args = ["serve", "--listen", "127.0.0.1:0"].iter().chain(args);
        let mut running = Running::start(&mut ganger(args.copied()));
        let line = running.wait_for(" listens on ");
        let addr = line.split(" listens on ").nth(1).and_then(|rest| rest.split(' ').next());
        let addr = addr.and_then(|addr| addr.parse().ok());
        Self { running, addr: addr.unwrap_or_else(|| panic!("no address: {line}")) }
    }

    /// The program, connected to it.
    pub(crate) fn ganger<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = ganger(args);
        command.env("GANGER_CONNECT", self.addr.to_string());
        command
    }

    /// Runs the program, connected to it.
    pub(crate) fn say<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Said {
        say(&mut self.ganger(args))
    }

    /// A worker named `w` for every kind that runs a script, and is there.
    pub(crate) fn work(&self, options: &[&str], script: &str, dir: &Path) -> Running {
        let args = ["work", "--kinds", "*", "--name", "w"].iter().chain(options);
        let command = ["--", "sh", "-c", script];
        let args = args.chain(&command);
        let mut running = Running::start(self.ganger(args.copied()).current_dir(dir));
        running.wait_for("connected");
        running
    }
}
