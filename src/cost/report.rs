//! Read-only rows for people, a page at a time: there may be forty thousand, and everybody waits
//! while they are computed.

use std::collections::BTreeMap;

use super::book::Book;
use super::rows::index;
use super::{Costs, Figures};

/// Some rows, of each sort by name, with their figures at one time.
#[derive(Debug, Default)]
pub struct Page<'a> {
    /// Kinds.
    pub kinds: Vec<(&'a str, Figures)>,
    /// Workers, over all kinds.
    pub workers: Vec<(&'a str, Figures)>,
    /// Pairs of a kind and a worker.
    pub pairs: Vec<(&'a str, &'a str, Figures)>,
    /// Where the next page begins, if there may be more.
    pub next: Option<u64>,
}

/// The three tables of rows, in the order of pages.
const KINDS: u64 = 0;
const WORKERS: u64 = 1;
const PAIRS: u64 = 2;

impl Costs {
    /// At most so many rows from a cursor on, at a wall time in milliseconds: kinds, then workers, then
    /// pairs. Cursor 0 begins; others are those of pages before. Rows that come or go meanwhile may be
    /// missed, others are told once.
    pub fn page(&self, at_ms: u64, cursor: u64, limit: usize) -> Page<'_> {
        let (table, start) = (cursor >> 32, usize::try_from(cursor % (1 << 32)).unwrap_or(0));
        let from = |its: u64| if table == its { start } else { 0 };
        let mut page = Page::default();
        let mut left = limit;
        if table == KINDS {
            page.next = self.page_kinds(at_ms, from(KINDS), &mut left, &mut page);
        }
        if table <= WORKERS && page.next.is_none() {
            page.next = self.page_workers(at_ms, from(WORKERS), &mut left, &mut page);
        }
        if table <= PAIRS && page.next.is_none() {
            page.next = self.page_pairs(at_ms, from(PAIRS), &mut left, &mut page);
        }
        page.kinds.sort_unstable_by_key(|&(kind, _)| kind);
        page.workers.sort_unstable_by_key(|&(worker, _)| worker);
        page.pairs.sort_unstable_by_key(|&(kind, worker, _)| (kind, worker));
        page
    }

    fn page_kinds<'a>(
        &'a self,
        at_ms: u64,
        start: usize,
        left: &mut usize,
        page: &mut Page<'a>,
    ) -> Option<u64> {
        for (number, kind) in self.kinds.iter().enumerate().skip(start) {
            if kind.rows.is_empty() && kind.base.is_none() {
                continue;
            }
            if *left == 0 {
                return Some(cursor_of(KINDS, number));
            }
            *left -= 1;
            page.kinds.push((&kind.name, self.kind_book(kind).figures(at_ms)));
        }
        None
    }

    fn page_workers<'a>(
        &'a self,
        at_ms: u64,
        start: usize,
        left: &mut usize,
        page: &mut Page<'a>,
    ) -> Option<u64> {
        let listed = self.workers.iter().enumerate().skip(start);
        let mut listed = listed.filter(|(_, worker)| worker.rows > 0);
        let numbers = listed.by_ref().take(*left).map(|(number, _)| (number, Book::default()));
        let mut books: BTreeMap<usize, Book> = numbers.collect();
        *left -= books.len();
        if !books.is_empty() {
            for row in &self.rows {
                if let Some(book) = row.book.as_deref()
                    && let Some(whole) = books.get_mut(&index(row.worker))
                {
                    whole.merge(book);
                }
            }
        }
        let named = books.iter().filter_map(|(number, book)| {
            Some((&*self.workers.get(*number)?.name, book.figures(at_ms)))
        });
        page.workers.extend(named);
        listed.next().map(|(number, _)| cursor_of(WORKERS, number))
    }

    fn page_pairs<'a>(
        &'a self,
        at_ms: u64,
        start: usize,
        left: &mut usize,
        page: &mut Page<'a>,
    ) -> Option<u64> {
        for (number, row) in self.rows.iter().enumerate().skip(start) {
            let Some(book) = row.book.as_deref() else { continue };
            if *left == 0 {
                return Some(cursor_of(PAIRS, number));
            }
            *left -= 1;
            if let (Some(kind), Some(worker)) =
                (self.kinds.get(index(row.kind)), self.workers.get(index(row.worker)))
            {
                page.pairs.push((&kind.name, &worker.name, book.figures(at_ms)));
            }
        }
        None
    }
}

fn cursor_of(table: u64, number: usize) -> u64 {
    table << 32 | number as u64
}

#[cfg(test)]
impl Costs {
    /// Every kind with its figures at a wall time in milliseconds.
    pub(crate) fn kinds(&self, at_ms: u64) -> Vec<(&str, Figures)> {
        self.page(at_ms, 0, usize::MAX).kinds
    }

    /// Every worker with its figures.
    pub(crate) fn workers(&self, at_ms: u64) -> Vec<(&str, Figures)> {
        self.page(at_ms, 0, usize::MAX).workers
    }

    /// Every pair with its figures.
    pub(crate) fn pairs(&self, at_ms: u64) -> Vec<(&str, &str, Figures)> {
        self.page(at_ms, 0, usize::MAX).pairs
    }
}
