//! The rows of the table: found by name, marked when booked on, given to others when forgotten.

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
    /// How many rows it has. Without any and without a price its place is free.
    pub(super) rows: u32,
}

/// Places that are free.
#[derive(Debug, Default)]
pub(super) struct Free {
    kinds: Vec<u32>,
    workers: Vec<u32>,
    rows: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) kind: u32,
    pub(super) worker: u32,
    /// Tells this pair from those that had the place before.
    pub(super) serial: u32,
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
    /// The row of a pair that is not forgotten.
    pub(super) fn row(&self, pair: Pair) -> Option<&Row> {
        let row = self.rows.get(index(pair.number))?;
        (row.serial == pair.serial && row.book.is_some()).then_some(row)
    }

    /// The row of a pair that is not forgotten, marked as changed.
    pub(super) fn entry(&mut self, pair: Pair) -> Option<Entry<'_>> {
        let row = self.rows.get_mut(index(pair.number))?;
        let kind = self.kinds.get_mut(index(row.kind))?;
        let worker = self.workers.get_mut(index(row.worker))?;
        let book = row.book.as_mut().filter(|_| row.serial == pair.serial)?;
        row.changed = true;
        if !row.pending {
            row.pending = true;
            self.pending.push(pair.number);
        }
        Some(Entry { book, kind, worker })
    }

    /// The number of the row of a pair, made if there is none.
    pub(super) fn open(&mut self, kind: &str, worker: &str) -> u32 {
        let kind = self.kind_number(kind);
        let worker = self.worker_number(worker);
        if let Some(&number) = self.row_numbers.get(&(kind, worker)) {
            return number;
        }
        let book = Some(Box::new(Book { seen_ms: self.flushed_ms, ..Book::default() }));
        let serial = 0;
        let row =
            Row { kind, worker, serial, book, changed: false, pending: false, throughput: 0.0 };
        let number = put(&mut self.rows, &mut self.free.rows, row, |new, old| {
            new.serial = old.serial.wrapping_add(1);
        });
        self.row_numbers.insert((kind, worker), number);
        // Room for every row at once, so that booking never allocates for it.
        self.pending.reserve(self.rows.len() - self.pending.len());
        if let Some(kind) = self.kinds.get_mut(index(kind)) {
            kind.rows.push(number);
        }
        if let Some(worker) = self.workers.get_mut(index(worker)) {
            worker.rows += 1;
        }
        self.live += 1;
        number
    }

    /// Empties a row, which its kind no longer lists, and gives its place away; what was in it.
    pub(super) fn close(&mut self, number: u32) -> Option<Box<Book>> {
        let row = self.rows.get_mut(index(number))?;
        let book = row.book.take()?;
        let (kind, worker) = (row.kind, row.worker);
        if std::mem::take(&mut row.pending) {
            self.pending.retain(|pending| *pending != number);
        }
        self.row_numbers.remove(&(kind, worker));
        self.free.rows.push(number);
        self.live -= 1;
        if let Some(worker) = self.workers.get_mut(index(worker)) {
            worker.rows -= 1;
        }
        self.drop_unused_worker(worker);
        Some(book)
    }

    /// Gives the place of a kind away in which nothing is left.
    pub(super) fn drop_kind(&mut self, number: u32) {
        if let Some(kind) = self.kinds.get_mut(index(number)) {
            self.kind_numbers.remove(&std::mem::take(&mut kind.name));
            self.free.kinds.push(number);
        }
    }

    /// Gives the place of a worker away that has neither rows nor a price.
    pub(super) fn drop_unused_worker(&mut self, number: u32) {
        if let Some(worker) = self.workers.get_mut(index(number))
            && worker.rows == 0
            && worker.price_per_us == 0.0
        {
            self.worker_numbers.remove(&std::mem::take(&mut worker.name));
            self.free.workers.push(number);
        }
    }

    pub(super) fn kind_number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.kind_numbers.get(name) {
            return number;
        }
        let kind = Kind {
            name: name.into(),
            rows: Vec::new(),
            base: None,
            duration: Welford::default(),
            recent: Decayed::default(),
            is_recent_own: false,
        };
        let number = put(&mut self.kinds, &mut self.free.kinds, kind, |_, _| ());
        self.kind_numbers.insert(name.into(), number);
        number
    }

    pub(super) fn worker_number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.worker_numbers.get(name) {
            return number;
        }
        let worker =
            Worker { name: name.into(), price_per_us: 0.0, slowness: Decayed::default(), rows: 0 };
        let number = put(&mut self.workers, &mut self.free.workers, worker, |_, _| ());
        self.worker_numbers.insert(name.into(), number);
        number
    }

    /// The number of the row of a pair, if it has one.
    pub(super) fn row_of(&self, kind: &str, worker: &str) -> Option<u32> {
        let kind = *self.kind_numbers.get(kind)?;
        let worker = *self.worker_numbers.get(worker)?;
        self.row_numbers.get(&(kind, worker)).copied()
    }

    pub(super) fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(index(*self.kind_numbers.get(name)?))
    }
}

/// Where the number of a kind, worker or row is in its table.
pub(super) fn index(number: u32) -> usize {
    number as usize
}

/// Puts an entry into a free place of a table, whose former entry it may look at first, or behind
/// the last; where it is.
fn put<T>(table: &mut Vec<T>, free: &mut Vec<u32>, mut entry: T, after: fn(&mut T, &T)) -> u32 {
    if let Some(number) = free.pop()
        && let Some(place) = table.get_mut(index(number))
    {
        after(&mut entry, place);
        *place = entry;
        return number;
    }
    table.push(entry);
    u32::try_from(table.len() - 1)
        .expect("a table of 2^32 entries would have filled the memory first")
}
