//! The vocabulary of tasks: identifiers, names, states. No behaviour beyond conversions.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;

/// Identifies a task: 63 bits, written as 13 characters of Crockford base32 in lower case.
///
/// From the top: 42 bits of milliseconds since 2020-01-01 UTC, 8 bits of shard, 13 bits of
/// sequence. Identifiers of one shard rise with every submission and never repeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TaskId(u64);

const EPOCH_MS: u64 = 1_577_836_800_000;
const SEQUENCE_BITS: u32 = 13;
const SHARD_BITS: u32 = 8;
const MS_BITS: u32 = 42;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl TaskId {
    /// Characters of a written identifier.
    pub const LEN: usize = 13;

    /// The identifier with these bits; the top bit is dropped.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & (u64::MAX >> 1))
    }

    /// The 63 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The identifier after `last` at a wall time: the larger of the clock and `last + 1`, so that
    /// identifiers rise even while the clock stands still or steps back.
    pub fn next(last: Self, wall_ms: u64, shard: u8) -> Self {
        let ms_max = (1_u64 << MS_BITS) - 1;
        let clock = wall_ms.saturating_sub(EPOCH_MS).min(ms_max);
        let (last_ms, sequence) = (last.0 >> (SEQUENCE_BITS + SHARD_BITS), last.sequence());
        let (ms, sequence) = if clock > last_ms {
            (clock, 0)
        } else if sequence + 1 < 1 << SEQUENCE_BITS {
            (last_ms, sequence + 1)
        } else {
            assert!(last_ms < ms_max, "task identifiers are used up");
            (last_ms + 1, 0)
        };
        Self(ms << (SEQUENCE_BITS + SHARD_BITS) | u64::from(shard) << SEQUENCE_BITS | sequence)
    }

    /// Unix milliseconds at which the task was submitted, as far as the identifier tells.
    pub const fn wall_ms(self) -> u64 {
        (self.0 >> (SEQUENCE_BITS + SHARD_BITS)) + EPOCH_MS
    }

    /// The shard that issued it.
    pub const fn shard(self) -> u8 {
        (self.0 >> SEQUENCE_BITS & 0xff) as u8
    }

    const fn sequence(self) -> u64 {
        self.0 & ((1 << SEQUENCE_BITS) - 1)
    }

    /// The written form.
    pub fn text(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        for (place, byte) in out.iter_mut().rev().enumerate() {
            let digit = self.0 >> (5 * place) & 31;
            *byte = ALPHABET.get(usize::try_from(digit).unwrap_or(0)).copied().unwrap_or(b'0');
        }
        out
    }

    /// Reads the written form; `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != Self::LEN {
            return None;
        }
        let mut bits: u64 = 0;
        for &byte in text {
            let digit = DIGITS.get(usize::from(byte)).copied().filter(|&digit| digit < 32)?;
            if bits >> 58 != 0 {
                return None;
            }
            bits = bits << 5 | u64::from(digit);
        }
        Some(Self(bits))
    }
}

/// The value of each Crockford digit, 255 for other bytes.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut value = 0;
    while value < 32 {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler; in bounds")]
        #[expect(clippy::cast_possible_truncation, reason = "below 32")]
        {
            digits[ALPHABET[value] as usize] = value as u8;
        }
        value += 1;
    }
    digits
};

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TaskId {
    type Err = NotATaskId;

    fn from_str(text: &str) -> Result<Self, NotATaskId> {
        Self::parse(text.as_bytes()).ok_or(NotATaskId)
    }
}

/// The text is not a task identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotATaskId;

impl fmt::Display for NotATaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a task id: expected 13 characters of 0-9 a-z without i, l, o, u")
    }
}

impl std::error::Error for NotATaskId {}

/// For maps by identifier.
pub type IdState = BuildHasherDefault<IdHasher>;

