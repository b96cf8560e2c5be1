//! What can happen in a run: the vocabulary of its calendar.

use ganger::core::Peer;
use ganger::task::TaskId;

/// One thing that is going to happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A connection that was dialled reaches the scheduler.
    Dialled { link: usize },
    /// The next piece of a direction arrives.
    Arrive { link: usize, way: Way },
    /// The reader of a direction learns that the connection is gone.
    Gone { link: usize, way: Way },
    /// The scheduler looks at what has arrived and at its deadlines.
    Turn { life: u32 },
    /// The store applies the batch in its hands.
    Applied { life: u32, turn: u64 },
    /// The store answers.
    Answered { life: u32, turn: u64 },
    /// The scheduler looks whether a worker is alive.
    Beat { life: u32, peer: Peer },
    /// A scheduler is started.
    Start,
    /// This scheduler dies.
    Crash { life: u32 },
    /// Something breaks.
    Fault(Fault),
    /// The store says whether it is nearly full.
    Pressure(bool),
    /// The store forgets results whose time is over.
    Sweep,
    /// A program leaves an entry in the inbox of the store.
    Push,
    /// A worker's process does something; it ignores what an earlier process of it had in mind.
    Worker { index: usize, life: u32, chore: Chore },
    /// A client does something.
    Client { index: usize, life: u32, chore: Errand },
}

/// The direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the scheduler.
    Up,
    /// To the peer.
    Down,
}

/// What breaks now and then, each at the intervals of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Break,
    Silence,
    Crash,
    Stop,
    Wall,
    Pressure,
    Nap,
    HoldUp,
}

/// What a worker has in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    Dial,
    /// A run is over.
    Finish(TaskId, u32),
    /// A run gets on.
    Progress(TaskId, u32),
    Whim,
}

/// What a client has in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    Dial,
    Ask,
}

/// Who is at the far end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    Worker(usize),
    Client(usize),
}
