//! Storage in memory that remembers what was done to it: it fails when told to, and tells what a
//! power cut would have left.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use redb::StorageBackend;

/// What a disk writes at once.
const SECTOR: usize = 512;

/// A handle; its clones are the same storage.
#[derive(Clone, Debug, Default)]
pub(super) struct Storage(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    /// What was there when it was made.
    base: Vec<u8>,
    /// What a reader sees now.
    bytes: Vec<u8>,
    done: Vec<Op>,
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
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        let base = bytes.clone();
        Self(Arc::new(Mutex::new(Disk { base, bytes, ..Disk::default() })))
    }

    pub(super) fn failing(self, fault: Fault) -> Self {
        self.disk().fault = Some(fault);
        self
    }

    /// What a killed process leaves: the machine still writes all that was written.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.disk().bytes.clone()
    }

    /// The same storage, from here on; what was done to it so far need not be told again.
    pub(super) fn forget(&self) -> Self {
        let mut disk = self.disk();
        disk.done.clear();
        disk.base = Vec::new();
        drop(disk);
        self.clone()
    }

    /// How many changes there were.
    pub(super) fn changes(&self) -> usize {
        self.disk().done.len()
    }

    /// What a power cut before a change leaves: all that was synced by then; of the rest, any
    /// sectors.
    pub(super) fn power_cut(&self, before: usize, seed: u64) -> Vec<u8> {
        self.left(before, self.last_sync(before), seed)
    }

    /// The same, had the last sync before the change done nothing.
    pub(super) fn power_cut_unsynced(&self, before: usize, seed: u64) -> Vec<u8> {
        self.left(before, self.last_sync(self.last_sync(before)), seed)
    }

    fn last_sync(&self, before: usize) -> usize {
        let disk = self.disk();
        disk.done[..before].iter().rposition(|op| matches!(op, Op::Sync)).unwrap_or(0)
    }

    fn left(&self, before: usize, synced: usize, seed: u64) -> Vec<u8> {
        let mut random = SmallRng::seed_from_u64(seed);
        let disk = self.disk();
        let mut bytes = disk.base.clone();
        disk.done[..synced].iter().for_each(|op| apply(&mut bytes, op));
        let share = *[0.0, 0.15, 0.5, 0.85, 1.0].choose(&mut random).unwrap();
        for op in &disk.done[synced..before] {
            match op {
                Op::Write(at, data) => {
                    for (at, sector) in sectors(*at, data) {
                        if random.random_bool(share) {
                            write(&mut bytes, at, sector);
                        }
                    }
                }
                other if random.random_bool(share) => apply(&mut bytes, other),
                _ => {}
            }
        }
        bytes
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, op: Op) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check(Failing::Changes)?;
        apply(&mut disk.bytes, &op);
        disk.done.push(op);
        Ok(())
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
        write!(f, "{} bytes after {} changes", self.bytes.len(), self.done.len())
    }
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check(Failing::Reads)?;
        let from = usize::try_from(offset).ok().and_then(|offset| disk.bytes.get(offset..));
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
