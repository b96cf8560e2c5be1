//! A connection that submits tasks and checks what becomes of them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::link::{Heard, Link};
use super::load::{Board, Pace, Phase, Shape, now};
use super::payload::{blank_result, put_payload, read_result};
use crate::task::TaskId;

/// Submits this client's part of a phase; returns when its last task is acknowledged, or done if it
/// watches. Told are the times from submission to result, in nanoseconds, of a serial phase.
pub(super) async fn submit(
    mut link: Link,
    board: Arc<Board>,
    index: usize,
) -> Result<Histogram<u64>> {
    let mut part = Part::new(&board.shape, board.phase, index)?;
    board.begin().await;
    while !part.is_over() {
        part.put(&mut link.out)?;
        link.exchange().await?;
        let (acked, done) = (part.acked(), part.done);
        while let Some(heard) = link.inbox.next()? {
            part.hear(&heard)?;
        }
        board.add_acked(part.acked() - acked);
        board.add_done(part.done - done);
    }
    Ok(part.latencies)
}

/// Latencies from 1 ns to 10 minutes with three significant digits.
pub(super) fn new_histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000_000, 3)?)
}

/// One client's part of the tasks, and its account of them.
struct Part {
    shape: Shape,
    pace: Pace,
    watch: bool,
    /// So many may be undone at once.
    backlog: u64,
    /// What all SUBMITs begin with, if they do.
    head: Option<Vec<u8>>,
    blank: Vec<u8>,
    first: u64,
    next: u64,
    end: u64,
    /// The identifiers of those that are acknowledged, in the order of their numbers.
    ids: Vec<[u8; TaskId::LEN]>,
    /// Which of them have ended.
    ended: Vec<bool>,
    done: u64,
    submitted: Option<Instant>,
    latencies: Histogram<u64>,
}

impl Part {
    fn new(shape: &Shape, phase: Phase, index: usize) -> Result<Self> {
        let Range { start: first, end } = range(phase.tasks, phase.clients, index);
        let count = usize::try_from(end - first)?;
        Ok(Self {
            shape: shape.clone(),
            pace: phase.pace,
            watch: phase.watch,
            // Without workers, or without results to wait for, none is ever known to be done.
            backlog: shape
                .backlog
                .filter(|_| phase.watch && phase.workers > 0 && !phase.staged)
                .unwrap_or(u64::MAX),
            head: shape.head(phase.watch)?,
            blank: blank_result(shape.result),
            first,
            next: first,
            end,
            ids: Vec::with_capacity(count),
            ended: vec![false; if phase.watch { count } else { 0 }],
            done: 0,
            submitted: None,
            latencies: new_histogram()?,
        })
    }

    fn acked(&self) -> u64 {
        self.ids.len() as u64
    }

    fn is_over(&self) -> bool {
        let count = self.end - self.first;
        self.acked() == count && (!self.watch || self.done == count)
    }

    /// Appends the submissions whose time has come.
    fn put(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let sent = self.next - self.first;
        let allowed = match self.pace {
            Pace::Window(window) => {
                let room = self.backlog.saturating_sub(sent - self.done);
                (window - (sent - self.acked())).min(room)
            }
            Pace::Serial => u64::from(sent == self.done && sent == self.acked()),
        };
        if self.pace == Pace::Serial && allowed > 0 {
            self.submitted = Some(now());
        }
        let until = self.end.min(self.next + allowed);
        for number in self.next..until {
            match &self.head {
                Some(head) => {
                    out.extend_from_slice(head);
                    put_payload(number, self.shape.payload, out);
                    out.push(b'\n');
                }
                None => self.shape.put(number, self.watch, out)?,
            }
        }
        self.next = until;
        Ok(())
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<()> {
        if let Some(words) = heard.after("RESULT") {
            self.on_result(words, heard)
        } else if let Some(words) = heard.after("OK") {
            ensure!(self.acked() < self.next - self.first, "an OK too many: {}", heard.text());
            let id = words.try_into();
            self.ids
                .push(id.ok().with_context(|| format!("no id of a new task: {}", heard.text()))?);
            Ok(())
        } else {
            bail!("the scheduler says: {}", heard.text())
        }
    }

    /// A result must be of a task of ours, with its identifier, and the first of it.
    fn on_result(&mut self, words: &[u8], heard: &Heard<'_>) -> Result<()> {
        let wrong = |what: &str| format!("{what}: {}", heard.text());
        let (id, state) = words.split_at_checked(TaskId::LEN).unwrap_or_default();
        ensure!(state.starts_with(b" done "), wrong("a task was not done"));
        let number = read_result(heard.payload, &self.blank);
        let number = number.with_context(|| wrong("a result is not what the worker sent"))?;
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let known =
            place.and_then(|place| Some((self.ids.get(place)?, self.ended.get_mut(place)?)));
        let (known, ended) = known.with_context(|| wrong("a result of nothing submitted here"))?;
        ensure!(known == id, wrong("the result of another task"));
        ensure!(!*ended, wrong("a second result of a task"));
        *ended = true;
        self.done += 1;
        if let Some(submitted) = self.submitted.take() {
            let ns = u64::try_from(submitted.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(ns);
        }
        Ok(())
    }
}

/// One client's share of the numbers.
fn range(tasks: u64, clients: usize, index: usize) -> Range<u64> {
    let (clients, index) = (clients.max(1) as u64, index as u64);
    let (each, left) = (tasks / clients, tasks % clients);
    let bound = |part: u64| each * part + left.min(part);
    bound(index)..bound(index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_everything_once() {
        for (tasks, clients) in [(1, 4), (7, 3), (8, 4), (1000, 7)] {
            let shares: Vec<_> = (0..clients).map(|index| range(tasks, clients, index)).collect();
            assert_eq!((shares[0].start, shares[clients - 1].end), (0, tasks));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
