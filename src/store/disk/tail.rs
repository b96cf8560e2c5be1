//! What of the log is not yet in the tables, as far as it must be known in memory: little per write
//! of the tail, nothing per task beyond it.
//!
//! Every write of the tail has an ordinal. Of the writes that set one thing (the frame of a task,
//! its state line, a named line) only the last matters: when the log is folded, the others go
//! nowhere. So a task that begins and ends within the tail never reaches a table.

use std::collections::{HashMap, VecDeque};

use super::fault::{Fault, damaged};
use crate::record::{Text, Write};
use crate::task::{IdState, TaskId};

/// The rows of the log that are not folded yet, and what they set.
#[derive(Debug, Default)]
pub(super) struct Tail {
    rows: VecDeque<Row>,
    tasks: HashMap<u64, Touched, IdState>,
    lines: HashMap<Box<[u8]>, u64>,
    /// The ordinal of the last write.
    writes: u64,
    /// The last identifier that was submitted, in the tail or before.
    newest: u64,
    bytes: u64,
}

/// A row of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) seq: u64,
    /// The checksum of the row before.
    pub(super) chain: u32,
    /// The ordinal of its first write.
    pub(super) first: u64,
    /// Where it is in the file, and how long.
    pub(super) at: u64,
    pub(super) bytes: u64,
}

impl Row {
    /// The fault of a row that was right once.
    pub(super) fn damaged<T>(&self) -> Result<T, Fault> {
        damaged(format!("row {} of the log is damaged", self.seq))
    }
}

/// What the tail does to a task.
#[derive(Clone, Copy, Debug, Default)]
struct Touched {
    /// The last write that sets or takes its frame; 0 for none.
    frame: u64,
    /// The last write that sets or takes its state line; 0 for none.
    line: u64,
    /// The tables of unfinished tasks are known to hold nothing of it.
    absent: bool,
}

/// What folding a write has to do about a task's frame and its state line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// No later write of the tail sets or takes the frame.
    pub(super) frame: bool,
    /// No later write of the tail sets or takes the state line.
    pub(super) line: bool,
    /// The tables may hold something of the task.
    pub(super) stored: bool,
}

impl Tail {
    /// The tail of a log whose folded part knew identifiers up to `newest`.
    pub(super) fn after(newest: u64) -> Self {
        Self { newest, ..Self::default() }
    }

    /// Bytes of the rows.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins a row; its writes follow by [`Tail::note`].
    pub(super) fn push(&mut self, seq: u64, chain: u32, at: u64, bytes: usize) {
        let bytes = bytes as u64;
        self.rows.push_back(Row { seq, chain, first: self.writes + 1, at, bytes });
        self.bytes += bytes;
    }

    /// Takes note of a write of the newest row; `slice` gives the bytes of its texts.
    pub(super) fn note<'b>(&mut self, write: Write, slice: impl Fn(Text) -> &'b [u8]) {
        self.writes += 1;
        let ordinal = self.writes;
        match write {
            Write::Submit { id, .. } => {
                let touched = self.tasks.entry(id.bits()).or_default();
                // Identifiers rise: what is newer than all before is in no table yet.
                touched.absent = id.bits() > self.newest;
                touched.frame = ordinal;
                self.newest = self.newest.max(id.bits());
            }
            Write::State { id, .. } => {
                self.tasks.entry(id.bits()).or_default().line = ordinal;
            }
            Write::End { id, .. } | Write::Bury { id, .. } | Write::Revive { id, .. } => {
                let touched = self.tasks.entry(id.bits()).or_default();
                (touched.frame, touched.line) = (ordinal, ordinal);
            }
            Write::Drop { .. } => {}
            _ => {
                if let Some((kind, name, _)) = line(write) {
                    self.lines.insert(line_key(kind, slice(name)), ordinal);
                }
            }
        }
    }

    /// What folding a write of a task has to do. To be called for each, in their order.
    pub(super) fn settle(&mut self, id: TaskId, ordinal: u64) -> Due {
        let Some(touched) = self.tasks.get_mut(&id.bits()) else {
            return Due { frame: true, line: true, stored: true };
        };
        let due = Due {
            frame: touched.frame == ordinal,
            line: touched.line == ordinal,
            stored: !touched.absent,
        };
        if ordinal >= touched.frame.max(touched.line) {
            self.tasks.remove(&id.bits());
        } else if due.frame {
            touched.absent = false;
        }
        due
    }

    /// Whether folding a write of a named line has to do anything. To be called for each, in their
    /// order.
    pub(super) fn settle_line(&mut self, key: &[u8], ordinal: u64) -> bool {
        let due = self.lines.get(key).is_none_or(|&last| last <= ordinal);
        if due {
            self.lines.remove(key);
        }
        due
    }

    /// The oldest rows: so many that they have that many bytes together, and at least one.
    pub(super) fn oldest(&self, bytes: u64) -> Vec<Row> {
        let mut sum = 0;
        let mut within = |row: &&Row| {
            let more = sum < bytes;
            sum += row.bytes;
            more
        };
        self.rows.iter().take_while(&mut within).copied().collect()
    }

    /// Forgets the oldest rows, which have been folded.
    pub(super) fn forget(&mut self, rows: usize) {
        for row in self.rows.drain(..rows.min(self.rows.len())) {
            self.bytes -= row.bytes;
        }
    }

    /// The row, and the place in it, of the last write about a task that may hold its result.
    pub(super) fn end(&self, id: TaskId) -> Option<(Row, usize)> {
        let ordinal = self.tasks.get(&id.bits())?.frame;
        let after = self.rows.partition_point(|row| row.first <= ordinal);
        let row = *self.rows.get(after.checked_sub(1)?)?;
        Some((row, usize::try_from(ordinal - row.first).ok()?))
    }
}

