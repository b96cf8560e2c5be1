//! A run of random turns on a disk store over [`Storage`], and what must be in it after each.

use ganger::store::disk::{Disk, Pace};
use ganger::store::{Error, Options, Store};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::model::{Model, Results};
use super::storage::Storage;
use super::workload::{Choice, Workload};

const STORE: u128 = 7;

/// Short, so that a small history folds, packs and sweeps.
const PACE: Pace = Pace { tail: 12 << 10, fold: 4 << 10 };

/// What a store held at a time.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// Changes of the storage when that was acknowledged.
    pub(super) changes: usize,
    pub(super) model: Model,
    pub(super) results: Results,
    pub(super) wall_ms: u64,
}

/// A store that random turns go to.
pub(super) struct History {
    pub(super) storage: Storage,
    pub(super) disk: Disk,
    /// After the beginning and after each acknowledged turn.
    pub(super) moments: Vec<Moment>,
    /// Whether some turns are many times longer than others.
    pub(super) long: bool,
    workload: Workload,
    random: SmallRng,
}

/// Opens a store that there must be.
pub(super) fn open(storage: &Storage) -> Result<Disk, Error> {
    Disk::over(storage.files(), STORE, false, &options(), PACE)
}

/// Opens what there must be with another number.
pub(super) fn open_as(storage: &Storage, store: u128) -> Result<Disk, Error> {
    Disk::over(storage.files(), store, false, &options(), PACE)
}

fn options() -> Options {
    Options { result_cap: 64 << 10, ..Options::default() }
}

impl History {
    /// Begins a store on an empty storage.
    pub(super) fn begin(storage: Storage, seed: u64) -> Result<Self, Error> {
        let disk = Disk::over(storage.files(), STORE, true, &options(), PACE)?;
        let workload = Workload::default();
        let begun = Moment {
            changes: storage.changes(),
            model: Model::default(),
            results: Results::new(),
            wall_ms: workload.wall_ms,
        };
        let random = SmallRng::seed_from_u64(seed);
        Ok(Self { storage, disk, moments: vec![begun], long: false, workload, random })
    }

    /// Runs so many turns, and a sweep now and then.
    pub(super) fn run(&mut self, turns: usize) -> Result<(), Error> {
        for _ in 0..turns {
            self.turn()?;
            if self.random.random_ratio(1, 5) {
                self.disk.sweep(self.workload.wall_ms)?;
            }
        }
        Ok(())
    }

    /// One turn. What it would leave is put down before it is tried: a turn in flight may be there.
    fn turn(&mut self) -> Result<(), Error> {
        // Long payloads are those of a size that is a multiple of 50, see the workload.
        let long = self.long && self.random.random_ratio(1, 3);
        let choices: Vec<Choice> = (0..self.random.random_range(1..30))
            .map(|_| Choice {
                kind: if long { 0 } else { self.random.random() },
                pick: self.random.random(),
                size: if long { 5000 } else { self.random.random_range(0..6000) },
            })
            .collect();
        let turn = self.workload.turn(&choices);
        let last = self.moments.last().unwrap();
        let mut moment = Moment { changes: usize::MAX, ..last.clone() };
        moment.model.apply(&turn.0, &mut moment.results);
        moment.wall_ms = self.workload.wall_ms;
        self.moments.push(moment);
        self.disk.commit(&turn.0)?;
        self.moments.last_mut().unwrap().changes = self.storage.changes();
        Ok(())
    }

    /// What there may be after a cut before a change: the last that was acknowledged by then, or
    /// the next, which was in flight. Nothing, if the store was still being begun.
    pub(super) fn allowed(&self, before: usize) -> &[Moment] {
        let acknowledged = self.moments.iter().filter(|moment| moment.changes <= before).count();
        match acknowledged.checked_sub(1) {
            Some(last) => &self.moments[last..self.moments.len().min(last + 2)],
            None => &[],
        }
    }
}

/// Loads a store and asks for results; which of some moments it is, or what is wrong with it.
pub(super) fn find<'m>(disk: &mut Disk, moments: &'m [Moment]) -> Result<&'m Moment, String> {
    let mut found = Model::default();
    let loaded = disk.load(&mut |record| found.take(record)).map_err(|error| error.to_string())?;
    found.last = loaded.last;
    let Some(moment) = moments.iter().find(|moment| moment.model == found) else {
        return Err("WRONG: loads what never was".into());
    };
    // The oldest may have been forgotten for the cap; the others are there, byte for byte.
    let mut forgotten = true;
    for (&id, (until_ms, frame)) in &moment.results {
        let result = disk.result(id).map_err(|error| error.to_string())?;
        match result {
            Some(result) if result != *frame => return Err(format!("WRONG: result of {id}")),
            Some(_) if *until_ms <= moment.wall_ms => return Err(format!("WRONG: {id} is over")),
            Some(_) => forgotten = false,
            None if *until_ms <= moment.wall_ms || forgotten => {}
            None => return Err(format!("WRONG: the result of {id} is missing")),
        }
    }
    Ok(moment)
}
