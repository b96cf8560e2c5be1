//! Everything that can happen.

use crate::message::{Entry, Hello, Refusal, Request};
use crate::task::{Attempt, SessionId, TaskId};

/// The two clocks, read by the shell once per turn.
///
/// Timeouts, grace, delays and waiting count on the first, which never goes back, and stands still
/// while the process is held up; identifiers, `at=`, expiry and retention count on the second, which
/// may be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Microseconds of a monotonic clock, from any origin.
    pub mono_us: u64,
    /// Unix milliseconds.
    pub wall_ms: u64,
}

/// Names a connection for its life: an index that the shell reuses, and a serial that it does not.
/// Serial 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Small, reused.
    pub index: u32,
    /// Never reused.
    pub serial: u32,
}

impl Peer {
    /// Whether it names a connection at all.
    pub const fn is_some(self) -> bool {
        self.serial != 0
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A peer said HELLO, and its token grants the role.
    Joined {
        /// The connection.
        peer: Peer,
        /// What it said.
        hello: Box<Hello>,
        /// The identifier of its session, if it does not take up an earlier one.
        fresh: SessionId,
        /// Which token it showed; sessions and names belong to the one that made them.
        credential: u32,
    },
    /// A connection ended without BYE.
    Left {
        /// The connection.
        peer: Peer,
    },
    /// A peer will send nothing more, and may still read.
    HalfClosed {
        /// The connection.
        peer: Peer,
    },
    /// A peer asks for something that its session may ask for.
    Request {
        /// The connection.
        peer: Peer,
        /// What it asks for.
        request: Request,
    },
    /// A frame is refused as it stands; the refusal takes its turn among the replies.
    Refused {
        /// The connection.
        peer: Peer,
        /// Why; its severity tells whether the connection goes on.
        refusal: Refusal,
    },
    /// A worker announced a result over the limit; its connection is closed.
    Oversized {
        /// The connection.
        peer: Peer,
        /// The task.
        id: TaskId,
        /// The lease.
        attempt: Attempt,
    },
    /// These are the next entries of the store's inbox, oldest first. Those that the turn's batch does
    /// not take stay there.
    Entries(Vec<Entry>),
    /// The store is nearly full, or no longer.
    Pressure(bool),
    /// So many entries are in the store's inbox, as far as it can tell.
    Inbox(Option<u64>),
    /// The scheduler stops: every worker is told that it will be back.
    Stop,
    /// A deadline may have passed.
    Due,
}