/// The kind, the name and the line of a write that sets a named line, or takes it (no line).
pub(super) fn line(write: Write) -> Option<(u8, Text, Option<Text>)> {
    Some(match write {
        Write::Hold { name, line } => (HOLD, name, Some(line)),
        Write::Unhold { name } => (HOLD, name, None),
        Write::Queue { name, line } => (QUEUE, name, Some(line)),
        Write::Worker { name, line } => (WORKER, name, Some(line)),
        Write::WorkerGone { name, .. } => (WORKER, name, None),
        Write::Stats { name, line } => (STATS, name, Some(line)),
        Write::StatsGone { name } => (STATS, name, None),
        Write::Run { name, line } => (RUN, name, Some(line)),
        Write::RunGone { name } => (RUN, name, None),
        Write::Cron { name, line } => (CRON, name, Some(line)),
        Write::CronGone { name } => (CRON, name, None),
        _ => return None,
    })
}

/// Kinds of named lines, as the keys of their table begin; they are loaded in this order.
pub(super) const QUEUE: u8 = b'1';
/// A worker's entry.
pub(super) const WORKER: u8 = b'2';
/// Figures.
pub(super) const STATS: u8 = b'3';
/// A held `unique=`.
pub(super) const HOLD: u8 = b'4';
/// A periodic task.
pub(super) const CRON: u8 = b'5';
/// A run whose lease has ended.
pub(super) const RUN: u8 = b'6';

/// The key of a named line.
pub(super) fn line_key(kind: u8, name: &[u8]) -> Box<[u8]> {
    std::iter::once(kind).chain(name.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TaskId = TaskId::from_bits(9);
    const NONE: Text = Text { start: 0, end: 0 };
    const SUBMIT: Write = Write::Submit { id: ID, frame: NONE };
    const STATE: Write = Write::State { id: ID, line: NONE };
    const END: Write = Write::End { id: ID, frame: NONE, until_ms: 1 };

    /// A tail whose rows have one write each, of one byte.
    fn tail(newest: u64, writes: &[Write]) -> Tail {
        let mut tail = Tail::after(newest);
        for (&write, seq) in writes.iter().zip(1..) {
            tail.push(seq, 0, 0, 1);
            tail.note(write, |_| b"name");
        }
        tail
    }

    fn due(frame: bool, line: bool, stored: bool) -> Due {
        Due { frame, line, stored }
    }

    #[test]
    fn a_task_that_ends_in_the_tail_goes_nowhere() {
        let mut tail = tail(0, &[SUBMIT, STATE, END]);
        assert_eq!(tail.settle(ID, 1), due(false, false, false));
        assert_eq!(tail.settle(ID, 2), due(false, false, false));
        assert_eq!(tail.settle(ID, 3), due(true, true, false));
        assert!(tail.tasks.is_empty());
    }

    #[test]
    fn a_task_that_was_folded_is_taken_out_when_it_ends() {
        let mut tail = tail(0, &[SUBMIT, STATE]);
        assert_eq!(tail.settle(ID, 1), due(true, false, false));
        tail.note(END, |_| b"");
        assert_eq!(tail.settle(ID, 2), due(false, false, true));
        assert_eq!(tail.settle(ID, 3), due(true, true, true));
    }

    #[test]
    fn a_task_whose_submission_was_folded_earlier_may_be_in_the_tables() {
        // Unknown to this tail, or known again by a batch that came a second time.
        for writes in [&[END][..], &[SUBMIT, END]] {
            let mut tail = tail(ID.bits(), writes);
            let last = writes.len() as u64;
            assert!(writes.iter().zip(1..last).all(|(_, ordinal)| !tail.settle(ID, ordinal).frame));
            assert_eq!(tail.settle(ID, last), due(true, true, true));
        }
    }

    #[test]
    fn of_a_named_line_only_the_last_write_matters() {
        let write = Write::Queue { name: NONE, line: NONE };
        let mut tail = tail(0, &[write, write]);
        let key = line_key(QUEUE, b"name");
        assert!(!tail.settle_line(&key, 1));
        assert!(tail.settle_line(&key, 2));
        assert!(tail.lines.is_empty());
    }

    #[test]
    fn the_oldest_rows_are_given_up_to_a_number_of_bytes_and_at_least_one() {
        let mut tail = tail(0, &[SUBMIT, STATE, STATE, STATE]);
        assert_eq!(tail.oldest(1).len(), 1);
        assert_eq!(tail.oldest(3).len(), 3);
        assert_eq!(tail.oldest(99).len(), 4);
        tail.forget(3);
        assert_eq!((tail.bytes(), tail.oldest(99).len()), (1, 1));
    }

    #[test]
    fn the_end_of_a_task_is_found_in_its_row() {
        let mut tail = tail(0, &[SUBMIT, STATE]);
        tail.push(3, 0, 0, 1);
        tail.note(STATE, |_| b"");
        tail.note(END, |_| b"");
        let (row, place) = tail.end(ID).unwrap();
        assert_eq!((row.seq, place), (3, 1));
        assert!(tail.end(TaskId::from_bits(8)).is_none());
    }
}
