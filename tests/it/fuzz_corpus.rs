//! Everything that fuzzing found worth keeping, through the functions that are fuzzed.

use std::fs;
use std::path::Path;

#[path = "../fuzz/entry.rs"]
mod entry;

fn replay(target: &str, entry: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut inputs: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "{} holds the corpus", folder.display());
    for input in inputs {
        let bytes = fs::read(&input).unwrap();
        let held = std::panic::catch_unwind(|| entry(&bytes));
        assert!(held.is_ok(), "{}", input.display());
    }
}

#[test]
fn the_corpus_of_codec_holds() {
    replay("codec", entry::codec);
}

#[test]
fn the_corpus_of_message_holds() {
    replay("message", entry::message);
}
