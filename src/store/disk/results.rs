//! The RESULT frames of ended tasks. Many make one row of `results`; the row of the same number in
//! `results-index` says which, so that a lookup reads about one row and a sweep reads none.
//!
//! A row of `results` is [`super::packed`]. Rows are numbered as they come: a lower number is older.
//! Frames that are kept for very different times do not share a row, so that a row goes, whole, not
//! long after most of it is over.
//!
//! A row of `results-index` is the lowest and the highest identifier (u64), the latest time (u64),
//! bytes and checksum of the row (u32 each), the class of its times (u8), and a [`Filter`] (u64s).

use std::collections::BTreeMap;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::fault::{Fault, damaged};
use super::filter::Filter;
use super::layout::{Reader, Table, key, number, unseal};
use super::meta::{Meta, Sum};
use super::packed::{Ended, Packed, cut, pack};

/// Bytes below which a row takes in more frames, rather than a further row being begun.
const SMALL: u32 = 64 << 10;

/// What the rows of results hold, in memory: about two bytes a result.
#[derive(Debug, Default)]
pub(super) struct Results {
    rows: BTreeMap<u64, Entry>,
    bytes: u64,
    cap: u64,
}

/// What a row of results holds.
#[derive(Clone, Debug)]
struct Entry {
    low: u64,
    high: u64,
    until_ms: u64,
    bytes: u32,
    crc: u32,
    class: u8,
    filter: Filter,
}

