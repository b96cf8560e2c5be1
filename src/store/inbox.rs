//! What a store tells of its inbox: entries that programs left there which have no connection.

use bytes::Bytes;

/// How much of an inbox to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bite {
    /// Entries at most.
    pub entries: usize,
    /// Bytes of entries together at most, or else a single one.
    pub bytes: usize,
    /// Bytes of an entry beyond which it is not handed over.
    pub entry_max: u64,
}

/// An entry as it stands in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// All of it.
    Whole(Bytes),
    /// It is longer than it may be. It comes alone.
    TooLarge {
        /// Its length in bytes.
        length: u64,
        /// How it begins.
        beginning: Bytes,
    },
}

/// Waits for entries, on a thread of its own.
pub trait Bell: Send {
    /// Blocks until there may be new entries, or about a second has passed.
    fn wait(&mut self) -> Ring;
}

/// What waiting came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// There may be new entries.
    Rung,
    /// None that are known of.
    Quiet,
    /// It cannot be told: they have to be looked for every second.
    Deaf,
}
