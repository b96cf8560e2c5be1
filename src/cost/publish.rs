//! The table's way to the store and back: rows that changed, rows restored, rows forgotten.

use std::collections::BTreeSet;

use super::book::Book;
use super::rows::{Kind, index};
use super::{Costs, Decayed, Figures, OTHER, Pair, WINDOW_S, Welford};

/// A pair on which nothing was booked for so long, 7 days in milliseconds, is forgotten.
pub const FORGET_AFTER_MS: u64 = 7 * 24 * 3600 * 1000;

impl Costs {
    /// Tells the rows that changed since the last flush: pairs first, then their kinds, whose worker
    /// is `None`. A row whose throughput runs down changes by that alone, until it is 0.
    ///
    /// The figures are those of the wall time `at_ms`; their throughput is exact when it is a whole
    /// second and all that happened by then is booked. The order depends only on what was booked.
    pub fn flush(&mut self, at_ms: u64, row: &mut dyn FnMut(&str, Option<&str>, &Figures)) {
        self.flushed_ms = at_ms;
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable();
        let mut kinds = Vec::new();
        pending.retain(|&number| self.flush_pair(number, at_ms, row, &mut kinds));
        self.pending = pending;
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds.into_iter().filter_map(|number| self.kinds.get(index(number))) {
            row(&kind.name, None, &self.kind_book(kind).figures(at_ms));
        }
    }

    /// Takes back a row that an earlier flush told, into a table on which nothing was booked yet;
    /// each row once, in any order. What would exceed [`PAIRS_MAX`](super::PAIRS_MAX) goes to [`OTHER`].
    ///
    /// A kind's own row (worker `None`) says what durations were recently; the rest of it counts only
    /// where none of its pairs is restored. Throughput starts anew; where the stored one was above 0,
    /// the next flush tells the row with 0.
    pub fn restore(&mut self, kind: &str, worker: Option<&str>, figures: &Figures) {
        let restored = Book::restored(figures);
        let Some(worker) = worker else {
            let number = self.kind_number(kind);
            let Some(kind) = self.kinds.get_mut(index(number)) else { return };
            (kind.recent, kind.is_recent_own) = (restored.recent, true);
            if kind.rows.is_empty() {
                kind.duration = restored.duration;
                kind.base = Some(Box::new(restored));
            }
            return;
        };
        let Pair { number, .. } = self.pair(kind, worker);
        let Some(row) = self.rows.get_mut(index(number)) else { return };
        let Some(kind) = self.kinds.get_mut(index(row.kind)) else { return };
        if kind.base.take().is_some() {
            kind.duration = Welford::default();
        }
        kind.duration.merge(&restored.duration);
        if !kind.is_recent_own {
            kind.recent.merge(&restored.recent);
        }
        row.book.get_or_insert_default().merge(&restored);
        if figures.throughput > 0.0 {
            row.throughput = figures.throughput;
            if !row.pending {
                row.pending = true;
                self.pending.push(number);
            }
        }
    }

    /// All rows are restored: what each worker's runs took, by what their kinds usually take, is known.
    pub fn restored(&mut self) {
        for row in &self.rows {
            let recent = row.book.as_ref().map(|book| book.recent).filter(|it| it.weight() > 0.0);
            let kind = self.kinds.get(index(row.kind)).map(|kind| kind.recent.mean());
            if let (Some(recent), Some(usual_us)) =
                (recent, kind.filter(|usual_us| *usual_us > 0.0))
                && let Some(worker) = self.workers.get_mut(index(row.worker))
            {
                let ratio = recent.mean() / usual_us;
                let ratios = Decayed::from_parts(recent.weight(), ratio, 0.0, recent.at_ms());
                worker.slowness.merge(&ratios);
            }
        }
    }

