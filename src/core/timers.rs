//! The deadlines, each with its reason. An entry is only a hint: whoever is called checks the thing
//! itself, so that moving a deadline later costs nothing here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::core::event::Now;
use crate::task::{Attempt, TaskId};

/// Why something is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Monotonic: a lease with `timeout=` or `max-run=` may be over.
    LeaseLimit(TaskId, Attempt),
    /// Monotonic: the grace of a worker's session may be over.
    Grace(u32, u32),
    /// Monotonic: the first task of a keyed class may go to another than its owner.
    Spill(u32),
    /// Monotonic: the next suspected task may have a worker of its own.
    Isolation,
    /// Monotonic: idle queues, old figures, entries of workers.
    Housekeeping,
    /// Wall: a scheduled task is due.
    TaskDue(TaskId),
    /// Wall: `expires=` of a task.
    Expiry(TaskId),
    /// Wall: a cancelled task is forgotten.
    Forget(TaskId),
    /// Wall: holds of `unique=` are over.
    Unhold,
    /// Wall: figures are written.
    Figures,
}

/// Deadlines on both clocks.
#[derive(Debug, Default)]
pub(super) struct Timers {
    mono: BinaryHeap<Reverse<(u64, Reason)>>,
    wall: BinaryHeap<Reverse<(u64, Reason)>>,
}

impl Timers {
    /// At a monotonic time in microseconds.
    pub(super) fn at_mono(&mut self, mono_us: u64, reason: Reason) {
        self.mono.push(Reverse((mono_us, reason)));
    }

    /// At a Unix time in milliseconds.
    pub(super) fn at_wall(&mut self, wall_ms: u64, reason: Reason) {
        self.wall.push(Reverse((wall_ms, reason)));
    }

    /// The next deadline that has passed.
    pub(super) fn pop(&mut self, now: Now) -> Option<Reason> {
        if self.mono.peek().is_some_and(|Reverse((at, _))| *at <= now.mono_us) {
            return self.mono.pop().map(|Reverse((_, reason))| reason);
        }
        if self.wall.peek().is_some_and(|Reverse((at, _))| *at <= now.wall_ms) {
            return self.wall.pop().map(|Reverse((_, reason))| reason);
        }
        None
    }

    /// The earliest deadline of each clock: microseconds and Unix milliseconds.
    pub(super) fn next(&self) -> (Option<u64>, Option<u64>) {
        let mono = self.mono.peek().map(|Reverse((at, _))| *at);
        (mono, self.wall.peek().map(|Reverse((at, _))| *at))
    }

    pub(super) fn len(&self) -> usize {
        self.mono.len() + self.wall.len()
    }
}
