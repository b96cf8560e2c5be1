//! The embedded store: one redb database in a directory of its own.
//!
//! Every commit appends one row, the whole batch, to a log inside the database, in one transaction
//! with two-phase commit that is synced before [`Store::commit`] returns. When the log is longer
//! than it should be, the same transaction folds some of its oldest rows into the tables, where
//! only that arrives which no later row undoes: most tasks begin and end within the log. Loading
//! reads the tables and applies the log over them.
//!
//! What it promises: after a crash or a power cut, everything that a commit has answered is there;
//! damage is refused, not repaired; a file system error ends the store, as after a failed sync
//! nobody knows what is on the disk. [`layout`] says what the database holds, [`home`] the
//! directory.

mod fault;
mod filter;
mod fold;
mod home;
mod layout;
mod load;
mod log;
mod meta;
mod results;
mod sorted;
mod tail;
#[cfg(test)]
mod tampered;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, WriteTransaction,
};

use self::fault::{Fault, damaged};
use self::home::Home;
use self::layout::{Table, key, number};
use self::meta::Meta;
use self::results::Results;
use self::tail::Tail;
use super::{Error, Loaded, Options, Status, Store};
use crate::record::{Batch, Record, Write};
use crate::task::TaskId;

/// Bytes of pages that the database keeps in memory.
const CACHE: usize = 32 << 20;

/// A store on the local disk.
#[derive(Debug)]
pub struct Disk {
    /// `None` once it was closed, or failed.
    opened: Option<Opened>,
    /// What errors name.
    place: String,
    /// The database's file, if it is one.
    file: Option<PathBuf>,
    /// Keeps other processes away; released last.
    _home: Option<Home>,
}

/// When the log is folded.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Bytes of the log beyond which it is folded.
    pub tail: u64,
    /// Bytes of the log that one commit folds then, or twice its own if that is more.
    pub fold: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { tail: 16 << 20, fold: 512 << 10 }
    }
}

impl Disk {
    /// Opens the store in a directory. A missing or empty directory becomes one.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the directory cannot be used, is used by another process, or holds
    /// other things; [`Error::Corrupt`] if what it holds is not what was stored, or not of this
    /// version.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, Error> {
        Self::open_paced(dir, options, Pace::default())
    }

    /// Opens the store in a directory, with a log of another length.
    ///
    /// # Errors
    ///
    /// As [`Disk::open`].
    #[doc(hidden)]
    pub fn open_paced(dir: &Path, options: &Options, pace: Pace) -> Result<Self, Error> {
        let home = Home::enter(dir)?;
        let path = home.database_path();
        let at = |fault: Fault| fault.at(&path.display().to_string());
        let opened = match home.marker()?.filter(|marker| marker.ready) {
            None => {
                let (marker, file) = home.begin(rand::random())?;
                let opened = catch(|| {
                    Opened::open(FileBackend::new(file)?, marker.store, true, options, pace)
                });
                let opened = opened.map_err(at)?;
                home.ready(marker)?;
                opened
            }
            Some(_) if home.is_repaired() && !options.accept_repair => {
                return Err(at(Fault::Repaired));
            }
            Some(marker) => {
                let file = home.database()?;
                let opened = catch(|| {
                    Opened::open(FileBackend::new(file)?, marker.store, false, options, pace)
                });
                if let Err(Fault::Repaired) = opened {
                    home.note_repair()?;
                }
                opened.map_err(at)?
            }
        };
        if home.is_repaired() {
            home.accept_repair()?;
        }
        let place = home.dir().display().to_string();
        Ok(Self { opened: Some(opened), place, file: Some(path), _home: Some(home) })
    }

    /// Opens a store over other storage than a file, which must hold the store with that number, or
    /// nothing if it is to `begin`.
    ///
    /// # Errors
    ///
    /// As [`Disk::open`].
    #[doc(hidden)]
    pub fn over(
        backend: impl StorageBackend,
        store: u128,
        begin: bool,
        options: &Options,
        pace: Pace,
    ) -> Result<Self, Error> {
        let place = "storage".to_owned();
        let opened = catch(|| Opened::open(backend, store, begin, options, pace));
        let opened = Some(opened.map_err(|fault| fault.at(&place))?);
        Ok(Self { opened, place, file: None, _home: None })
    }

    /// Does something with the database. After a fault or a panic it is not used again.
    fn with<T>(&mut self, run: impl FnOnce(&mut Opened) -> Result<T, Fault>) -> Result<T, Error> {
        let Some(opened) = self.opened.as_mut() else {
            return Err(Error::Unavailable(format!("{}: closed, or failed before", self.place)));
        };
        catch(|| run(opened)).map_err(|fault| {
            self.shut();
            fault.at(&self.place)
        })
    }

    /// Drops the database, which may panic once more after it did before.
    fn shut(&mut self) {
        let opened = self.opened.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(opened)));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shut();
    }
}