/// Spreads identifiers, which the scheduler alone issues, over a hash table, but sixteen in a row
/// to the same place: what is submitted together ends at about the same time, and is found in the
/// same cache lines then.
#[derive(Debug, Default, Clone, Copy)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u32(&mut self, bits: u32) {
        self.write_u64(bits.into());
    }

    fn write_u64(&mut self, bits: u64) {
        // Fibonacci hashing, folded: the table takes the place from the low bits, and from the top
        // seven a tag, by which the sixteen differ.
        let spread = (self.0 ^ bits >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let low = bits & 15;
        self.0 = (spread ^ (spread >> 32)) << 4 ^ low ^ low << 57;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Names a session: 128 random bits, written as 32 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SessionId(pub u128);

impl SessionId {
    /// Reads the written form; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(lower) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Counts the leases of a task, from 1; with the task's identifier it names one lease.
pub type Attempt = u32;

/// Where a task stands.
///
/// ```text
///              +-----------+   due    +-------+ dispatch +--------+  DONE   +------+
///   SUBMIT --> | scheduled | -------> | ready | -------> | leased | ------> | done |
///      |       +-----------+          +-------+          +--------+         +------+
///      |  after=, serial= +---------+   ^  ^   FAIL, lost, timeout |  allowance used up   +------+
///      +----------------> | blocked | --+  +------- backoff -------+--------------------> | dead |
///                         +---------+        (as scheduled)                               +------+
///   CANCEL before an end, or expires= before a lease: cancelled.
///   RETRY of dead or cancelled: ready again.
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum State {
    /// Not before a time: a delay, or the backoff between two attempts.
    Scheduled,
    /// Due, and waits for other tasks: for its turn among those of its key.
    Blocked,
    /// Waits for a worker.
    Ready,
    /// A worker holds it.
    Leased,
    /// Ended with a result.
    Done,
    /// Ended without one; kept until RETRY or PURGE.
    Dead,
    /// Ended because somebody, or its expiry, said so.
    Cancelled,
}

impl State {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Blocked,
        Self::Ready,
        Self::Leased,
        Self::Done,
        Self::Dead,
        Self::Cancelled,
    ];

    /// The word for it on the wire, in records and in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Blocked => "blocked",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether nothing happens any more unless somebody says RETRY.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Whether a text is a name (of a queue, kind, worker or tag): 1 to 128 characters of
/// `A-Z a-z 0-9 . _ / -`.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_while_the_clock_stands_or_steps_back() {
        let first = TaskId::next(TaskId::default(), 1_790_000_000_000, 3);
        let same_ms = TaskId::next(first, 1_790_000_000_000, 3);
        let earlier = TaskId::next(same_ms, 1_500_000_000_000, 3);
        assert!(first < same_ms && same_ms < earlier);
        assert_eq!((first.wall_ms(), first.shard()), (1_790_000_000_000, 3));
    }

    #[test]
    fn a_full_sequence_moves_on_to_the_next_millisecond() {
        let full =
            TaskId::from_bits(TaskId::next(TaskId::default(), EPOCH_MS + 5, 9).bits() | 8191);
        let next = TaskId::next(full, EPOCH_MS + 5, 9);
        assert_eq!((next.wall_ms(), next.sequence(), next.shard()), (EPOCH_MS + 6, 0, 9));
    }

    #[test]
    fn written_ids_are_read_back_and_nothing_else_is() {
        for bits in [0, 1, 31, 32, u64::MAX >> 1] {
            let id = TaskId::from_bits(bits);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in ["", "0", "zzzzzzzzzzzzz", "000000000000i", "0000000000000 ", "000000000000A"] {
            assert_eq!(text.parse::<TaskId>(), Err(NotATaskId), "{text}");
        }
    }

    #[test]
    fn names_have_an_alphabet_and_a_length() {
        assert!(is_name("img/resize_2.v1-x") && is_name(&"a".repeat(128)));
        for bad in ["", "a b", "a=b", "ä", "{x}", "*", "a%20b", &"a".repeat(129)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
