//! The files of a disk store in memory. They remember what was done to them, fail when told to, and
//! tell what a power cut would have left.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ganger::store::disk::Files;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use redb::StorageBackend;

/// What a disk writes at once.
const SECTOR: usize = 512;

/// What the files hold: the database and the log.
pub(super) type Image = [Vec<u8>; 2];

/// A handle; its clones are the same storage.
#[derive(Clone, Debug, Default)]
pub(super) struct Storage(Arc<Mutex<Disk>>);

/// One of the files, by its place in an [`Image`].
#[derive(Clone, Debug)]
pub(super) struct Part(Storage, usize);

#[derive(Default)]
struct Disk {
    /// What was there when it was made.
    base: Image,
    /// What a reader sees now.
    bytes: Image,
    /// What was done, and to which file.
    done: Vec<(usize, Op)>,
    /// Changes and reads that were tried.
    tried: [usize; 2],
    fault: Option<Fault>,
}

#[derive(Clone)]
enum Op {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
}

/// Makes operations fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) of: Failing,
    /// The first that fails, counted from 0.
    pub(super) at: usize,
    /// Whether all further ones fail too.
    pub(super) lasting: bool,
    pub(super) kind: io::ErrorKind,
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    Reads,
    /// Writes, changes of length, syncs.
    Changes,
}

impl Storage {
    pub(super) fn holding(bytes: Image) -> Self {
        let base = bytes.clone();
        Self(Arc::new(Mutex::new(Disk { base, bytes, ..Disk::default() })))
    }

    pub(super) fn failing(self, fault: Fault) -> Self {
        self.disk().fault = Some(fault);
        self
    }

    pub(super) fn files(&self) -> Files<Part> {
        Files { database: Part(self.clone(), 0), log: Part(self.clone(), 1) }
    }

    /// What a killed process leaves: the machine still writes all that was written.
    pub(super) fn bytes(&self) -> Image {
        self.disk().bytes.clone()
    }

    /// The same storage, from here on; what was done to it so far need not be told again.
    pub(super) fn forget(&self) -> Self {
        let mut disk = self.disk();
        disk.done.clear();
        disk.base = Image::default();
        drop(disk);
        self.clone()
    }

    /// How many changes there were.
    pub(super) fn changes(&self) -> usize {
        self.disk().done.len()
    }

    /// What a power cut before a change leaves: all that was synced by then; of the rest, any
    /// sectors.
    pub(super) fn power_cut(&self, before: usize, seed: u64) -> Image {
        let synced = [0, 1].map(|file| self.last_sync(file, before));
        self.left(before, synced, seed)
    }

    /// The same, had the last sync before the change done nothing.
    pub(super) fn power_cut_unsynced(&self, before: usize, seed: u64) -> Image {
        let mut synced = [0, 1].map(|file| self.last_sync(file, before));
        let file = usize::from(synced[1] > synced[0]);
        synced[file] = self.last_sync(file, synced[file]);
        self.left(before, synced, seed)
    }

    /// What was there before a change, all of it written: a process that is killed there leaves that.
    pub(super) fn at(&self, before: usize) -> Image {
        self.left(before, [before; 2], 0)
    }

    /// The same storage up to a change, from where a next process goes on.
    pub(super) fn cut_off(&self, before: usize) -> Self {
        let bytes = self.at(before);
        let disk = self.disk();
        let (base, done) = (disk.base.clone(), disk.done[..before].to_vec());
        Self(Arc::new(Mutex::new(Disk { base, bytes, done, ..Disk::default() })))
    }

    /// Nothing fails any more.
    pub(super) fn mended(&self) {
        self.disk().fault = None;
    }

    /// The file that a change is to, and whether it is a sync.
    pub(super) fn change_at(&self, at: usize) -> (usize, bool) {
        let disk = self.disk();
        let (file, op) = &disk.done[at];
        (*file, matches!(op, Op::Sync))
    }

    /// What was written since the last sync of a file is clean in the page cache and will never
    /// reach the disk, but for what is written again: what a failed sync leaves on ext4.
    pub(super) fn lose_unsynced(&self, file: usize) {
        let mut disk = self.disk();
        let synced = disk.done.iter().rposition(|(of, op)| *of == file && matches!(op, Op::Sync));
        let synced = synced.unwrap_or(0);
        let mut n = 0;
        disk.done.retain(|(of, _)| {
            n += 1;
            n - 1 <= synced || *of != file
        });
    }

    fn last_sync(&self, file: usize, before: usize) -> usize {
        let syncs = |&(of, ref op): &(usize, Op)| of == file && matches!(op, Op::Sync);
        self.disk().done[..before].iter().rposition(syncs).unwrap_or(0)
    }

    fn left(&self, before: usize, synced: [usize; 2], seed: u64) -> Image {
        let mut random = SmallRng::seed_from_u64(seed);
        let disk = self.disk();
        let mut left = disk.base.clone();
        let share = *[0.0, 0.15, 0.5, 0.85, 1.0].choose(&mut random).unwrap();
        for (n, &(file, ref op)) in disk.done[..before].iter().enumerate() {
            let bytes = &mut left[file];
            match op {
                op if n < synced[file] => apply(bytes, op),
                Op::Write(at, data) => {
                    for (at, sector) in sectors(*at, data) {
                        if random.random_bool(share) {
                            write(bytes, at, sector);
                        }
                    }
                }
                other if random.random_bool(share) => apply(bytes, other),
                _ => {}
            }
        }
        left
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn check(&mut self, of: Failing) -> io::Result<()> {
        let tried = &mut self.tried[usize::from(of == Failing::Reads)];
        let n = *tried;
        *tried += 1;
        match self.fault {
            Some(fault) if fault.of == of && (n == fault.at || (fault.lasting && n > fault.at)) => {
                Err(fault.kind.into())
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [database, log] = self.bytes.each_ref().map(Vec::len);
        write!(f, "{database} and {log} bytes after {} changes", self.done.len())
    }
}

impl Part {
    fn change(&self, op: Op) -> io::Result<()> {
        let mut disk = self.0.disk();
        disk.check(Failing::Changes)?;
        apply(&mut disk.bytes[self.1], &op);
        disk.done.push((self.1, op));
        Ok(())
    }
}

impl StorageBackend for Part {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.disk().bytes[self.1].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut disk = self.0.disk();
        disk.check(Failing::Reads)?;
        let bytes = &disk.bytes[self.1];
        let from = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
        let from = from.and_then(|from| from.get(..out.len()));
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Op::Length(length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Op::Write(offset as usize, data.to_vec()))
    }
}

fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(at, data) => write(bytes, *at, data),
        Op::Length(length) => bytes.resize(*length, 0),
        Op::Sync => {}
    }
}

fn write(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    bytes.resize(bytes.len().max(end), 0);
    bytes[at..end].copy_from_slice(data);
}

/// Cuts a write where sectors end.
fn sectors(mut at: usize, mut data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    std::iter::from_fn(move || {
        let (sector, rest) = data.split_at(data.len().min(SECTOR - at % SECTOR));
        let cut = (at, sector);
        (at, data) = (at + sector.len(), rest);
        (!sector.is_empty()).then_some(cut)
    })
}
