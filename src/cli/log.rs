//! What the program logs, to stderr.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::exit::{Failure, GENERAL};
use super::stderr;
use super::values::counted;

/// How long a line of the log waits for its reader: shorter than any heartbeat. The next ones do not
/// wait until it reads again.
const LIMIT: Duration = Duration::from_millis(500);

/// How much is logged, and how it is spelled.
#[derive(Debug, Args)]
pub(super) struct LogSettings {
    /// What to log to stderr: error, warn, info, debug, trace, or off
    /// [default: info for serve and work, warn for all else]
    #[arg(long, global = true, value_name = "LEVEL", env = "GANGER_LOG", hide_env_values = true)]
    #[arg(help_heading = GENERAL)]
    log: Option<String>,

    /// How to spell what is logged
    #[arg(long, global = true, value_name = "FORMAT", env = "GANGER_LOG_FORMAT")]
    #[arg(default_value = "text", hide_env_values = true, help_heading = GENERAL)]
    log_format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl LogSettings {
    /// Begins to log; at `info` for those commands that run for long, unless told otherwise.
    ///
    /// # Errors
    ///
    /// [`super::exit::Exit::Usage`] for a level that is none.
    pub(super) fn start(&self, runs_long: bool) -> Result<(), Failure> {
        let usual = if runs_long { "info" } else { "warn" };
        let level = self.log.as_deref().unwrap_or(usual);
        let wrong = || {
            Failure::usage(format!("--log: {level:?} is no level"))
                .hint("give error, warn, info, debug, trace or off")
        };
        let filter = EnvFilter::builder().parse(level).map_err(|_| wrong())?;
        let (dropped, format) = (Arc::<AtomicU64>::default(), self.log_format);
        let writer = move || Log { dropped: dropped.clone(), format };
        let log = tracing_subscriber::fmt().with_writer(writer).with_env_filter(filter);
        match format {
            Format::Text => {
                log.with_ansi(std::io::stderr().is_terminal()).with_target(false).init()
            }
            Format::Json => log.json().flatten_event(true).init(),
        }
        Ok(())
    }
}

/// Writes the lines. Threads that serve others log, too: one that nobody reads is dropped, and the next
/// one that is read tells so.
struct Log {
    /// Lines that were dropped, and it was not told.
    dropped: Arc<AtomicU64>,
    format: Format,
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let limit = if dropped > 0 { Duration::ZERO } else { LIMIT };
        let lines = counted(dropped, "line");
        let were = if dropped == 1 { "was" } else { "were" };
        let text = format!("{lines} of the log {were} not read in time");
        let told = match (dropped, self.format) {
            (0, _) => String::new(),
            (_, Format::Text) => format!("{text}\n"),
            (_, Format::Json) => format!("{{\"level\":\"WARN\",\"message\":\"{text}\"}}\n"),
        };
        if !stderr::write(&[told.as_bytes(), line].concat(), Some(limit))? {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
