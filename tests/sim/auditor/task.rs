//! Tasks as the acknowledged batches have them.

use std::collections::BTreeMap;

use bytes::Bytes;
use ganger::message::Submit;
use ganger::task::{Attempt, SessionId, State, TaskId};

use super::due::Due;

/// A task as the acknowledged batches have it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) submit: Submit,
    pub(super) row: Row,
    pub(super) attempt: Attempt,
    pub(super) used: u32,
    pub(super) suspected: u32,
    pub(super) retried: bool,
    pub(super) history: Option<String>,
    pub(super) error: Option<String>,
    /// Where it stood, step by step; scheduled and ready are both `Ready` here.
    pub(super) steps: Vec<(State, Attempt)>,
    pub(super) leases: BTreeMap<Attempt, Lease>,
    pub(super) releases: Vec<Release>,
    /// How leases ended.
    pub(super) ends: BTreeMap<Attempt, String>,
    /// The RESULTs that may be told.
    pub(super) endings: Vec<Ending>,
    /// Its SUBMIT has been answered.
    pub(super) answered: bool,
}

/// Where a task stands.
#[derive(Debug, Clone)]
pub(super) enum Row {
    Waiting {
        due: Due,
    },
    Leased {
        session: SessionId,
        worker: String,
    },
    Done {
        until_ms: u64,
    },
    Dead {
        reason: String,
        at_ms: u64,
    },
    Cancelled {
        reason: String,
        at_ms: u64,
    },
    /// Cancelled, and forgotten after its time.
    Dropped,
}

/// A lease.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) session: SessionId,
    /// Simulated microseconds before which it did not begin.
    pub(super) from_us: u64,
}

/// A session gave the task back unrun.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub(super) session: SessionId,
    /// Which scheduler was told.
    pub(super) life: u32,
    /// Simulated microseconds before which that was not so.
    pub(super) from_us: u64,
}

/// For how long a session that has released a task does not get it, in microseconds.
pub(super) const BAR_US: u64 = 1_000_000;

/// A RESULT that may be told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    Done(Bytes),
    Buried { state: State, reason: String, attempt: Attempt, used: u32, at_ms: u64, error: String },
}

impl Row {
    pub(super) fn state(&self) -> Option<State> {
        Some(match self {
            Self::Waiting { .. } => State::Ready,
            Self::Leased { .. } => State::Leased,
            Self::Done { .. } => State::Done,
            Self::Dead { .. } => State::Dead,
            Self::Cancelled { .. } => State::Cancelled,
            Self::Dropped => return None,
        })
    }

    pub(super) fn is_end(&self) -> bool {
        self.state().is_none_or(State::is_end)
    }
}

impl Task {
    pub(super) fn expires_at_ms(&self, id: TaskId) -> Option<u64> {
        let ms = self.submit.expires_ms.filter(|_| !self.retried)?;
        Some(id.wall_ms().saturating_add(ms))
    }

    pub(super) fn stand(&mut self, row: Row) {
        let state = row.state().unwrap_or(State::Cancelled);
        self.steps.push((state, self.attempt));
        self.row = row;
    }

    /// The queue and the key of a serial task.
    pub(super) fn serial_line(&self) -> Option<(String, String)> {
        let key = self.submit.key.filter(|_| self.submit.serial)?;
        Some((self.submit.queue().to_owned(), self.submit.text(key).to_owned()))
    }

    /// Whether nothing of it is kept any more, by a time that has been.
    pub(super) fn is_forgotten(&self, latest_ms: u64) -> bool {
        match &self.row {
            Row::Done { until_ms } => *until_ms <= latest_ms,
            Row::Dropped => true,
            _ => false,
        }
    }

    /// `unique=` with its queue.
    pub(super) fn unique(&self) -> Option<(String, String)> {
        unique_of(&self.submit)
    }
}

pub(super) fn unique_of(submit: &Submit) -> Option<(String, String)> {
    let unique = submit.unique?;
    Some((submit.queue().to_owned(), submit.text(unique).to_owned()))
}