impl Results {
    /// Reads the index, and compares it with its sum.
    pub(super) fn read(
        transaction: &ReadTransaction,
        meta: &Meta,
        cap: u64,
    ) -> Result<Self, Fault> {
        let mut results = Self { cap, ..Self::default() };
        let mut sum = Sum::default();
        for row in transaction.open_table(Table::ResultsIndex.rows())?.iter()? {
            let (key, value) = row?;
            let (payload, crc) = unseal(Table::ResultsIndex, key.value(), value.value())?;
            let Some(entry) = Entry::decode(&mut Reader(payload)) else {
                return damaged("a row of the results' index has a wrong length");
            };
            sum.add(crc);
            results.bytes += u64::from(entry.bytes);
            results.rows.insert(number(key.value())?, entry);
        }
        meta.compare(Table::ResultsIndex, sum)?;
        let rows = transaction.open_table(Table::Results.rows())?.len()?;
        if rows != results.rows.len() as u64 {
            return damaged(format!("{rows} rows of results, not {}", results.rows.len()));
        }
        Ok(results)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts results into rows, except those that are over at a time.
    pub(super) fn add(
        &mut self,
        transaction: &WriteTransaction,
        meta: &mut Meta,
        mut ended: Vec<Ended<'_>>,
        wall_ms: u64,
    ) -> Result<(), Fault> {
        ended.retain(|ended| ended.until_ms > wall_ms);
        let class = |ended: &Ended<'_>| class(ended.until_ms - wall_ms);
        ended.sort_by_key(|ended| (class(ended), ended.id));
        for alike in ended.chunk_by(|a, b| class(a) == class(b)) {
            if let Some(first) = alike.first() {
                self.add_class(transaction, meta, class(first), alike, wall_ms)?;
            }
        }
        Ok(())
    }

    /// Puts results of one class, in the order of their identifiers, into its newest row as long as
    /// that is small, and into further rows.
    fn add_class(
        &mut self,
        transaction: &WriteTransaction,
        meta: &mut Meta,
        class: u8,
        ended: &[Ended<'_>],
        wall_ms: u64,
    ) -> Result<(), Fault> {
        let mut table = transaction.open_table(Table::Results.rows())?;
        let newest = self.rows.iter().rev().find(|(_, entry)| entry.class == class);
        let small = newest.filter(|(_, entry)| entry.bytes < SMALL).map(|(&at, _)| at);
        let old = match small {
            Some(at) => table.remove(key(at).as_slice())?.map(|old| old.value().to_vec()),
            None => None,
        };
        let mut all: Vec<Ended<'_>> = Vec::new();
        if let Some((at, old)) = small.zip(old.as_ref()) {
            let kept = self.unpack(at, old)?.all();
            all.extend(kept.filter(|old| old.until_ms > wall_ms));
        }
        all.extend_from_slice(ended);
        // Stable: of several about one task the last one given comes last, and stays.
        all.sort_by_key(|ended| ended.id);
        let mut next = small;
        let mut value = Vec::new();
        for some in cut(&all) {
            let at = next.take().unwrap_or_else(|| {
                meta.results += 1;
                meta.results
            });
            let entry = Entry::of(at, class, &some, &mut value);
            table.insert(key(at).as_slice(), value.as_slice())?;
            meta.table(transaction, Table::ResultsIndex)?.put(&key(at), &[&entry.encode()])?;
            self.bytes += u64::from(entry.bytes);
            if let Some(old) = self.rows.insert(at, entry) {
                self.bytes -= u64::from(old.bytes);
            }
        }
        Ok(())
    }

    /// The RESULT frame of a task, if it is in a row and not over.
    pub(super) fn get(
        &self,
        transaction: &ReadTransaction,
        id: u64,
        wall_ms: u64,
    ) -> Result<Option<Bytes>, Fault> {
        let table = transaction.open_table(Table::Results.rows())?;
        for (&at, entry) in self.rows.iter().rev() {
            if !(entry.low..=entry.high).contains(&id) || !entry.filter.may_hold(id) {
                continue;
            }
            let Some(value) = table.get(key(at).as_slice())? else {
                return damaged("a row of results is missing");
            };
            if let Some(ended) = self.unpack(at, value.value())?.find(id) {
                let kept = ended.until_ms > wall_ms;
                return Ok(kept.then(|| Bytes::copy_from_slice(ended.frame)));
            }
        }
        Ok(None)
    }

    /// Removes rows that are over at a time, and the oldest beyond the cap, so many at most. True if
    /// there are more.
    pub(super) fn trim(
        &mut self,
        transaction: &WriteTransaction,
        meta: &mut Meta,
        wall_ms: u64,
        most: usize,
    ) -> Result<bool, Fault> {
        let (rows, more) = self.due(wall_ms, most);
        if !rows.is_empty() {
            self.remove(transaction, meta, &rows)?;
        }
        Ok(more)
    }

    /// Whether there is something to [`Results::trim`].
    pub(super) fn is_due(&self, wall_ms: u64) -> bool {
        !self.due(wall_ms, 1).0.is_empty()
    }

    fn due(&self, wall_ms: u64, most: usize) -> (Vec<u64>, bool) {
        let mut bytes = self.bytes;
        let mut due = |entry: &Entry| {
            let due = entry.until_ms <= wall_ms || bytes > self.cap;
            bytes -= if due { u64::from(entry.bytes) } else { 0 };
            due
        };
        let mut due = self.rows.iter().filter(|(_, entry)| due(entry)).map(|(&at, _)| at);
        (due.by_ref().take(most).collect(), due.next().is_some())
    }

    fn remove(
        &mut self,
        transaction: &WriteTransaction,
        meta: &mut Meta,
        rows: &[u64],
    ) -> Result<(), Fault> {
        let mut table = transaction.open_table(Table::Results.rows())?;
        let mut index = meta.table(transaction, Table::ResultsIndex)?;
        for &at in rows {
            table.remove(key(at).as_slice())?;
            index.remove(&key(at))?;
            if let Some(entry) = self.rows.remove(&at) {
                self.bytes -= u64::from(entry.bytes);
            }
        }
        Ok(())
    }

    /// Reads a row, which must be the one that the index knows.
    fn unpack<'v>(&self, at: u64, value: &'v [u8]) -> Result<Packed<'v>, Fault> {
        let (payload, crc) = unseal(Table::Results, &key(at), value)?;
        if self.rows.get(&at).is_none_or(|entry| entry.crc != crc) {
            return damaged("a row of results is not the one in its index");
        }
        match Packed::read(payload) {
            Some(packed) => Ok(packed),
            None => damaged("a row of results is cut short"),
        }
    }
}

/// How long a result is kept, as a power of two of minutes.
fn class(left_ms: u64) -> u8 {
    (left_ms / 60_000 + 1).ilog2().try_into().unwrap_or(u8::MAX)
}

impl Entry {
    /// That of a row of results, which is spelled into `value`.
    fn of(at: u64, class: u8, ended: &[&Ended<'_>], value: &mut Vec<u8>) -> Self {
        Self {
            low: ended.first().map_or(0, |ended| ended.id),
            high: ended.last().map_or(0, |ended| ended.id),
            until_ms: ended.iter().map(|ended| ended.until_ms).max().unwrap_or(0),
            crc: pack(at, ended, value),
            bytes: u32::try_from(value.len()).unwrap_or(u32::MAX),
            class,
            filter: Filter::of(ended.iter().map(|ended| ended.id)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(40 + self.filter.words().len() * 8);
        for number in [self.low, self.high, self.until_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.push(self.class);
        for word in self.filter.words() {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out
    }

    fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let (low, high, until_ms) = (from.u64()?, from.u64()?, from.u64()?);
        let (bytes, crc, class) = (from.u32()?, from.u32()?, from.u8()?);
        let (words, []) = from.0.as_chunks() else { return None };
        let filter =
            Filter::from_words(words.iter().map(|&word| u64::from_le_bytes(word)).collect());
        Some(Self { low, high, until_ms, bytes, crc, class, filter })
    }
}
