//! The deadlines, each with its reason. Whoever moves or drops one takes its entry out, so that there
//! are never more entries than things that wait for a time.
//!
//! A deadline of a lease may lie earlier than the lease's own: PROGRESS moves that without touching
//! the table, and whoever is called too early sets the entry anew.

use std::collections::BTreeSet;

use crate::core::event::{Now, Peer};
use crate::task::TaskId;

/// Why something is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Monotonic: the lease of a task may have reached `timeout=` or `max-run=`.
    LeaseLimit(TaskId),
    /// Monotonic: the grace of a worker's session is over.
    Grace(u32),
    /// Monotonic: the first task of a keyed class may go to another than its owner.
    Spill(u32),
    /// Monotonic: the head of a class with amounts may have waited too long.
    Starved(u32),
    /// Monotonic: a released task that waits apart may go to more workers.
    Apart(TaskId),
    /// Monotonic: a worker's session that failed everything is tried again.
    Breaker(u32),
    /// Monotonic: the next run of a queue may begin.
    Rate(u32),
    /// Monotonic: the next suspected task may have a worker of its own.
    Isolation,
    /// Monotonic: idle queues, old figures, entries of workers.
    Housekeeping,
    /// A scheduled task is due: monotonic after a wait of so long, wall for `at=`.
    TaskDue(TaskId),
    /// Wall: `expires=` of a task.
    Expiry(TaskId),
    /// Wall: a cancelled task is forgotten.
    Forget(TaskId),
    /// Wall: holds of `unique=` are over.
    Unhold,
    /// Wall: figures are written.
    Figures,
    /// Wall: the next instant of a periodic task.
    Cron(u32),
    /// Monotonic: a periodic task that found no room is tried again.
    CronRetry(u32),
    /// Monotonic: an observer gets the figures.
    Snapshot(Peer),
    /// Monotonic: the figures are published.
    Publish,
}

/// Deadlines on both clocks: the first is the one with the earliest time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    mono: BTreeSet<(u64, Reason)>,
    wall: BTreeSet<(u64, Reason)>,
}

impl Timers {
    /// Sets one for a monotonic time in microseconds.
    pub(super) fn at_mono(&mut self, mono_us: u64, reason: Reason) {
        self.mono.insert((mono_us, reason));
    }

    /// Sets one for a Unix time in milliseconds.
    pub(super) fn at_wall(&mut self, wall_ms: u64, reason: Reason) {
        self.wall.insert((wall_ms, reason));
    }

    /// Drops one, if it is there.
    pub(super) fn off_mono(&mut self, mono_us: u64, reason: Reason) {
        self.mono.remove(&(mono_us, reason));
    }

    /// Drops one, if it is there.
    pub(super) fn off_wall(&mut self, wall_ms: u64, reason: Reason) {
        self.wall.remove(&(wall_ms, reason));
    }

    /// Takes the next deadline that has passed.
    pub(super) fn pop(&mut self, now: Now) -> Option<Reason> {
        if self.mono.first().is_some_and(|(at, _)| *at <= now.mono_us) {
            return self.mono.pop_first().map(|(_, reason)| reason);
        }
        if self.wall.first().is_some_and(|(at, _)| *at <= now.wall_ms) {
            return self.wall.pop_first().map(|(_, reason)| reason);
        }
        None
    }

    /// Whether a deadline of the wall clock has passed.
    pub(super) fn is_wall_due(&self, now: Now) -> bool {
        self.wall.first().is_some_and(|(at, _)| *at <= now.wall_ms)
    }

    /// The earliest deadline of each clock: microseconds and Unix milliseconds.
    pub(super) fn next(&self) -> (Option<u64>, Option<u64>) {
        let first = |entries: &BTreeSet<(u64, Reason)>| entries.first().map(|(at, _)| *at);
        (first(&self.mono), first(&self.wall))
    }

    pub(super) fn len(&self) -> usize {
        self.mono.len() + self.wall.len()
    }

    /// All entries, of the monotonic clock first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Reason)> + '_ {
        self.mono.iter().chain(&self.wall).copied()
    }
}
