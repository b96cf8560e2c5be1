//! Where records live. The trait speaks tasks; what is behind it is a backend's own business.
//!
//! A store is driven by one thread, blocks as long as it must, and answers only when what it was
//! given is durable at the level that it documents. An outcome that is not known is never answered:
//! the store finds it out first, by sending the identical batch again.

use std::fmt;
use std::path::Path;

use bytes::Bytes;

use crate::record::{Batch, Record};
use crate::store::inbox::{Bell, Bite, Found};
use crate::task::TaskId;

pub mod disk;
pub mod inbox;
pub mod memory;
pub mod redis;

/// Bytes of results that are kept unless told otherwise: 1 GiB.
pub const RESULT_CAP: u64 = 1 << 30;

/// What a store may be told beside where it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of results to keep; beyond, the oldest are forgotten first.
    pub result_cap: u64,
    /// Go on with data that were damaged, rather than refuse them: on disk a database that had to be
    /// repaired, in Redis keys that lost rows.
    pub accept_repair: bool,
    /// Redis: who holds the shard, as [`redis::Options::holder`]. Empty by default, which no Redis
    /// is opened with.
    pub holder: String,
    /// Redis: use one without an append-only file.
    pub allow_unsafe: bool,
}

impl Default for Options {
    fn default() -> Self {
        let (holder, allow_unsafe) = (String::new(), false);
        Self { result_cap: RESULT_CAP, accept_repair: false, holder, allow_unsafe }
    }
}

/// Opens the store that a URL names: `memory:`, `file:DIRECTORY` or `redis://HOST`.
///
/// # Errors
///
/// [`Error`]; a URL of no known form is [`Error::Unavailable`].
pub fn open(url: &str, options: &Options) -> Result<Box<dyn Store>, Error> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Box::new(memory::Memory::new(options.result_cap))),
        Some(("file", dir)) if !dir.is_empty() => {
            Ok(Box::new(disk::Disk::open(Path::new(dir), options)?))
        }
        Some((scheme, _)) if redis::is_scheme(scheme) => {
            let told = redis::Options {
                allow_unsafe: options.allow_unsafe,
                accept_repair: options.accept_repair,
                result_bytes_max: options.result_cap,
                ..redis::Options::new(url, options.holder.as_str())
            };
            Ok(Box::new(redis::Redis::new(told)?))
        }
        _ => Err(Error::Unavailable(no_store(url))),
    }
}

/// Checks that a URL can be read, without opening anything.
///
/// # Errors
///
/// A text that says what is wrong with it, or which forms there are.
pub fn check_url(url: &str) -> Result<(), String> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(()),
        Some(("file", dir)) if !dir.is_empty() => Ok(()),
        Some((scheme, _)) if redis::is_scheme(scheme) => redis::check_url(url),
        _ => Err(no_store(url)),
    }
}

fn no_store(url: &str) -> String {
    format!("{url:?} names no store: give memory:, file:DIRECTORY or redis://HOST")
}

/// Keeps records.
pub trait Store: Send {
    /// Hands over everything kept: tasks in ascending order of their identifiers, and the rest.
    /// Called once, before the first commit.
    ///
    /// # Errors
    ///
    /// [`Error`]; what `each` refuses is [`Error::Corrupt`].
    fn load(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Loaded, Error>;

    /// Makes a batch durable, all of it or nothing.
    ///
    /// # Errors
    ///
    /// [`Error`]; after one the store is not used again.
    fn commit(&mut self, batch: &Batch) -> Result<(), Error>;

    /// The RESULT frame of an ended task, if it is kept.
    ///
    /// # Errors
    ///
    /// [`Error`].
    fn result(&mut self, id: TaskId) -> Result<Option<Bytes>, Error>;

    /// Forgets results whose time is over, and the oldest beyond the cap; a bounded piece of work.
    /// True if there is more to do.
    ///
    /// # Errors
    ///
    /// [`Error`].
    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Error>;

    /// Called about once a second: renews leases, measures.
    ///
    /// # Errors
    ///
    /// [`Error`].
    fn status(&mut self) -> Result<Status, Error>;

    /// Whether batches should carry the text of events.
    fn wants_events(&self) -> bool {
        false
    }

    /// The next entries of the inbox, oldest first, from the first one that no batch has taken. They
    /// stay until one does. Stores without an inbox never find any.
    ///
    /// # Errors
    ///
    /// [`Error`].
    fn entries(&mut self, _bite: Bite) -> Result<Vec<Found>, Error> {
        Ok(Vec::new())
    }

    /// What hears of new entries, if there is an inbox; after `load`.
    fn bell(&self) -> Option<Box<dyn Bell>> {
        None
    }

    /// Ends orderly: what is pending inside is written, leases are given back.
    ///
    /// # Errors
    ///
    /// [`Error`].
    fn close(&mut self) -> Result<(), Error>;
}

/// What a store tells when all is handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The last identifier ever issued.
    pub last: TaskId,
}

/// How a store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Nearly full: submissions are to be refused, all else goes on.
    pub pressure: bool,
    /// Bytes it holds, as far as it knows.
    pub bytes: u64,
    /// Bytes of results among them.
    pub result_bytes: u64,
    /// Entries in its inbox; `None` if it has none, or cannot tell.
    pub inbox: Option<u64>,
}

/// Why a store cannot go on. The process ends with it; a restart recovers.
#[derive(Debug)]
pub enum Error {
    /// Another scheduler holds the fence.
    Fenced(String),
    /// What is stored is not what was stored, or not of this version.
    Corrupt(String),
    /// It cannot be opened or written: permissions, disk, configuration.
    Unavailable(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced(text) => write!(f, "fenced: {text}"),
            Self::Corrupt(text) => write!(f, "corrupt: {text}"),
            Self::Unavailable(text) => write!(f, "unavailable: {text}"),
        }
    }
}

impl std::error::Error for Error {}
