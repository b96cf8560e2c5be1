//! When a task may be leased, by what the scheduler's clocks could show it.
//!
//! A wait of so long goes by a clock that nobody sets, and that stands still while the scheduler
//! does; only a start reads on the wall clock what is left of it. `at=` goes by the wall clock, which
//! may be set back after it showed that time: what is due once stays so.

use ganger::record::StateLine;

use super::tasks::Row;
use super::{Auditor, Window};

/// The longest wait between two attempts, in milliseconds.
const PAUSE_MAX_MS: u64 = 86_400_000;

/// When a waiting task is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    /// When the wall clock shows a time, in Unix milliseconds, after a simulated time.
    At {
        ms: u64,
        since_us: u64,
    },
    /// Not before a simulated time in microseconds. `ms` is the Unix time that the row has, and
    /// `most_ms` how long the wait is at most.
    After {
        us: u64,
        ms: u64,
        most_ms: u64,
    },
}

impl Due {
    /// After a wait that began in a turn.
    pub(super) fn after(wait_ms: u64, ms: u64, window: Window) -> Self {
        let us = window.from_us.saturating_add(wait_ms.saturating_mul(1000));
        Self::After { us, ms, most_ms: wait_ms }
    }

    /// As the state line of a scheduled task says. How long the wait is, is known from what led to
    /// it; here the least that it can be.
    pub(super) fn of(line: &StateLine, window: Window) -> Self {
        match Self::after(line.at_ms.saturating_sub(window.wall_high), line.at_ms, window) {
            Self::After { us, ms, .. } => Self::After { us, ms, most_ms: PAUSE_MAX_MS },
            due => due,
        }
    }

    /// What the row says of it, in Unix milliseconds.
    pub(super) fn row_ms(self) -> u64 {
        match self {
            Self::Now => 0,
            Self::At { ms, .. } | Self::After { ms, .. } => ms,
        }
    }
}

impl Auditor {
    /// Whether a task may be taken for due at a simulated time.
    pub(super) fn may_be_due(&self, due: Due, now_us: u64) -> bool {
        match due {
            Due::Now => true,
            Due::At { ms, since_us } => {
                let mut read = self.readings.range(since_us..=now_us.max(since_us));
                read.any(|(_, wall_ms)| *wall_ms >= ms)
            }
            Due::After { us, .. } => us <= now_us,
        }
    }

    fn waits(&mut self) -> impl Iterator<Item = &mut Due> {
        self.tasks.values_mut().filter_map(|task| match &mut task.row {
            Row::Waiting { due } => Some(due),
            _ => None,
        })
    }

    /// The scheduler stood still for a while that ends now; so did the clock of its waits.
    pub(crate) fn held_up(&mut self, now_us: u64, by_us: u64) {
        for due in self.waits() {
            if let Due::After { us, .. } = due
                && *us > now_us - by_us
            {
                *us += by_us;
            }
        }
    }

    /// A scheduler starts, and reads what is left of all waits.
    pub(super) fn measure_waits(&mut self, now_us: u64, wall_ms: u64) {
        for due in self.waits() {
            if let Due::After { us, ms, most_ms } = due {
                let left_ms = ms.saturating_sub(wall_ms).min(*most_ms);
                *us = now_us.saturating_add(left_ms.saturating_mul(1000));
            }
        }
    }
}
