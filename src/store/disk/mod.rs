//! The embedded store: one redb database in a directory.

use std::path::Path;

use bytes::Bytes;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};

use super::{Error, Loaded, Options, Status, Store};
use crate::record::{Batch, Record, Write};
use crate::task::TaskId;

type Tasks = TableDefinition<'static, u64, &'static [u8]>;
type Lines = TableDefinition<'static, &'static [u8], &'static [u8]>;

const TASKS: Tasks = TableDefinition::new("tasks");
const STATE: Tasks = TableDefinition::new("state");
const BURIED: Tasks = TableDefinition::new("buried");
const BURIED_STATE: Tasks = TableDefinition::new("buried-state");
const RESULTS: TableDefinition<'static, u64, (u64, &'static [u8])> =
    TableDefinition::new("results");
const HOLDS: Lines = TableDefinition::new("holds");
const QUEUES: Lines = TableDefinition::new("queues");
const WORKERS: Lines = TableDefinition::new("workers");
const STATS: Lines = TableDefinition::new("stats");
const LAST: TableDefinition<'static, (), u64> = TableDefinition::new("last");

/// A store on the local disk.
#[derive(Debug)]
pub struct Disk {
    db: Option<Database>,
    wall_ms: u64,
    result_cap: u64,
}

impl Disk {
    /// Opens the store in a directory, which is made if there is none.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn open(dir: &Path, options: &Options) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::Unavailable(format!("{}: {error}", dir.display()))
        };
        std::fs::create_dir_all(dir).map_err(|error| failed(&error))?;
        let db = Database::builder()
            .set_cache_size(32 << 20)
            .create(dir.join("tasks.redb"))
            .map_err(|error| failed(&error))?;
        let disk = Self { db: Some(db), wall_ms: 0, result_cap: options.result_cap };
        disk.write(|_| Ok(()))?;
        Ok(disk)
    }

    fn db(&self) -> Result<&Database, Error> {
        self.db.as_ref().ok_or_else(|| Error::Unavailable("the store is closed".into()))
    }

    fn write(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), Error> {
        let db = self.db()?;
        let run = || -> Result<(), redb::Error> {
            let mut transaction = db.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.set_two_phase_commit(true);
            change(&mut Tables::open(&transaction)?)?;
            Ok(transaction.commit()?)
        };
        run().map_err(|error| Error::Unavailable(error.to_string()))
    }

    fn each(
        &self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<TaskId, Box<dyn std::error::Error>> {
        let read = self.db()?.begin_read()?;
        let last = read.open_table(LAST)?.get(())?.map_or(0, |last| last.value());
        for item in read.open_table(QUEUES)?.iter()? {
            let (name, line) = item?;
            each(Record::Queue { name: name.value(), line: line.value() })?;
        }
        for item in read.open_table(WORKERS)?.iter()? {
            let (name, line) = item?;
            each(Record::Worker { name: name.value(), line: line.value() })?;
        }
        for item in read.open_table(STATS)?.iter()? {
            let (name, line) = item?;
            each(Record::Stats { name: name.value(), line: line.value() })?;
        }
        for item in read.open_table(HOLDS)?.iter()? {
            let (name, line) = item?;
            each(Record::Hold { name: name.value(), line: line.value() })?;
        }
        let state = read.open_table(STATE)?;
        for item in read.open_table(TASKS)?.iter()? {
            let (id, frame) = item?;
            let line = state.get(id.value())?;
            let (id, line) =
                (TaskId::from_bits(id.value()), line.as_ref().map(|line| line.value()));
            each(Record::Task { id, frame: frame.value(), line })?;
        }
        let state = read.open_table(BURIED_STATE)?;
        for item in read.open_table(BURIED)?.iter()? {
            let (id, frame) = item?;
            let line = state.get(id.value())?.ok_or("a buried task without a line")?;
            let id = TaskId::from_bits(id.value());
            each(Record::Buried { id, frame: frame.value(), line: line.value() })?;
        }
        Ok(TaskId::from_bits(last))
    }
}

impl Store for Disk {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Loaded, Error> {
        let last = self.each(each).map_err(|error| Error::Corrupt(error.to_string()))?;
        Ok(Loaded { last })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.wall_ms = batch.wall_ms;
        self.write(|tables| {
            batch.writes.iter().try_for_each(|&write| tables.write(batch, write))?;
            let last = tables.last.get(())?.map_or(0, |last| last.value());
            tables.last.insert((), last.max(batch.last.bits()))?;
            Ok(())
        })
    }

