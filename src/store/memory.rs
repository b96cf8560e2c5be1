//! Keeps nothing but results, and those in memory: for runs that need not survive their process.
//!
//! What the core holds it need not hold a second time, as nobody will ever load it again. Results
//! are appended to chunks, one row of chunks for each span of time in which they are over, and are
//! forgotten a chunk at a time: a result costs neither an allocation nor a place in an ordered map.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::{Error, Loaded, Status, Store};
use crate::record::{Batch, Record, Write};
use crate::task::{IdState, TaskId};

/// Bytes of frames after which a chunk is full.
const CHUNK: usize = 64 << 10;

/// Chunks that one call of [`Store::sweep`] forgets at most.
const SWEEP: usize = 64;

/// Chunks that are forgotten at most when one is begun.
const TRIM: usize = 2;

/// Results that are over within so many milliseconds of each other (2 to this power) share chunks.
const SPAN_BITS: u32 = 12;

/// What a result takes beside its bytes: its places in the index and in its chunk.
const OVERHEAD: u64 = 64;

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    wall_ms: u64,
    /// By the span of time in which their results are over, then in the order they were begun.
    chunks: BTreeMap<(u64, u64), Chunk>,
    index: HashMap<TaskId, Place, IdState>,
    /// Chunks that were ever begun, which numbers them.
    begun: u64,
    bytes: u64,
    cap: u64,
}

/// Where a result is.
#[derive(Debug, Clone, Copy)]
struct Place {
    span: u64,
    number: u64,
    place: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    text: Vec<u8>,
    results: Vec<Kept>,
}

/// One result: its frame is the text from the end of the one before it.
#[derive(Debug)]
struct Kept {
    id: TaskId,
    until_ms: u64,
    end: usize,
}

impl Memory {
    /// An empty store that keeps at most so many bytes of results.
    pub fn new(result_cap: u64) -> Self {
        Self {
            wall_ms: 0,
            chunks: BTreeMap::new(),
            index: HashMap::default(),
            begun: 0,
            bytes: 0,
            cap: result_cap,
        }
    }

    fn keep(&mut self, id: TaskId, until_ms: u64, frame: &[u8]) {
        let span = until_ms >> SPAN_BITS;
        let newest = self.chunks.range((span, 0)..=(span, u64::MAX)).next_back();
        let open = newest.filter(|(_, chunk)| chunk.text.len() < CHUNK);
        let number = open.map_or(self.begun, |(&(_, number), _)| number);
        if number == self.begun {
            self.begun += 1;
            // Under load this keeps up where sweeps, once a second, would not.
            self.trim(TRIM);
        }
        let chunk = self.chunks.entry((span, number)).or_default();
        chunk.text.extend_from_slice(frame);
        let place = Place { span, number, place: chunk.results.len() };
        chunk.results.push(Kept { id, until_ms, end: chunk.text.len() });
        self.bytes += frame.len() as u64 + OVERHEAD;
        self.index.insert(id, place);
    }

    /// Forgets what is over and, beyond the cap, what is over first; so many chunks at most. True if
    /// there is more to do.
    fn trim(&mut self, chunks: usize) -> bool {
        for _ in 0..chunks {
            let Some((&(span, number), _)) = self.chunks.first_key_value() else { return false };
            if span >= self.wall_ms >> SPAN_BITS && self.bytes <= self.cap {
                return false;
            }
            let chunk = self.chunks.remove(&(span, number)).unwrap_or_default();
            self.bytes -= chunk.text.len() as u64 + chunk.results.len() as u64 * OVERHEAD;
            for kept in chunk.results {
                if self.index.get(&kept.id).is_some_and(|place| place.number == number) {
                    self.index.remove(&kept.id);
                }
            }
        }
        true
    }
}

impl Chunk {
    fn get(&self, place: usize) -> Option<(u64, &[u8])> {
        let begin =
            place.checked_sub(1).map_or(Some(0), |before| Some(self.results.get(before)?.end))?;
        let kept = self.results.get(place)?;
        Some((kept.until_ms, self.text.get(begin..kept.end)?))
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(super::RESULT_CAP)
    }
}

impl Store for Memory {
    fn load(
        &mut self,
        _: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Loaded, Error> {
        Ok(Loaded::default())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.wall_ms = batch.wall_ms;
        for &write in &batch.writes {
            if let Write::End { id, frame, until_ms } = write
                && until_ms > 0
            {
                self.keep(id, until_ms, batch.slice(frame));
            }
        }
        Ok(())
    }

    fn result(&mut self, id: TaskId) -> Result<Option<Bytes>, Error> {
        let kept = self
            .index
            .get(&id)
            .and_then(|place| self.chunks.get(&(place.span, place.number))?.get(place.place));
        let kept = kept.filter(|(until_ms, _)| *until_ms > self.wall_ms);
        Ok(kept.map(|(_, frame)| Bytes::copy_from_slice(frame)))
    }

    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Error> {
        self.wall_ms = wall_ms;
        Ok(self.trim(SWEEP))
    }

    fn status(&mut self) -> Result<Status, Error> {
        Ok(Status { pressure: false, bytes: self.bytes, result_bytes: self.bytes })
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
