//! When a task may be leased, by what the scheduler's clocks could show it.
//!
//! A wait of so long goes by a clock that nobody sets, and that stands still while the scheduler
//! does; only a start reads on the wall clock what is left of it. `at=` goes by the wall clock, which
//! may be set back after it showed that time: what is due once stays so.

use ganger::record::StateLine;

use super::task::Row;
use super::{Auditor, Window};

/// The longest wait between two attempts, in milliseconds.
const PAUSE_MAX_MS: u64 = 86_400_000;

/// When a waiting task is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    /// When the wall clock shows a time.
    At(At),
    After(After),
}

/// When the wall clock shows a Unix time in milliseconds, after a turn between two simulated times in
/// microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    ms: u64,
    from_us: u64,
    to_us: u64,
}

/// Not before a simulated time in microseconds, and not after another. `ms` is the Unix time that
/// the row has, and `most_ms` how long the wait is at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct After {
    from_us: u64,
    to_us: u64,
    ms: u64,
    most_ms: u64,
}

impl Due {
    /// When the wall clock shows a time; told in a turn.
    pub(super) fn at(ms: u64, window: Window) -> Self {
        Self::At(At { ms, from_us: window.from_us, to_us: window.to_us })
    }

    /// After a wait that began in a turn.
    pub(super) fn after(wait_ms: u64, ms: u64, window: Window) -> Self {
        Self::After(After::between([wait_ms; 2], ms, window))
    }

    /// As the state line of a scheduled task says, which does not say how long the wait is.
    pub(super) fn of(line: &StateLine, window: Window) -> Self {
        let wall_ms = [window.wall_high, window.wall_low];
        let waits_ms = wall_ms.map(|wall_ms| line.at_ms.saturating_sub(wall_ms));
        let after = After::between(waits_ms, line.at_ms, window);
        Self::After(After { most_ms: PAUSE_MAX_MS, ..after })
    }

    /// What the row says of it, in Unix milliseconds.
    pub(super) fn row_ms(self) -> u64 {
        match self {
            Self::Now => 0,
            Self::At(At { ms, .. }) | Self::After(After { ms, .. }) => ms,
        }
    }
}

impl After {
    fn between(waits_ms: [u64; 2], ms: u64, window: Window) -> Self {
        let after = |us: u64, ms: u64| us.saturating_add(ms.saturating_mul(1000));
        let [least_ms, most_ms] = waits_ms;
        let (from_us, to_us) = (after(window.from_us, least_ms), after(window.to_us, most_ms));
        Self { from_us, to_us, ms, most_ms }
    }
}

impl Auditor {
    /// Whether a task may be taken for due at a simulated time.
    pub(super) fn may_be_due(&self, due: Due, now_us: u64) -> bool {
        match due {
            Due::Now => true,
            Due::At(at) => self.has_shown(at.ms, at.from_us, now_us),
            Due::After(after) => after.from_us <= now_us,
        }
    }

    /// Whether a task has to be taken for due.
    pub(super) fn must_be_due(&self, due: Due, now_us: u64, wall_ms: u64) -> bool {
        match due {
            Due::Now => true,
            Due::At(at) => at.ms <= wall_ms || self.has_shown(at.ms, at.to_us, now_us),
            Due::After(after) => after.to_us <= now_us,
        }
    }

    /// Whether the scheduler has seen its wall clock show at least a time.
    fn has_shown(&self, ms: u64, from_us: u64, to_us: u64) -> bool {
        let mut read = self.readings.range(from_us..=to_us.max(from_us));
        read.any(|(_, wall_ms)| *wall_ms >= ms)
    }

    fn waits(&mut self) -> impl Iterator<Item = &mut After> {
        self.tasks.values_mut().filter_map(|task| match &mut task.row {
            Row::Waiting { due: Due::After(after) } => Some(after),
            _ => None,
        })
    }

    /// The scheduler stood still for a while that ends now; so did the clock of its waits.
    pub(crate) fn held_up(&mut self, now_us: u64, by_us: u64) {
        for after in self.waits() {
            for us in [&mut after.from_us, &mut after.to_us] {
                *us += if *us > now_us - by_us { by_us } else { 0 };
            }
        }
    }

    /// A scheduler starts, and reads what is left of all waits.
    pub(super) fn measure_waits(&mut self, now_us: u64, wall_ms: u64) {
        for after in self.waits() {
            let left_ms = after.ms.saturating_sub(wall_ms).min(after.most_ms);
            after.from_us = now_us.saturating_add(left_ms.saturating_mul(1000));
            after.to_us = after.from_us;
        }
    }
}
