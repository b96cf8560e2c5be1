//! Lines to tasks, ends to output, until there are no more or it is told to stop.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::super::exit::Failure;
use super::super::lines::Line;
use super::super::output::Output;
use super::super::signals::Signals;
use super::crew::Crew;
use super::printer::{Ended, Printer};
use super::runner::Halt;
use super::state::{Key, State, is_own};
use crate::client::{Code, Error, Outcome, Submission};

/// Lines that are handed in ahead of their ends, or held back for the order of the output.
const WINDOW: usize = 1 << 16;

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
    printer: Printer,
    output: Arc<Output>,
    seen: JoinSet<Seen>,
    /// Lines that are run, or were.
    handed_in: usize,
    bar: Option<ProgressBar>,
    began: Instant,
}

impl Drive {
    pub(super) fn new(
        pattern: Submission,
        lines: Receiver<Line>,
        keep_order: bool,
        state: State,
        output: Arc<Output>,
    ) -> Self {
        let bar = std::io::stderr().is_terminal().then(bar);
        output.set_bar(bar.clone());
        let printer = Printer::new(keep_order);
        let (seen, began) = (JoinSet::new(), Instant::now());
        Self {
            pattern,
            lines,
            is_open: true,
            state,
            printer,
            output,
            seen,
            handed_in: 0,
            bar,
            began,
        }
    }

    /// Runs all lines.
    ///
    /// # Errors
    ///
    /// Those of the input, the output, the ledger and the scheduler. The run can go on later.
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
                self.print_ended(crew)?;
                return Ok(End::Interrupted);
            }
            let room = WINDOW.saturating_sub(self.seen.len() + self.printer.held_back());
            let takes = self.is_open && told == 0 && room > 0;
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
                Some(seen) = self.seen.join_next() => {
                    self.take(seen, crew)?;
                    self.print_ended(crew)?;
                }
                changed = crew.changed() => changed?,
                count = self.lines.recv_many(&mut read, room.min(TOGETHER)), if takes => {
                    self.is_open = count > 0;
                    for line in read.drain(..) {
                        let line = line.map_err(|error| Failure::machine(error.to_string()))?;
                        self.hand_in(line, crew);
                    }
                }
            }
            self.show_progress(crew);
        }
        Ok(End::Finished)
    }

    fn begin_to_stop(&self, crew: &Crew) {
        crew.halt(Halt::Finish);
        let running = crew.runner.running();
        if running > 0 {
            let text = format!("finishing {running} commands; Ctrl-C again stops them");
            self.output.say(&text);
        }
    }

    /// Makes a task of a line, unless it was finished earlier.
    fn hand_in(&mut self, line: Vec<u8>, crew: &Crew) {
        if line.is_empty() || is_own(&line) {
            return;
        }
        let Some(key) = self.state.meet(&line) else { return };
        let place = self.handed_in;
        self.handed_in += 1;
        let unique = self.state.unique(key);
        let submission = self.pattern.clone().with_payload(line.clone()).unique(unique);
        let end = crew.see_through(submission);
        self.seen.spawn(async move { (place, line, key, end.await) });
    }

    /// Takes all other ends that are there, and prints.
    fn print_ended(&mut self, crew: &Crew) -> Result<(), Failure> {
        while let Some(seen) = self.seen.try_join_next() {
            self.take(seen, crew)?;
        }
        self.printer.print(&mut self.state, &self.output)
    }

    fn take(&mut self, seen: Result<Seen, JoinError>, crew: &Crew) -> Result<(), Failure> {
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
        self.printer.take(place, ended);
        Ok(())
    }

    fn show_progress(&self, crew: &Crew) {
        let Some(bar) = &self.bar else { return };
        bar.set_length(self.handed_in as u64);
        bar.set_position((self.handed_in - self.seen.len()) as u64);
        let failed = match self.printer.failed() {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        bar.set_message(format!("{} running{failed}", crew.runner.running()));
    }

    /// What the run came to, and what is left of it.
    pub(super) fn close(self) -> (State, Printer, Duration) {
        self.output.set_bar(None);
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        (self.state, self.printer, self.began.elapsed())
    }
}

fn bar() -> ProgressBar {
    let template = "{bar:30.cyan/dim} {pos}/{len}  {per_sec:.bold}  {eta} left  {msg}";
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─");
    let bar = ProgressBar::new(0).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
