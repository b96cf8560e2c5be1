//! The closed list of error codes: the word after `ERR`.

/// Why something was refused. The words never change their meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Code {
    /// The stream broke the grammar of frames.
    BadFrame,
    /// A header or payload over the limit was announced.
    TooLarge,
    /// A frame that may not come here: no HELLO first, a second one, or a verb of the other side.
    Unexpected,
    /// No common protocol version.
    Version,
    /// HELLO lacks something, or holds a value that cannot be.
    BadHello,
    /// The token is wrong, or grants nothing that the role needs.
    Denied,
    /// Too slow: HELLO, the rest of a frame, or reading what was sent.
    Timeout,
    /// Too many connections; `retry=` says when to try again.
    TooManyConnections,
    /// The verb is not known.
    UnknownVerb,
    /// An argument, option or payload that the verb needs is missing.
    Missing,
    /// An argument, option or payload that the verb does not take, or one given twice.
    UnknownOption,
    /// A value is not of its form or out of its range.
    BadValue,
    /// Options that exclude each other.
    Conflict,
    /// The session may not do this: its role or its token does not grant it.
    Forbidden,
    /// No such task was ever submitted.
    UnknownTask,
    /// The task's record is no longer kept.
    Expired,
    /// The lease is not, or no longer, this session's.
    Stale,
    /// The task has ended.
    Ended,
    /// The task has not ended, or its last run is unanswered.
    Running,
    /// Not now: `retry=` milliseconds say when to try again.
    Busy,
    /// No such queue.
    UnknownQueue,
    /// No such worker.
    UnknownWorker,
    /// No such periodic task.
    UnknownCron,
    /// The task belongs to another shard.
    WrongShard,
}

/// What a refusal costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The request had no effect; the connection goes on.
    Answer,
    /// The connection is closed after the replies that are due.
    Close,
}

impl Code {
    /// Every code, in the order of protocol.md.
    pub const ALL: [Self; 24] = [
        Self::BadFrame,
        Self::TooLarge,
        Self::Unexpected,
        Self::Version,
        Self::BadHello,
        Self::Denied,
        Self::Timeout,
        Self::TooManyConnections,
        Self::UnknownVerb,
        Self::Missing,
        Self::UnknownOption,
        Self::BadValue,
        Self::Conflict,
        Self::Forbidden,
        Self::UnknownTask,
        Self::Expired,
        Self::Stale,
        Self::Ended,
        Self::Running,
        Self::Busy,
        Self::UnknownQueue,
        Self::UnknownWorker,
        Self::UnknownCron,
        Self::WrongShard,
    ];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadFrame => "bad-frame",
            Self::TooLarge => "too-large",
            Self::Unexpected => "unexpected",
            Self::Version => "version",
            Self::BadHello => "bad-hello",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::TooManyConnections => "too-many-connections",
            Self::UnknownVerb => "unknown-verb",
            Self::Missing => "missing",
            Self::UnknownOption => "unknown-option",
            Self::BadValue => "bad-value",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::UnknownTask => "unknown-task",
            Self::Expired => "expired",
            Self::Stale => "stale",
            Self::Ended => "ended",
            Self::Running => "running",
            Self::Busy => "busy",
            Self::UnknownQueue => "unknown-queue",
            Self::UnknownWorker => "unknown-worker",
            Self::UnknownCron => "unknown-cron",
            Self::WrongShard => "wrong-shard",
        }
    }

    /// The code of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.word() == word)
    }

    /// Whether the connection survives it.
    pub const fn severity(self) -> Severity {
        match self {
            Self::BadFrame
            | Self::TooLarge
            | Self::Unexpected
            | Self::Version
            | Self::BadHello
            | Self::Denied
            | Self::Timeout
            | Self::TooManyConnections => Severity::Close,
            _ => Severity::Answer,
        }
    }
}
