//! Read-only rows for people: computed when asked for, sorted by name.

use std::collections::BTreeMap;

use super::book::Book;
use super::rows::{Row, index};
use super::{Costs, Figures};

impl Costs {
    /// Every kind with its figures at a wall time in milliseconds.
    pub fn kinds(&self, at_ms: u64) -> Vec<(&str, Figures)> {
        let known = self.kinds.iter().filter(|kind| !kind.rows.is_empty() || kind.base.is_some());
        let mut rows: Vec<(&str, Figures)> =
            known.map(|kind| (&*kind.name, self.kind_book(kind).figures(at_ms))).collect();
        rows.sort_unstable_by_key(|&(kind, _)| kind);
        rows
    }

    /// Every worker with its figures over all kinds, at a wall time in milliseconds.
    pub fn workers(&self, at_ms: u64) -> Vec<(&str, Figures)> {
        let mut books: BTreeMap<&str, Book> = BTreeMap::new();
        for (_, worker, book) in self.books() {
            books.entry(worker).or_default().merge(book);
        }
        books.into_iter().map(|(worker, book)| (worker, book.figures(at_ms))).collect()
    }

    /// Every (kind, worker) pair with its figures at a wall time in milliseconds.
    pub fn pairs(&self, at_ms: u64) -> Vec<(&str, &str, Figures)> {
        let mut rows: Vec<(&str, &str, Figures)> =
            self.books().map(|(kind, worker, book)| (kind, worker, book.figures(at_ms))).collect();
        rows.sort_unstable_by_key(|&(kind, worker, _)| (kind, worker));
        rows
    }

    /// Kind, worker and book of every live row, in the order in which they were first booked on.
    fn books(&self) -> impl Iterator<Item = (&str, &str, &Book)> {
        self.rows.iter().filter_map(|row: &Row| {
            let kind = self.kinds.get(index(row.kind))?;
            let worker = self.workers.get(index(row.worker))?;
            Some((&*kind.name, &*worker.name, row.book.as_deref()?))
        })
    }
}
