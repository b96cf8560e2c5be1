//! Keeps nothing but results, and those in memory: for runs that need not survive their process.
//!
//! What the core holds it need not hold a second time, as nobody will ever load it again. Results
//! are appended to chunks, one row of chunks for each span of time in which they are over, and are
//! forgotten a chunk at a time: a result costs neither an allocation nor a place in an ordered map.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    /// By number, in the order they were begun.
    chunks: HashMap<u32, Chunk, IdState>,
    /// The numbers by the span of time in which their results are over: that is how they go.
    order: BTreeSet<(u64, u32)>,
    /// Per span the chunk that takes more.
    open: BTreeMap<u64, u32>,
    index: HashMap<TaskId, Place, IdState>,
    /// The number of the next chunk.
    next: u32,
    bytes: u64,
    cap: u64,
}

/// Where a result is.
#[derive(Debug, Clone, Copy)]
struct Place {
    chunk: u32,
    place: u32,
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
            chunks: HashMap::default(),
            order: BTreeSet::new(),
            open: BTreeMap::new(),
            index: HashMap::default(),
            next: 0,
            bytes: 0,
            cap: result_cap,
        }
    }

    fn keep(&mut self, id: TaskId, until_ms: u64, frame: &[u8]) {
        let span = until_ms >> SPAN_BITS;
        let open = self.open.get(&span).copied();
        let number = open.unwrap_or_else(|| self.begin_chunk(span));
        let chunk = self.chunks.entry(number).or_default();
        let place =
            Place { chunk: number, place: u32::try_from(chunk.results.len()).unwrap_or(u32::MAX) };
        chunk.text.extend_from_slice(frame);
        chunk.results.push(Kept { id, until_ms, end: chunk.text.len() });
        if chunk.text.len() >= CHUNK {
            self.open.remove(&span);
        }
        self.bytes += frame.len() as u64 + OVERHEAD;
        self.index.insert(id, place);
    }

    fn begin_chunk(&mut self, span: u64) -> u32 {
        // Under load this keeps up where sweeps, once a second, would not.
        self.trim(TRIM);
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.order.insert((span, number));
        self.open.insert(span, number);
        number
    }

    /// Forgets what is over and, beyond the cap, what is over first; so many chunks at most. True if
    /// there is more to do.
    fn trim(&mut self, chunks: usize) -> bool {
        for _ in 0..chunks {
            let Some(&(span, number)) = self.order.first() else { return false };
            if span >= self.wall_ms >> SPAN_BITS && self.bytes <= self.cap {
                return false;
            }
            self.order.pop_first();
            if self.open.get(&span) == Some(&number) {
                self.open.remove(&span);
            }
            let chunk = self.chunks.remove(&number).unwrap_or_default();
            self.bytes -= chunk.text.len() as u64 + chunk.results.len() as u64 * OVERHEAD;
            for kept in chunk.results {
                if self.index.get(&kept.id).is_some_and(|place| place.chunk == number) {
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
        let place = self.index.get(&id);
        let kept = place.and_then(|place| self.chunks.get(&place.chunk)?.get(place.place as usize));
        let kept = kept.filter(|(until_ms, _)| *until_ms > self.wall_ms);
        Ok(kept.map(|(_, frame)| Bytes::copy_from_slice(frame)))
    }

    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Error> {
        self.wall_ms = wall_ms;
        Ok(self.trim(SWEEP))
    }

    fn status(&mut self) -> Result<Status, Error> {
        Ok(Status { pressure: false, bytes: self.bytes, result_bytes: self.bytes, inbox: None })
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
