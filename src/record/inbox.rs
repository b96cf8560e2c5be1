//! What a turn does to the inbox of its store, and to those who are told through lists.

use super::Text;

/// What a batch does to an inbox. Stores without one are never given any of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Inbox {
    /// The entries that go, oldest first.
    pub taken: Vec<Taken>,
    /// What is told, in order.
    pub told: Vec<Told>,
}

/// An entry that goes with the batch: what became of it is in the same batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is a task, or found one that holds its `unique=`.
    Accepted {
        /// The entry.
        entry: Text,
    },
    /// It goes to the refused ones.
    Refused {
        /// The entry.
        entry: Text,
        /// ERR with its line feed.
        line: Text,
    },
    /// It was never read whole, and goes to the refused ones.
    TooLarge {
        /// How long it is, in bytes.
        length: u64,
        /// Its beginning.
        beginning: Text,
        /// ERR with its line feed.
        line: Text,
    },
}

/// A frame for a list that a program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The list's name.
    pub list: Text,
    /// The frame.
    pub frame: Text,
    /// How long the list lives after it, in milliseconds.
    pub keep_ms: u64,
}

impl Inbox {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.taken.clear();
        self.told.clear();
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.told.is_empty()
    }
}
