//! The directory of a store: who may use it, and what says that it is one.
//!
//! | file | holds |
//! |---|---|
//! | `ganger-store` | the marker: `STORE format=1 id=… created=… stage=ready` |
//! | `tasks.log` | the log, see [`super::log`] |
//! | `tasks.redb` | the database, see [`super::layout`] |
//! | `repaired` | if there: the database was repaired and nobody accepted that yet |
//!
//! A store is begun in steps, each synced before the next: the marker with `stage=begun`, the
//! database and the log, the marker with `stage=ready`. Only then is anything acknowledged, so what
//! a crash leaves of a begun store is begun again. A ready one whose database or log is missing is
//! refused, and so is a directory that has files but no marker.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::super::Error;
use super::Files;
use super::fault::{Fault, advice, in_use};
use super::layout::FORMAT;
use super::mounts;
use crate::frame::{Writer, number};
use crate::record::option;

const MARKER: &str = "ganger-store";
const MARKER_NEW: &str = "ganger-store.new";
const DATABASE: &str = "tasks.redb";
const LOG: &str = "tasks.log";
const REPAIRED: &str = "repaired";

/// A directory that this process has to itself.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    /// The directory itself, locked as long as it is open.
    lock: File,
}

/// What the marker file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// The random number that the database repeats.
    pub(super) store: u128,
    /// Unix milliseconds.
    created_ms: u64,
    /// Whether anything may have been acknowledged.
    pub(super) ready: bool,
}

