//! How long results stay, and how many.

use ganger::store::Store;
use ganger::task::TaskId;

use super::super::model::{START_MS, Turn, id, result_frame, submit_frame};
use super::{Fresh, HOUR_MS, Pair, RESULT_CAP};

pub(super) fn result_time(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let mut turn = Turn::at(START_MS);
    for n in 1..=200 {
        // Half of them for seconds, half for hours.
        let until_ms = START_MS + n * if n % 2 == 0 { 1000 } else { HOUR_MS };
        let frame = result_frame(id(n), until_ms, &n.to_le_bytes());
        turn = turn.submit(id(n), submit_frame(b"")).end(id(n), frame, until_ms);
    }
    pair.commit(turn);
    for after in [0, 999, 1000, 50_000, 199_999, HOUR_MS, 70 * HOUR_MS] {
        let wall_ms = START_MS + after;
        pair.sweep(wall_ms);
        pair.compare_results(wall_ms);
    }
    pair.abandon();
    pair.sweep(START_MS + 71 * HOUR_MS);
    pair.compare_results(START_MS + 71 * HOUR_MS);
    pair.sweep(START_MS + 400 * HOUR_MS);
    assert!(pair.results.clone().keys().all(|&id| pair.result(id).is_none()));
}

pub(super) fn result_cap(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let until_ms = START_MS + HOUR_MS;
    // Far beyond the cap, so that what a store has not yet brought in order does not matter.
    let (turns, per_turn) = (60, 64);
    for n in 0..turns {
        let wall_ms = START_MS + n * 100;
        let mut turn = Turn::at(wall_ms);
        for m in 0..per_turn {
            let id = TaskId::from_bits(TaskId::next(TaskId::default(), wall_ms, 0).bits() + m);
            let frame = result_frame(id, until_ms, &[7; 16 << 10]);
            turn = turn.submit(id, submit_frame(b"")).end(id, frame, until_ms);
        }
        pair.commit(turn);
        if n % 2 == 0 {
            pair.sweep(wall_ms);
        }
    }
    pair.sweep(START_MS + turns * 100);
    for reopened in [false, true] {
        let ids: Vec<TaskId> = pair.results.keys().copied().collect();
        let kept: Vec<bool> = ids.iter().map(|&id| pair.result(id).is_some()).collect();
        let oldest = kept.iter().position(|&kept| kept).unwrap();
        assert!(oldest >= ids.len() / 10, "{oldest} of {} forgotten", ids.len());
        assert!(kept[oldest..].iter().all(|&kept| kept), "the newest stay (reopened: {reopened})");
        assert!(kept.len() - oldest >= 16, "about a cap of them");
        if !reopened {
            pair.reopen();
        }
    }
}

/// For stores that forget results as they commit: under load, sweeps once a second fall behind.
/// The store is opened with [`RESULT_CAP`].
pub(in super::super) fn results_are_bounded_by_commits(store: &mut dyn Store) {
    for (lifetime_ms, bound) in [(HOUR_MS, 2 * RESULT_CAP), (50, RESULT_CAP / 2)] {
        for n in 0..400 {
            let wall_ms = START_MS + lifetime_ms + n * 10_000;
            let mut turn = Turn::at(wall_ms);
            for m in 0..100 {
                let id = TaskId::from_bits(TaskId::next(TaskId::default(), wall_ms, 0).bits() + m);
                let until_ms = wall_ms + lifetime_ms;
                let frame = result_frame(id, until_ms, &[7; 400]);
                turn = turn.submit(id, submit_frame(b"")).end(id, frame, until_ms);
            }
            store.commit(&turn.0).unwrap();
        }
        let bytes = store.status().unwrap().result_bytes;
        assert!(bytes < bound, "{bytes} bytes of results that last {lifetime_ms} ms");
        while store.sweep(START_MS + 9 * HOUR_MS).unwrap() {}
    }
}
