//! What keeps a task where it is: the codes of EXPLAIN.

/// Why a task waits, runs where it runs, or has ended; the word in `code` of a reason. Those of a
/// ready task stand in the order in which they are told, the most decisive first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    /// Nobody who is connected is able to do it.
    NoWorker,
    /// Workers that are able have lost their connections, and may come back.
    Away,
    /// Workers that are able get nothing new: they are drained, or superseded.
    Draining,
    /// Workers that are able have the weight 0.
    Weight,
    /// The queue is paused.
    Paused,
    /// `key-limit=`: as many tasks of its key run as may.
    KeyLimit,
    /// `limit=`: as many tasks of its queue run as may.
    Limit,
    /// `rate=`: the next run of its queue may not begin yet.
    Rate,
    /// It may have crashed its workers, and has to run alone.
    Isolated,
    /// Somebody has just released it.
    Released,
    /// The route gives it to its owner first.
    Owner,
    /// All workers that are able are full.
    NoSlot,
    /// A worker that is able is being emptied for a suspected task.
    Reserved,
    /// A worker that is able is held up, because it fails everything.
    Tripped,
    /// The tasks of its queue are being put into order anew.
    Sorting,
    /// Other queues have had less of the workers that they share.
    QueueShare,
    /// Where it stands among those like it.
    Order,
    /// Nothing: it is about to be given to a worker.
    Next,
    /// Scheduled: `delay=` is not over.
    Delay,
    /// Scheduled: `at=` has not come.
    At,
    /// Scheduled: the pause after an attempt.
    Backoff,
    /// Leased: who runs it, since when.
    Running,
    /// Leased: it runs far longer than its kind does.
    Straggler,
    /// Leased: when `timeout=` or `max-run=` ends it.
    TimeLimit,
    /// Leased: how its worker was chosen.
    Route,
    /// Done, dead or cancelled.
    Ended,
    /// Dead or cancelled: what RETRY would do.
    Retry,
}

impl Why {
    /// Every code, in the order of protocol.md.
    pub const ALL: [Self; 27] = [
        Self::NoWorker,
        Self::Away,
        Self::Draining,
        Self::Weight,
        Self::Paused,
        Self::KeyLimit,
        Self::Limit,
        Self::Rate,
        Self::Isolated,
        Self::Released,
        Self::Owner,
        Self::NoSlot,
        Self::Reserved,
        Self::Tripped,
        Self::Sorting,
        Self::QueueShare,
        Self::Order,
        Self::Next,
        Self::Delay,
        Self::At,
        Self::Backoff,
        Self::Running,
        Self::Straggler,
        Self::TimeLimit,
        Self::Route,
        Self::Ended,
        Self::Retry,
    ];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoWorker => "no-worker",
            Self::Away => "away",
            Self::Draining => "draining",
            Self::Weight => "weight",
            Self::Paused => "paused",
            Self::KeyLimit => "key-limit",
            Self::Limit => "limit",
            Self::Rate => "rate",
            Self::Isolated => "isolated",
            Self::Released => "released",
            Self::Owner => "owner",
            Self::NoSlot => "no-slot",
            Self::Reserved => "reserved",
            Self::Tripped => "tripped",
            Self::Sorting => "sorting",
            Self::QueueShare => "queue-share",
            Self::Order => "order",
            Self::Next => "next",
            Self::Delay => "delay",
            Self::At => "at",
            Self::Backoff => "backoff",
            Self::Running => "running",
            Self::Straggler => "straggler",
            Self::TimeLimit => "time-limit",
            Self::Route => "route",
            Self::Ended => "ended",
            Self::Retry => "retry",
        }
    }
}