impl Store for Disk {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Loaded, Error> {
        self.with(|opened| {
            load::load(&opened.db.begin_read()?, &opened.meta, &opened.tail, each)?;
            Ok(Loaded { last: TaskId::from_bits(opened.last) })
        })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.with(|opened| opened.commit(batch))
    }

    fn result(&mut self, id: TaskId) -> Result<Option<Bytes>, Error> {
        self.with(|opened| opened.result(id))
    }

    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Error> {
        self.with(|opened| opened.sweep(wall_ms))
    }

    fn status(&mut self) -> Result<Status, Error> {
        let file = self.file.as_ref().and_then(|path| path.metadata().ok());
        self.with(|opened| {
            let (tail, result_bytes) = (opened.tail.bytes(), opened.results.bytes());
            let bytes = file.map_or(tail + result_bytes, |file| file.len());
            Ok(Status { pressure: false, bytes, result_bytes })
        })
    }

    fn close(&mut self) -> Result<(), Error> {
        self.shut();
        Ok(())
    }
}

/// Runs something of the library; a panic is a fault like any other.
fn catch<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(Fault::panicked(&*panic)))
}

/// The open database, and what must be known of it.
struct Opened {
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
    fn open(
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
    fn read_tail(&mut self, read: &redb::ReadTransaction) -> Result<(), Fault> {
        for row in read.open_table(Table::Log.rows())?.iter()? {
            let (key, value) = row?;
            if number(key.value())? != self.seq + 1 {
                return damaged(format!("row {} of the log is missing", self.seq + 1));
            }
            let row = log::Row::read(self.seq + 1, self.chain, value.value())?;
            self.tail.push(self.seq + 1, self.chain, value.value().len());
            for write in row.writes() {
                self.tail.note(write?, |text| row.slice(text));
            }
            (self.seq, self.chain) = (self.seq + 1, row.chain);
            (self.last, self.wall_ms) = (self.last.max(row.last), row.wall_ms);
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Fault> {
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
                fold::fold(&transaction, &mut log, meta, tail, results, bytes)?;
            }
        }
        transaction.commit()?;
        (self.seq, self.chain) = (seq, chain);
        self.last = self.last.max(batch.last.bits());
        Ok(())
    }

    fn result(&self, id: TaskId) -> Result<Option<Bytes>, Fault> {
        let read = self.db.begin_read()?;
        let Some((row, place)) = self.tail.end(id) else {
            return self.results.get(&read, id.bits(), self.wall_ms);
        };
        let log = read.open_table(Table::Log.rows())?;
        let Some(value) = log.get(key(row.seq).as_slice())? else {
            return damaged(format!("row {} of the log is missing", row.seq));
        };
        let row = log::Row::read(row.seq, row.chain, value.value())?;
        match row.writes().nth(place).transpose()? {
            Some(Write::End { frame, until_ms, .. }) if until_ms > self.wall_ms => {
                Ok(Some(Bytes::copy_from_slice(row.slice(frame))))
            }
            _ => Ok(None),
        }
    }

    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Fault> {
        self.wall_ms = wall_ms;
        let (rows, more) = self.results.due(wall_ms);
        if !rows.is_empty() {
            let transaction = begin(&self.db)?;
            self.results.remove(&transaction, &mut self.meta, &rows)?;
            self.meta.write(&transaction)?;
            transaction.commit()?;
        }
        Ok(more)
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
