//! The embedded store.

use ganger::store::Options;
use ganger::store::disk::{Disk, Pace};

use super::conformance::{self, RESULT_CAP};

#[test]
fn disk_conforms() {
    conforms(Pace::default());
}

/// Every commit folds all of the log.
#[test]
fn disk_without_a_tail_conforms() {
    conforms(Pace { tail: 0, fold: u64::MAX });
}

/// Rows are folded a few commits later, one or two at a time.
#[test]
fn disk_with_a_short_tail_conforms() {
    conforms(Pace { tail: 3 << 10, fold: 1 });
}

fn conforms(pace: Pace) {
    conformance::exercise(|| {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { result_cap: RESULT_CAP, ..Options::default() };
        Box::new(move || Box::new(Disk::open_paced(dir.path(), &options, pace).unwrap()))
    });
}
