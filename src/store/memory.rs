//! Keeps records in memory, for runs that need not survive their process.
//!
//! Handles share what they hold: a clone, or [`Memory::reopen`], loads what another handle
//! committed, as a restarted scheduler would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::{Error, Loaded, Status, Store};
use crate::record::{Batch, Record, Write};
use crate::task::TaskId;

/// Results that one call of [`Store::sweep`] forgets at most.
const SWEEP: usize = 1 << 14;

/// Results that are forgotten at most when one comes: under load this keeps up where sweeps, once a
/// second, would not.
const TRIM: usize = 2;

/// Results that end within so many milliseconds of each other (2 to this power) are swept together.
const SPAN_BITS: u32 = 12;

/// What a result takes beside its bytes: its place in the map and its allocation.
const OVERHEAD: u64 = 64;

/// A store in memory.
#[derive(Clone, Debug)]
pub struct Memory {
    shared: Arc<Mutex<Kept>>,
}

impl Memory {
    /// An empty store that keeps at most so many bytes of results.
    pub fn new(result_cap: u64) -> Self {
        let results = Results { cap: result_cap, ..Results::default() };
        Self { shared: Arc::new(Mutex::new(Kept { results, ..Kept::default() })) }
    }

    /// Another handle of the same store, as after a restart.
    pub fn reopen(&self) -> Self {
        self.clone()
    }

    fn kept(&self) -> Result<MutexGuard<'_, Kept>, Error> {
        let torn = |_| Error::Corrupt("a panic cut a write short".into());
        self.shared.lock().map_err(torn)
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
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Loaded, Error> {
        let kept = self.kept()?;
        kept.each(each).map_err(Error::Corrupt)?;
        Ok(Loaded { last: kept.last })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.kept()?.apply(batch);
        Ok(())
    }

    fn result(&mut self, id: TaskId) -> Result<Option<Bytes>, Error> {
        let kept = self.kept()?;
        Ok(kept.results.get(id, kept.wall_ms).map(Bytes::copy_from_slice))
    }

    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Error> {
        let mut kept = self.kept()?;
        kept.wall_ms = wall_ms;
        Ok(kept.results.trim(wall_ms, SWEEP))
    }