impl Home {
    /// Makes the directory if there is none, readable by its owner only, and locks it.
    pub(super) fn enter(dir: &Path) -> Result<Self, Error> {
        make(dir).map_err(|error| unusable(dir, &error))?;
        let lock = File::open(dir).map_err(|error| unusable(dir, &error))?;
        if let Some(kind) = mounts::remote(dir) {
            tracing::warn!(
                dir = %dir.display(),
                "the directory is on {kind}, where locks and syncs may not hold: what is \
                 acknowledged may be lost, and two schedulers may use it at once"
            );
        }
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.into(), lock }),
            Err(TryLockError::WouldBlock) => Err(in_use(&dir.display().to_string())),
            Err(TryLockError::Error(error)) => Err(unusable(dir, &error)),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The marker of a store that was begun here, if one was.
    pub(super) fn marker(&self) -> Result<Option<Marker>, Error> {
        let path = self.dir.join(MARKER);
        match fs::read_to_string(&path) {
            Ok(text) => Marker::parse(&text)
                .map(Some)
                .map_err(|what| Fault::Damaged(what).at(&path.display().to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Fault::Damaged("is no marker".into()).at(&path.display().to_string()))
            }
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// Begins a store, in place of one that was begun and never became ready; gives its marker and
    /// empty files. [`Home::ready`] completes it.
    pub(super) fn begin(&self, store: u128) -> Result<(Marker, Files<File>), Error> {
        let ours = [MARKER, MARKER_NEW, DATABASE, LOG];
        let begin = || {
            let begun = self.dir.join(MARKER).exists();
            for entry in fs::read_dir(&self.dir)? {
                let name = entry?.file_name();
                if !ours.iter().any(|&our| name == *our && (begun || our == MARKER_NEW)) {
                    return Ok(None);
                }
            }
            let created_ms = self.write_time()?;
            let marker = Marker { store, created_ms, ready: false };
            self.write(marker)?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true).mode(0o600);
            let open = |name| options.open(self.dir.join(name));
            Ok(Some((marker, Files { database: open(DATABASE)?, log: open(LOG)? })))
        };
        match begin() {
            Ok(Some(begun)) => Ok(begun),
            Ok(None) => Err(Error::Unavailable(format!(
                "{}: the directory holds other files and no marker {MARKER} of a store; give an \
                 empty directory, or one that a scheduler has made",
                self.dir.display()
            ))),
            Err(error) => Err(unusable(&self.dir, &error)),
        }
    }

    /// The store's files exist and are synced: from now on they must.
    pub(super) fn ready(&self, marker: Marker) -> Result<(), Error> {
        let write = || {
            self.lock.sync_all()?;
            self.write(Marker { ready: true, ..marker })
        };
        write().map_err(|error| unusable(&self.dir, &error))
    }

    /// Opens the files of a store that is ready.
    pub(super) fn files(&self) -> Result<Files<File>, Error> {
        let open = |name| {
            let path = self.dir.join(name);
            match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(file) => Ok(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Err(Fault::Damaged("is missing".into()).at(&path.display().to_string()))
                }
                Err(error) => Err(unusable(&path, &error)),
            }
        };
        Ok(Files { database: open(DATABASE)?, log: open(LOG)? })
    }

    /// Bytes of the files.
    pub(super) fn bytes(&self) -> Option<u64> {
        let bytes = |name| Some(self.dir.join(name).metadata().ok()?.len());
        Some(bytes(DATABASE)? + bytes(LOG)?)
    }

    /// Remembers that the database was repaired, so that it is refused the next time as well.
    pub(super) fn note_repair(&self) -> Result<(), Error> {
        let note = || {
            File::create(self.dir.join(REPAIRED))?.sync_all()?;
            self.lock.sync_all()
        };
        note().map_err(|error| unusable(&self.dir, &error))
    }

    /// Whether the database was repaired and that is still to be accepted.
    pub(super) fn is_repaired(&self) -> bool {
        self.dir.join(REPAIRED).exists()
    }

    pub(super) fn accept_repair(&self) -> Result<(), Error> {
        let accept = || {
            fs::remove_file(self.dir.join(REPAIRED))?;
            self.lock.sync_all()
        };
        accept().map_err(|error| unusable(&self.dir, &error))
    }

    /// Replaces the marker, so that a crash leaves the old one or the new one.
    fn write(&self, marker: Marker) -> io::Result<()> {
        let new = self.dir.join(MARKER_NEW);
        let mut file = File::create(&new)?;
        file.write_all(marker.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.dir.join(MARKER))?;
        self.lock.sync_all()
    }

    /// The time, as the file system has it.
    fn write_time(&self) -> io::Result<u64> {
        let written = File::create(self.dir.join(MARKER_NEW))?.metadata()?.modified()?;
        let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Drop for Home {
    /// Closing is not enough: a process that is just being started has a copy of the open
    /// directory until it runs its own program, and with it the lock.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Marker {
    fn text(self) -> String {
        let mut line = Vec::new();
        Writer::verb(&mut line, "STORE")
            .option_number("format", u64::from(FORMAT))
            .option("id", &format!("{:032x}", self.store))
            .option_number("created", self.created_ms)
            .option("stage", if self.ready { "ready" } else { "begun" })
            .end();
        String::from_utf8(line).unwrap_or_default()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let line = text.strip_suffix('\n').filter(|line| line.starts_with("STORE "));
        let line = line.ok_or("is not the marker of a store")?;
        let format = option(line, "format").and_then(|format| number(format.as_bytes()));
        if format != Some(u64::from(FORMAT)) {
            let format = option(line, "format").unwrap_or("unknown");
            return Err(format!(
                "the store has format {format}, this version reads format {FORMAT}"
            ));
        }
        let parsed = || {
            let store = u128::from_str_radix(option(line, "id")?, 16).ok()?;
            let created_ms = number(option(line, "created")?.as_bytes())?;
            let ready = match option(line, "stage")? {
                "ready" => true,
                "begun" => false,
                _ => return None,
            };
            Some(Self { store, created_ms, ready })
        };
        parsed().ok_or_else(|| "is not the marker of a store".into())
    }
}

/// Makes a directory and those above it, each synced into the one above.
fn make(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    make(above)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    File::open(above)?.sync_all()
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::Unavailable(format!("{}: {error}; {}", path.display(), advice(error.kind())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_free_when_it_is_left_whoever_else_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::enter(dir.path()).unwrap();
        let inherited = home.lock.try_clone().unwrap();
        assert!(Home::enter(dir.path()).is_err());
        drop(home);
        assert!(Home::enter(dir.path()).is_ok());
        drop(inherited);
    }
}
