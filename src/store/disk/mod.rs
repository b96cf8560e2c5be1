//! The embedded store: a log and a redb database in a directory of their own.
//!
//! Every commit appends one row, the whole batch, to the log, which is synced before
//! [`Store::commit`] returns. When the log is longer than it should be, some of its oldest rows are
//! folded into the tables of the database, in one transaction with two-phase commit, where only that
//! arrives which no later row undoes: most tasks begin and end within the log. Loading reads the
//! tables and applies the log over them.
//!
//! What it promises: after a crash or a power cut, everything that a commit has answered is there;
//! damage is refused, or mended from a copy, and never passed on; a file system error ends the store,
//! as after a failed sync nobody knows what is on the disk. [`log`] says what the log holds,
//! [`layout`] the database, [`home`] the directory.

mod fault;
mod filter;
mod fold;
mod home;
mod layout;
mod load;
mod log;
mod meta;
mod mounts;
mod opened;
mod packed;
mod results;
mod row;
mod sorted;
mod tail;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use redb::StorageBackend;
use redb::backends::FileBackend;

use self::fault::Fault;
use self::home::Home;
use self::opened::Opened;
use super::{Error, Loaded, Options, Status, Store};
use crate::record::{Batch, Record};
use crate::task::TaskId;

/// A store on the local disk.
#[derive(Debug)]
pub struct Disk {
    /// `None` once it was closed, or failed.
    opened: Option<Opened>,
    /// What errors name.
    place: String,
    /// The directory, if it is in one; keeps other processes away until it is dropped, last.
    home: Option<Home>,
}

/// The files of a store.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Files<B> {
    /// That of the database.
    pub database: B,
    /// That of the log.
    pub log: B,
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
        Self { tail: 32 << 20, fold: 1 << 20 }
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
        let place = home.dir().display().to_string();
        let at = |fault: Fault| fault.at(&place);
        let opened = match home.marker()?.filter(|marker| marker.ready) {
            None => {
                let (marker, files) = home.begin(rand::random())?;
                let opened =
                    catch(|| Opened::open(backends(files)?, marker.store, true, options, pace));
                let opened = opened.map_err(at)?;
                home.ready(marker)?;
                opened
            }
            Some(_) if home.is_repaired() && !options.accept_repair => {
                return Err(at(Fault::Repaired));
            }
            Some(marker) => {
                let files = home.files()?;
                let opened =
                    catch(|| Opened::open(backends(files)?, marker.store, false, options, pace));
                if let Err(Fault::Repaired) = opened {
                    home.note_repair()?;
                }
                opened.map_err(at)?
            }
        };
        if home.is_repaired() {
            home.accept_repair()?;
        }
        Ok(Self { opened: Some(opened), place, home: Some(home) })
    }

    /// Opens a store over other storage than files, which must hold the store with that number, or
    /// nothing if it is to `begin`.
    ///
    /// # Errors
    ///
    /// As [`Disk::open`].
    #[doc(hidden)]
    pub fn over(
        files: Files<impl StorageBackend>,
        store: u128,
        begin: bool,
        options: &Options,
        pace: Pace,
    ) -> Result<Self, Error> {
        let place = "storage".to_owned();
        let opened = catch(|| Opened::open(files, store, begin, options, pace));
        let opened = Some(opened.map_err(|fault| fault.at(&place))?);
        Ok(Self { opened, place, home: None })
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
        self.with(|opened| opened.load(each))
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
        let (mut bytes, mut pressure) = (None, false);
        if let Some(home) = &self.home {
            bytes = home.bytes();
            pressure = mounts::is_nearly_full(home.dir());
        }
        self.with(|opened| {
            let (held, result_bytes) = opened.bytes();
            Ok(Status { pressure, bytes: bytes.unwrap_or(held), result_bytes, inbox: None })
        })
    }

    fn close(&mut self) -> Result<(), Error> {
        self.shut();
        Ok(())
    }
}

fn backends(files: Files<File>) -> Result<Files<FileBackend>, Fault> {
    let Files { database, log } = files;
    Ok(Files { database: FileBackend::new(database)?, log: FileBackend::new(log)? })
}

/// Runs something of the library; a panic is a fault like any other.
fn catch<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(Fault::panicked(&*panic)))
}