    fn status(&mut self) -> Result<Status, Error> {
        let kept = self.kept()?;
        let bytes = kept.results.bytes;
        Ok(Status { pressure: false, bytes, result_bytes: bytes })
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Everything that the handles share.
#[derive(Debug, Default)]
struct Kept {
    last: TaskId,
    wall_ms: u64,
    tasks: BTreeMap<TaskId, Task>,
    buried: BTreeMap<TaskId, Task>,
    holds: Lines,
    queues: Lines,
    workers: Lines,
    stats: Lines,
    results: Results,
}

/// Named lines: queues, workers and the like.
type Lines = BTreeMap<Box<[u8]>, Box<[u8]>>;

#[derive(Debug, Default)]
struct Task {
    frame: Box<[u8]>,
    line: Option<Box<[u8]>>,
}

impl Kept {
    fn apply(&mut self, batch: &Batch) {
        self.last = self.last.max(batch.last);
        self.wall_ms = batch.wall_ms;
        for &write in &batch.writes {
            self.write(batch, write);
        }
    }

    fn write(&mut self, batch: &Batch, write: Write) {
        let bytes = |text| Box::<[u8]>::from(batch.slice(text));
        match write {
            Write::Submit { id, frame } => {
                self.tasks.entry(id).or_default().frame = bytes(frame);
            }
            Write::State { id, line } => {
                self.tasks.entry(id).or_default().line = Some(bytes(line));
            }
            Write::End { id, frame, until_ms } => {
                self.tasks.remove(&id);
                if until_ms > 0 {
                    self.results.insert(id, until_ms, bytes(frame));
                    self.results.trim(self.wall_ms, TRIM);
                }
            }
            Write::Bury { id, line, frame } => {
                self.tasks.remove(&id);
                self.buried.insert(id, Task { frame: bytes(frame), line: Some(bytes(line)) });
            }
            Write::Revive { id, line, frame } => {
                self.buried.remove(&id);
                self.tasks.insert(id, Task { frame: bytes(frame), line: Some(bytes(line)) });
            }
            Write::Drop { id } => drop(self.buried.remove(&id)),
            Write::Hold { name, line } => drop(self.holds.insert(bytes(name), bytes(line))),
            Write::Unhold { name } => drop(self.holds.remove(batch.slice(name))),
            Write::Queue { name, line } => drop(self.queues.insert(bytes(name), bytes(line))),
            Write::Worker { name, line } => drop(self.workers.insert(bytes(name), bytes(line))),
            Write::WorkerGone { name, .. } => drop(self.workers.remove(batch.slice(name))),
            Write::Stats { name, line } => drop(self.stats.insert(bytes(name), bytes(line))),
            Write::StatsGone { name } => drop(self.stats.remove(batch.slice(name))),
        }
    }

    fn each(&self, each: &mut dyn FnMut(Record<'_>) -> Result<(), String>) -> Result<(), String> {
        for (name, line) in &self.queues {
            each(Record::Queue { name, line })?;
        }
        for (name, line) in &self.workers {
            each(Record::Worker { name, line })?;
        }
        for (name, line) in &self.stats {
            each(Record::Stats { name, line })?;
        }
        for (name, line) in &self.holds {
            each(Record::Hold { name, line })?;
        }
        for (&id, Task { frame, line }) in &self.tasks {
            each(Record::Task { id, frame, line: line.as_deref() })?;
        }
        for (&id, Task { frame, line }) in &self.buried {
            each(Record::Buried { id, frame, line: line.as_deref().unwrap_or_default() })?;
        }
        Ok(())
    }
}

/// The RESULT frames of ended tasks, each until its time is over.
#[derive(Debug, Default)]
struct Results {
    frames: BTreeMap<TaskId, (u64, Box<[u8]>)>,
    /// By the span of time in which they are over; may name some that went before.
    ends: BTreeMap<u64, Vec<TaskId>>,
    bytes: u64,
    cap: u64,
}

impl Results {
    fn insert(&mut self, id: TaskId, until_ms: u64, frame: Box<[u8]>) {
        self.bytes += size(&frame);
        self.ends.entry(until_ms >> SPAN_BITS).or_default().push(id);
        if let Some((_, old)) = self.frames.insert(id, (until_ms, frame)) {
            self.bytes -= size(&old);
        }
    }

    fn get(&self, id: TaskId, wall_ms: u64) -> Option<&[u8]> {
        let (until_ms, frame) = self.frames.get(&id)?;
        (*until_ms > wall_ms).then_some(frame)
    }

    /// Forgets what is over and, the oldest first, what is beyond the cap; so many steps at most.
    /// True if there is more to do.
    fn trim(&mut self, wall_ms: u64, steps: usize) -> bool {
        for _ in 0..steps {
            if self.bytes > self.cap {
                self.drop_oldest();
            } else if !self.drop_over(wall_ms) {
                return false;
            }
        }
        true
    }

    fn drop_oldest(&mut self) {
        if let Some((_, (_, frame))) = self.frames.pop_first() {
            self.bytes -= size(&frame);
        }
    }

    /// Looks at one result of a span that is over; false if there is no such span.
    fn drop_over(&mut self, wall_ms: u64) -> bool {
        let Some(mut span) =
            self.ends.first_entry().filter(|span| *span.key() < wall_ms >> SPAN_BITS)
        else {
            return false;
        };
        match span.get_mut().pop() {
            None => drop(span.remove()),
            Some(id) => {
                let over = |(until_ms, _): &(u64, Box<[u8]>)| *until_ms <= wall_ms;
                if self.frames.get(&id).is_some_and(over)
                    && let Some((_, frame)) = self.frames.remove(&id)
                {
                    self.bytes -= size(&frame);
                }
            }
        }
        true
    }
}

fn size(frame: &[u8]) -> u64 {
    frame.len() as u64 + OVERHEAD
}
