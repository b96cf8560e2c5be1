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

/// How much can be logged, from the least of it.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How much is logged, and how it is spelled.
#[derive(Debug, Args)]
pub(super) struct LogSettings {
    /// What to log to stderr: error, warn, info, debug, trace, or off; for a part of the program its own,
    /// as in warn,ganger::server=debug [default: info for serve and work, warn for all else]
    #[arg(long, global = true, value_name = "LEVEL", env = "GANGER_LOG", hide_env_values = true)]
    #[arg(help_heading = GENERAL, value_parser = levels)]
    log: Option<Levels>,

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

/// How much is logged: of everything, unless that is left as usual, and of parts of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Levels {
    all: Option<String>,
    parts: Vec<String>,
}

/// Reads a list of `LEVEL` and `PART=LEVEL`.
fn levels(text: &str) -> Result<Levels, String> {
    let mut levels = Levels::default();
    for entry in text.split(',').map(str::trim) {
        let (part, level) = entry.split_once('=').unwrap_or(("", entry));
        let is_part =
            part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
        let is_level = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
        if !is_level || !is_part || entry.starts_with('=') {
            let known = LEVELS.join(", ");
            return Err(format!(
                "give one of {known}; for a part of the program its own, as in \
                 warn,ganger::server=debug"
            ));
        }
        match part {
            "" => levels.all = Some(entry.to_owned()),
            _ => levels.parts.push(entry.to_owned()),
        }
    }
    Ok(levels)
}

impl Levels {
    /// As a filter, with what is usual where nothing is said.
    fn filter(&self, usual: &str) -> String {
        let all = self.all.as_deref().unwrap_or(usual);
        self.parts.iter().fold(all.to_owned(), |filter, part| format!("{filter},{part}"))
    }
}

impl LogSettings {
    /// Begins to log; at `info` for those commands that run for long, unless told otherwise.
    ///
    /// # Errors
    ///
    /// [`super::exit::Exit::Usage`] for a filter that is none.
    pub(super) fn start(&self, runs_long: bool) -> Result<(), Failure> {
        let usual = if runs_long { "info" } else { "warn" };
        let filter = self.log.as_ref().unwrap_or(&Levels::default()).filter(usual);
        let filter = EnvFilter::builder().parse(&filter);
        let filter = filter.map_err(|error| Failure::usage(format!("--log: {error}")))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_what_is_none_is_refused_with_what_there_is() {
        let filter = |text| levels(text).map(|levels| levels.filter("warn"));
        for (text, told) in [
            ("debug", "debug"),
            ("OFF", "OFF"),
            ("ganger::server=debug", "warn,ganger::server=debug"),
            ("ganger::store=off, info", "info,ganger::store=off"),
        ] {
            assert_eq!(filter(text).as_deref(), Ok(told), "{text}");
            assert!(EnvFilter::builder().parse(told).is_ok(), "{told}");
        }
        for text in
            ["foo", "", "warn,", "=debug", "ganger=foo", "ganger", "a b=info", "info=warn=off"]
        {
            let error = filter(text).unwrap_err();
            assert!(
                error.starts_with("give one of off, error, warn, info, debug, trace;"),
                "{text}"
            );
        }
    }
}
