//! Peer to scheduler: one variant per verb.

use std::borrow::Cow;

use bytes::Bytes;

use crate::frame::{Frame, Word, canonical};
use crate::message::Cron;
use crate::message::amounts::read_amounts;
use crate::message::observe::EventFilter;
use crate::route::Weight;
use crate::task::{Attempt, SessionId, State, TaskId};

/// What a peer introduces itself as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Executes tasks; may submit further ones.
    Worker,
    /// Hands in tasks and asks for results.
    Client,
    /// Looks after the scheduler.
    Operator,
}

impl Role {
    /// The word in HELLO.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Client => "client",
            Self::Operator => "operator",
        }
    }

    /// The role of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Worker, Self::Client, Self::Operator].into_iter().find(|role| role.word() == word)
    }
}

/// What a session may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    /// SUBMIT, GET, WATCH, EXPLAIN, CANCEL.
    pub submit: bool,
    /// Being a worker.
    pub work: bool,
    /// GET, WATCH, EXPLAIN, the lists.
    pub observe: bool,
    /// The rest.
    pub operate: bool,
}

impl Grants {
    /// Everything: what a session has where no tokens are configured.
    pub const ALL: Self = Self { submit: true, work: true, observe: true, operate: true };
}

/// HELLO, the first frame of every peer.
#[derive(Clone, PartialEq, Debug)]
pub struct Hello {
    /// What the peer is.
    pub role: Role,
    /// Its label. A worker must give one.
    pub name: String,
    /// Where it runs; free text.
    pub host: String,
    /// Its process; free text, `0` when it did not say.
    pub pid: u64,
    /// How many tasks a worker holds at once: 1 to 65535, 1 by default.
    pub slots: u32,
    /// Its share under the weighted routes.
    pub weight: Weight,
    /// The kinds it can do; `None` is every kind (`kinds=*`).
    pub kinds: Option<Vec<String>>,
    /// The queues it serves; `None` is every queue.
    pub queues: Option<Vec<String>>,
    /// Its tags, against the needs of tasks.
    pub tags: Vec<String>,
    /// What it has, with how much, against the amounts of tasks.
    pub res: Vec<(String, u64)>,
    /// Announced period of life signs in milliseconds, 1000 to 60000; `None`: alive while connected.
    pub heartbeat_ms: Option<u64>,
    /// What an hour of its time costs, for the spend statistics; 0 by default.
    pub price: f64,
    /// The largest payload it takes, in bytes; `None`: whatever the scheduler takes.
    pub payload_max: Option<u64>,
    /// The session to take up again.
    pub session: Option<SessionId>,
    /// The secret that grants.
    pub token: Option<String>,
}

/// Everything a peer can ask for after HELLO.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// A new task.
    Submit(Submit),
    /// State, history and result of a task.
    Get(TaskId),
    /// A RESULT push when the task ends.
    Watch(TaskId),
    /// Why a task stands where it stands, as JSON.
    Explain(TaskId),
    /// Ends a task that has not ended.
    Cancel(TaskId),
    /// Makes a dead or cancelled task ready again.
    Retry(TaskId),
    /// A lease ended with a result.
    Done {
        /// The task.
        id: TaskId,
        /// The lease.
        attempt: Attempt,
        /// The result.
        result: Bytes,
    },
    /// A lease ended in failure.
    Fail(Fail),
    /// A lease is given back unrun.
    Release {
        /// The task.
        id: TaskId,
        /// The lease.
        attempt: Attempt,
        /// Not before so many milliseconds.
        delay_ms: u64,
    },
    /// A sign of progress (a notice).
    Progress {
        /// The task.
        id: TaskId,
        /// The lease.
        attempt: Attempt,
        /// 0 to 100.
        percent: u8,
        /// What the worker wants known about it; empty for nothing.
        note: Bytes,
    },
    /// The worker holds so many tasks at once from now on, 0 to 65535.
    Slots(u32),
    /// The worker leaves and gives its leases back, free of charge.
    Bye,
    /// An answer to PING (a notice).
    Pong,
    /// The queues, as JSON.
    Queues,
    /// The workers, as JSON.
    Workers,
    /// Tasks, filtered and paged, as JSON.
    Tasks(TaskFilter),
    /// Counts, durations and costs, as JSON.
    Stats {
        /// Where the page before ended; 0 begins.
        cursor: u64,
        /// At most so many rows of figures, 1 to 1000, 1000 by default.
        limit: u32,
    },
    /// Sets or shows the policies of a queue.
    Queue {
        /// The queue.
        name: String,
        /// The policies to change, spelled as received: `route=hash spill=500`. Checked.
        policies: Vec<(String, String)>,
    },
    /// Whether runs of a queue may begin.
    Pause {
        /// The queue.
        name: String,
        /// False is RESUME.
        paused: bool,
    },
    /// Clears a queue.
    Purge(Purge),
    /// No further tasks for a worker.
    Drain(String),
    /// Periodic tasks.
    Cron(Cron),
    /// EVENT pushes as the filter says; `None`: no more of them.
    Events(Option<Box<EventFilter>>),
}

