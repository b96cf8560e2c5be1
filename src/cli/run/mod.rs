//! `ganger run`: a command for each line of stdin, by a scheduler and workers of its own.
//!
//! - `template`: the command with its places for the line.
//! - `state`: what an interrupted run leaves for the next one.
//! - `crew`: the scheduler and the workers. `runner`: what the workers do; `turns`: when.
//! - `drive`: lines to tasks, ends to the `writer`, a thread that prints. `printer`: what is printed.
//!   `progress`: how far it is, and what holds it up.
//! - `tally`: what is counted of the commands. `summary`: what is told at the end.

mod crew;
mod drive;
mod printer;
mod progress;
mod runner;
mod state;
mod summary;
mod tally;
mod template;
mod turns;
mod writer;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use self::crew::{Crew, Names, Place};
use self::drive::{Drive, End};
use self::printer::Printer;
use self::progress::Progress;
use self::runner::{Halt, Runner};
use self::state::{Ledger, State};
use self::summary::Summary;
use self::template::Template;
use self::writer::Writer;
use super::exit::{Exit, Failure, Outcome};
use super::lines::read_stdin;
use super::output::Output;
use super::peer::block_on;
use super::signals::Signals;
use super::values::{self, counted};
use super::{command, ranges};
use crate::client::Submission;
use crate::protocol::submit;

/// How long tasks and results of a run are known that goes on by itself, and of one on a scheduler
/// that has others to serve.
const KEPT: (Duration, Duration) =
    (Duration::from_secs(30 * 24 * 3600), Duration::from_secs(24 * 3600));

