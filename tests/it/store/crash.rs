//! Power cuts and failing disks: what a commit has answered stays. The names bear the rows of the
//! fault catalogue (E01 and so on).

use std::io::ErrorKind;

use ganger::store::Error;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::history::{History, find, open};
use super::storage::{Failing, Fault, Storage};

/// Cuts the power at random changes of a history, reopens what that leaves, cuts again while that
/// recovers, and reopens once more. Gives what went wrong, by seed.
fn cut(history: &History, seeds: std::ops::Range<u64>) -> Vec<String> {
    let begun = history.moments[0].changes;
    let all = history.storage.changes();
    let mut wrong = Vec::new();
    for seed in seeds {
        let mut random = SmallRng::seed_from_u64(seed);
        let before = random.random_range(begun..=all);
        let left = history.storage.power_cut(before, random.random());
        let first = Storage::holding(left);
        let outcome = reopen(history, before, &first).and_then(|()| {
            let before_second = random.random_range(0..=first.changes());
            let left = first.power_cut(before_second, random.random());
            reopen(history, before, &Storage::holding(left))
        });
        if let Err(what) = outcome {
            wrong.push(format!("seed {seed}, before change {before} of {all}: {what}"));
        }
    }
    wrong
}

fn reopen(history: &History, before: usize, storage: &Storage) -> Result<(), String> {
    let mut disk = open(storage).map_err(|error| error.to_string())?;
    find(&mut disk, history.allowed(before)).map(drop)
}

fn history(seed: u64, turns: usize) -> History {
    let mut history = History::begin(Storage::default(), seed).unwrap();
    history.run(turns).unwrap();
    history
}

#[test]
fn e04_e05_a_power_cut_and_another_in_recovery_lose_nothing_acknowledged() {
    for seed in 0..8 {
        let wrong = cut(&history(seed, 50), 0..60);
        assert!(wrong.is_empty(), "history {seed}: {wrong:#?}");
    }
}

/// A turn that is too long for a copy of it is synced in two steps.
#[test]
fn e04_e05_a_power_cut_loses_no_long_turn_and_does_not_look_like_damage() {
    for seed in 0..4 {
        let mut history = History::begin(Storage::default(), seed).unwrap();
        history.long = true;
        history.run(30).unwrap();
        let wrong = cut(&history, 0..60);
        assert!(wrong.is_empty(), "history {seed}: {wrong:#?}");
    }
}

/// The first test above would find a store that forgets to sync.
#[test]
fn e03_a_forgotten_sync_is_found() {
    let history = history(1, 40);
    let mut found = 0;
    for seed in 0..60 {
        let mut random = SmallRng::seed_from_u64(seed);
        // Right after an acknowledgement.
        let moment = random.random_range(1..history.moments.len());
        let before = history.moments[moment].changes;
        let left = history.storage.power_cut_unsynced(before, random.random());
        found += u32::from(reopen(&history, before, &Storage::holding(left)).is_err());
    }
    assert!(found > 5, "{found} of 60 found");
}

/// What ended, was forgotten or was overwritten does not pile up.
#[test]
fn e16_space_is_used_again() {
    let size = |history: &History| history.storage.bytes().iter().map(Vec::len).sum::<usize>();
    let mut history = History::begin(Storage::default(), 5).unwrap();
    history.run(400).unwrap();
    let early = size(&history);
    history.run(800).unwrap();
    let late = size(&history);
    assert!(late <= 2 * early, "{early} bytes, later {late}");
}

/// A disk that is full or broken from some change on, or for one.
#[test]
fn e01_e02_a_failing_change_ends_the_store_and_loses_nothing() {
    let changes = history(3, 30).storage.changes();
    let mut failed = 0;
    for at in (0..changes).step_by(3) {
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            let lasting = kind == ErrorKind::StorageFull;
            let fault = Fault { of: Failing::Changes, at, lasting, kind };
            failed += u32::from(fail(fault));
        }
    }
    assert!(failed > 100, "{failed} failed");
}

#[test]
fn e02_a_failing_read_is_an_error_and_nothing_else() {
    let history = history(4, 40);
    let before = history.storage.changes();
    let left = history.storage.bytes();
    let mut failed = 0;
    for at in 0.. {
        let fault = Fault { of: Failing::Reads, at, lasting: false, kind: ErrorKind::Other };
        let storage = Storage::holding(left.clone()).failing(fault);
        if reopen(&history, before, &storage).is_ok() {
            break;
        }
        failed += 1;
        assert_eq!(
            reopen(&history, before, &Storage::holding(storage.bytes())),
            Ok(()),
            "{fault:?}"
        );
    }
    assert!(failed > 20, "{failed} reads failed");
}

/// Runs a history into a fault and reopens it after the disk is mended, as it is and after a power
/// cut. True if a turn failed.
fn fail(fault: Fault) -> bool {
    let storage = Storage::default().failing(fault);
    let mut history = match History::begin(storage.clone(), 3) {
        Ok(history) => history,
        Err(error) => {
            assert!(matches!(error, Error::Unavailable(_)), "{fault:?}: {error}");
            return true;
        }
    };
    let ran = history.run(30);
    if let Err(error) = &ran {
        assert!(matches!(error, Error::Unavailable(_)), "{fault:?}: {error}");
        assert!(history.run(1).is_err(), "a store that failed is not used again");
        history.moments.pop();
    }
    let before = storage.changes();
    for left in [storage.bytes(), storage.power_cut(before, 1), storage.power_cut(before, 2)] {
        let outcome = reopen(&history, before, &Storage::holding(left));
        assert_eq!(outcome, Ok(()), "{fault:?}");
    }
    ran.is_err()
}
