//! A child process that is told by its lines when it is ready, and killed when dropped.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

/// The last lines are told when it does not get ready.
const LAST: usize = 20;

/// A process that this one has started.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts a program, which errors call `what`; returns when `ready` finds what it looks for in a line
    /// that it says. Whoever waits no more ends it.
    pub(super) async fn start<T>(
        what: &str,
        command: &mut Command,
        limit: Duration,
        mut ready: impl FnMut(&str) -> Option<T>,
    ) -> Result<(Self, T)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("{what} cannot be started"))?;
        let mut process = Self { child };
        let (sender, lines) = channel(64);
        if let (Some(out), Some(err)) = (process.child.stdout.take(), process.child.stderr.take()) {
            pass_on(out, sender.clone());
            pass_on(err, sender);
        }
        let found = await_line(lines, limit, &mut ready).await;
        Ok((process, found.with_context(|| format!("{what} did not get ready"))?))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}

/// Reads lines to the end, so that the writer never waits, whether anyone listens or not.
fn pass_on(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            // An error: the one that waited has what it wants.
            let _ = to.blocking_send(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

async fn await_line<T>(
    mut lines: Receiver<String>,
    limit: Duration,
    ready: &mut impl FnMut(&str) -> Option<T>,
) -> Result<T> {
    let mut last = VecDeque::new();
    let found = timeout(limit, async {
        while let Some(line) = lines.recv().await {
            if let Some(found) = ready(&line) {
                return Some(found);
            }
            last.push_back(line);
            last.drain(..last.len().saturating_sub(LAST));
        }
        None
    });
    let reason = match found.await {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => "it ended".to_owned(),
        Err(_) => format!("nothing within {limit:?}"),
    };
    let said = last.into_iter().collect::<Vec<_>>().join("\n");
    bail!("{reason}; it said:\n{said}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_process_is_ready_when_it_says_so() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo one; echo two 7 >&2; exec sleep 1000"]);
        let seven = |line: &str| line.strip_prefix("two ")?.parse::<u8>().ok();
        let (mut process, found) =
            Process::start("the shell", &mut shell, LIMIT, seven).await.unwrap();
        assert_eq!(found, 7);
        process.kill().unwrap();
    }

    #[tokio::test]
    async fn what_it_said_is_told_if_it_never_is() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo no room"]);
        let started = Process::start("the shell", &mut shell, LIMIT, |_| None::<()>).await;
        let error = started.unwrap_err();
        let told = "the shell did not get ready: it ended; it said:\nno room";
        assert_eq!(format!("{error:#}"), told);
    }
}
