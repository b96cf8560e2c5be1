//! Rows that the database holds to be right and that are not: each is refused, by the store's own
//! checksums, sums and chain.

use redb::backends::InMemoryBackend;
use redb::{ReadableTable, Table as Rows};

use super::super::layout::{self, key};
use super::*;

const START_MS: u64 = 1_790_000_000_000;

/// An open store with something in every table: tasks 1 to 4 in the tables (2 with a state line, 3
/// buried, 4 ended), 5 and 6 in the log.
fn opened() -> Opened {
    let pace = Pace { tail: 0, fold: u64::MAX };
    let files = Files { database: InMemoryBackend::new(), log: InMemoryBackend::new() };
    let mut opened = Opened::open(files, 7, true, &Options::default(), pace).unwrap();
    let id = TaskId::from_bits;
    let mut batch = Batch { wall_ms: START_MS, last: id(4), ..Batch::default() };
    let text = batch.put(|out| out.extend_from_slice(b"some text"));
    for n in 1..=4 {
        batch.writes.push(Write::Submit { id: id(n), frame: text });
    }
    batch.writes.push(Write::State { id: id(2), line: text });
    batch.writes.push(Write::Bury { id: id(3), line: text, frame: text });
    batch.writes.push(Write::End { id: id(4), frame: text, until_ms: u64::MAX });
    batch.writes.push(Write::Queue { name: text, line: text });
    opened.commit(&batch).unwrap();
    opened.pace.tail = u64::MAX;
    for n in 5..=7 {
        batch.last = id(n);
        batch.writes = vec![Write::Submit { id: id(n), frame: text }];
        opened.commit(&batch).unwrap();
    }
    opened
}

/// Reads everything again, as a restart does; how many records there are.
fn reread(opened: Opened) -> Result<(u32, Opened), Fault> {
    let again = Opened::read(opened.db, opened.log, 7, &Options::default(), opened.pace)?;
    let mut records = 0;
    again.load(&mut |_| {
        records += 1;
        Ok(())
    })?;
    match again.result(TaskId::from_bits(4))? {
        Some(_) => Ok((records, again)),
        None => damaged("a result is gone"),
    }
}

/// Changes a table behind the store's back, and reads everything again.
fn tampered(
    table: Table,
    tamper: impl FnOnce(&mut Rows<'_, &'static [u8], &'static [u8]>),
) -> Result<u32, Fault> {
    let (records, opened) = reread(opened()).unwrap();
    assert_eq!(records, 7, "untouched, all is there");
    let transaction = begin(&opened.db).unwrap();
    tamper(&mut transaction.open_table(table.rows()).unwrap());
    transaction.commit().unwrap();
    reread(opened).map(|(records, _)| records)
}

fn first(rows: &Rows<'_, &'static [u8], &'static [u8]>) -> (Vec<u8>, Vec<u8>) {
    let (key, value) = rows.first().unwrap().unwrap();
    (key.value().to_vec(), value.value().to_vec())
}

#[test]
fn e15_a_missing_row_is_refused_in_every_table() {
    for table in Table::ALL {
        let outcome = tampered(table, |rows| drop(rows.pop_first().unwrap()));
        assert!(matches!(outcome, Err(Fault::Damaged(_))), "{table:?}: {outcome:?}");
    }
}

#[test]
fn e15_a_changed_byte_is_refused_in_every_table() {
    for table in Table::ALL {
        for place in [0, 1, 5, usize::MAX] {
            let outcome = tampered(table, |rows| {
                let (key, mut value) = first(rows);
                let place = place.min(value.len() - 1);
                value[place] ^= 1;
                rows.insert(key.as_slice(), value.as_slice()).unwrap();
            });
            assert!(matches!(outcome, Err(Fault::Damaged(_))), "{table:?} {place}: {outcome:?}");
        }
    }
}

#[test]
fn e15_a_row_under_another_key_is_refused_in_every_table() {
    for table in Table::ALL {
        let outcome = tampered(table, |rows| {
            let (mut key, value) = first(rows);
            rows.remove(key.as_slice()).unwrap();
            *key.last_mut().unwrap() ^= 0x40;
            rows.insert(key.as_slice(), value.as_slice()).unwrap();
        });
        assert!(matches!(outcome, Err(Fault::Damaged(_))), "{table:?}: {outcome:?}");
    }
}

#[test]
fn e15_an_old_row_that_is_back_is_refused() {
    let ended = TaskId::from_bits(4);
    let outcome = tampered(Table::Tasks, |rows| {
        let mut value = Vec::new();
        layout::begin(&mut value);
        value.extend_from_slice(b"some text");
        layout::seal(Table::Tasks, &key(ended.bits()), &mut value);
        rows.insert(key(ended.bits()).as_slice(), value.as_slice()).unwrap();
    });
    assert!(matches!(outcome, Err(Fault::Damaged(_))), "{outcome:?}");
}
