//! How the program ends: a code for scripts, a text for people.

use std::fmt;
use std::process::ExitCode;

use crate::client::{self, Code};
use crate::server;

/// What `--help` says about exit codes.
pub(super) const HELP: &str = "\
Exit codes:
  0    done
  1    a task failed: it is dead or cancelled
  2    usage: an argument, a setting, or the configuration file is wrong
  3    the scheduler cannot be reached, or the connection was lost
  4    the scheduler refused: its error code is in the message
  5    this machine: a file, an address, the store, or the output
  130  interrupted

Settings are taken from the flag, else the environment (GANGER_...), else the file
(--config FILE, ./ganger.toml, or ganger/config.toml in $XDG_CONFIG_HOME), else the default.
`ganger config` shows each of them and where it comes from.";

/// The heading in `--help` of what every command takes.
pub(super) const GENERAL: &str = "General options";

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// All went well.
    Done,
    /// A task failed, is dead, or was cancelled.
    TaskFailed,
    /// The program was asked for something that cannot be.
    Usage,
    /// No connection to a scheduler, or not any more.
    Unreachable,
    /// The scheduler said ERR.
    Refused,
    /// A file, an address, the store, or the output.
    Machine,
    /// By a signal.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::TaskFailed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::Machine => 5,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command came to nothing.
#[derive(Debug)]
pub(super) struct Failure {
    /// The code to end with.
    pub(super) exit: Exit,
    /// One line for people; empty if all has been said.
    pub(super) text: String,
    /// What they can do about it.
    pub(super) hint: Option<String>,
}

/// What a command comes to.
pub(super) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure that ends with this code.
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), hint: None }
    }

    /// An argument or setting that cannot be.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// A file, an address, or anything else of this machine.
    pub(super) fn machine(text: impl Into<String>) -> Self {
        Self::new(Exit::Machine, text)
    }

    /// With what can be done about it.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let exit = match error {
            client::Error::Refused(_) => Exit::Refused,
            _ => Exit::Unreachable,
        };
        let failure = Self::new(exit, error.to_string());
        match error.code() {
            Some(Code::Denied) => failure.hint("give the token with GANGER_TOKEN or --token"),
            Some(Code::Forbidden) => failure.hint("the token does not grant this"),
            _ => failure,
        }
    }
}

impl From<server::Error> for Failure {
    fn from(error: server::Error) -> Self {
        let exit = match error {
            server::Error::Config(_) => Exit::Usage,
            _ => Exit::Machine,
        };
        Self::new(exit, error.to_string())
    }
}
