//! The local workers of a run: each a session of its own over TCP, together so many commands at once.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::super::command;
use super::super::output::Output;
use super::tally::Tally;
use super::template::Template;
use crate::client::{Failure, Task};
use crate::task::TaskId;

/// How far a run has been told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Halt {
    /// Not at all.
    Not,
    /// Begin nothing new.
    Finish,
    /// Stop what runs, too.
    Stop,
}

/// Runs commands for the workers.
#[derive(Debug)]
pub(super) struct Runner {
    template: Template,
    /// A run is stopped, and has failed, after so long.
    timeout: Option<Duration>,
    at_once: usize,
    /// One for each command that may run. Workers hold more leases than that, so that none waits for the
    /// scheduler's disk between two commands.
    turns: Semaphore,
    halt: watch::Receiver<Halt>,
    output: Arc<Output>,
    tally: Mutex<Tally>,
    /// What the last run of a task wrote to stdout that failed: it is lost with the lease otherwise.
    written: Mutex<HashMap<TaskId, Vec<u8>>>,
}

impl Runner {
    pub(super) fn new(
        template: Template,
        timeout: Option<Duration>,
        at_once: usize,
        halt: watch::Receiver<Halt>,
        output: Arc<Output>,
    ) -> Self {
        let tally = Mutex::new(Tally::new((1..=at_once).map(|worker| format!("w{worker}"))));
        let (turns, written) = (Semaphore::new(at_once), Mutex::default());
        Self { template, timeout, at_once, turns, halt, output, tally, written }
    }

    /// How many commands are running.
    pub(super) fn running(&self) -> usize {
        self.at_once.saturating_sub(self.turns.available_permits())
    }

    /// What was counted so far.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last run of a task that failed wrote to stdout; once.
    pub(super) fn take_written(&self, id: TaskId) -> Vec<u8> {
        self.written().remove(&id).unwrap_or_default()
    }

    fn written(&self) -> MutexGuard<'_, HashMap<TaskId, Vec<u8>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the command for a task of a worker, when it is its turn.
    pub(super) async fn run(&self, worker: usize, task: &Task) -> Result<Vec<u8>, Failure> {
        let mut halt = self.halt.clone();
        let turn = tokio::select! {
            biased;
            _ = halt.wait_for(|halt| *halt > Halt::Not) => None,
            turn = self.turns.acquire() => turn.ok(),
        };
        // Told to begin nothing new, before or meanwhile.
        let Some(_turn) = turn else { return Err(Failure::release(Duration::ZERO)) };
        let began = Instant::now();
        let ran = self.run_now(task).await;
        let released = ran.as_ref().is_err_and(|failure| *failure == given_back());
        if !released {
            self.tally().count(worker, began.elapsed(), ran.is_ok());
        }
        ran
    }

    async fn run_now(&self, task: &Task) -> Result<Vec<u8>, Failure> {
        let line = task.payload();
        let command = self.template.command(&line);
        let mut halt = self.halt.clone();
        let mut late = false;
        let stop = async {
            tokio::select! {
                _ = task.cancelled() => {}
                _ = halt.wait_for(|halt| *halt == Halt::Stop) => {}
                () = after(self.timeout) => late = true,
            }
        };
        let program = command.as_std().get_program().to_owned();
        let ended = command::run(command, None, &|_| {}, stop).await;
        let ended = ended.map_err(|error| unrunnable(&program, &line, &error))?;
        if ended.too_much {
            return Err(Failure::fatal(ended.failure()));
        }
        if ended.status.success() {
            self.output.talk(&ended.stderr);
            self.written().remove(&task.id());
            return Ok(ended.stdout);
        }
        if ended.stopped && !late {
            return Err(given_back());
        }
        let why = ended.failure();
        self.written().insert(task.id(), ended.stdout);
        match (late, self.timeout) {
            (true, Some(limit)) => Err(Failure::new(format!("stopped after {limit:?}: {why}"))),
            _ => Err(Failure::new(why)),
        }
    }
}

/// The answer of a run that was stopped through no fault of its own.
fn given_back() -> Failure {
    Failure::release(Duration::ZERO)
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Why a command could not be begun. Trying again helps only where the system was short of something.
fn unrunnable(program: &OsStr, line: &[u8], error: &io::Error) -> Failure {
    if line.contains(&0) {
        return Failure::fatal("the line holds a NUL, which no argument can");
    }
    let name = String::from_utf8_lossy(program.as_bytes());
    let text = format!("{name} cannot be run: {error}");
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => Failure::new(text),
        _ => Failure::fatal(text),
    }
}
