//! What the workers of a run do: so many commands at once, whichever of them the tasks came to.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::command;
use super::super::values::spoken_ms;
use super::progress::Progress;
use super::tally::Tally;
use super::template::Template;
use super::turns::{Turn, Turns};
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
    /// One for each command that may run. Workers hold more leases than that, so that none waits for the
    /// scheduler's disk between two commands.
    turns: Turns,
    halt: watch::Receiver<Halt>,
    progress: Arc<Progress>,
    tally: Mutex<Tally>,
    /// What the last runs of tasks came to, for what the scheduler does not tell.
    ran: Mutex<HashMap<TaskId, Ran>>,
}

/// What the last run of a task came to.
#[derive(Debug)]
pub(super) struct Ran {
    /// Which of the commands at a time it was, from 0.
    pub(super) worker: usize,
    /// How long the command took.
    pub(super) took: Duration,
    /// What it wrote to stdout, if it failed.
    pub(super) stdout: Vec<u8>,
    /// Why it failed, if it did.
    pub(super) why: Option<String>,
    /// What it wrote to stderr, if it went well.
    pub(super) stderr: Vec<u8>,
}

impl Runner {
    pub(super) fn new(
        template: Template,
        timeout: Option<Duration>,
        at_once: usize,
        halt: watch::Receiver<Halt>,
        progress: Arc<Progress>,
    ) -> Self {
        let tally = Mutex::new(Tally::new((1..=at_once).map(|worker| format!("w{worker}"))));
        let (turns, ran) = (Turns::new(at_once), Mutex::default());
        Self { template, timeout, turns, halt, progress, tally, ran }
    }

    /// How many commands are running.
    pub(super) fn running(&self) -> usize {
        self.turns.taken()
    }

    /// What was counted so far.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }

    /// What the last run of a task came to, if it ran here; once.
    pub(super) fn take_ran(&self, id: TaskId) -> Option<Ran> {
        lock(&self.ran).remove(&id)
    }

    /// Runs the command for a task, when it is its turn.
    pub(super) async fn run(&self, task: &Task) -> Result<Vec<u8>, Failure> {
        let mut halt = self.halt.clone();
        let turn = tokio::select! {
            biased;
            _ = halt.wait_for(|halt| *halt > Halt::Not) => None,
            _ = task.cancelled() => None,
            turn = self.turn(task.id()) => Some(turn),
        };
        // Told to begin nothing new, before or meanwhile, or not wanted any more.
        let Some(turn) = turn else { return Err(Failure::release(Duration::ZERO)) };
        let began = Instant::now();
        let result = self.run_now(task).await;
        let took = began.elapsed();
        let worker = turn.number;
        let (ran, result) = match result {
            Ok((stdout, stderr)) => {
                (Ran { worker, took, stdout: Vec::new(), why: None, stderr }, Ok(stdout))
            }
            Err(Unfinished::Stopped) => return Err(Failure::release(Duration::ZERO)),
            Err(Unfinished::Failed { stdout, why, for_good }) => {
                let failure = if for_good { Failure::fatal(&*why) } else { Failure::new(&*why) };
                (Ran { worker, took, stdout, why: Some(why), stderr: Vec::new() }, Err(failure))
            }
        };
        self.tally().count(worker, took, result.is_ok());
        lock(&self.ran).insert(task.id(), ran);
        result
    }

    /// Waits for the turn of a task, and until the reader of the output has caught up.
    async fn turn(&self, id: TaskId) -> Turn<'_> {
        loop {
            self.progress.caught_up().await;
            let turn = self.turns.take(id).await;
            // While it waited for its turn, the reader may have paused.
            if !self.progress.is_behind() {
                return turn;
            }
        }
    }

    /// Runs it; what it wrote to stdout and to stderr.
    async fn run_now(&self, task: &Task) -> Result<(Vec<u8>, Vec<u8>), Unfinished> {
        let line = task.payload();
        let command = self.template.command(&line);
        let mut halt = self.halt.clone();
        let mut late = None;
        let stop = async {
            tokio::select! {
                _ = task.cancelled() => {}
                _ = halt.wait_for(|halt| *halt == Halt::Stop) => {}
                limit = after(self.timeout) => late = Some(limit),
            }
        };
        let program = command.as_std().get_program().to_owned();
        let ended = command::run(command, None, None, stop).await;
        let ended = ended.map_err(|error| unrunnable(&program, &line, &error))?;
        if ended.status.success() && !ended.too_much {
            return Ok((ended.stdout, ended.stderr));
        }
        let why = ended.failure();
        let why = match late {
            Some(limit) => {
                format!("stopped after {}: {why}", spoken_ms(1000.0 * limit.as_secs_f64()))
            }
            None if ended.stopped => return Err(Unfinished::Stopped),
            None => why,
        };
        Err(Unfinished::Failed { stdout: ended.stdout, why, for_good: ended.too_much })
    }
}

/// Why a run has no result.
enum Unfinished {
    /// It was stopped, through no fault of its own.
    Stopped,
    /// It failed, and may be tried again unless it is for good.
    Failed { stdout: Vec<u8>, why: String, for_good: bool },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn after(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

/// Why a command could not be begun. Trying again helps only where the system was short of something.
fn unrunnable(program: &OsStr, line: &[u8], error: &io::Error) -> Unfinished {
    let short = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory);
    let why = match line.contains(&0) {
        true => "the line holds a NUL, which no argument can".to_owned(),
        false => format!("{} cannot be run: {error}", String::from_utf8_lossy(program.as_bytes())),
    };
    Unfinished::Failed { stdout: Vec::new(), why, for_good: !short }
}
