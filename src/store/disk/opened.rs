//! The open database and its log: what a commit, a lookup and a sweep do to them.

#[cfg(test)]
#[path = "tampered.rs"]
mod tampered;

use std::fmt;

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, StorageBackend, WriteTransaction};

use super::fault::{Fault, damaged};
use super::fold::fold;
use super::layout::Table;
use super::load::{Each, load};
use super::log::{Log, Mark};
use super::meta::Meta;
use super::results::Results;
use super::row::{self, Row};
use super::tail::{self, Tail};
use super::{Files, Pace};
use crate::record::{Batch, Write};
use crate::store::{Loaded, Options};
use crate::task::TaskId;

/// Bytes of pages that the database keeps in memory. The operating system keeps the rest.
const CACHE: usize = 16 << 20;

/// Rows of results that one sweep removes at most.
const SWEEP: usize = 64;

/// The open database and its log, and what must be known of them.
pub(super) struct Opened {
    db: Database,
    log: Log,
    meta: Meta,
    tail: Tail,
    results: Results,
    pace: Pace,
    /// The last row of the log.
    newest: Mark,
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
        files: Files<impl StorageBackend>,
        store: u128,
        begin: bool,
        options: &Options,
        pace: Pace,
    ) -> Result<Self, Fault> {
        let Files { database, log } = files;
        // The library would begin anew.
        if !begin && database.len()? == 0 {
            return damaged("the database is empty");
        }
        let mut db = Database::builder().set_cache_size(CACHE).create_with_backend(database)?;
        if begin {
            create(&db, store)?;
            let log = Log::create(Box::new(log), store)?;
            return Self::read(db, log, store, options, pace);
        }
        if !db.check_integrity()? && !options.accept_repair {
            return Err(Fault::Repaired);
        }
        Self::read(db, Log::open(Box::new(log), store)?, store, options, pace)
    }

    /// Reads what must be known of the database and the log.
    fn read(
        db: Database,
        log: Log,
        store: u128,
        options: &Options,
        pace: Pace,
    ) -> Result<Self, Fault> {
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
            newest: Mark { seq: meta.folded, chain: meta.chain },
            last: meta.last,
            wall_ms: meta.wall_ms,
            row: Vec::new(),
            meta,
            log,
            db,
        };
        opened.read_tail()?;
        Ok(opened)
    }

    /// Walks along the chain of the log's rows, and takes note of what they write.
    fn read_tail(&mut self) -> Result<(), Fault> {
        let Self { log, tail, newest, last, wall_ms, meta, .. } = self;
        let known = Mark { seq: meta.known, chain: meta.known_chain };
        log.recover(*newest, meta.place, known, |before, at, bytes| {
            let seq = before.seq + 1;
            let Some(row) = Row::read(seq, before.chain, bytes) else {
                return damaged(format!("row {seq} of the log is damaged"));
            };
            tail.push(seq, before.chain, at, bytes.len());
            for write in row.writes() {
                tail.note(write?, |text| row.slice(text));
            }
            *newest = Mark { seq, chain: row.chain };
            (*last, *wall_ms) = ((*last).max(row.last), row.wall_ms);
            Ok(())
        })
    }

    pub(super) fn load(&self, each: &mut Each<'_>) -> Result<Loaded, Fault> {
        let rows = self.rows(u64::MAX)?;
        load(&self.db.begin_read()?, &self.meta, &rows, each)?;
        Ok(Loaded { last: TaskId::from_bits(self.last) })
    }

    /// Appends the row of a batch to the log, and folds older ones if there are too many.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), Fault> {
        self.wall_ms = batch.wall_ms;
        if batch.is_empty() && batch.last.bits() <= self.last {
            return Ok(());
        }
        let before = self.newest;
        let (seq, mut row) = (before.seq + 1, std::mem::take(&mut self.row));
        let chain = row::encode(seq, before.chain, batch, &mut row);
        while !self.log.has_room(row.len()) {
            self.fold(row.len() as u64)?;
        }
        let at = self.log.append(before, chain, &row)?;
        self.newest = Mark { seq, chain };
        self.last = self.last.max(batch.last.bits());
        self.tail.push(seq, before.chain, at, row.len());
        for &write in &batch.writes {
            self.tail.note(write, |text| batch.slice(text));
        }
        if self.tail.bytes() > self.pace.tail {
            self.fold(self.pace.fold.max(2 * row.len() as u64))?;
        }
        self.row = row;
        Ok(())
    }

    /// Folds rows of at least so many bytes, or all there are; one transaction.
    fn fold(&mut self, bytes: u64) -> Result<(), Fault> {
        let rows = self.rows(bytes)?;
        let transaction = begin(&self.db)?;
        let (meta, tail, results) = (&mut self.meta, &mut self.tail, &mut self.results);
        (meta.known, meta.known_chain) = (self.newest.seq, self.newest.chain);
        fold(&transaction, &rows, meta, tail, results, self.wall_ms)?;
        transaction.commit()?;
        self.log.release(self.meta.place);
        Ok(())
    }

    /// The oldest rows of the tail: so many that they have that many bytes together.
    fn rows(&self, bytes: u64) -> Result<Vec<(tail::Row, Vec<u8>)>, Fault> {
        let rows = self.tail.oldest(bytes).into_iter();
        rows.map(|row| Ok((row, self.log.read(row.at, row.bytes)?))).collect()
    }

    pub(super) fn result(&self, id: TaskId) -> Result<Option<Bytes>, Fault> {
        let Some((row, place)) = self.tail.end(id) else {
            return self.results.get(&self.db.begin_read()?, id.bits(), self.wall_ms);
        };
        let bytes = self.log.read(row.at, row.bytes)?;
        let Some(read) = Row::read(row.seq, row.chain, &bytes) else { return row.damaged() };
        match read.writes().nth(place).transpose()? {
            Some(Write::End { frame, until_ms, .. }) if until_ms > self.wall_ms => {
                Ok(Some(Bytes::copy_from_slice(read.slice(frame))))
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
        (self.log.length() + results, results)
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
