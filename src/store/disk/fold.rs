//! Moves the oldest rows of the log into the tables.

use std::collections::BTreeMap;

use redb::WriteTransaction;

use super::fault::Fault;
use super::layout::{Table, key, length};
use super::meta::Meta;
use super::packed::Ended;
use super::results::Results;
use super::row::Row;
use super::tail::{self, Due, Tail, line, line_key};
use crate::record::Write;

/// Rows of results that a fold removes at most: more than it adds, as long as payloads are not large.
const TRIM: usize = 16;

/// Folds the oldest rows of the tail. Results that are over at `wall_ms` go.
pub(super) fn fold(
    transaction: &WriteTransaction,
    rows: &[(tail::Row, Vec<u8>)],
    meta: &mut Meta,
    tail: &mut Tail,
    results: &mut Results,
    wall_ms: u64,
) -> Result<(), Fault> {
    let mut changes = Changes::default();
    for (row, bytes) in rows {
        let Some(read) = Row::read(row.seq, row.chain, bytes) else { return row.damaged() };
        (meta.folded, meta.chain, meta.place) = (row.seq, read.chain, row.at + row.bytes);
        meta.last = meta.last.max(read.last);
        meta.wall_ms = read.wall_ms;
        changes.add(&read, row.first, tail)?;
    }
    results.add(transaction, meta, std::mem::take(&mut changes.ended), wall_ms)?;
    // Under load this keeps up where sweeps, once a second, would not.
    results.trim(transaction, meta, wall_ms, TRIM)?;
    changes.apply(transaction, meta)?;
    tail.forget(rows.len());
    meta.write(transaction)
}

/// What the folded rows do to the tables. Of tasks and lines only what no later write undoes.
#[derive(Default)]
struct Changes<'v> {
    tasks: Vec<(u64, Option<&'v [u8]>)>,
    state: Vec<(u64, Option<&'v [u8]>)>,
    buried: BTreeMap<u64, Option<Buried<'v>>>,
    lines: Vec<Line<'v>>,
    ended: Vec<Ended<'v>>,
}

/// The key of a named line, and the line if it does not go.
type Line<'v> = (Box<[u8]>, Option<&'v [u8]>);

struct Buried<'v> {
    line: &'v [u8],
    frame: &'v [u8],
}

impl<'v> Changes<'v> {
    fn add(&mut self, row: &Row<'v>, first: u64, tail: &mut Tail) -> Result<(), Fault> {
        for (ordinal, write) in (first..).zip(row.writes()) {
            self.write(row, write?, ordinal, tail);
        }
        Ok(())
    }

    fn write(&mut self, row: &Row<'v>, write: Write, ordinal: u64, tail: &mut Tail) {
        match write {
            Write::Submit { id, frame } => {
                if tail.settle(id, ordinal).frame {
                    self.tasks.push((id.bits(), Some(row.slice(frame))));
                }
            }
            Write::State { id, line } => {
                if tail.settle(id, ordinal).line {
                    self.state.push((id.bits(), Some(row.slice(line))));
                }
            }
            Write::End { id, frame, until_ms } => {
                self.take(id.bits(), tail.settle(id, ordinal));
                if until_ms > 0 {
                    let (id, frame) = (id.bits(), row.slice(frame));
                    self.ended.push(Ended { id, until_ms, frame });
                }
            }
            Write::Bury { id, line, frame } => {
                self.take(id.bits(), tail.settle(id, ordinal));
                let (line, frame) = (row.slice(line), row.slice(frame));
                self.buried.insert(id.bits(), Some(Buried { line, frame }));
            }
            Write::Revive { id, line, frame } => {
                let due = tail.settle(id, ordinal);
                if due.frame {
                    self.tasks.push((id.bits(), Some(row.slice(frame))));
                }
                if due.line {
                    self.state.push((id.bits(), Some(row.slice(line))));
                }
                self.buried.insert(id.bits(), None);
            }
            Write::Drop { id } => drop(self.buried.insert(id.bits(), None)),
            _ => self.line(row, write, ordinal, tail),
        }
    }

    /// An end takes a task out of the tables, if it ever came there.
    fn take(&mut self, id: u64, due: Due) {
        if due.stored && due.frame {
            self.tasks.push((id, None));
        }
        if due.stored && due.line {
            self.state.push((id, None));
        }
    }

    fn line(&mut self, row: &Row<'v>, write: Write, ordinal: u64, tail: &mut Tail) {
        if let Some((kind, name, line)) = line(write) {
            let key = line_key(kind, row.slice(name));
            if tail.settle_line(&key, ordinal) {
                self.lines.push((key, line.map(|line| row.slice(line))));
            }
        }
    }

    fn apply(mut self, transaction: &WriteTransaction, meta: &mut Meta) -> Result<(), Fault> {
        for (name, rows) in [(Table::Tasks, &mut self.tasks), (Table::State, &mut self.state)] {
            if rows.is_empty() {
                continue;
            }
            rows.sort_unstable_by_key(|&(id, _)| id);
            meta.table(transaction, name)?.put_sorted(rows)?;
        }
        if !self.buried.is_empty() {
            let mut table = meta.table(transaction, Table::Buried)?;
            for (id, buried) in self.buried {
                match buried {
                    Some(Buried { line, frame }) => {
                        table.put(&key(id), &[&length(line), line, frame])?;
                    }
                    None => table.remove(&key(id))?,
                }
            }
        }
        if !self.lines.is_empty() {
            let mut table = meta.table(transaction, Table::Lines)?;
            for (key, line) in self.lines {
                match line {
                    Some(line) => table.put(&key, &[line])?,
                    None => table.remove(&key)?,
                }
            }
        }
        Ok(())
    }
}
