//! What an interrupted run leaves for the next one of the same command in the same directory:
//! `.ganger-run/ID/`, with the scheduler's store and a ledger of the lines whose output was printed.
//!
//! The ledger is a text. Its first line is `ganger-run 1 NONCE`; each further one a line of the
//! input, named by the MD5 of its content and by which occurrence of that content it is, and how it
//! ended: `900150983cd24fb0d6963f7d28e17f72 1 done`. It is locked while a run goes on, and removed
//! with all else when the run has come to its end.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use rand::RngExt;

use super::super::exit::Failure;

/// Where the states of a directory's runs are.
const PLACE: &str = ".ganger-run";

/// The first words of a ledger, with the version of its format.
const HEAD: &str = "ganger-run 1 ";

/// Names a line of the input: what it is, and which of the lines that are the same, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    content: u128,
    occurrence: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x} {}", self.content, self.occurrence)
    }
}

impl Key {
    fn parse(content: &str, occurrence: &str) -> Option<Self> {
        let content = u128::from_str_radix(content, 16).ok()?;
        Some(Self { content, occurrence: occurrence.parse().ok()? })
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    dir: PathBuf,
    /// Tells the tasks of this run from those of an earlier one that was forgotten.
    nonce: String,
    /// How the lines ended that were finished earlier: whether well.
    finished: HashMap<Key, bool>,
    /// How often each content was met in the input so far.
    met: HashMap<u128, u32>,
}

impl State {
    /// What is left of an earlier run of the command here, or what begins a new one, and where it is
    /// noted what comes of its lines; `forget` makes it begin anew.
    ///
    /// # Errors
    ///
    /// If the same command runs here right now, or the directory cannot be written.
    pub(super) fn open(identity: &[OsString], forget: bool) -> Result<(Self, Ledger), Failure> {
        let dir = Path::new(PLACE).join(id_of(identity));
        let failed = |error: std::io::Error| {
            failed(&dir, &error).hint("the state of a run is kept in the current directory")
        };
        fs::create_dir_all(&dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let mut ledger = options.open(dir.join("ledger")).map_err(failed)?;
        match ledger.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::machine("the same command is running in this directory"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if forget {
            ledger.set_len(0).map_err(failed)?;
        }
        let mut text = String::new();
        ledger.read_to_string(&mut text).map_err(failed)?;
        // A line that was being written when the program ended was not.
        let whole = text.rfind('\n').map_or(0, |last| last + 1);
        ledger.set_len(whole as u64).map_err(failed)?;
        ledger.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut ledger = Ledger { dir: dir.clone(), file: ledger };
        let mut state =
            Self { dir, nonce: String::new(), finished: HashMap::new(), met: HashMap::new() };
        match text.get(..whole).unwrap_or_default() {
            "" => state.begin(&mut ledger)?,
            text => state.go_on(text)?,
        }
        Ok((state, ledger))
    }

    fn begin(&mut self, ledger: &mut Ledger) -> Result<(), Failure> {
        let store = self.dir.join("store");
        if store.exists() {
            fs::remove_dir_all(&store).map_err(|error| failed(&self.dir, &error))?;
        }
        self.nonce = format!("{:032x}", random());
        ledger.append(&format!("{HEAD}{}\n", self.nonce))
    }

    fn go_on(&mut self, text: &str) -> Result<(), Failure> {
        let mut lines = text.lines();
        let nonce = lines.next().and_then(|head| head.strip_prefix(HEAD));
        let foreign = || {
            Failure::machine(format!("{} is of another version", self.dir.display()))
                .hint("--again forgets it and begins anew")
        };
        nonce.ok_or_else(foreign)?.clone_into(&mut self.nonce);
        for line in lines {
            let mut words = line.split(' ');
            let (content, occurrence, end) = (words.next(), words.next(), words.next());
            let key = content.zip(occurrence).and_then(|(c, o)| Key::parse(c, o));
            let Some((key, end)) = key.zip(end) else { return Err(foreign()) };
            self.finished.insert(key, end == "done");
        }
        Ok(())
    }

    /// The URL of the scheduler's store.
    pub(super) fn store(&self) -> String {
        format!("file:{}", self.dir.join("store").display())
    }

    /// What the task of a line is unique by.
    pub(super) fn unique(&self, key: Key) -> String {
        format!("{}-{:032x}-{}", self.nonce, key.content, key.occurrence)
    }

    /// Tells the tasks of this run from all others.
    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// How many lines were finished earlier, and how many of them failed.
    pub(super) fn finished(&self) -> (usize, usize) {
        (self.finished.len(), self.finished.values().filter(|well| !**well).count())
    }

    /// Whether an earlier run was interrupted.
    pub(super) fn goes_on(&self) -> bool {
        self.dir.join("store").exists() || !self.finished.is_empty()
    }

    /// Names the next line of the input; nothing if it was finished earlier.
    pub(super) fn meet(&mut self, line: &[u8]) -> Option<Key> {
        let content = u128::from_be_bytes(Md5::digest(line).into());
        let met = self.met.entry(content).or_default();
        *met += 1;
        let key = Key { content, occurrence: *met };
        (!self.finished.contains_key(&key)).then_some(key)
    }

    /// Removes everything: the run has come to its end.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub(super) fn remove(self) -> Result<(), Failure> {
        fs::remove_dir_all(&self.dir).map_err(|error| failed(&self.dir, &error))?;
        // Other commands may have left something there.
        let _ = fs::remove_dir(PLACE);
        Ok(())
    }
}

/// Where the lines are noted whose output is printed. While it is open, no other run of the command
/// can begin here.
#[derive(Debug)]
pub(super) struct Ledger {
    dir: PathBuf,
    file: File,
}

impl Ledger {
    /// Notes that lines are finished and their output is printed, and whether they ended well.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub(super) fn finish(&mut self, lines: &[(Key, bool)]) -> Result<(), Failure> {
        let end = |well: bool| if well { "done" } else { "failed" };
        let text: String =
            lines.iter().map(|(key, well)| format!("{key} {}\n", end(*well))).collect();
        self.append(&text)
    }

