//! What the program logs, to stderr.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::exit::{Failure, GENERAL};

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
        let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
        match self.log_format {
            Format::Text => {
                log.with_ansi(std::io::stderr().is_terminal()).with_target(false).init()
            }
            Format::Json => log.json().flatten_event(true).init(),
        }
        Ok(())
    }
}
