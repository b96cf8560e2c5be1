//! Hands over what the database holds: the tables, with the rows of the log applied over them.
//! Tables are streamed; only the tail of the log is held in memory meanwhile.

use std::collections::BTreeMap;

use redb::ReadTransaction;

use super::fault::{Fault, damaged};
use super::layout::{Reader, Table, key, number};
use super::meta::Meta;
use super::row::Row;
use super::sorted::{Sorted, Value};
use super::tail::{self, CRON, HOLD, QUEUE, RUN, STATS, WORKER, line, line_key};
use crate::record::{Record, Write};
use crate::task::TaskId;

/// Takes a record, or says what is wrong with it.
pub(super) type Each<'e> = dyn FnMut(Record<'_>) -> Result<(), String> + 'e;

/// Hands over everything, and compares the tables with their sums.
pub(super) fn load(
    transaction: &ReadTransaction,
    meta: &Meta,
    rows: &[(tail::Row, Vec<u8>)],
    each: &mut Each<'_>,
) -> Result<(), Fault> {
    let mut over = Over::default();
    for (row, bytes) in rows {
        match Row::read(row.seq, row.chain, bytes) {
            Some(read) => over.apply(&read)?,
            None => return row.damaged(),
        }
    }
    let stored = |name| Sorted::open(transaction, meta, name);
    lines(stored(Table::Lines)?, over.lines, each)?;
    tasks(stored(Table::Tasks)?, stored(Table::State)?, over.tasks, each)?;
    buried(stored(Table::Buried)?, over.buried, each)
}

/// What the log sets and takes: of each thing, the last.
#[derive(Default)]
struct Over<'v> {
    tasks: BTreeMap<Key, OverTask<'v>>,
    buried: BTreeMap<Key, Option<Buried<'v>>>,
    lines: BTreeMap<Key, Option<&'v [u8]>>,
}

type Key = Box<[u8]>;

/// The state line and the frame of a buried task.
type Buried<'v> = (&'v [u8], &'v [u8]);

/// What the log sets (the inner `Some`) and takes of a task.
#[derive(Clone, Copy, Default)]
struct OverTask<'v> {
    frame: Option<Option<&'v [u8]>>,
    line: Option<Option<&'v [u8]>>,
}

const GONE: OverTask<'_> = OverTask { frame: Some(None), line: Some(None) };

impl<'v> Over<'v> {
    fn apply(&mut self, row: &Row<'v>) -> Result<(), Fault> {
        for write in row.writes() {
            self.write(row, write?);
        }
        Ok(())
    }

    fn write(&mut self, row: &Row<'v>, write: Write) {
        let key = |id: TaskId| Box::from(key(id.bits()));
        match write {
            Write::Submit { id, frame } => {
                self.tasks.entry(key(id)).or_default().frame = Some(Some(row.slice(frame)));
            }
            Write::State { id, line } => {
                self.tasks.entry(key(id)).or_default().line = Some(Some(row.slice(line)));
            }
            Write::End { id, .. } => drop(self.tasks.insert(key(id), GONE)),
            Write::Bury { id, line, frame } => {
                self.tasks.insert(key(id), GONE);
                self.buried.insert(key(id), Some((row.slice(line), row.slice(frame))));
            }
            Write::Revive { id, line, frame } => {
                let (frame, line) = (Some(Some(row.slice(frame))), Some(Some(row.slice(line))));
                self.tasks.insert(key(id), OverTask { frame, line });
                self.buried.insert(key(id), None);
            }
            Write::Drop { id } => drop(self.buried.insert(key(id), None)),
            _ => {
                if let Some((kind, name, line)) = line(write) {
                    let line = line.map(|line| row.slice(line));
                    self.lines.insert(line_key(kind, row.slice(name)), line);
                }
            }
        }
    }
}

fn lines(
    stored: Sorted<'_>,
    over: BTreeMap<Key, Option<&[u8]>>,
    each: &mut Each<'_>,
) -> Result<(), Fault> {
    let mut rows = Merged { stored, over: over.into_iter().peekable() };
    while let Some((key, row, over)) = rows.next()? {
        let line = over.unwrap_or_else(|| row.as_ref().map(Value::payload));
        let (Some(line), Some((&kind, name))) = (line, key.split_first()) else { continue };
        let record = match kind {
            QUEUE => Record::Queue { name, line },
            WORKER => Record::Worker { name, line },
            STATS => Record::Stats { name, line },
            HOLD => Record::Hold { name, line },
            CRON => Record::Cron { name, line },
            RUN => Record::Run { name, line },
            _ => return damaged("a line of no known kind"),
        };
        each(record).map_err(Fault::Damaged)?;
    }
    rows.stored.end()
}

fn tasks(
    stored: Sorted<'_>,
    mut state: Sorted<'_>,
    over: BTreeMap<Key, OverTask<'_>>,
    each: &mut Each<'_>,
) -> Result<(), Fault> {
    let mut rows = Merged { stored, over: over.into_iter().peekable() };
    while let Some((key, row, over)) = rows.next()? {
        let line_row = state.take(&key)?;
        if row.is_none() && line_row.is_some() {
            return damaged("a state line without a task");
        }
        let over = over.unwrap_or_default();
        let frame = over.frame.unwrap_or_else(|| row.as_ref().map(Value::payload));
        let line = over.line.unwrap_or_else(|| line_row.as_ref().map(Value::payload));
        let id = TaskId::from_bits(number(&key)?);
        match frame {
            Some(frame) => each(Record::Task { id, frame, line }).map_err(Fault::Damaged)?,
            None if line.is_none() => {}
            None => return damaged(format!("a state line without the task {id}")),
        }
    }
    rows.stored.end()?;
    state.end()
}

fn buried(
    stored: Sorted<'_>,
    over: BTreeMap<Key, Option<Buried<'_>>>,
    each: &mut Each<'_>,
) -> Result<(), Fault> {
    let mut rows = Merged { stored, over: over.into_iter().peekable() };
    while let Some((key, row, over)) = rows.next()? {
        let task = match (over, &row) {
            (Some(over), _) => over,
            (None, Some(row)) => match split(row.payload()) {
                Some(task) => Some(task),
                None => return damaged("a buried task is cut short"),
            },
            (None, None) => None,
        };
        let id = TaskId::from_bits(number(&key)?);
        if let Some((line, frame)) = task {
            each(Record::Buried { id, frame, line }).map_err(Fault::Damaged)?;
        }
    }
    rows.stored.end()
}

/// Reads the payload of a buried task; `None` if it is cut short.
fn split(payload: &[u8]) -> Option<Buried<'_>> {
    let mut from = Reader(payload);
    let length = from.u32()?;
    Some((from.bytes(length)?, from.0))
}

/// A table, and what the log has to say about its keys and further ones, by ascending key.
struct Merged<'m, I: Iterator> {
    stored: Sorted<'m>,
    over: std::iter::Peekable<I>,
}

impl<T, I: Iterator<Item = (Key, T)>> Merged<'_, I> {
    #[expect(clippy::type_complexity, reason = "a key, and what either side has for it")]
    fn next(&mut self) -> Result<Option<(Key, Option<Value>, Option<T>)>, Fault> {
        let key = match (self.stored.key(), self.over.peek()) {
            (Some(stored), Some((over, _))) => stored.min(over),
            (Some(stored), None) => stored,
            (None, Some((over, _))) => over,
            (None, None) => return Ok(None),
        };
        let key = Key::from(key);
        let over = self.over.next_if(|(over, _)| *over == key).map(|(_, over)| over);
        let row = self.stored.take(&key)?;
        Ok(Some((key, row, over)))
    }
}