    fn result(&mut self, id: TaskId) -> Result<Option<Bytes>, Error> {
        let get = || -> Result<Option<Bytes>, Box<dyn std::error::Error>> {
            let results = self.db()?.begin_read()?.open_table(RESULTS)?;
            Ok(results.get(id.bits())?.and_then(|row| {
                let (until_ms, frame) = row.value();
                (until_ms > self.wall_ms).then(|| Bytes::copy_from_slice(frame))
            }))
        };
        get().map_err(|error| Error::Corrupt(error.to_string()))
    }

    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Error> {
        self.wall_ms = wall_ms;
        let result_cap = self.result_cap;
        self.write(|tables| {
            let mut bytes = 0;
            tables.results.retain(|_, (until_ms, frame)| {
                bytes += frame.len() as u64;
                until_ms > wall_ms
            })?;
            while bytes > result_cap
                && let Some((_, frame)) = tables.results.pop_first()?
            {
                bytes = bytes.saturating_sub(frame.value().1.len() as u64);
            }
            Ok(())
        })?;
        Ok(false)
    }

    fn status(&mut self) -> Result<Status, Error> {
        Ok(Status::default())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.db = None;
        Ok(())
    }
}

struct Tables<'t> {
    tasks: Table<'t, u64, &'static [u8]>,
    state: Table<'t, u64, &'static [u8]>,
    buried: Table<'t, u64, &'static [u8]>,
    buried_state: Table<'t, u64, &'static [u8]>,
    results: Table<'t, u64, (u64, &'static [u8])>,
    holds: Table<'t, &'static [u8], &'static [u8]>,
    queues: Table<'t, &'static [u8], &'static [u8]>,
    workers: Table<'t, &'static [u8], &'static [u8]>,
    stats: Table<'t, &'static [u8], &'static [u8]>,
    last: Table<'t, (), u64>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            tasks: transaction.open_table(TASKS)?,
            state: transaction.open_table(STATE)?,
            buried: transaction.open_table(BURIED)?,
            buried_state: transaction.open_table(BURIED_STATE)?,
            results: transaction.open_table(RESULTS)?,
            holds: transaction.open_table(HOLDS)?,
            queues: transaction.open_table(QUEUES)?,
            workers: transaction.open_table(WORKERS)?,
            stats: transaction.open_table(STATS)?,
            last: transaction.open_table(LAST)?,
        })
    }

    fn write(&mut self, batch: &Batch, write: Write) -> Result<(), redb::Error> {
        match write {
            Write::Submit { id, frame } => {
                self.tasks.insert(id.bits(), batch.slice(frame))?;
            }
            Write::State { id, line } => {
                self.state.insert(id.bits(), batch.slice(line))?;
            }
            Write::End { id, frame, until_ms } => {
                self.tasks.remove(id.bits())?;
                self.state.remove(id.bits())?;
                if until_ms > 0 {
                    self.results.insert(id.bits(), (until_ms, batch.slice(frame)))?;
                }
            }
            Write::Bury { id, line, frame } => {
                self.tasks.remove(id.bits())?;
                self.state.remove(id.bits())?;
                self.buried.insert(id.bits(), batch.slice(frame))?;
                self.buried_state.insert(id.bits(), batch.slice(line))?;
            }
            Write::Revive { id, line, frame } => {
                self.buried.remove(id.bits())?;
                self.buried_state.remove(id.bits())?;
                self.tasks.insert(id.bits(), batch.slice(frame))?;
                self.state.insert(id.bits(), batch.slice(line))?;
            }
            Write::Drop { id } => {
                self.buried.remove(id.bits())?;
                self.buried_state.remove(id.bits())?;
            }
            Write::Hold { name, line } => {
                self.holds.insert(batch.slice(name), batch.slice(line))?;
            }
            Write::Unhold { name } => {
                self.holds.remove(batch.slice(name))?;
            }
            Write::Queue { name, line } => {
                self.queues.insert(batch.slice(name), batch.slice(line))?;
            }
            Write::Worker { name, line } => {
                self.workers.insert(batch.slice(name), batch.slice(line))?;
            }
            Write::WorkerGone { name, .. } => {
                self.workers.remove(batch.slice(name))?;
            }
            Write::Stats { name, line } => {
                self.stats.insert(batch.slice(name), batch.slice(line))?;
            }
            Write::StatsGone { name } => {
                self.stats.remove(batch.slice(name))?;
            }
        }
        Ok(())
    }
}
