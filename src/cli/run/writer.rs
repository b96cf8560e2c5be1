//! What is printed and said while a run goes on, on a thread of its own: a reader that pauses, or a
//! terminal that is stopped, holds up neither the workers' signs of life nor Ctrl-C.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::super::exit::Failure;
use super::super::output::Output;
use super::printer::{Ended, Printer};
use super::progress::Progress;

/// How often the bar is drawn.
const DRAW: Duration = Duration::from_millis(100);

/// For the thread. There is no bound to how many wait: `progress` holds up what makes them.
#[derive(Debug)]
enum Message {
    /// Lines have ended: their places among those that are run, and their ends.
    Ended(Vec<(usize, Ended)>),
    /// Something is to be said on stderr.
    Said(String),
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    messages: Sender<Message>,
    progress: Arc<Progress>,
    thread: JoinHandle<(Printer, Result<(), Failure>)>,
}

impl Writer {
    /// Begins to write.
    pub(super) fn start(printer: Printer, progress: Arc<Progress>, output: Arc<Output>) -> Self {
        let (sender, messages) = mpsc::channel();
        let bar = std::io::stderr().is_terminal().then(bar);
        let mut desk = Desk { printer, progress: progress.clone(), output, bar };
        let thread = tokio::task::spawn_blocking(move || {
            let result = desk.write(&messages);
            desk.progress.count(|counts| counts.is_over = true);
            if let Some(bar) = &desk.bar {
                bar.finish_and_clear();
            }
            (desk.printer, result)
        });
        Self { messages: sender, progress, thread }
    }

    /// Has ends of lines printed.
    ///
    /// # Errors
    ///
    /// One without a text if nothing is printed any more; [`Writer::close`] tells why.
    pub(super) fn print(&self, ends: Vec<(usize, Ended)>) -> Result<(), Failure> {
        let bytes = bytes(&ends);
        self.progress.count(|counts| counts.waiting += bytes);
        self.messages.send(Message::Ended(ends)).map_err(|_| Failure::machine(""))
    }

    /// Has a line said on stderr.
    pub(super) fn say(&self, text: String) {
        // If nothing is said any more, the run is over.
        let _ = self.messages.send(Message::Said(text));
    }

    /// Waits until all is printed, or nothing can be any more. What was printed, and why it could not
    /// go on.
    ///
    /// # Errors
    ///
    /// If the thread is lost.
    pub(super) async fn close(self) -> Result<(Printer, Result<(), Failure>), Failure> {
        drop(self.messages);
        self.thread.await.map_err(|error| Failure::machine(error.to_string()))
    }
}

fn bytes(ends: &[(usize, Ended)]) -> usize {
    ends.iter().map(|(_, ended)| ended.output_len()).sum()
}

/// What the thread works with.
struct Desk {
    printer: Printer,
    progress: Arc<Progress>,
    output: Arc<Output>,
    /// At the end of stderr, if that is a terminal.
    bar: Option<ProgressBar>,
}

impl Desk {
    fn write(&mut self, messages: &Receiver<Message>) -> Result<(), Failure> {
        let wait = if self.bar.is_some() { DRAW } else { Duration::MAX };
        loop {
            match messages.recv_timeout(wait) {
                Ok(Message::Ended(ends)) => self.print(ends)?,
                Ok(Message::Said(text)) => aside(self.bar.as_ref(), || self.output.say(&text)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.draw();
        }
    }

    fn print(&mut self, ends: Vec<(usize, Ended)>) -> Result<(), Failure> {
        let bytes = bytes(&ends);
        for (place, ended) in ends {
            self.printer.take(place, ended);
        }
        let printed = aside(self.bar.as_ref(), || self.printer.print(&self.output))?;
        self.progress.count(|counts| {
            counts.printed += printed;
            counts.waiting -= bytes;
        });
        Ok(())
    }

    fn draw(&self) {
        let Some(bar) = &self.bar else { return };
        let counts = self.progress.counts();
        bar.set_length(counts.handed_in as u64);
        bar.set_position(counts.ended as u64);
        let failed = match self.printer.failed() {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        bar.set_message(format!("{} running{failed}", counts.running));
        bar.tick();
    }
}

fn bar() -> ProgressBar {
    let template = "{bar:30.cyan/dim} {pos}/{len}  {per_sec:.bold}  {eta} left  {msg}";
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─");
    ProgressBar::new(0).with_style(style)
}

/// Does something while the bar is not drawn.
fn aside<T>(bar: Option<&ProgressBar>, write: impl FnOnce() -> T) -> T {
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}
