//! The embedded store.

use ganger::store::Options;
use ganger::store::disk::Disk;

use super::conformance::{self, RESULT_CAP};

#[test]
fn disk_conforms() {
    conformance::exercise(|| {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { result_cap: RESULT_CAP, ..Options::default() };
        Box::new(move || Box::new(Disk::open(dir.path(), &options).unwrap()))
    });
}
