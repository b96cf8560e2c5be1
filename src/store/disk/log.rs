//! The file that a turn is appended to before it is acknowledged, with one sync.
//!
//! | bytes | hold |
//! |---|---|
//! | 0 to 4095 | [`FORMAT`] (u8), the number of the store (u128), the CRC-32C of both (u32) |
//! | 4096 to 69631 | copies of the last two rows, 16 KiB each: two of the even one, two of the odd one |
//! | from 69632 | rows ([`super::row`]) in a ring: after the last of the file, the next is the first here |
//!
//! Rows form a chain, each carrying on the checksum of the one before; where it breaks, the log ends.
//! The row behind the end may be one that was being written when the power went, or one that was
//! acknowledged and has been damaged since. The copies tell the two apart, and more: they are
//! written with the row and synced with it, so whichever of the three is damaged, the others have the
//! row. Only a row that never was acknowledged can be missing in all of them; and the copies of the
//! row before it, which its own writing does not touch, say how far the log goes at least. A row that
//! is too long to be copied is synced first; its copies are marks, which say that it was there.
//!
//! A copy is the row's sequence number (u64), the checksum of the row before (u32), its own (u32),
//! its length, or 0 for a mark (u32), the CRC-32C of these fields, and the row.

#[cfg(test)]
#[path = "ring.rs"]
mod ring;

use redb::StorageBackend;

use super::fault::{Fault, damaged};
use super::layout::{FORMAT, Reader, length};
use super::row::{Row, measure};

/// Where the copies of even rows are, and those of odd ones; and how long each may be.
const COPIES: [[u64; 2]; 2] = [[4 << 10, 20 << 10], [36 << 10, 52 << 10]];
const COPY: usize = 16 << 10;

/// Bytes of a copy before the row.
const MARK: usize = 24;

/// Where rows begin.
pub(super) const AREA: u64 = 68 << 10;

/// The file grows by itself, up to so many bytes at a time.
const GROWTH: u64 = 4 << 20;

/// Bytes that are read at once when the log is walked through.
const READ: u64 = 4 << 10;

/// Bytes of the head.
const HEAD: usize = 21;

/// The open file.
#[derive(Debug)]
pub(super) struct Log {
    file: Box<dyn StorageBackend>,
    length: u64,
    /// Where the oldest row is that is still needed.
    oldest: u64,
    /// Where the newest row ends. Before `oldest` if the ring has wrapped round; equal to it if no
    /// row is needed.
    end: u64,
}

/// The end of the log, or of a part of it: what the next row carries on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The sequence number of the last row.
    pub(super) seq: u64,
    /// Its checksum.
    pub(super) chain: u32,
}

impl Log {
    /// Begins the log of a store in an empty file.
    pub(super) fn create(file: Box<dyn StorageBackend>, store: u128) -> Result<Self, Fault> {
        file.set_len(AREA)?;
        file.write(0, &head(store))?;
        let log = Self { file, length: AREA, oldest: AREA, end: AREA };
        log.copy(Mark { seq: 0, chain: 0 }, 0, &[])?;
        log.file.sync_data()?;
        Ok(log)
    }

    /// Opens the log of a store.
    pub(super) fn open(file: Box<dyn StorageBackend>, store: u128) -> Result<Self, Fault> {
        let length = file.len()?;
        if length < AREA {
            return damaged("the log is cut short");
        }
        let mut found = [0; HEAD];
        file.read(0, &mut found)?;
        match found.split_at(HEAD - 4) {
            _ if found == *head(store) => Ok(Self { file, length, oldest: AREA, end: AREA }),
            (says, sum) if crc32c::crc32c(says).to_le_bytes() == sum => {
                damaged("the log is that of another store, or of another format")
            }
            _ => damaged("the log's head is damaged"),
        }
    }

