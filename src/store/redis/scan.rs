//! Pages of a hash, of a size that neither Redis nor we notice.

use redis::{ParsingError, Value};

/// Bytes that a page should have.
const PAGE_BYTES: usize = 1 << 20;
/// Fields of the first page, whose length is a surprise.
const FIRST: usize = 200;
/// The bounds of all others.
const COUNT: std::ops::RangeInclusive<usize> = 10..=5000;

/// The reply to HSCAN.
pub(super) struct Page {
    /// Where the next page begins.
    pub(super) cursor: String,
    /// Fields and values in turn.
    pub(super) texts: Vec<Vec<u8>>,
}

impl Page {
    /// Reads a reply.
    pub(super) fn read(reply: Value) -> Result<Self, ParsingError> {
        let (cursor, texts) = redis::from_redis_value(reply)?;
        Ok(Self { cursor, texts })
    }

    /// Whether no page follows.
    pub(super) fn is_last(&self) -> bool {
        self.cursor == "0"
    }

    /// Bytes of all texts.
    pub(super) fn bytes(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }
}

/// How many fields to ask for, after a page of so many that took so many bytes.
pub(super) fn next_count(before: Option<(usize, usize)>) -> usize {
    match before {
        None => FIRST,
        Some((count, bytes)) => {
            (count * PAGE_BYTES / bytes.max(1)).clamp(*COUNT.start(), *COUNT.end())
        }
    }
}
