//! EVENTS: what an observer wants to be told.

/// What can happen to a task, or to a worker's session: the words of EVENT, in the order of protocol.md.
pub const HAPPENINGS: [&str; 16] = [
    "submitted",
    "leased",
    "progress",
    "done",
    "failed",
    "timeout",
    "max-run",
    "result-too-large",
    "lost",
    "released",
    "returned",
    "dead",
    "cancelled",
    "retried",
    "worker-joined",
    "worker-left",
];

/// Which events an observer gets, from where on, and how often the figures.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventFilter {
    /// Only of this queue.
    pub queue: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only of this worker.
    pub worker: Option<String>,
    /// Only these of [`HAPPENINGS`]; empty for all.
    pub what: Vec<String>,
    /// From this number on, as far as they are still kept; `None`: from now on.
    pub from: Option<u64>,
    /// A snapshot of the figures every so many milliseconds, [`STATS_MS`].
    pub stats_ms: Option<u64>,
}

/// The shortest and the longest interval of snapshots, in milliseconds.
pub const STATS_MS: (u64, u64) = (1000, 60_000);