/// SUBMIT: a new task. Texts are slices of the frame, which is also the task's record.
#[derive(Clone, PartialEq, Debug)]
pub struct Submit {
    /// The frame as received.
    pub frame: Frame,
    /// What it is.
    pub kind: Slice,
    /// Where it waits; `default` when absent.
    pub queue: Option<Slice>,
    /// What it belongs to, still encoded.
    pub key: Option<Slice>,
    /// At most one unended task of the queue bears it, still encoded.
    pub unique: Option<Slice>,
    /// The tasks that it comes after: identifiers separated by commas.
    pub after: Option<Slice>,
    /// What becomes of it if one of those is dead or cancelled.
    pub after_failure: AfterFailure,
    /// Tasks of its key and queue run one at a time.
    pub serial: bool,
    /// The tags that its worker must have: names separated by commas.
    pub needs: Option<Slice>,
    /// What it takes up while it runs: `cpu:4,mem:8000`.
    pub res: Option<Slice>,
    /// When it may start.
    pub start: Start,
    /// Milliseconds from submission after which it is cancelled if it never was leased since.
    pub expires_ms: Option<u64>,
    /// Milliseconds without DONE, FAIL or PROGRESS after which a lease ends.
    pub timeout_ms: Option<u64>,
    /// Milliseconds after which a lease ends whatever its worker says.
    pub max_run_ms: Option<u64>,
    /// How many failures, timeouts and losses make it dead; `None` is unlimited.
    pub attempts: Option<u32>,
    /// The first backoff in milliseconds; it doubles with every failure.
    pub backoff_ms: u64,
    /// How long `unique` is held after the end, in milliseconds.
    pub unique_for_ms: u64,
    /// How long the result is kept, in milliseconds; 0 keeps only the end.
    pub result_ttl_ms: u64,
    /// Whether the submitter gets RESULT at the end.
    pub watch: bool,
    /// The list that is told, where it came through an inbox.
    pub reply: Option<Slice>,
}

/// What becomes of a task if one that it comes after is dead or cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AfterFailure {
    /// It waits on: somebody may bring the other one back.
    #[default]
    Wait,
    /// It is cancelled.
    Cancel,
    /// It runs, as if the other one were done.
    Run,
}

impl AfterFailure {
    /// The word in SUBMIT.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Cancel => "cancel",
            Self::Run => "run",
        }
    }

    /// What that word means.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Wait, Self::Cancel, Self::Run].into_iter().find(|its| its.word() == word)
    }
}

/// When a task may start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At once.
    Now,
    /// So many milliseconds after submission.
    Delay(u64),
    /// At a Unix time in milliseconds.
    At(u64),
}

/// A part of a frame's header, in bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slice {
    /// The first byte.
    pub start: u16,
    /// The byte after the last.
    pub end: u16,
}

impl Slice {
    /// The text of it.
    pub fn of(self, frame: &Frame) -> &str {
        let bytes = frame.line().get(usize::from(self.start)..usize::from(self.end));
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }
}

impl Submit {
    /// Most failures by default before a task is dead.
    pub const ATTEMPTS: u32 = 20;
    /// The first backoff by default.
    pub const BACKOFF_MS: u64 = 1000;
    /// The longest backoff, unless `backoff=` is longer.
    pub const BACKOFF_MAX_MS: u64 = 3_600_000;
    /// How long results are kept by default.
    pub const RESULT_TTL_MS: u64 = 3_600_000;
    /// The queue of tasks that name none.
    pub const QUEUE: &'static str = "default";

    /// The text of a slice of the header.
    pub fn text(&self, slice: Slice) -> &str {
        slice.of(&self.frame)
    }

    /// The kind's name.
    pub fn kind(&self) -> &str {
        self.text(self.kind)
    }

    /// The value of `unique=`, encoded in the one way that makes equal values equal.
    pub fn unique_value(&self) -> Option<Cow<'_, str>> {
        self.unique.map(|unique| canonical(self.text(unique)))
    }

    /// The tags that its worker must have, in the order given.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        self.needs.into_iter().flat_map(|needs| self.text(needs).split(','))
    }

    /// What it takes up while it runs, in the order given.
    pub fn amounts(&self) -> Vec<(&str, u64)> {
        self.res.and_then(|res| read_amounts(self.text(res))).unwrap_or_default()
    }

    /// The tasks that it comes after, in the order given.
    pub fn after(&self) -> impl Iterator<Item = TaskId> {
        let ids = self.after.into_iter().flat_map(|after| self.text(after).split(','));
        ids.filter_map(|id| TaskId::parse(id.as_bytes()))
    }

    /// The periodic task that fires it, as its record tells.
    pub fn cron(&self) -> Option<&str> {
        self.frame.words().find_map(|word| match word {
            Word::Option("cron", name) => Some(name),
            _ => None,
        })
    }

    /// The name of the list that is told what becomes of it.
    pub fn reply(&self) -> Option<&str> {
        self.reply.map(|reply| self.text(reply))
    }

    /// The queue's name.
    pub fn queue(&self) -> &str {
        self.queue.map_or(Self::QUEUE, |queue| self.text(queue))
    }
}

/// FAIL: a lease ended in failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fail {
    /// The task.
    pub id: TaskId,
    /// The lease.
    pub attempt: Attempt,
    /// Whether and when to try again.
    pub retry: Retry,
    /// What went wrong.
    pub error: Bytes,
}

/// Whether and when a failed task is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// After the task's backoff.
    Backoff,
    /// After so many milliseconds.
    After(u64),
    /// Not at all: the task is dead.
    No,
}

/// PURGE: which tasks of a queue go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Purge {
    /// The queue.
    pub queue: String,
    /// Dead and cancelled tasks are forgotten, scheduled, blocked and ready ones cancelled.
    pub state: State,
    /// Where the request before ended; 0 begins.
    pub cursor: u64,
}

/// Which tasks TASKS lists.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskFilter {
    /// Only of this state.
    pub state: Option<State>,
    /// Only of this queue.
    pub queue: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only held by this worker.
    pub worker: Option<String>,
    /// Where the page before ended; 0 begins.
    pub cursor: u64,
    /// At most so many, 1 to 1000, 100 by default.
    pub limit: u32,
}
