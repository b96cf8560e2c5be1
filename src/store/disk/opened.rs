//! The open database: what a commit, a lookup and a sweep do to it.

#[cfg(test)]
#[path = "tampered.rs"]
mod tampered;

use std::fmt;

use bytes::Bytes;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
    WriteTransaction,
};

use super::fault::{Fault, damaged};
use super::layout::{Table, key, number};
use super::load::{Each, load};
use super::log::{self, Row};
use super::meta::Meta;
use super::results::Results;
use super::tail::Tail;
use super::{Pace, fold};
use crate::record::{Batch, Write};
use crate::store::{Loaded, Options};
use crate::task::TaskId;

/// Bytes of pages that the database keeps in memory. The operating system keeps the rest.
const CACHE: usize = 16 << 20;

/// Rows of results that one sweep removes at most.
const SWEEP: usize = 64;

/// The open database, and what must be known of it.
pub(super) struct Opened {
    db: Database,
    meta: Meta,
    tail: Tail,
    results: Results,
    pace: Pace,
    /// The last row of the log, and its checksum.
    seq: u64,
    chain: u32,
    /// The last identifier issued.
    last: u64,
    /// Wall time of the last turn or sweep.
    wall_ms: u64,
    /// Where rows are spelled.
    row: Vec<u8>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Opened {
    /// Opens the store with a number, or begins it.
    pub(super) fn open(
        backend: impl StorageBackend,
        store: u128,
        begin: bool,
        options: &Options,
        pace: Pace,
    ) -> Result<Self, Fault> {
        // The library would begin anew.
        if !begin && backend.len()? == 0 {
            return damaged("the database is empty");
        }
        let mut db = Database::builder().set_cache_size(CACHE).create_with_backend(backend)?;
        if begin {
            create(&db, store)?;
        } else if !db.check_integrity()? && !options.accept_repair {
            return Err(Fault::Repaired);
        }
        Self::read(db, store, options, pace)
    }

    /// Reads what must be known of the database.
    fn read(db: Database, store: u128, options: &Options, pace: Pace) -> Result<Self, Fault> {
        let read = db.begin_read()?;
        let Some(meta) = Meta::read(&read)? else { return damaged("the database is not a store") };
        if meta.store != store {
            return damaged("the database is that of another store");
        }
        let results = Results::read(&read, &meta, options.result_cap)?;
        let mut opened = Self {
            tail: Tail::after(meta.last),
            results,
            pace,
            seq: meta.folded,
            chain: meta.chain,
            last: meta.last,
            wall_ms: meta.wall_ms,
            row: Vec::new(),
            meta,
            db,
        };
        opened.read_tail(&read)?;
        Ok(opened)
    }

    /// Walks along the chain of the log's rows, and takes note of what they write.
    fn read_tail(&mut self, read: &ReadTransaction) -> Result<(), Fault> {
        for row in read.open_table(Table::Log.rows())?.iter()? {
            let (key, value) = row?;
            if number(key.value())? != self.seq + 1 {
                return damaged(format!("row {} of the log is missing", self.seq + 1));
            }
            let row = Row::read(self.seq + 1, self.chain, value.value())?;
            self.tail.push(self.seq + 1, self.chain, value.value().len());
            for write in row.writes() {
                self.tail.note(write?, |text| row.slice(text));
            }
            (self.seq, self.chain) = (self.seq + 1, row.chain);
            (self.last, self.wall_ms) = (self.last.max(row.last), row.wall_ms);
        }
        Ok(())
    }

    pub(super) fn load(&self, each: &mut Each<'_>) -> Result<Loaded, Fault> {
        load(&self.db.begin_read()?, &self.meta, &self.tail, each)?;
        Ok(Loaded { last: TaskId::from_bits(self.last) })
    }

    /// Appends the row of a batch, and folds older ones if there are too many; one transaction.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), Fault> {
        self.wall_ms = batch.wall_ms;
        if batch.is_empty() && batch.last.bits() <= self.last {
            return Ok(());
        }
        let (seq, before) = (self.seq + 1, self.chain);
        let chain = log::encode(seq, before, batch, &mut self.row);
        self.tail.push(seq, before, self.row.len());
        for &write in &batch.writes {
            self.tail.note(write, |text| batch.slice(text));
        }
        let transaction = begin(&self.db)?;
        {
            let mut log = transaction.open_table(Table::Log.rows())?;
            log.insert(key(seq).as_slice(), self.row.as_slice())?;
            if self.tail.bytes() > self.pace.tail {
                let bytes = self.pace.fold.max(2 * self.row.len() as u64);
                let (meta, tail, results) = (&mut self.meta, &mut self.tail, &mut self.results);
                let wall_ms = self.wall_ms;
                fold::fold(&transaction, &mut log, meta, tail, results, wall_ms, bytes)?;
            }
        }
        transaction.commit()?;
        (self.seq, self.chain) = (seq, chain);
        self.last = self.last.max(batch.last.bits());
        Ok(())
    }

    pub(super) fn result(&self, id: TaskId) -> Result<Option<Bytes>, Fault> {
        let read = self.db.begin_read()?;
        let Some((row, place)) = self.tail.end(id) else {
            return self.results.get(&read, id.bits(), self.wall_ms);
        };
        let log = read.open_table(Table::Log.rows())?;
        let Some(value) = log.get(key(row.seq).as_slice())? else {
            return damaged(format!("row {} of the log is missing", row.seq));
        };
        let row = Row::read(row.seq, row.chain, value.value())?;
        match row.writes().nth(place).transpose()? {
            Some(Write::End { frame, until_ms, .. }) if until_ms > self.wall_ms => {
                Ok(Some(Bytes::copy_from_slice(row.slice(frame))))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn sweep(&mut self, wall_ms: u64) -> Result<bool, Fault> {
        self.wall_ms = wall_ms;
        if !self.results.is_due(wall_ms) {
            return Ok(false);
        }
        let transaction = begin(&self.db)?;
        let more = self.results.trim(&transaction, &mut self.meta, wall_ms, SWEEP)?;
        self.meta.write(&transaction)?;
        transaction.commit()?;
        Ok(more)
    }

    /// About the bytes that it holds, and those of results among them.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let results = self.results.bytes();
        (self.tail.bytes() + results, results)
    }
}

/// Begins a transaction that is synced in two phases: the pages, then the header that names them,
/// so that a crash between leaves the state before it.
fn begin(db: &Database) -> Result<WriteTransaction, Fault> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// Begins a store in an empty database.
fn create(db: &Database, store: u128) -> Result<(), Fault> {
    let transaction = begin(db)?;
    for table in Table::ALL {
        transaction.open_table(table.rows())?;
    }
    Meta::new(store).write(&transaction)?;
    Ok(transaction.commit()?)
}
