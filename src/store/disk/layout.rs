//! Which tables there are in the database, and how a row of them is spelled.
//!
//! | table | key | payload of the value |
//! |---|---|---|
//! | `tasks` | id | SUBMIT frame of an unfinished task |
//! | `state` | id | its state line, if it has one |
//! | `buried` | id | length of the state line (u32), state line, SUBMIT frame |
//! | `lines` | the kind (1 byte), name | line of a queue, a worker, figures, a hold, a periodic task or a run |
//! | `results` | number | RESULT frames, packed, see [`super::results`] |
//! | `results-index` | number | what the row of that number in `results` holds |
//! | `meta` | 0 | see [`super::meta`] |
//!
//! Numbers in keys are 8 bytes, big-endian, so that rows lie in their order; in payloads they are
//! little-endian. Every value begins with [`FORMAT`] (1 byte) and the CRC-32C (4 bytes) of the
//! table's letter, the key and the payload. No row is used before its checksum was compared.
//!
//! Invariants, compared when the store is opened and loaded:
//! - the state is the tables with the rows of the log ([`super::log`]) applied in order;
//! - the first row of the log follows `folded` in `meta`, and each carries on the chain of checksums;
//! - a table holds as many rows as `meta` says, and their checksums add up to its sum;
//! - a row in `state` has one in `tasks`; a row in `results-index` has one in `results`.
//!
//! To change the layout: raise [`FORMAT`], let [`super::Disk::open`] read the old one and rewrite
//! it in one transaction before the marker file names the new one, add a directory written by the
//! old version to the tests, and name both in CHANGELOG.md.

use redb::TableDefinition;

use super::fault::{Fault, damaged};

/// The version of the layout.
pub(super) const FORMAT: u8 = 1;

pub(super) type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// A table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Table {
    Tasks,
    State,
    Buried,
    Lines,
    Results,
    ResultsIndex,
    Meta,
}

impl Table {
    pub(super) const ALL: [Self; 7] = [
        Self::Tasks,
        Self::State,
        Self::Buried,
        Self::Lines,
        Self::Results,
        Self::ResultsIndex,
        Self::Meta,
    ];

    pub(super) const fn rows(self) -> Rows {
        TableDefinition::new(match self {
            Self::Tasks => "tasks",
            Self::State => "state",
            Self::Buried => "buried",
            Self::Lines => "lines",
            Self::Results => "results",
            Self::ResultsIndex => "results-index",
            Self::Meta => "meta",
        })
    }

    const fn letter(self) -> u8 {
        match self {
            Self::Tasks => b't',
            Self::State => b's',
            Self::Buried => b'b',
            Self::Lines => b'n',
            Self::Results => b'r',
            Self::ResultsIndex => b'i',
            Self::Meta => b'm',
        }
    }
}

/// The key of a number.
pub(super) fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The number of a key.
pub(super) fn number(key: &[u8]) -> Result<u64, Fault> {
    match key.try_into() {
        Ok(key) => Ok(u64::from_be_bytes(key)),
        Err(_) => damaged("a key is not a number"),
    }
}

/// Bytes before the payload of a value.
const SEAL: usize = 5;

/// Begins a value: its payload is appended, then [`seal`] fills in the rest.
pub(super) fn begin(value: &mut Vec<u8>) {
    value.clear();
    value.resize(SEAL, 0);
}

/// Completes a value that [`begin`] began, and gives its checksum.
pub(super) fn seal(table: Table, key: &[u8], value: &mut [u8]) -> u32 {
    let Some((head, payload)) = value.split_first_chunk_mut::<SEAL>() else { return 0 };
    let sum = checksum(table.letter(), key, 0, payload);
    let [a, b, c, d] = sum.to_le_bytes();
    *head = [FORMAT, a, b, c, d];
    sum
}

/// The payload of a value and its checksum, compared.
pub(super) fn unseal<'v>(
    table: Table,
    key: &[u8],
    value: &'v [u8],
) -> Result<(&'v [u8], u32), Fault> {
    let Some((&[version, a, b, c, d], payload)) = value.split_first_chunk::<SEAL>() else {
        return damaged(format!("a row of {table:?} is cut short"));
    };
    if version != FORMAT {
        return damaged(format!("a row of {table:?} has format {version}, not {FORMAT}"));
    }
    let sum = checksum(table.letter(), key, 0, payload);
    if sum != u32::from_le_bytes([a, b, c, d]) {
        return damaged(format!("a row of {table:?} has a wrong checksum"));
    }
    Ok((payload, sum))
}

/// The checksum that a value carries, for the sums; it is not compared.
pub(super) fn carried(value: &[u8]) -> u32 {
    match value {
        [_, a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => 0,
    }
}

/// The CRC-32C of a letter, a key and a payload; `chain` is what comes before them, or 0.
pub(super) fn checksum(letter: u8, key: &[u8], chain: u32, payload: &[u8]) -> u32 {
    let sum = crc32c::crc32c_append(chain, &[letter]);
    crc32c::crc32c_append(crc32c::crc32c_append(sum, key), payload)
}

/// Takes numbers and bytes off the front of a payload; `None` where it is too short.
#[derive(Clone, Debug)]
pub(super) struct Reader<'p>(pub(super) &'p [u8]);

impl<'p> Reader<'p> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self, length: u32) -> Option<&'p [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// The length of a text as it is stored.
///
/// # Panics
///
/// If it is 4 GiB or more, which no batch can hold.
pub(super) fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("a batch holds less than 4 GiB").to_le_bytes()
}
