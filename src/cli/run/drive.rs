//! Lines to tasks, ends to the writer, until there are no more or it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::super::exit::Failure;
use super::super::lines::Line;
use super::super::signals::Signals;
use super::super::values::counted;
use super::crew::Crew;
use super::printer::Ended;
use super::progress::Progress;
use super::runner::Halt;
use super::state::{Key, State, is_own};
use super::writer::Writer;
use crate::client::{Code, Error, Outcome, Submission};

/// Lines that are taken from the input at once.
const TOGETHER: usize = 1024;

/// How a run ends that does not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All lines are finished.
    Finished,
    /// It was told to stop; what ran has finished, or was stopped.
    Interrupted,
    /// It was told to stop at once.
    AtOnce,
}

/// What a line comes to: its place among those that are run, itself, and its end.
type Seen = (usize, Vec<u8>, Key, Result<Outcome, Error>);

/// See the module.
#[derive(Debug)]
pub(super) struct Drive {
    pattern: Submission,
    lines: Receiver<Line>,
    /// Whether there may be more lines.
    is_open: bool,
    state: State,
    writer: Writer,
    progress: Arc<Progress>,
    seen: JoinSet<Seen>,
    began: Instant,
}

impl Drive {
    pub(super) fn new(
        pattern: Submission,
        lines: Receiver<Line>,
        state: State,
        writer: Writer,
        progress: Arc<Progress>,
    ) -> Self {
        let (seen, began) = (JoinSet::new(), Instant::now());
        Self { pattern, lines, is_open: true, state, writer, progress, seen, began }
    }

    /// Runs all lines.
    ///
    /// # Errors
    ///
    /// Those of the input and the scheduler, and one without a text if the writer could not go on. The
    /// run can go on later.
    pub(super) async fn run(
        &mut self,
        crew: &mut Crew,
        signals: &mut Signals,
    ) -> Result<End, Failure> {
        let mut read = Vec::with_capacity(TOGETHER);
        let mut told = 0;
        while self.is_open || !self.seen.is_empty() {
            if told > 0 && crew.is_gone() {
                crew.catch_up().await;
                self.print(Vec::new(), crew)?;
                return Ok(End::Interrupted);
            }
            let takes = self.is_open && told == 0;
            tokio::select! {
                biased;
                _ = signals.next() => {
                    told += 1;
                    match told {
                        1 => self.begin_to_stop(crew),
                        2 => crew.halt(Halt::Stop),
                        _ => return Ok(End::AtOnce),
                    }
                }
                () = self.progress.over() => return Err(Failure::machine("")),
                Some(seen) = self.seen.join_next() => self.print(vec![ended(seen, crew)?], crew)?,
                changed = crew.changed() => changed?,
                count = take_in(&mut self.lines, &self.progress, &mut read), if takes => {
                    self.is_open = count > 0;
                    for line in read.drain(..) {
                        let line = line.map_err(|error| Failure::machine(error.to_string()))?;
                        self.hand_in(line, crew);
                    }
                }
            }
            self.progress.count(|counts| counts.running = crew.runner.running());
        }
        Ok(End::Finished)
    }

    fn begin_to_stop(&self, crew: &Crew) {
        crew.halt(Halt::Finish);
        let running = crew.runner.running();
        if running > 0 {
            self.writer.say(format!(
                "finishing {}; Ctrl-C again stops {}",
                counted(running, "command"),
                if running == 1 { "it" } else { "them" }
            ));
        }
    }

    /// Makes a task of a line, unless it was finished earlier.
    fn hand_in(&mut self, line: Vec<u8>, crew: &Crew) {
        if line.is_empty() || is_own(&line) {
            return;
        }
        let Some(key) = self.state.meet(&line) else { return };
        let place = self.progress.counts().handed_in;
        self.progress.count(|counts| counts.handed_in += 1);
        let unique = self.state.unique(key);
        let submission = self.pattern.clone().with_payload(line.clone()).unique(unique);
        let end = crew.see_through(submission);
        self.seen.spawn(async move { (place, line, key, end.await) });
    }

    /// Has ends printed, with all others that are there.
    fn print(&mut self, mut ends: Vec<(usize, Ended)>, crew: &Crew) -> Result<(), Failure> {
        while let Some(seen) = self.seen.try_join_next() {
            ends.push(ended(seen, crew)?);
        }
        self.progress.count(|counts| counts.ended += ends.len());
        self.writer.print(ends)
    }

    /// What is left of the run, and how long it took.
    pub(super) fn close(self) -> (State, Writer, Duration) {
        (self.state, self.writer, self.began.elapsed())
    }
}

/// Takes lines from the input, as soon as there is room for them; how many, none at its end. Dropping
/// the future loses none.
async fn take_in(lines: &mut Receiver<Line>, progress: &Progress, to: &mut Vec<Line>) -> usize {
    let room = progress.room().await;
    lines.recv_many(to, room.min(TOGETHER)).await
}

/// How a line ended, and its place.
fn ended(seen: Result<Seen, JoinError>, crew: &Crew) -> Result<(usize, Ended), Failure> {
    let (place, line, key, end) = seen.map_err(|error| Failure::machine(error.to_string()))?;
    let mut ended = Ended { line, key, stdout: Vec::new(), failure: None, ran: None };
    match end {
        Ok(Outcome::Done { id, result, .. }) => {
            ended.stdout = result.into();
            ended.ran = crew.runner.take_ran(id);
        }
        Ok(Outcome::Dead { id, error, reason, .. }) => {
            // What ran here knows more than what the scheduler keeps.
            ended.ran = crew.runner.take_ran(id);
            let (stdout, why) = match &mut ended.ran {
                Some(ran) => (std::mem::take(&mut ran.stdout), ran.why.take()),
                None => (Vec::new(), None),
            };
            let told = || String::from_utf8_lossy(&error).into_owned();
            let why = why.unwrap_or_else(told);
            ended.stdout = stdout;
            ended.failure = Some(if why.is_empty() { reason } else { why });
        }
        Ok(Outcome::Cancelled { reason, .. }) => ended.failure = Some(reason),
        // This line cannot be had, all others can.
        Err(error) if matches!(error.code(), Some(Code::TooLarge | Code::Expired)) => {
            ended.failure = Some(error.to_string());
        }
        Err(error) => return Err(error.into()),
    }
    Ok((place, ended))
}
