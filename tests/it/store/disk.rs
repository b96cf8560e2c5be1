//! The embedded store: the suite, and which directories it takes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ganger::store::disk::{Disk, Pace};
use ganger::store::{Error, Options, Store};

use super::conformance::{self, RESULT_CAP};
use super::model::{Model, START_MS, Turn, id, submit_frame};
use super::storage::Storage;

#[test]
fn disk_conforms() {
    conformance::exercise(|| {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { result_cap: RESULT_CAP, ..Options::default() };
        Box::new(move || Box::new(Disk::open(dir.path(), &options).unwrap()))
    });
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

#[test]
fn disk_keeps_results_within_the_cap_and_their_time_without_being_swept() {
    let options = Options { result_cap: RESULT_CAP, ..Options::default() };
    let pace = Pace { tail: 64 << 10, fold: 1 };
    let mut disk = Disk::over(Storage::default().files(), 1, true, &options, pace).unwrap();
    conformance::results_are_bounded_by_commits(&mut disk);
}

fn conforms(pace: Pace) {
    conformance::exercise(|| {
        let (storage, mut begin) = (Storage::default(), true);
        let options = Options { result_cap: RESULT_CAP, ..Options::default() };
        Box::new(move || {
            let disk = Disk::over(storage.forget().files(), 1, begin, &options, pace).unwrap();
            begin = false;
            Box::new(disk)
        })
    });
}

fn open(dir: &Path) -> Result<Disk, Error> {
    Disk::open(dir, &Options::default())
}

/// A directory with a store that holds one task.
fn store() -> (tempfile::TempDir, Model) {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = open(dir.path()).unwrap();
    disk.commit(&Turn::at(START_MS).submit(id(1), submit_frame(b"x")).0).unwrap();
    let model = Model::load(&mut disk);
    disk.close().unwrap();
    (dir, model)
}

/// Opens a directory, which must be refused for damage that is named by a text.
fn assert_corrupt(dir: &Path, names: &str) {
    match open(dir) {
        Err(Error::Corrupt(text)) if text.contains(names) => {}
        other => panic!("{names:?}: {other:?}"),
    }
}

/// Opens a directory, which must be refused as unusable with a text.
fn assert_unavailable(dir: &Path, names: &str) {
    match open(dir) {
        Err(Error::Unavailable(text)) if text.contains(names) => {}
        other => panic!("{names:?}: {other:?}"),
    }
}

#[test]
fn a_directory_is_made_for_its_owner_only() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("a/b");
    drop(open(&dir).unwrap());
    for path in [&dir, &above.path().join("a")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
    for file in ["tasks.redb", "tasks.log"] {
        assert_eq!(fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn e11_a_second_scheduler_on_a_directory_is_refused_until_the_first_ends() {
    let (dir, model) = store();
    let first = open(dir.path()).unwrap();
    assert_unavailable(dir.path(), "the directory is in use by another scheduler");
    drop(first);
    assert_eq!(Model::load(&mut open(dir.path()).unwrap()), model);
}

#[test]
fn e08_a_directory_with_other_things_in_it_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    assert_unavailable(dir.path(), "holds other files");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn e08_a_database_without_its_marker_is_refused() {
    let (dir, _) = store();
    fs::remove_file(dir.path().join("ganger-store")).unwrap();
    assert_unavailable(dir.path(), "no marker");
}

#[test]
fn e08_a_marker_without_its_database_is_refused() {
    let (dir, _) = store();
    fs::remove_file(dir.path().join("tasks.redb")).unwrap();
    assert_corrupt(dir.path(), "missing");
    fs::write(dir.path().join("tasks.redb"), "").unwrap();
    assert_corrupt(dir.path(), "empty");
    fs::write(dir.path().join("tasks.redb"), [7; 100_000]).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Corrupt(_))));
}

#[test]
fn e08_a_marker_without_its_log_is_refused() {
    let (dir, _) = store();
    fs::remove_file(dir.path().join("tasks.log")).unwrap();
    assert_corrupt(dir.path(), "tasks.log: is missing");
    fs::write(dir.path().join("tasks.log"), "").unwrap();
    assert_corrupt(dir.path(), "the log is cut short");
    fs::write(dir.path().join("tasks.log"), [7; 100_000]).unwrap();
    assert_corrupt(dir.path(), "the log's head is damaged");
}

#[test]
fn e09_the_marker_of_something_else_is_refused() {
    let (dir, _) = store();
    let marker = dir.path().join("ganger-store");
    let ours = fs::read_to_string(&marker).unwrap();
    for other in ["", "\n", "STORE\n", "STORE format=1\n", "hello world\n", "STORE format=1 id=zz"]
    {
        fs::write(&marker, other).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Corrupt(_))), "{other:?}");
    }
    fs::write(&marker, [0xff, 0xfe, 0]).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Corrupt(_))));
    fs::write(&marker, ours).unwrap();
    assert!(open(dir.path()).is_ok());
}

#[test]
fn e09_a_newer_format_is_refused_and_named() {
    let (dir, _) = store();
    let marker = dir.path().join("ganger-store");
    let ours = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, ours.replace("format=1", "format=2")).unwrap();
    assert_corrupt(dir.path(), "format 2");
}

#[test]
fn e09_a_file_of_another_store_is_refused() {
    let ((dir, _), (other, _)) = (store(), store());
    for file in ["tasks.redb", "tasks.log"] {
        let ours = fs::read(dir.path().join(file)).unwrap();
        fs::copy(other.path().join(file), dir.path().join(file)).unwrap();
        assert_corrupt(dir.path(), "another store");
        fs::write(dir.path().join(file), ours).unwrap();
    }
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_store_whose_beginning_was_cut_short_is_begun_again() {
    let (dir, _) = store();
    let marker = dir.path().join("ganger-store");
    let ready = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, ready.replace("stage=ready", "stage=begun")).unwrap();
    assert_eq!(Model::load(&mut open(dir.path()).unwrap()), Model::default());
    assert!(fs::read_to_string(&marker).unwrap().contains("stage=ready"));

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ganger-store.new"), "STO").unwrap();
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_repaired_database_is_refused_until_that_is_accepted() {
    let (dir, model) = store();
    fs::write(dir.path().join("repaired"), "").unwrap();
    for _ in 0..2 {
        assert_corrupt(dir.path(), "--accept-repair");
    }
    let accepting = Options { accept_repair: true, ..Options::default() };
    assert_eq!(Model::load(&mut Disk::open(dir.path(), &accepting).unwrap()), model);
    assert_eq!(Model::load(&mut open(dir.path()).unwrap()), model);
}

#[test]
fn e10_a_place_where_nothing_can_be_made_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // Neither of them lets anybody make a directory, not even the superuser.
    for place in [&file.join("store"), &file, Path::new("/proc/ganger/store")] {
        assert_unavailable(place, "start again");
        let Err(Error::Unavailable(text)) = open(place) else { unreachable!() };
        assert!(text.starts_with(place.to_str().unwrap()), "{text}");
    }
}

#[test]
fn a_closed_store_says_so() {
    let (dir, _) = store();
    let mut disk = open(dir.path()).unwrap();
    disk.close().unwrap();
    disk.close().unwrap();
    let refused = disk.commit(&Turn::at(START_MS).submit(id(2), "x").0);
    assert!(matches!(refused, Err(Error::Unavailable(text)) if text.contains("closed")));
}
