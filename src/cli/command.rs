//! Running commands, each in a process group of its own, so that Ctrl-C at a terminal reaches only
//! the program and a stop reaches all that a command has started.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::protocol::codec::PAYLOAD_MAX;

/// How long a command may take to end after SIGTERM.
const TERM_LIMIT: Duration = Duration::from_secs(5);

/// The most of stderr that is kept: its end, in bytes.
const STDERR_MAX: usize = 64 << 10;

/// The most lines of stderr that a failure tells, and bytes of them.
const TOLD: (usize, usize) = (10, 3000);

/// Where stderr goes as it comes, beside its end being kept. While no more is taken there, a command
/// that says more waits.
pub(super) type Heard = mpsc::Sender<Vec<u8>>;

/// What a command has left behind.
#[derive(Debug)]
pub(super) struct Ended {
    /// How it ended.
    pub(super) status: ExitStatus,
    /// All that it wrote to stdout, unless it was too much.
    pub(super) stdout: Vec<u8>,
    /// The end of what it wrote to stderr.
    pub(super) stderr: Vec<u8>,
    /// It wrote more to stdout than any result may be long, and was stopped.
    pub(super) too_much: bool,
    /// It was told to end.
    pub(super) stopped: bool,
}

/// Runs a command to its end, or until `stop` resolves: its process group then gets SIGTERM, and
/// SIGKILL five seconds later. Dropping the future kills the group at once.
///
/// # Errors
///
/// Why it could not be started, or what it wrote not be read.
pub(super) async fn run(
    mut command: Command,
    stdin: Option<Bytes>,
    heard: Option<&Heard>,
    stop: impl Future<Output = ()>,
) -> io::Result<Ended> {
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let mut group = Group::of(&child);
    let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (mut over, mut stopped) = (false, false);
    let ended = {
        let ending = async {
            let feed = async {
                if let (Some(mut input), Some(bytes)) = (input, stdin) {
                    // A command need not read what it is given.
                    let _ = input.write_all(&bytes).await;
                }
            };
            let take = async {
                let taken = take_all(out, &mut stdout).await;
                over = matches!(taken, Ok(false));
                if over {
                    group.signal(Signal::KILL);
                }
                taken.map(drop)
            };
            let listen = take_end(err, &mut stderr, heard);
            let ((), taken, listened) = tokio::join!(feed, take, listen);
            taken.and(listened)?;
            child.wait().await
        };
        tokio::pin!(ending);
        tokio::select! {
            ended = &mut ending => Some(ended?),
            () = stop => {
                stopped = true;
                group.signal(Signal::TERM);
                tokio::time::timeout(TERM_LIMIT, ending).await.ok().transpose()?
            }
        }
    };
    let status = match ended {
        Some(status) => status,
        None => {
            group.signal(Signal::KILL);
            // Only for itself: whoever left the group may hold its pipes, and what it said may wait for
            // a reader.
            child.wait().await?
        }
    };
    group.disarm();
    Ok(Ended { status, stdout, stderr, too_much: over, stopped })
}

/// The process group of a command. Dropped before the command's end, it is killed.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// One that has gone needs no signal.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, signal);
        }
    }

    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Takes all there is, up to the largest result; false if there was more.
async fn take_all(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>) -> io::Result<bool> {
    let Some(from) = from else { return Ok(true) };
    let read = from.take(PAYLOAD_MAX + 1).read_to_end(to).await?;
    Ok(read as u64 <= PAYLOAD_MAX)
}

/// Takes all there is and keeps its end.
async fn take_end(
    from: Option<impl AsyncRead + Unpin>,
    to: &mut Vec<u8>,
    heard: Option<&Heard>,
) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    loop {
        let before = to.len();
        if from.read_buf(to).await? == 0 {
            return Ok(());
        }
        if let Some(heard) = heard {
            // With nobody there who hears it, its end is kept all the same.
            let _ = heard.send(to.get(before..).unwrap_or_default().to_vec()).await;
        }
        if to.len() > 2 * STDERR_MAX {
            to.drain(..to.len() - STDERR_MAX);
        }
    }
}

impl Ended {
    /// Why it failed: how it ended, and its last words.
    pub(super) fn failure(&self) -> String {
        let how = match (self.status.code(), self.status.signal()) {
            _ if self.too_much => {
                format!("stdout is longer than {PAYLOAD_MAX} bytes, the most a result may have")
            }
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let words = last_words(&self.stderr);
        if words.is_empty() { how } else { format!("{how}: {words}") }
    }
}

/// The last lines of what was said.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim_end();
    let start = text.floor_char_boundary(text.len().saturating_sub(TOLD.1));
    let text = text.get(start..).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let skipped = lines.len().saturating_sub(TOLD.0);
    lines.get(skipped..).unwrap_or_default().join("\n")
}

/// Whether a command can be found: by its path, or in one of the directories of PATH.
pub(super) fn is_there(program: &OsStr) -> bool {
    let path = std::path::Path::new(program);
    if path.components().count() > 1 || path.is_absolute() {
        return path.is_file();
    }
    let places = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&places).any(|place| place.join(path).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_the_last_words() {
        let ended = |stderr: String| Ended {
            status: ExitStatus::from_raw(3 << 8),
            stdout: Vec::new(),
            stderr: stderr.into_bytes(),
            too_much: false,
            stopped: false,
        };
        assert_eq!(ended(String::new()).failure(), "exit code 3");
        assert_eq!(ended("no such file\n\n".into()).failure(), "exit code 3: no such file");
        let many: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let told = ended(many).failure();
        assert!(told.starts_with("exit code 3: line 90\n") && told.ends_with("line 99"), "{told}");
        assert!(ended("é".repeat(5000)).failure().len() < 3100);
    }

    #[test]
    fn commands_are_found_in_the_path() {
        assert!(is_there(OsStr::new("sh")) && is_there(OsStr::new("/bin/sh")));
        assert!(!is_there(OsStr::new("no-such-command")) && !is_there(OsStr::new("./sh")));
    }
}
