//! What a run came to, told on stderr, and what is done with its state.

use std::time::Duration;

use serde_json::json;

use super::super::exit::{Exit, Failure, Outcome};
use super::super::output::Output;
use super::super::values::{counted, spoken_ms};
use super::drive::End;
use super::printer::Printer;
use super::state::State;
use super::tally::Tally;

/// What is left when a run is over.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) state: State,
    pub(super) printer: Printer,
    pub(super) took: Duration,
    /// What the tasks are called.
    pub(super) command: String,
}

impl Summary {
    /// Tells it, and removes the state of a run that has come to its end.
    ///
    /// # Errors
    ///
    /// Why the run did not come to its end, and those of the state and the output.
    pub(super) fn show(self, end: Result<End, Failure>, tally: &Tally, output: &Output) -> Outcome {
        if !tally.is_empty() {
            output.say_table(&tally.table(&self.command));
        }
        self.printer.list_failures(output);
        output.say(&self.in_a_line());
        let again = "the same command in this directory goes on; --again begins anew";
        match end {
            Ok(End::Finished) => {
                self.show_json(output)?;
                let all_well = self.printer.failed() + self.state.finished().1 == 0;
                self.state.remove()?;
                Ok(if all_well { Exit::Done } else { Exit::TaskFailed })
            }
            Ok(End::Interrupted | End::AtOnce) => {
                output.say(&format!("interrupted: {again}"));
                self.show_json(output)?;
                Ok(Exit::Interrupted)
            }
            Err(failure) if failure.text.is_empty() => {
                let closed = "stdout was closed before the end";
                Err(Failure { text: closed.to_owned(), ..failure }.hint(again))
            }
            Err(failure) if failure.hint.is_none() => Err(failure.hint(again)),
            Err(failure) => Err(failure),
        }
    }

    fn in_a_line(&self) -> String {
        let (printed, failed) = (self.printer.printed(), self.printer.failed());
        let seconds = self.took.as_secs_f64();
        let rate = printed as f64 / seconds.max(0.001);
        let decimals = usize::from(rate < 10.0);
        let mut line = format!("{} in {}", counted(printed, "line"), spoken_ms(seconds * 1000.0));
        line.push_str(&format!(", {rate:.decimals$} per second"));
        if failed > 0 {
            line.push_str(&format!(", {failed} failed"));
        }
        match self.state.finished() {
            (0, _) => {}
            (earlier, failed) => {
                line.push_str(&format!("; {} earlier", counted(earlier, "line")));
                if failed > 0 {
                    line.push_str(&format!(", {failed} of them failed"));
                }
            }
        }
        line
    }

    fn show_json(&self, output: &Output) -> Result<(), Failure> {
        if !output.is_json() {
            return Ok(());
        }
        let (earlier, earlier_failed) = self.state.finished();
        output.json(&json!({ "summary": {
            "lines": self.printer.printed(),
            "failed": self.printer.failed(),
            "earlier": earlier,
            "earlier_failed": earlier_failed,
            "ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        }}))
    }
}