    fn append(&mut self, text: &str) -> Result<(), Failure> {
        // One write, so that what others see, and what a crash leaves, ends with a whole line.
        self.file.write_all(text.as_bytes()).map_err(|error| failed(&self.dir, &error))
    }
}

fn failed(dir: &Path, error: &std::io::Error) -> Failure {
    Failure::machine(format!("{}: {error}", dir.display()))
}

/// Whether a line names something in the place of these states: a search of the directory finds it
/// too.
pub(super) fn is_own(line: &[u8]) -> bool {
    let mut path = line;
    while let Some(rest) = path.strip_prefix(b"./") {
        path = rest;
    }
    let rest = path.strip_prefix(PLACE.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// What a command's state is called: it is the same for the same words.
fn id_of(identity: &[OsString]) -> String {
    let mut digest = Md5::new();
    for word in identity {
        digest.update((word.len() as u64).to_be_bytes());
        digest.update(word.as_bytes());
    }
    let digest = u128::from_be_bytes(digest.finalize().into());
    format!("{:016x}", digest >> 64)
}

/// A number that nobody guesses.
#[expect(clippy::disallowed_methods, reason = "names and secrets of a run are to differ")]
pub(super) fn random() -> u128 {
    rand::rng().random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_known() {
        for own in [".ganger-run", "./.ganger-run/x/ledger", ".ganger-run/x"] {
            assert!(is_own(own.as_bytes()), "{own}");
        }
        for other in [".ganger-runs", "a/.ganger-run", "", "./x"] {
            assert!(!is_own(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn keys_are_read_back() {
        let key = Key { content: 7 << 100, occurrence: 3 };
        let text = key.to_string();
        let (content, occurrence) = text.split_once(' ').unwrap();
        assert_eq!(Key::parse(content, occurrence), Some(key));
    }

    #[test]
    fn words_are_not_run_together() {
        let id = |words: &[&str]| id_of(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_ne!(id(&["ab", "c"]), id(&["a", "bc"]));
        assert_eq!(id(&["a", "b"]), id(&["a", "b"]));
    }
}
