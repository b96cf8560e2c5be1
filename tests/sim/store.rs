//! A store that outlives the scheduler: rows as the trait's documentation has them, without any
//! durability of its own to get wrong. When a batch is applied and when that is answered is decided
//! by whoever drives it; what it does to a batch can be spoilt by a mutant.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ganger::record::{Batch, Record, Taken, Write};
use ganger::store::inbox::{Bite, Found};
use ganger::store::{Error, Loaded, Status, Store};
use ganger::task::TaskId;

use crate::mutants::{self, Mutant};

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) last: TaskId,
    /// SUBMIT frames and state lines of unfinished tasks.
    pub(crate) tasks: BTreeMap<TaskId, (Bytes, Option<Bytes>)>,
    /// SUBMIT frames and state lines of dead and cancelled ones.
    pub(crate) buried: BTreeMap<TaskId, (Bytes, Bytes)>,
    /// RESULT frames and their ends in Unix milliseconds.
    pub(crate) results: BTreeMap<TaskId, (u64, Bytes)>,
    pub(crate) holds: BTreeMap<Bytes, Bytes>,
    pub(crate) queues: BTreeMap<Bytes, Bytes>,
    pub(crate) workers: BTreeMap<Bytes, Bytes>,
    pub(crate) stats: BTreeMap<Bytes, Bytes>,
    pub(crate) runs: BTreeMap<Bytes, Bytes>,
    pub(crate) crons: BTreeMap<Bytes, Bytes>,
}

impl Rows {
    /// Applies a batch, or only its first writes.
    pub(crate) fn apply(&mut self, batch: &Batch, writes: usize) {
        self.last = self.last.max(batch.last);
        for write in batch.writes.iter().take(writes) {
            self.write(batch, *write);
        }
    }

    fn write(&mut self, batch: &Batch, write: Write) {
        let bytes = |text| Bytes::copy_from_slice(batch.slice(text));
        match write {
            Write::Submit { id, frame } => {
                self.tasks.insert(id, (bytes(frame), None));
            }
            Write::State { id, line } => {
                let row = self.tasks.entry(id).or_default();
                row.1 = Some(bytes(line));
            }
            Write::End { id, frame, until_ms } => {
                self.tasks.remove(&id);
                if until_ms > 0 {
                    self.results.insert(id, (until_ms, bytes(frame)));
                }
            }
            Write::Bury { id, line, frame } => {
                self.tasks.remove(&id);
                self.buried.insert(id, (bytes(frame), bytes(line)));
            }
            Write::Revive { id, line, frame } => {
                self.buried.remove(&id);
                self.tasks.insert(id, (bytes(frame), Some(bytes(line))));
            }
            Write::Drop { id } => drop(self.buried.remove(&id)),
            Write::Hold { name, line } => drop(self.holds.insert(bytes(name), bytes(line))),
            Write::Unhold { name } => drop(self.holds.remove(batch.slice(name))),
            Write::Queue { name, line } => drop(self.queues.insert(bytes(name), bytes(line))),
            Write::Worker { name, line } => drop(self.workers.insert(bytes(name), bytes(line))),
            Write::WorkerGone { name, .. } => drop(self.workers.remove(batch.slice(name))),
            Write::Stats { name, line } => drop(self.stats.insert(bytes(name), bytes(line))),
            Write::StatsGone { name } => drop(self.stats.remove(batch.slice(name))),
            Write::Run { name, line } => drop(self.runs.insert(bytes(name), bytes(line))),
            Write::RunGone { name } => drop(self.runs.remove(batch.slice(name))),
            Write::Cron { name, line } => drop(self.crons.insert(bytes(name), bytes(line))),
            Write::CronGone { name } => drop(self.crons.remove(batch.slice(name))),
        }
    }

    /// Forgets results whose time is over.
    pub(crate) fn sweep(&mut self, wall_ms: u64) {
        self.results.retain(|_, (until_ms, _)| *until_ms > wall_ms);
    }