    /// Walks along the chain of rows that follow a mark, from the place where the row of the mark
    /// ends, and hands over each with the mark before it and its place. There must be those up to
    /// `known`, a mark at or behind the first. What is found is durable when this returns, whatever it
    /// was before.
    pub(super) fn recover(
        &mut self,
        from: Mark,
        place: u64,
        known: Mark,
        mut each: impl FnMut(Mark, u64, &[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if !(AREA..=self.length).contains(&place) {
            return damaged("the log is cut short");
        }
        (self.oldest, self.end) = (place, place);
        let (mut last, mut newest) = (from, None);
        while let Some((at, row, chain)) = self.next(last)? {
            each(last, at, &row)?;
            self.end = at + row.len() as u64;
            newest = Some((last, at, row));
            last = Mark { seq: last.seq + 1, chain };
            if last.seq == known.seq && last.chain != known.chain {
                return damaged("the log is not the one that the database knows");
            }
        }
        if let Some(row) = self.missing(last)? {
            let at = self.take(row.row.len() as u64)?;
            each(last, at, &row.row)?;
            newest = Some((last, at, row.row));
            last = row.mark;
        }
        if last.seq < known.seq {
            return damaged("the log is older than the database");
        }
        // A sync that failed may have left what can be read and was never written. So the newest row,
        // the only one that may not have been acknowledged, is written again.
        match newest {
            Some((before, at, row)) => self.secure(before, last.chain, at, &row),
            None => {
                self.copy(last, 0, &[])?;
                Ok(self.file.sync_data()?)
            }
        }
    }

    /// What the copies have beyond the end of the walk: the row after it, or nothing.
    fn missing(&self, last: Mark) -> Result<Option<Copied>, Fault> {
        let mut newest: Option<Copied> = None;
        for at in COPIES.into_iter().flatten() {
            let Some(copy) = Copied::read(&self.read(at, COPY as u64)?) else { continue };
            let rank = |copy: &Copied| (copy.mark.seq, copy.row.len());
            if newest.as_ref().is_none_or(|newest| rank(newest) < rank(&copy)) {
                newest = Some(copy);
            }
        }
        let Some(copy) = newest else { return damaged("all copies in the log are damaged") };
        match copy.mark.seq.checked_sub(last.seq) {
            Some(0) if copy.mark.chain == last.chain => Ok(None),
            // The newest row is there, and its copies were being written.
            None if copy.mark.seq + 1 == last.seq => Ok(None),
            Some(1) if copy.before == last.chain && !copy.row.is_empty() => Ok(Some(copy)),
            _ => damaged(format!("row {} of the log is damaged", last.seq + 1)),
        }
    }

    /// Whether a row of so many bytes can be appended now. It can whenever no row is needed.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.place(bytes as u64).is_some()
    }

    /// Appends a row, for which there is room, and gives its place. It is durable when this returns.
    pub(super) fn append(&mut self, before: Mark, chain: u32, row: &[u8]) -> Result<u64, Fault> {
        let at = self.take(row.len() as u64)?;
        self.secure(before, chain, at, row)?;
        Ok(at)
    }

    /// Reads the bytes of a row.
    pub(super) fn read(&self, at: u64, bytes: u64) -> Result<Vec<u8>, Fault> {
        let mut row = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        self.file.read(at, &mut row)?;
        Ok(row)
    }

    /// Rows that end at or before a place in the ring are not needed any more.
    pub(super) fn release(&mut self, until: u64) {
        self.oldest = until;
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Makes room for a row behind the newest.
    fn take(&mut self, bytes: u64) -> Result<u64, Fault> {
        let Some(at) = self.place(bytes) else { return damaged("the log has no room") };
        if at + bytes > self.length {
            let length = (at + bytes).max(self.length + self.length.min(GROWTH));
            self.file.set_len(length)?;
            self.length = length;
        }
        self.end = at + bytes;
        Ok(at)
    }

    /// Writes a row to its place, and its copies.
    fn secure(&self, before: Mark, chain: u32, at: u64, row: &[u8]) -> Result<(), Fault> {
        let mark = Mark { seq: before.seq + 1, chain };
        self.file.write(at, row)?;
        if row.len() <= COPY - MARK {
            self.copy(mark, before.chain, row)?;
        } else {
            self.file.sync_data()?;
            self.copy(mark, before.chain, &[])?;
        }
        Ok(self.file.sync_data()?)
    }

    /// Where a row of so many bytes goes. It never reaches the oldest: a ring that is full would look
    /// like one that is empty.
    fn place(&self, bytes: u64) -> Option<u64> {
        if self.end < self.oldest {
            return (self.end + bytes < self.oldest).then_some(self.end);
        }
        let wraps = self.end + bytes > self.length && AREA + bytes < self.oldest;
        Some(if wraps { AREA } else { self.end })
    }

    /// The row behind a mark, with its place and its checksum, if there is one.
    fn next(&self, mark: Mark) -> Result<Option<(u64, Vec<u8>, u32)>, Fault> {
        let wraps = self.end >= self.oldest && self.end > AREA;
        for at in [Some(self.end), wraps.then_some(AREA)].into_iter().flatten() {
            let within = self.length - at;
            let row = self.read(at, within.min(READ))?;
            let Some(bytes) = measure(&row).filter(|&bytes| bytes as u64 <= within) else {
                continue;
            };
            let mut row = row;
            if bytes > row.len() {
                row = self.read(at, bytes as u64)?;
            }
            row.truncate(bytes);
            if let Some(read) = Row::read(mark.seq + 1, mark.chain, &row) {
                let chain = read.chain;
                return Ok(Some((at, row, chain)));
            }
        }
        Ok(None)
    }

    /// Writes both copies of a row, or of its mark only.
    fn copy(&self, mark: Mark, before: u32, row: &[u8]) -> Result<(), Fault> {
        let mut copy = Vec::with_capacity(MARK + row.len());
        copy.extend_from_slice(&mark.seq.to_le_bytes());
        copy.extend_from_slice(&before.to_le_bytes());
        copy.extend_from_slice(&mark.chain.to_le_bytes());
        copy.extend_from_slice(&length(row));
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        copy.extend_from_slice(row);
        let [even, odd] = COPIES;
        for at in if mark.seq.is_multiple_of(2) { even } else { odd } {
            self.file.write(at, &copy)?;
        }
        Ok(())
    }
}

/// The head of the log of a store.
fn head(store: u128) -> Vec<u8> {
    let mut head = vec![FORMAT];
    head.extend_from_slice(&store.to_le_bytes());
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    head
}

/// What a copy says.
struct Copied {
    mark: Mark,
    /// The checksum of the row before.
    before: u32,
    /// Empty for a mark.
    row: Vec<u8>,
}

impl Copied {
    fn read(copy: &[u8]) -> Option<Self> {
        let (head, rest) = copy.split_first_chunk::<MARK>()?;
        let mut from = Reader(head);
        let (seq, before, chain) = (from.u64()?, from.u32()?, from.u32()?);
        let length = usize::try_from(from.u32()?).ok()?;
        if crc32c::crc32c(head.get(..MARK - 4)?) != from.u32()? {
            return None;
        }
        let row = rest.get(..length)?;
        if !row.is_empty() && Row::read(seq, before, row)?.chain != chain {
            return None;
        }
        Some(Self { mark: Mark { seq, chain }, before, row: row.to_vec() })
    }
}