/// Runs a command for each line of stdin, several at once, and prints what each writes to stdout, whole,
/// as it ends.
///
/// `{}` in the command stands for the line, `{/}` for its last path component; without either, the line is
/// the last argument. Empty lines are passed over. A command that fails is tried again.
///
/// Lines are begun in about the order of the input: with several workers, some may be begun before one that
/// stands a little further up, most of all at the start. They are printed as they end; --keep-order prints
/// them in the order of the input.
///
/// A run that was interrupted goes on when the same command is run again in the same directory: lines that
/// are finished are not run again, and what was printed is not printed again. Ctrl-C lets commands finish
/// that run; a second one stops them. Only SIGKILL leaves them behind: they go on until they end, and are run
/// again.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Commands to run at once, each by a worker of its own [default: processors]
    #[arg(long, short = 'w', value_name = "N")]
    #[arg(value_parser = ranges::number::<u16>((1, 1024)))]
    workers: Option<u16>,

    /// How often a command is tried before its line has failed
    #[arg(long, value_name = "N", default_value = "3")]
    #[arg(value_parser = ranges::number::<u32>(submit::ATTEMPTS))]
    attempts: u32,

    /// Pause after the first failure; it doubles with each
    #[arg(long, value_name = "DURATION", default_value = "200ms")]
    #[arg(value_parser = ranges::duration(submit::BACKOFF_MS))]
    backoff: Duration,

    /// Stop a command after so long, which is a failure [default: never]
    #[arg(long, value_name = "DURATION", value_parser = ranges::duration(submit::DURATION_MS))]
    timeout: Option<Duration>,

    /// Print in the order of the input, whatever ends first
    #[arg(long, short = 'k')]
    keep_order: bool,

    /// Have `sh` read the command, with the line quoted
    #[arg(long)]
    shell: bool,

    /// Lines end in NUL, as `find -print0` writes them
    #[arg(long, short = '0')]
    null: bool,

    /// Forget an interrupted run of the same command and begin anew
    #[arg(long)]
    again: bool,

    /// Use a running scheduler instead of one of its own
    #[arg(long = "connect", value_name = "HOST:PORT", value_parser = values::address)]
    scheduler: Option<String>,

    /// Secret for that scheduler; better given in the environment
    #[arg(long, value_name = "TOKEN", env = "GANGER_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(super) fn run(self, output: &Arc<Output>) -> Outcome {
        let template = Template::new(&self.command, self.shell);
        if let Some(program) = template.program().filter(|program| !command::is_there(program)) {
            let failure = Failure::usage(format!("there is no command {}", program.display()));
            return Err(failure.hint("a line of a shell needs --shell"));
        }
        let (state, ledger) = State::open(&self.identity(), self.again)?;
        if state.goes_on() {
            say_that_it_goes_on(&state, output);
        } else if std::io::stdin().is_terminal() {
            output.say("reading lines from the terminal; Ctrl-D ends them");
        }
        block_on(self.drive_all(template, state, ledger, output))
    }

    /// What makes it the same run.
    fn identity(&self) -> Vec<OsString> {
        let flags = format!("shell={} null={}", self.shell, self.null);
        let scheduler = self.scheduler.clone().unwrap_or_default();
        [flags.into(), scheduler.into()].into_iter().chain(self.command.iter().cloned()).collect()
    }

    fn place(&self, state: &State) -> Place {
        match self.scheduler.clone() {
            Some(addr) => Place::Running { addr, token: self.token.clone() },
            None => Place::Own { store: state.store() },
        }
    }

    /// What the tasks of all lines have in common.
    fn pattern(&self, names: &Names, place: &Place) -> Submission {
        let kept = if matches!(place, Place::Own { .. }) { KEPT.0 } else { KEPT.1 };
        Submission::new(names.kind.clone(), "")
            .queue(names.queue.clone())
            .attempts(self.attempts)
            .backoff(self.backoff)
            .unique_for(kept)
            .result_ttl(kept)
    }

    async fn drive_all(
        self,
        template: Template,
        state: State,
        ledger: Ledger,
        output: &Arc<Output>,
    ) -> Outcome {
        let mut signals = Signals::catch().map_err(|error| Failure::machine(error.to_string()))?;
        let (command, goes_on) = (template.kind(), state.goes_on());
        let place = self.place(&state);
        let names = Names::new(&command, state.nonce(), &place);
        let pattern = self.pattern(&names, &place);
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.workers.map_or_else(cores, usize::from);
        let (halt, halted) = watch::channel(Halt::Not);
        let progress = Arc::<Progress>::default();
        let runner = Runner::new(template, self.timeout, workers, halted, progress.clone());
        let mut crew = Crew::gather(&place, &names, goes_on, runner, halt, workers).await?;
        let lines = read_stdin(if self.null { 0 } else { b'\n' });
        let printer = Printer::new(self.keep_order, ledger);
        let writer = Writer::start(printer, progress.clone(), output.clone());
        let mut drive = Drive::new(pattern, lines, state, writer, progress);
        let end = drive.run(&mut crew, &mut signals).await;
        if matches!(end, Ok(End::AtOnce)) {
            // What still runs is killed with the runtime.
            return Ok(Exit::Interrupted);
        }
        let (state, writer, took) = drive.close();
        let runner = crew.runner.clone();
        let disbanded = crew.disband(matches!(end, Ok(End::Finished))).await;
        let (printer, written) = tokio::select! {
            closed = writer.close() => closed?,
            // The reader is not waited for any more: the next run prints what this one has not.
            _ = signals.next() => return Ok(Exit::Interrupted),
        };
        let summary = Summary { state, printer, took, command };
        // What went wrong first is told: the rest may have come of it.
        let end = written.and(end).and_then(|end| disbanded.map(|()| end));
        summary.show(end, &runner.tally(), output)
    }
}

fn say_that_it_goes_on(state: &State, output: &Output) {
    let (finished, failed) = state.finished();
    let failed = if failed > 0 { format!(", {failed} of them failed") } else { String::new() };
    output.say(&format!(
        "going on with an interrupted run: {} {} finished earlier{failed} (--again begins anew)",
        counted(finished, "line"),
        if finished == 1 { "was" } else { "were" }
    ));
}
