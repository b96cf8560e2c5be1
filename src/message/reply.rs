//! Scheduler to peer: what the core wants said, asked for or not.

use std::sync::Arc;

use crate::message::Code;
use crate::record::Text;
use crate::task::{Attempt, SessionId, State, TaskId};

/// One frame to a peer. Replies come in the order of the requests; the rest are pushes.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// OK to HELLO.
    Welcome {
        /// The session that begins or goes on.
        session: SessionId,
        /// Whether leases of an earlier connection follow.
        resumed: bool,
    },
    /// OK and nothing else.
    Ok,
    /// OK with the task's identifier.
    OkTask(TaskId),
    /// OK: the `unique=` was taken; the task that holds it.
    Duplicate(TaskId),
    /// OK to RETRY, with what the task was.
    Retried {
        /// The task.
        id: TaskId,
        /// Dead or cancelled.
        was: State,
        /// Why it was that; as RESULT told it.
        reason: &'static str,
    },
    /// ERR.
    Refused(Refusal),
    /// OK with a JSON payload.
    Json(Vec<u8>),
    /// OK to EVENTS: the number of the next event.
    Observing(u64),
    /// STATS, a push: the figures as JSON, for those who observe.
    Snapshot(Vec<u8>),
    /// OK to GET of a task that the core holds.
    Task(Box<TaskInfo>),
    /// TASK, a push: run it.
    Run {
        /// The task.
        id: TaskId,
        /// The lease.
        attempt: Attempt,
        /// Its SUBMIT frame.
        record: Arc<[u8]>,
    },
    /// CANCEL, a push: the lease is over, stop if you can, and answer.
    Stop {
        /// The task.
        id: TaskId,
        /// The lease.
        attempt: Attempt,
        /// `cancelled`, `timeout` or `max-run`.
        reason: &'static str,
    },
    /// RESULT, a push: a frame of the turn's batch.
    Result(Text),
    /// RESULT, a push, spelled: for a task that ended in an earlier turn.
    Frame(Arc<[u8]>),
    /// DRAIN, a push: take nothing new, finish, leave.
    Drain {
        /// `drain`, `restart` or `superseded`.
        reason: &'static str,
    },
    /// Ends the connection after what is due.
    Close,
}

/// ERR with its code, options and text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The word of the closed list.
    pub code: Code,
    /// `retry=`: try again after so many milliseconds.
    pub retry_ms: Option<u64>,
    /// `min=` and `max=`: the versions that are spoken; with [`Code::Version`] only.
    pub versions: Option<(u32, u32)>,
    /// For people; no word starts with `#` or holds `=`.
    pub text: String,
}

impl Refusal {
    /// A refusal without options.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, retry_ms: None, versions: None, text: text.into() }
    }

    /// A refusal that says when to try again.
    pub fn later(code: Code, retry_ms: u64, text: impl Into<String>) -> Self {
        Self { retry_ms: Some(retry_ms), ..Self::new(code, text) }
    }
}

/// What GET tells of a task that the core holds.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskInfo {
    /// The task.
    pub id: TaskId,
    /// Where it stands.
    pub state: State,
    /// What it is.
    pub kind: Arc<str>,
    /// Where it waits.
    pub queue: Arc<str>,
    /// Leases so far.
    pub attempt: Attempt,
    /// Failures, timeouts and losses that count.
    pub used: u32,
    /// Unix milliseconds before which it does not start.
    pub due_ms: Option<u64>,
    /// Who holds it.
    pub worker: Option<Arc<str>>,
    /// Last PROGRESS of the current lease.
    pub percent: Option<u8>,
    /// Why it ended, or why the last attempt did.
    pub reason: Option<String>,
    /// The periodic task that fired it.
    pub cron: Option<String>,
    /// How its attempts ended, oldest first, as in the record.
    pub history: Option<String>,
    /// Last error text.
    pub error: Option<Arc<[u8]>>,
}
