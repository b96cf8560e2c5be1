//! The table of costs: what the scheduler books on every lease and every answer.

use std::collections::HashMap;

use super::rows::{Free, Kind, Row, Worker, index};

/// The largest number of pairs that have a row of their own.
pub const PAIRS_MAX: usize = 10_000;

/// The worker under whose name a kind's further pairs and forgotten workers are booked together.
pub const OTHER: &str = "other";

/// Costs by (kind, worker), from which those by kind and by worker follow.
///
/// Booking works on [`Pair`] handles: no name is hashed or compared, nothing but a window of
/// [`Throughput`](super::Throughput) is allocated, and a kind's estimate is kept along with it.
///
/// The table is bounded. Once [`PAIRS_MAX`] pairs are live, a new one is booked on its kind's [`OTHER`]
/// worker, and once as many kinds again have needed that, on `other` of the kind `other`. Of a forgotten
/// pair nothing stays: its place and its names are given to later ones.
#[derive(Debug, Default)]
pub struct Costs {
    pub(super) kinds: Vec<Kind>,
    pub(super) workers: Vec<Worker>,
    /// By the number in a [`Pair`]; those without a book are free.
    pub(super) rows: Vec<Row>,
    /// Places of the three tables that are free.
    pub(super) free: Free,
    pub(super) kind_numbers: HashMap<Box<str>, u32>,
    pub(super) worker_numbers: HashMap<Box<str>, u32>,
    /// By the numbers of kind and worker.
    pub(super) row_numbers: HashMap<(u32, u32), u32>,
    /// How many rows have a book.
    pub(super) live: usize,
    /// The rows that the next flush must look at, each once: changed ones, and those whose published
    /// throughput has yet to run down.
    pub(super) pending: Vec<u32>,
    /// The time of the last flush, in milliseconds.
    pub(super) flushed_ms: u64,
}

/// A (kind, worker) pair of one [`Costs`] table, for booking on. It is void once the pair is forgotten,
/// which [`Costs::holds`] tells; what is booked on it then counts nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    pub(super) number: u32,
    pub(super) serial: u32,
}

impl Costs {
    /// A table without rows.
    pub fn new() -> Costs {
        Costs::default()
    }

    /// Whether the next flush has anything to look at.
    pub fn is_changed(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The handle of a pair, which thereby gets a row, if need be [`OTHER`]'s. The row is published
    /// once something is booked on it.
    pub fn pair(&mut self, kind: &str, worker: &str) -> Pair {
        let number = self.number_of_pair(kind, worker);
        let serial = self.rows.get(index(number)).map_or(0, |row| row.serial);
        Pair { number, serial }
    }

    fn number_of_pair(&mut self, kind: &str, worker: &str) -> u32 {
        if let Some(number) = self.row_of(kind, worker) {
            return number;
        }
        if self.live < PAIRS_MAX {
            return self.open(kind, worker);
        }
        if let Some(number) = self.row_of(kind, OTHER) {
            return number;
        }
        if self.live < 2 * PAIRS_MAX {
            return self.open(kind, OTHER);
        }
        self.open(OTHER, OTHER)
    }

    /// Whether a handle is good still.
    pub fn holds(&self, pair: Pair) -> bool {
        self.row(pair).is_some()
    }

    /// The handle of a pair that has a row of its own.
    pub fn find(&self, kind: &str, worker: &str) -> Option<Pair> {
        let number = self.row_of(kind, worker)?;
        self.rows.get(index(number)).map(|row| Pair { number, serial: row.serial })
    }

    /// Whether others are booked on a pair too: it is [`OTHER`]'s.
    pub fn is_shared(&self, pair: Pair) -> bool {
        let worker = self.row(pair).and_then(|row| self.workers.get(index(row.worker)));
        worker.is_some_and(|worker| &*worker.name == OTHER)
    }

    /// Books a lease that its task waited for, from ready on, in microseconds.
    pub fn waited(&mut self, pair: Pair, wait_us: u64) {
        let Some(entry) = self.entry(pair) else { return };
        entry.book.wait.observe(wait_us as f64);
    }

    /// Books an attempt that ended in a result at a wall time, after a duration of at least 1 µs.
    pub fn succeeded(&mut self, pair: Pair, now_ms: u64, duration_us: u64) {
        let Some(entry) = self.entry(pair) else { return };
        let duration_us = duration_us.max(1) as f64;
        entry.book.duration.observe(duration_us);
        entry.book.recent.observe(now_ms, duration_us);
        entry.book.throughput.record(now_ms);
        entry.book.spend += duration_us * entry.worker.price_per_us;
        // Before this run is part of what is usual; the first of a kind says nothing of its worker.
        if entry.kind.duration.count() > 0 {
            let usual_us = entry.kind.recent.mean().max(1.0);
            entry.worker.slowness.observe(now_ms, duration_us / usual_us);
        }
        entry.kind.duration.observe(duration_us);
        entry.kind.recent.observe(now_ms, duration_us);
    }

    /// Books an attempt that failed, after a duration of at least 1 µs. It costs money, but says
    /// nothing of how long such tasks take.
    pub fn failed(&mut self, pair: Pair, duration_us: u64) {
        let Some(entry) = self.entry(pair) else { return };
        entry.book.failed += 1;
        entry.book.spend += duration_us.max(1) as f64 * entry.worker.price_per_us;
    }

    /// Books an attempt whose session ended under it. It costs nothing: nobody knows how long it ran.
    pub fn lost(&mut self, pair: Pair) {
        let Some(entry) = self.entry(pair) else { return };
        entry.book.lost += 1;
    }

    /// Sets what an hour of a worker's attempts costs from now on, in any unit; 0 until set, and for
    /// anything that is not a finite number above 0, which keeps no name. Attempts booked on [`OTHER`] have its price.
    ///
    /// By hand: at 3.6 an hour, which is 0.001 a second, runs of 2, 4 and 1 s have spent 0.007.
    pub fn set_price(&mut self, worker: &str, price_per_hour: f64) {
        const US_PER_HOUR: f64 = 3_600e6;
        let good = price_per_hour.is_finite() && price_per_hour > 0.0;
        // A worker without a price is left out, so that names alone cannot fill the table.
        if !good && !self.worker_numbers.contains_key(worker) {
            return;
        }
        let number = self.worker_number(worker);
        if let Some(worker) = self.workers.get_mut(index(number)) {
            worker.price_per_us = if good { price_per_hour / US_PER_HOUR } else { 0.0 };
        }
        self.drop_unused_worker(number);
    }
}