    /// Forgets what has not been seen for [`FORGET_AFTER_MS`], and tells the rows to delete; `None`
    /// stands for a kind's own row.
    ///
    /// A kind on which nothing was booked for so long goes altogether. Of any other kind the old pairs
    /// go into the kind's [`OTHER`] worker, so that its totals never shrink; the next flush tells that
    /// row, and belongs into one write with the deletions.
    pub fn forget(&mut self, now_ms: u64, gone: &mut dyn FnMut(&str, Option<&str>)) {
        for number in 0..self.kinds.len() {
            let Some(kind) = self.kinds.get(number) else { return };
            let is_old = |book: &Book| now_ms.saturating_sub(book.seen_ms) >= FORGET_AFTER_MS;
            let base_is_old = kind.base.as_ref().is_none_or(|base| is_old(base));
            let (old, young): (Vec<u32>, Vec<u32>) = kind.rows.iter().partition(|&&row| {
                self.rows.get(index(row)).is_some_and(|row| {
                    !row.changed && row.book.as_ref().is_none_or(|book| is_old(book))
                })
            });
            if young.is_empty() && base_is_old {
                self.forget_kind(number, gone);
            } else if !old.is_empty() {
                self.forget_pairs(number, &old, gone);
            }
        }
    }

    /// Tells one pending pair if it is due, and notes its kind; says whether it stays pending.
    fn flush_pair(
        &mut self,
        number: u32,
        at_ms: u64,
        tell: &mut dyn FnMut(&str, Option<&str>, &Figures),
        kinds: &mut Vec<u32>,
    ) -> bool {
        let Some(row) = self.rows.get_mut(index(number)) else { return false };
        let changed = std::mem::take(&mut row.changed);
        row.pending = false;
        let Some(book) = &mut row.book else { return false };
        if changed {
            book.seen_ms = at_ms;
        }
        row.pending = !book.throughput.expire(at_ms);
        let throughput = book.throughput.count(at_ms) as f64 / WINDOW_S as f64;
        if changed || throughput != row.throughput {
            row.throughput = throughput;
            kinds.push(row.kind);
            if let (Some(kind), Some(worker)) =
                (self.kinds.get(index(row.kind)), self.workers.get(index(row.worker)))
            {
                tell(&kind.name, Some(&worker.name), &book.figures(at_ms));
            }
        }
        row.pending
    }

    /// The book of a kind: those of its pairs put together, and its own of the recent past.
    pub(super) fn kind_book(&self, kind: &Kind) -> Book {
        let mut whole = kind.base.as_deref().cloned().unwrap_or_default();
        let rows = kind.rows.iter().filter_map(|&number| self.rows.get(index(number)));
        for book in rows.filter_map(|row| row.book.as_deref()) {
            whole.merge(book);
        }
        whole.recent = kind.recent;
        whole
    }

    /// Empties a kind, if there is anything in it.
    fn forget_kind(&mut self, number: usize, gone: &mut dyn FnMut(&str, Option<&str>)) {
        let Some(kind) = self.kinds.get_mut(number) else { return };
        let rows = std::mem::take(&mut kind.rows);
        if rows.is_empty() && kind.base.is_none() {
            return;
        }
        let workers = rows.iter().filter_map(|&pair| self.rows.get(index(pair)));
        for worker in workers.filter_map(|row| self.workers.get(index(row.worker))) {
            gone(&kind.name, Some(&worker.name));
        }
        gone(&kind.name, None);
        kind.base = None;
        kind.duration = Welford::default();
        (kind.recent, kind.is_recent_own) = (Decayed::default(), false);
        for pair in rows {
            self.close(pair);
        }
        self.drop_kind(u32::try_from(number).unwrap_or(u32::MAX));
    }

    /// Moves old pairs of a kind into its [`OTHER`] pair, which itself stays.
    fn forget_pairs(
        &mut self,
        number: usize,
        old: &[u32],
        gone: &mut dyn FnMut(&str, Option<&str>),
    ) {
        let Some(kind) = self.kinds.get_mut(number) else { return };
        let name = kind.name.clone();
        let mut going = BTreeSet::new();
        for &pair in old {
            let Some(row) = self.rows.get(index(pair)) else { continue };
            let Some(worker) = self.workers.get(index(row.worker)) else { continue };
            if &*worker.name != OTHER {
                gone(&name, Some(&worker.name));
                going.insert(pair);
            }
        }
        kind.rows.retain(|row| !going.contains(row));
        for pair in going {
            let Some(book) = self.close(pair) else { continue };
            let other = self.open(&name, OTHER);
            let serial = self.rows.get(index(other)).map_or(0, |row| row.serial);
            if let Some(entry) = self.entry(Pair { number: other, serial }) {
                entry.book.merge(&book);
            }
        }
    }
}
