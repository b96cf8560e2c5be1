//! Damage that no crash explains: it is refused, or it was where nothing is. The names bear the
//! rows of the fault catalogue.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ganger::store::{Error, Store};
use ganger::task::TaskId;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use super::history::{History, Moment, find, open, open_as};
use super::model::{Turn, submit_frame};
use super::storage::{Image, Storage};

/// A store after some turns, as a killed process leaves it and as an orderly end does.
fn images(seed: u64) -> (History, [Image; 2]) {
    let mut history = History::begin(Storage::default(), seed).unwrap();
    history.run(60).unwrap();
    let killed = history.storage.bytes();
    history.disk.close().unwrap();
    let closed = history.storage.bytes();
    (history, [killed, closed])
}

/// How a damaged store turned out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    refused: u32,
    intact: u32,
}

/// Damages a file of an image again and again; each time the store is refused, or all of it is
/// there. Counts for the database, and for the log.
fn damaged(seeds: u64, damage: impl Fn(&mut Vec<u8>, &mut SmallRng)) -> [Tally; 2] {
    [0, 1].map(|file| damaged_file(seeds, file, &damage))
}

fn damaged_file(seeds: u64, file: usize, damage: impl Fn(&mut Vec<u8>, &mut SmallRng)) -> Tally {
    let mut tally = Tally::default();
    for run in 0..3 {
        let (history, images) = images(run);
        for (image, how) in images.iter().zip(["killed", "closed"]) {
            for seed in 0..seeds {
                let mut bytes = image.clone();
                damage(&mut bytes[file], &mut SmallRng::seed_from_u64(seed));
                match outcome(&history, bytes) {
                    Ok(()) => tally.intact += 1,
                    Err(what) if what.starts_with("corrupt: ") => tally.refused += 1,
                    Err(what) => panic!("file {file}, history {run} ({how}), seed {seed}: {what}"),
                }
            }
        }
    }
    tally
}

/// Opens the store, and if it is refused once more: what refuses the first time must not let wrong
/// things pass the second.
fn outcome(history: &History, bytes: Image) -> Result<(), String> {
    let storage = Storage::holding(bytes);
    let mut moments = history.moments[history.moments.len() - 1..].to_vec();
    let mut go_on = || {
        let run = AssertUnwindSafe(|| go_on(&storage, &mut moments));
        catch_unwind(run).unwrap_or_else(|_| Err("a panic came through".into()))
    };
    let refused = |outcome: &Result<(), String>| match outcome {
        Err(what) => what.starts_with("corrupt: "),
        Ok(()) => false,
    };
    let first = go_on();
    let second = if refused(&first) { go_on() } else { Ok(()) };
    if second.is_ok() || refused(&second) { first } else { second }
}

/// Compares a store with the last of some moments, or one that was in flight after it, and goes on:
/// whatever else is damaged must not come to light, or do harm, later.
fn go_on(storage: &Storage, moments: &mut Vec<Moment>) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let mut disk = open(storage).map_err(text)?;
    *moments = vec![find(&mut disk, moments)?.clone()];
    for n in 0..20 {
        let mut moment = moments[moments.len() - 1].clone();
        let id = TaskId::next(moment.model.last, moment.wall_ms, 0);
        let turn = Turn::at(moment.wall_ms).submit(id, submit_frame(&[n; 600]));
        moment.model.apply(&turn.0, &mut moment.results);
        moments.push(moment);
        disk.commit(&turn.0).map_err(text)?;
        moments.remove(0);
    }
    drop(disk);
    find(&mut open(storage).map_err(text)?, moments).map(drop)
}

/// The place of a random sector that holds something.
fn sector(bytes: &[u8], random: &mut SmallRng) -> std::ops::Range<usize> {
    loop {
        let at = random.random_range(0..bytes.len() / 512) * 512;
        if bytes[at..at + 512].iter().any(|&byte| byte != 0) {
            return at..at + 512;
        }
    }
}

#[test]
fn e06_a_flipped_bit_is_refused_or_harmless() {
    let tally = damaged(120, |bytes, random| {
        let sector = sector(bytes, random);
        let at = random.random_range(sector);
        bytes[at] ^= 1 << random.random_range(0..8);
    });
    assert!(tally.iter().all(|tally| tally.refused > 20 && tally.intact > 0), "{tally:?}");
}

#[test]
fn e06_a_zeroed_sector_is_refused_or_harmless() {
    let tally = damaged(60, |bytes, random| {
        let sector = sector(bytes, random);
        bytes[sector].fill(0);
    });
    assert!(tally.iter().all(|tally| tally.refused > 20 && tally.intact > 0), "{tally:?}");
}

#[test]
fn e06_e18_a_sector_of_garbage_is_refused_or_harmless() {
    let tally = damaged(60, |bytes, random| {
        let sector = sector(bytes, random);
        random.fill_bytes(&mut bytes[sector]);
    });
    assert!(tally.iter().all(|tally| tally.refused > 20 && tally.intact > 0), "{tally:?}");
}

#[test]
fn e06_two_swapped_pages_are_refused_or_harmless() {
    let tally = damaged(60, |bytes, random| {
        let pages = bytes.len() / 4096;
        let (a, b) = (random.random_range(1..pages), random.random_range(1..pages));
        for at in 0..4096 {
            bytes.swap(a * 4096 + at, b * 4096 + at);
        }
    });
    assert!(tally.iter().all(|tally| tally.refused > 20 && tally.intact > 0), "{tally:?}");
}

#[test]
fn e07_a_database_cut_anywhere_is_refused_and_a_log_where_it_held_something() {
    let tally = damaged(60, |bytes, random| {
        let length = random.random_range(0..bytes.len());
        bytes.truncate(length);
    });
    assert!(tally[0].intact == 0 && tally[1].refused > 30, "{tally:?}");
}

#[test]
fn e07_an_empty_file_is_refused_and_an_extended_one_is_never_wrong() {
    let tally = damaged(1, |bytes, _| bytes.clear());
    assert!(tally.iter().all(|tally| tally.intact == 0), "{tally:?}");
    damaged(20, |bytes, random| {
        let more = random.random_range(1..100_000);
        bytes.resize(bytes.len() + more, random.random());
    });
}

#[test]
fn e09_a_database_of_another_store_is_refused() {
    let (_, images) = images(9);
    for image in images {
        let refused = open_as(&Storage::holding(image), 8);
        assert!(matches!(&refused, Err(Error::Corrupt(text)) if text.contains("another store")));
    }
}
