//! What goes wrong in the database, and what its operator is told.

use std::any::Any;
use std::fmt;
use std::io;

use super::super::Error;

/// Why the database cannot be used any further.
#[derive(Debug)]
pub(super) enum Fault {
    /// The library or the file system under it refused.
    Refused(redb::Error),
    /// What is stored is not what was stored.
    Damaged(String),
    /// The library found damage and mended it, which may have cost data.
    Repaired,
}

/// A fault for a row that does not verify.
pub(super) fn damaged<T>(what: impl fmt::Display) -> Result<T, Fault> {
    Err(Fault::Damaged(what.to_string()))
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl Fault {
    /// What a panic of the library means: it met something that it holds to be impossible.
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        Self::Damaged(format!("the database library gave up: {text}"))
    }

    /// The error of the store, with the place it speaks of and what to do.
    pub(super) fn at(self, place: &str) -> Error {
        match self {
            Self::Damaged(what) => damage(place, what),
            Self::Repaired => Error::Corrupt(format!(
                "{place}: the database was damaged and has been repaired, which may have cost \
                 data: restore it from a backup, or go on with what is left by --accept-repair"
            )),
            Self::Refused(error) => match error {
                redb::Error::Io(error) if is_damage(&error) => damage(place, error),
                redb::Error::Io(error) => Error::Unavailable(format!(
                    "{place}: {error}; {}; nothing acknowledged is lost",
                    advice(error.kind())
                )),
                redb::Error::DatabaseAlreadyOpen => in_use(place),
                redb::Error::UpgradeRequired(version) => {
                    damage(place, format!("database format {version} is not this version's"))
                }
                redb::Error::Corrupted(what) => damage(place, what),
                error @ (redb::Error::TableTypeMismatch { .. }
                | redb::Error::TableIsMultimap(_)
                | redb::Error::TypeDefinitionChanged { .. }
                | redb::Error::TableDoesNotExist(_)) => damage(place, error),
                error => Error::Unavailable(format!("{place}: {error}")),
            },
        }
    }
}

/// The refusal of a directory that another process uses.
pub(super) fn in_use(place: &str) -> Error {
    Error::Unavailable(format!("{place}: the directory is in use by another scheduler"))
}

fn damage(place: &str, what: impl fmt::Display) -> Error {
    Error::Corrupt(format!(
        "{place}: {what}; restore the directory from a backup, or move it away to begin anew"
    ))
}

/// The database is shorter than it says, or no database.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

/// What to do about an error of the file system.
pub(super) fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space and start again",
        io::ErrorKind::PermissionDenied => {
            "give this user the right to read and write the directory and the files in it"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system writable and start again",
        _ => "look for the cause in the system's log, mend it and start again",
    }
}
