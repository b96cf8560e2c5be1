//! The log as a file: its ring, and what damage to the newest rows comes to.

use redb::backends::InMemoryBackend;

use super::super::row;
use super::*;
use crate::record::{Batch, Write};
use crate::task::TaskId;

const BEGUN: Mark = Mark { seq: 0, chain: 0 };

/// The file, as it is now.
fn image(log: &Log) -> Vec<u8> {
    log.read(0, log.file.len().unwrap()).unwrap()
}

fn holding(image: &[u8]) -> Box<dyn StorageBackend> {
    let file = InMemoryBackend::new();
    file.set_len(image.len() as u64).unwrap();
    file.write(0, image).unwrap();
    Box::new(file)
}

fn created() -> Log {
    Log::create(Box::new(InMemoryBackend::new()), 7).unwrap()
}

/// The row that follows a mark, of about so many bytes.
fn row_after(before: Mark, bytes: usize) -> (Vec<u8>, Mark) {
    let (mut row, mut batch) = (Vec::new(), Batch::default());
    let frame = batch.put(|out| out.resize(bytes, b'x'));
    batch.writes.push(Write::Submit { id: TaskId::from_bits(before.seq + 1), frame });
    let chain = row::encode(before.seq + 1, before.chain, &batch, &mut row);
    (row, Mark { seq: before.seq + 1, chain })
}

/// Appends a row of about so many bytes; its place and its mark.
fn append(log: &mut Log, before: Mark, bytes: usize) -> (u64, Mark) {
    let (row, mark) = row_after(before, bytes);
    (log.append(before, mark.chain, &row).unwrap(), mark)
}

/// What a restart finds in a file behind a mark and its place.
fn recovered(image: &[u8], from: Mark, place: u64) -> Result<Vec<u64>, Fault> {
    let (mut log, mut found) = (Log::open(holding(image), 7)?, Vec::new());
    log.recover(from, place, from, |before, _, _| {
        found.push(before.seq + 1);
        Ok(())
    })?;
    // What was found once is found again, whether it had to be mended or not.
    let (mut again, mut log) = (Vec::new(), Log::open(holding(&self::image(&log)), 7)?);
    log.recover(from, place, from, |before, _, _| {
        again.push(before.seq + 1);
        Ok(())
    })?;
    assert_eq!(found, again);
    Ok(found)
}

/// A log of rows of so many bytes, with the places where they begin.
fn log_of(bytes: &[usize]) -> (Vec<u8>, Vec<u64>) {
    let (mut log, mut mark, mut places) = (created(), BEGUN, Vec::new());
    for &bytes in bytes {
        let (at, next) = append(&mut log, mark, bytes);
        places.push(at);
        mark = next;
    }
    (image(&log), places)
}

fn flip(image: &mut [u8], at: u64) {
    image[usize::try_from(at).unwrap()] ^= 1;
}

fn assert_refused(outcome: &Result<Vec<u64>, Fault>) {
    assert!(matches!(outcome, Err(Fault::Damaged(_))), "{outcome:?}");
}

#[test]
fn rows_come_back_whatever_the_ring_has_been_through() {
    let (mut log, mut mark, mut turn) = (created(), BEGUN, 0_usize);
    // Of each needed row: the mark before it, its place, its end.
    let mut needed: Vec<(Mark, u64, u64)> = Vec::new();
    let mut wraps = 0;
    for seq in 1..2000 {
        turn = (turn * 5 + 977) % 8191;
        let (row, next) = row_after(mark, turn % 3000 * (1 + turn % 7));
        while !log.has_room(row.len()) || needed.len() > 12 {
            let (_, _, end) = needed.remove(0);
            log.release(end);
        }
        let at = log.append(mark, next.chain, &row).unwrap();
        wraps += u32::from(needed.last().is_some_and(|&(_, last, _)| at < last));
        needed.push((mark, at, at + row.len() as u64));
        mark = next;
        if seq % 20 == 0 {
            let (from, place, _) = needed[0];
            let expected: Vec<u64> = (from.seq + 1..=seq).collect();
            assert_eq!(recovered(&image(&log), from, place).unwrap(), expected);
        }
    }
    assert!(wraps > 50, "{wraps} times round");
    assert!(log.length() < 1 << 20, "{} bytes", log.length());
}

#[test]
fn a_full_ring_has_room_again_when_rows_are_released() {
    let mut log = created();
    let (at, first) = append(&mut log, BEGUN, 50 << 10);
    let (_, second) = append(&mut log, first, 15 << 10);
    log.release(at + (51 << 10));
    assert_eq!(log.place(log.oldest - AREA), Some(log.end));
    assert_eq!(log.place(log.oldest - AREA - 1), Some(AREA));
    let (wrapped, third) = append(&mut log, second, 20 << 10);
    assert_eq!(wrapped, AREA);
    assert!(!log.has_room(60 << 10));
    // Never so full that its end meets its beginning, as those of an empty one do.
    let gap = usize::try_from(log.oldest - log.end).unwrap();
    assert!(!log.has_room(gap) && log.has_room(gap - 1));
    log.release(log.end);
    assert!(log.has_room(60 << 10) && log.has_room(1 << 30));
    append(&mut log, third, 60 << 10);
}

