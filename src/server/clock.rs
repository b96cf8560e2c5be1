//! The only reader of the system's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::core::Now;

/// Reads both clocks.
///
/// The monotonic one starts high, so that times before the start (of leases found in the store) can
/// be told, and leaves out the time for which the process was held up: nobody is late because the
/// scheduler was.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    held_up_us: u64,
    last_us: u64,
}

/// What the monotonic clock shows at the start, in microseconds: eleven days.
const START_US: u64 = 1_000_000_000_000;

/// A gap between two readings beyond which the process was held up, in microseconds. Whoever drives
/// a clock reads it more often than that.
const HELD_UP_US: u64 = 2_000_000;

impl Clock {
    /// A clock that starts now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn new() -> Self {
        Self { origin: Instant::now(), held_up_us: 0, last_us: START_US }
    }

    /// The time.
    pub fn now(&mut self) -> Now {
        let elapsed = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut mono_us = START_US.saturating_add(elapsed).saturating_sub(self.held_up_us);
        let gap_us = mono_us.saturating_sub(self.last_us);
        if gap_us > HELD_UP_US {
            tracing::warn!(ms = gap_us / 1000, "the scheduler was held up; deadlines are moved");
            self.held_up_us += gap_us;
            mono_us = self.last_us;
        }
        self.last_us = self.last_us.max(mono_us);
        Now { mono_us: self.last_us, wall_ms: wall_ms() }
    }

    /// The time after a wait, or work, on purpose: nothing was held up.
    pub fn resume(&mut self) -> Now {
        let elapsed = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mono_us = START_US.saturating_add(elapsed).saturating_sub(self.held_up_us);
        self.last_us = self.last_us.max(mono_us);
        self.now()
    }

    /// What the clock shows at a monotonic time, as an instant to wait for.
    pub fn instant(&self, mono_us: u64) -> Instant {
        let us = mono_us.saturating_sub(START_US).saturating_add(self.held_up_us);
        let most_us = 86_400_000_000_u64.saturating_add(self.held_up_us);
        self.origin + std::time::Duration::from_micros(us.min(most_us.max(self.last_us)))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Unix milliseconds; 0 before 1970.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
