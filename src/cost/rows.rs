//! The rows of the table: found by name, brought back when forgotten, marked when booked on.

use super::book::Book;
use super::{Costs, Decayed, Pair, Welford};

#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: Box<str>,
    /// The live rows of this kind.
    pub(super) rows: Vec<u32>,
    /// What was stored of the kind when none of its pairs was.
    pub(super) base: Option<Box<Book>>,
    /// All pairs' durations together, kept along for estimates.
    pub(super) duration: Welford,
    pub(super) recent: Decayed,
    /// Whether `recent` was restored from the kind's own row: those of its pairs say less.
    pub(super) is_recent_own: bool,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: Box<str>,
    pub(super) price_per_us: f64,
    /// Each duration ÷ the recent mean of its kind before it.
    pub(super) slowness: Decayed,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) kind: u32,
    pub(super) worker: u32,
    /// `None` once forgotten.
    pub(super) book: Option<Box<Book>>,
    /// Booked on since the last flush.
    pub(super) changed: bool,
    /// Stands in [`Costs::pending`].
    pub(super) pending: bool,
    /// The throughput last published or restored.
    pub(super) throughput: f64,
}

/// What a booking changes.
pub(super) struct Entry<'a> {
    pub(super) book: &'a mut Book,
    pub(super) kind: &'a mut Kind,
    pub(super) worker: &'a mut Worker,
}

impl Costs {
    /// The row of a pair, marked as changed, and brought back if it was forgotten.
    pub(super) fn entry(&mut self, pair: Pair) -> Option<Entry<'_>> {
        let row = self.rows.get_mut(index(pair.0))?;
        let kind = self.kinds.get_mut(index(row.kind))?;
        let worker = self.workers.get_mut(index(row.worker))?;
        if row.book.is_none() {
            self.live += 1;
            kind.rows.push(pair.0);
        }
        row.changed = true;
        if !row.pending {
            row.pending = true;
            self.pending.push(pair.0);
        }
        Some(Entry { book: row.book.get_or_insert_default(), kind, worker })
    }

    /// The number of the row of a pair, made or brought back if there is none.
    pub(super) fn open(&mut self, kind: &str, worker: &str) -> u32 {
        let kind = self.kind_number(kind);
        let worker = self.worker_number(worker);
        let number = *self.row_numbers.entry((kind, worker)).or_insert_with(|| {
            self.rows.push(Row {
                kind,
                worker,
                book: None,
                changed: false,
                pending: false,
                throughput: 0.0,
            });
            number_of_last(&self.rows)
        });
        // Room for every row at once, so that booking never allocates for it.
        self.pending.reserve(self.rows.len() - self.pending.len());
        if let (Some(row), Some(kind)) =
            (self.rows.get_mut(index(number)), self.kinds.get_mut(index(kind)))
            && row.book.is_none()
        {
            row.book = Some(Box::new(Book { seen_ms: self.flushed_ms, ..Book::default() }));
            kind.rows.push(number);
            self.live += 1;
        }
        number
    }

    pub(super) fn kind_number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.kind_numbers.get(name) {
            return number;
        }
        self.kinds.push(Kind {
            name: name.into(),
            rows: Vec::new(),
            base: None,
            duration: Welford::default(),
            recent: Decayed::default(),
            is_recent_own: false,
        });
        let number = number_of_last(&self.kinds);
        self.kind_numbers.insert(name.into(), number);
        number
    }

    pub(super) fn worker_number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.worker_numbers.get(name) {
            return number;
        }
        let slowness = Decayed::default();
        self.workers.push(Worker { name: name.into(), price_per_us: 0.0, slowness });
        let number = number_of_last(&self.workers);
        self.worker_numbers.insert(name.into(), number);
        number
    }

    pub(super) fn live_row(&self, kind: &str, worker: &str) -> Option<u32> {
        let kind = *self.kind_numbers.get(kind)?;
        let worker = *self.worker_numbers.get(worker)?;
        let number = *self.row_numbers.get(&(kind, worker))?;
        self.rows.get(index(number))?.book.is_some().then_some(number)
    }

    pub(super) fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(index(*self.kind_numbers.get(name)?))
    }
}

/// Where the number of a kind, worker or row is in its table.
pub(super) fn index(number: u32) -> usize {
    number as usize
}

/// The number of what was last pushed to a table.
fn number_of_last<T>(table: &[T]) -> u32 {
    u32::try_from(table.len() - 1)
        .expect("a table of 2^32 entries would have filled the memory first")
}
