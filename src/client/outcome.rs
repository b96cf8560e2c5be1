//! What became of a task.

use std::fmt;

use bytes::Bytes;

use super::error::Error;
use crate::protocol::answer::{Accepted, Ended};
use crate::task::{Attempt, State, TaskId};

/// OK to a submission: the task is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The task.
    pub id: TaskId,
    /// Whether its `unique` text was taken: `id` is the task that was there before.
    pub duplicate: bool,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// With a result.
    Done {
        /// The task.
        id: TaskId,
        /// What its worker made of it.
        result: Bytes,
        /// Which of its leases it was, from 1.
        attempt: Attempt,
        /// The worker's name.
        worker: String,
        /// Milliseconds from handing it to the worker to its answer.
        ms: u64,
    },
    /// Without one: it failed too often, or for good.
    Dead {
        /// The task.
        id: TaskId,
        /// Why: `attempts`, `no-retry`, `poison`, `result-too-large`, or a later word.
        reason: String,
        /// The last error's text; may be empty.
        error: Bytes,
        /// How many leases it had.
        attempt: Attempt,
        /// Failures, timeouts and losses that counted.
        used: u32,
    },
    /// Because somebody, or its expiry, said so.
    Cancelled {
        /// The task.
        id: TaskId,
        /// Why: `cancelled`, `expired`, or a later word.
        reason: String,
    },
}

impl Outcome {
    /// The task.
    pub fn id(&self) -> TaskId {
        match self {
            Self::Done { id, .. } | Self::Dead { id, .. } | Self::Cancelled { id, .. } => *id,
        }
    }

    /// The result.
    ///
    /// # Errors
    ///
    /// [`NotDone`] with the outcome if there is none.
    pub fn result(self) -> Result<Bytes, NotDone> {
        match self {
            Self::Done { result, .. } => Ok(result),
            other => Err(NotDone(Box::new(other))),
        }
    }
}

impl From<Ended> for Outcome {
    fn from(ended: Ended) -> Self {
        let id = ended.id;
        let reason = ended.reason.unwrap_or_default();
        match ended.state {
            State::Cancelled => Self::Cancelled { id, reason },
            State::Dead => Self::Dead {
                id,
                reason,
                error: ended.payload,
                attempt: ended.attempt,
                used: ended.used.unwrap_or_default(),
            },
            _ => Self::Done {
                id,
                result: ended.payload,
                attempt: ended.attempt,
                worker: ended.worker.unwrap_or_default(),
                ms: ended.ms.unwrap_or_default(),
            },
        }
    }
}

/// A task ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDone(pub Box<Outcome>);

impl fmt::Display for NotDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Outcome::Dead { id, reason, error, .. } => {
                write!(f, "task {id} is dead ({reason}): {}", String::from_utf8_lossy(error))
            }
            Outcome::Cancelled { id, reason } => write!(f, "task {id} was cancelled ({reason})"),
            Outcome::Done { id, .. } => write!(f, "task {id} is done"),
        }
    }
}

impl std::error::Error for NotDone {}

/// What a task was that is ready again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retried {
    /// [`State::Dead`] or [`State::Cancelled`].
    pub was: State,
    /// Why, as [`Outcome`] tells it.
    pub reason: String,
}

impl Retried {
    pub(super) fn read(accepted: &Accepted) -> Result<Self, Error> {
        let lacking = || Error::Protocol("the OK to RETRY lacks was or reason".to_owned());
        let was = accepted.option("was").and_then(|was| State::parse(&was));
        let reason = accepted.option("reason").map(String::from);
        Ok(Self { was: was.ok_or_else(lacking)?, reason: reason.ok_or_else(lacking)? })
    }
}

/// What GET tells of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The task.
    pub id: TaskId,
    /// Where it stands.
    pub state: State,
    /// What it is; `None` once it is done.
    pub kind: Option<String>,
    /// Where it waits; `None` once it is done.
    pub queue: Option<String>,
    /// Its leases so far.
    pub attempt: Attempt,
    /// Failures, timeouts and losses that count.
    pub used: u32,
    /// Unix milliseconds before which it does not start.
    pub due_ms: Option<u64>,
    /// Who holds it, or did it.
    pub worker: Option<String>,
    /// The last progress that the worker told, 0 to 100.
    pub percent: Option<u8>,
    /// Why it ended, or why the last attempt did.
    pub reason: Option<String>,
    /// How its attempts ended, oldest first, as protocol.md spells it.
    pub history: Option<String>,
    /// Done: milliseconds from handing it to the worker to its answer.
    pub ms: Option<u64>,
    /// Done: Unix milliseconds of its end.
    pub ended_ms: Option<u64>,
    /// Done: Unix milliseconds until which the result is kept.
    pub until_ms: Option<u64>,
    /// Done: the result. Otherwise the last error's text, or empty.
    pub payload: Bytes,
}

impl Status {
    pub(super) fn read(accepted: &Accepted) -> Result<Self, Error> {
        let lacking = || Error::Protocol("the OK to GET lacks id or state".to_owned());
        let text = |name| accepted.option(name).map(String::from);
        let number = |name| accepted.number(name);
        let small = |name| number(name).and_then(|number| u32::try_from(number).ok());
        Ok(Self {
            id: accepted.id().ok_or_else(lacking)?,
            state: accepted.state().ok_or_else(lacking)?,
            kind: text("kind"),
            queue: text("queue"),
            attempt: small("attempt").unwrap_or_default(),
            used: small("used").unwrap_or_default(),
            due_ms: number("due"),
            worker: text("worker"),
            percent: number("percent").and_then(|percent| u8::try_from(percent).ok()),
            reason: text("reason"),
            history: text("history"),
            ms: number("ms"),
            ended_ms: number("ended"),
            until_ms: number("until"),
            payload: accepted.payload().unwrap_or_default(),
        })
    }
}
