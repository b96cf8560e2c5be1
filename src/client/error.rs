//! What can go wrong, sorted by whose fault it is and what may have happened.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::message::{Code, Refusal};
use crate::protocol::answer::Rejected;

/// Why a call came to nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The request was refused and had no effect: by the scheduler, or by the library before it was
    /// sent, with the code that the scheduler would have given.
    Refused(Refused),
    /// The connection ended before the answer came: the request may have had its effect or not.
    Lost,
    /// The scheduler cannot be reached; the request had no effect.
    Io(Arc<io::Error>),
    /// The scheduler said what protocol.md does not allow. The request may have had its effect.
    Protocol(String),
}

/// An error code of the scheduler, with what comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The word on the wire, also one of a later version.
    pub word: String,
    /// What the word means; `None` for one that this version does not know.
    pub code: Option<Code>,
    /// How long to wait before asking again, if the scheduler said so.
    pub retry: Option<Duration>,
    /// For people.
    pub text: String,
}

impl Error {
    /// The code of a refusal.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refused) => refused.code,
            _ => None,
        }
    }

    /// Whether asking again later may help, without anything being changed.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.code(), Some(Code::Busy | Code::TooManyConnections))
    }

    /// Whether it ends the connection without being the reply to a request.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self.code(), Some(Code::Timeout | Code::TooManyConnections))
    }

    /// Whether dialling again is of no use: who we are, or what we speak, is refused.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Refused(refused) => {
                matches!(refused.code, Some(Code::Version | Code::BadHello | Code::Denied))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Lost => f.write_str("the connection was lost before the answer came"),
            Self::Io(error) => write!(f, "the scheduler cannot be reached: {error}"),
            Self::Protocol(text) => write!(f, "not understood: {text}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        Self::Refused(Refused {
            word: rejected.word,
            code: rejected.code,
            retry: rejected.retry_ms.map(Duration::from_millis),
            text: rejected.text,
        })
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Refused {
            word: refusal.code.word().to_owned(),
            code: Some(refusal.code),
            retry: refusal.retry_ms.map(Duration::from_millis),
            text: refusal.text,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.word, self.text)?;
        match self.retry {
            Some(retry) => write!(f, " (try again in {retry:?})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}