#[test]
fn e06_a_damaged_newest_row_is_mended_from_a_copy() {
    let (image, places) = log_of(&[100, 100, 100]);
    // Those of the third row.
    let [_, copies] = COPIES;
    for spoilt in [&[places[2] + 40][..], &[copies[0] + 50], &[copies[1]]] {
        let mut damaged = image.clone();
        spoilt.iter().for_each(|&at| flip(&mut damaged, at));
        assert_eq!(recovered(&damaged, BEGUN, AREA).unwrap(), [1, 2, 3], "{spoilt:?}");
    }
    for copy in copies {
        let mut damaged = image.clone();
        flip(&mut damaged, places[2] + 40);
        flip(&mut damaged, copy + 50);
        assert_eq!(recovered(&damaged, BEGUN, AREA).unwrap(), [1, 2, 3]);
    }
}

#[test]
fn e06_a_damaged_newest_row_that_is_too_long_for_a_copy_is_refused() {
    let (mut image, places) = log_of(&[100, 100_000]);
    assert_eq!(recovered(&image, BEGUN, AREA).unwrap(), [1, 2]);
    flip(&mut image, places[1] + 70_000);
    assert_refused(&recovered(&image, BEGUN, AREA));
}

#[test]
fn e06_a_row_that_its_copies_did_not_reach_has_them_after_a_restart() {
    let (before, _) = log_of(&[100, 100]);
    let (mut image, places) = log_of(&[100, 100, 100]);
    let copies = 4096..usize::try_from(AREA).unwrap();
    image[copies.clone()].copy_from_slice(&before[copies]);
    let mut log = Log::open(holding(&image), 7).unwrap();
    log.recover(BEGUN, AREA, BEGUN, |_, _, _| Ok(())).unwrap();
    // The third row may have been told to somebody since.
    let mut image = self::image(&log);
    flip(&mut image, places[2] + 40);
    assert_eq!(recovered(&image, BEGUN, AREA).unwrap(), [1, 2, 3]);
}

#[test]
fn e06_a_damaged_older_row_is_refused() {
    let (image, places) = log_of(&[100, 100, 100, 100]);
    for &place in &places[..3] {
        for at in [0, 4, 5, 60] {
            let mut damaged = image.clone();
            flip(&mut damaged, place + at);
            assert_refused(&recovered(&damaged, BEGUN, AREA));
        }
    }
}

#[test]
fn e05_a_row_that_was_being_written_is_there_or_not() {
    for long in [100, 100_000] {
        let (before, _) = log_of(&[100, 100]);
        let (after, places) = log_of(&[100, 100, long]);
        // Neither copy was reached, and so much of the row.
        let grown = |bytes: usize| {
            let mut image = before.clone();
            image.resize(after.len(), 0);
            let row = usize::try_from(places[2]).unwrap();
            image[row..row + bytes].copy_from_slice(&after[row..row + bytes]);
            image
        };
        for bytes in [0, 3, 9, 70] {
            assert_eq!(recovered(&grown(bytes), BEGUN, AREA).unwrap(), [1, 2]);
        }
        let whole = after.len() - usize::try_from(places[2]).unwrap();
        assert_eq!(recovered(&grown(whole), BEGUN, AREA).unwrap(), [1, 2, 3]);
    }
}

#[test]
fn e09_the_log_of_another_store_or_of_an_older_time_is_refused() {
    let (old, _) = log_of(&[100]);
    let other = Log::open(holding(&old), 8);
    assert!(matches!(other, Err(Fault::Damaged(text)) if text.contains("another store")));
    // The database has folded three rows.
    let mut mark = BEGUN;
    for _ in 0..3 {
        mark = row_after(mark, 100).1;
    }
    assert_refused(&recovered(&old, mark, AREA));
    // The row after the one that it has folded is damaged.
    let (image, places) = log_of(&[100, 100, 100]);
    let mut image = image;
    flip(&mut image, places[1]);
    assert_refused(&recovered(&image, row_after(BEGUN, 100).1, places[1]));
}

#[test]
fn e09_a_log_that_ends_before_what_the_database_knows_is_refused() {
    let recover = |known| {
        let (image, _) = log_of(&[100, 100]);
        Log::open(holding(&image), 7).unwrap().recover(BEGUN, AREA, known, |_, _, _| Ok(()))
    };
    let first = row_after(BEGUN, 100).1;
    let second = row_after(first, 100).1;
    for known in [BEGUN, first, second] {
        assert!(recover(known).is_ok(), "{known:?}");
    }
    for known in [row_after(second, 100).1, row_after(first, 99).1] {
        assert!(matches!(recover(known), Err(Fault::Damaged(_))), "{known:?}");
    }
}

#[test]
fn e09_copies_of_another_history_are_refused() {
    let (mut image, _) = log_of(&[100, 100]);
    let copies = 4096..usize::try_from(AREA).unwrap();
    for other in [&[100, 200][..], &[200, 100, 100]] {
        image[copies.clone()].copy_from_slice(&log_of(other).0[copies.clone()]);
        assert_refused(&recovered(&image, BEGUN, AREA));
    }
}

#[test]
fn e07_a_log_that_is_cut_short_is_refused() {
    let (image, places) = log_of(&[100, 100, 100]);
    for length in [0, 1, 4096, AREA - 1, places[1], places[1] + 20] {
        let cut = &image[..usize::try_from(length).unwrap()];
        assert_refused(&recovered(cut, BEGUN, AREA));
    }
    assert_refused(&recovered(&image, BEGUN, 1 << 40));
}