    fn each(
        &self,
        group: Group,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        match group {
            Group::Tasks => self.tasks.iter().try_for_each(|(&id, (frame, line))| {
                each(Record::Task { id, frame, line: line.as_deref() })
            }),
            Group::Buried => (self.buried.iter())
                .try_for_each(|(&id, (frame, line))| each(Record::Buried { id, frame, line })),
            Group::Holds => {
                (self.holds.iter()).try_for_each(|(name, line)| each(Record::Hold { name, line }))
            }
            Group::Queues => {
                (self.queues.iter()).try_for_each(|(name, line)| each(Record::Queue { name, line }))
            }
            Group::Workers => (self.workers.iter())
                .try_for_each(|(name, line)| each(Record::Worker { name, line })),
            Group::Stats => {
                (self.stats.iter()).try_for_each(|(name, line)| each(Record::Stats { name, line }))
            }
            Group::Runs => {
                (self.runs.iter()).try_for_each(|(name, line)| each(Record::Run { name, line }))
            }
            Group::Crons => {
                (self.crons.iter()).try_for_each(|(name, line)| each(Record::Cron { name, line }))
            }
        }
    }
}

/// What is handed back together; the order of these is the backend's own business.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    Tasks,
    Buried,
    Holds,
    Queues,
    Workers,
    Stats,
    Runs,
    Crons,
}

impl Group {
    pub(crate) const ALL: [Self; 8] = [
        Self::Tasks,
        Self::Buried,
        Self::Holds,
        Self::Queues,
        Self::Workers,
        Self::Stats,
        Self::Runs,
        Self::Crons,
    ];
}

/// What programs pushed: no rows, since others write it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inbox {
    /// Oldest first.
    pub(crate) waiting: VecDeque<Bytes>,
}

impl Inbox {
    /// Removes what a batch takes. Entries are named by their bytes, and no two are alike.
    fn apply(&mut self, batch: &Batch) {
        for taken in &batch.inbox.taken {
            if let Taken::Accepted { entry } | Taken::Refused { entry, .. } = *taken {
                let place = self.waiting.iter().position(|its| its == batch.slice(entry));
                place.map(|place| self.waiting.remove(place));
            }
        }
    }
}

/// The store as the engine's turn sees it.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) rows: Rows,
    pub(crate) inbox: Inbox,
    /// The order in which the next load hands back what is kept.
    pub(crate) order: [Group; 8],
    pub(crate) wall_ms: u64,
    /// Results were forgotten up to this wall time, at the latest.
    pub(crate) swept_ms: u64,
    pub(crate) mutant: Option<Mutant>,
}

impl Disk {
    pub(crate) fn new(mutant: Option<Mutant>) -> Self {
        Self {
            rows: Rows::default(),
            inbox: Inbox::default(),
            order: Group::ALL,
            wall_ms: 0,
            swept_ms: 0,
            mutant,
        }
    }
}

impl Store for Disk {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Loaded, Error> {
        let mut read = |record: Record<'_>| match record {
            Record::Task { id, frame, .. } if self.mutant == Some(Mutant::ForgottenLines) => {
                each(Record::Task { id, frame, line: None })
            }
            Record::Run { .. } if self.mutant == Some(Mutant::ForgottenRuns) => Ok(()),
            record => each(record),
        };
        for group in self.order {
            self.rows.each(group, &mut read).map_err(Error::Corrupt)?;
        }
        Ok(Loaded { last: self.rows.last })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        match self.mutant {
            Some(mutant) => mutants::spoil_commit(mutant, &mut self.rows, batch),
            None => self.rows.apply(batch, usize::MAX),
        }
        if self.mutant != Some(Mutant::StayingEntry) {
            self.inbox.apply(batch);
        }
        Ok(())
    }

    fn entries(&mut self, bite: Bite) -> Result<Vec<Found>, Error> {
        let found = self.inbox.waiting.iter().take(bite.entries);
        let found = found.map(|entry| Found::Whole(entry.clone())).collect();
        if self.mutant == Some(Mutant::HastyEntries) {
            self.inbox.waiting.drain(..bite.entries.min(self.inbox.waiting.len()));
        }
        Ok(found)
    }

    fn result(&mut self, id: TaskId) -> Result<Option<Bytes>, Error> {
        let kept = self.rows.results.get(&id).filter(|(until_ms, _)| *until_ms > self.wall_ms);
        Ok(kept.map(|(_, frame)| frame.clone()))
    }

    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Error> {
        self.rows.sweep(wall_ms);
        self.swept_ms = self.swept_ms.max(wall_ms);
        Ok(false)
    }

    fn status(&mut self) -> Result<Status, Error> {
        Ok(Status::default())
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
