//! A breaker for workers that fail everything at once: a broken host answers faster than any other,
//! and would be fed most of all.
//!
//! It trips when so many failures in a row would not come by chance, given how often the same kind
//! fails elsewhere: where everybody fails, the tasks are to blame, and nobody is held up. A tripped
//! session gets nothing for a pause, then one task; if that fails as well the next pause is twice as
//! long, and a success closes the breaker (M. T. Nygard, "Release It!", 2007: Circuit Breaker).

use crate::core::timers::Reason;
use crate::core::{Core, Effects};

/// Failures in a row below which it never trips.
const STREAK: u32 = 5;

/// How improbable a streak has to be, as a natural logarithm: one in a million.
const IMPROBABLE: f64 = -13.815_510_557_964_274;

/// The first pause and the longest, in microseconds.
const PAUSE_US: (u64, u64) = (1_000_000, 60_000_000);

/// How often runs of a kind end well and how often not; the latest thousand or two count.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Odds {
    succeeded: f64,
    failed: f64,
}

impl Odds {
    const MOST: f64 = 2000.0;

    fn count(&mut self, failed: bool) {
        *(if failed { &mut self.failed } else { &mut self.succeeded }) += 1.0;
        if self.succeeded + self.failed > Self::MOST {
            (self.succeeded, self.failed) = (self.succeeded / 2.0, self.failed / 2.0);
        }
    }

    /// Whether so many failures in a row, which are counted here too, would not come by chance. The
    /// rate at which others fail is estimated by the rule of succession (Laplace, 1774).
    ///
    /// By hand: others succeeded 8 times and never failed, so they fail at (0 + 1) ÷ (8 + 2) = 0.1;
    /// 0.1⁶ is one in a million, so that the sixth failure in a row trips.
    fn is_suspicious(&self, streak: u32) -> bool {
        let others_failed = (self.failed - f64::from(streak)).max(0.0);
        let rate = (others_failed + 1.0) / (others_failed + self.succeeded + 2.0);
        self.succeeded >= 1.0 && streak >= STREAK && f64::from(streak) * rate.ln() <= IMPROBABLE
    }
}

/// How a session's runs have ended of late.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Breaker {
    /// Failures in a row.
    streak: u32,
    /// The pause of now or of before, in microseconds; 0 while it is closed.
    pause_us: u64,
    /// Monotonic microseconds until which the session gets nothing.
    pub(super) until_us: Option<u64>,
}

impl Breaker {
    /// Whether a session that is so busy may be given a task.
    pub(super) fn lets_pass(&self, busy: usize) -> bool {
        self.pause_us == 0 || (self.until_us.is_none() && busy == 0)
    }

    /// Whether it is tripped, be it that one task is being tried.
    pub(super) fn is_tripped(&self) -> bool {
        self.pause_us > 0
    }
}

impl Core {
    /// A run of a kind succeeded.
    pub(super) fn close_breaker(&mut self, worker: u32, kind: u32) {
        self.odds_of(kind).count(false);
        let breaker = &mut self.workers.sessions.at_mut(worker).breaker;
        breaker.streak = 0;
        if breaker.is_tripped() {
            breaker.pause_us = 0;
            self.drop_breaker(worker);
            self.workers.refresh(worker);
        }
    }

    /// A run of a kind failed.
    pub(super) fn strain_breaker(&mut self, worker: u32, kind: u32) {
        let odds = self.odds_of(kind);
        odds.count(true);
        let odds = *odds;
        let breaker = &mut self.workers.sessions.at_mut(worker).breaker;
        breaker.streak = breaker.streak.saturating_add(1);
        let again = breaker.is_tripped() && breaker.until_us.is_none();
        let first = !breaker.is_tripped() && odds.is_suspicious(breaker.streak);
        if again || first {
            let pause_us = (2 * breaker.pause_us).clamp(PAUSE_US.0, PAUSE_US.1);
            let until_us = self.now.mono_us.saturating_add(pause_us);
            (breaker.pause_us, breaker.until_us) = (pause_us, Some(until_us));
            self.timers.at_mono(until_us, Reason::Breaker(worker));
            self.workers.refresh(worker);
        }
    }

    fn odds_of(&mut self, kind: u32) -> &mut Odds {
        let index = kind as usize;
        if self.odds.len() <= index {
            self.odds.resize(index + 1, Odds::default());
        }
        self.odds.get_mut(index).expect("it was made above")
    }

    /// The pause is over: one task is tried.
    pub(super) fn on_breaker(&mut self, worker: u32, fx: &mut Effects) {
        if let Some(session) = self.workers.sessions.get_mut(worker) {
            session.breaker.until_us = None;
            self.feed(worker, fx);
        }
    }

    /// Drops the timer of a pause.
    pub(super) fn drop_breaker(&mut self, worker: u32) {
        let breaker = &mut self.workers.sessions.at_mut(worker).breaker;
        if let Some(until_us) = breaker.until_us.take() {
            self.timers.off_mono(until_us, Reason::Breaker(worker));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_elsewhere_too_is_not_suspicious() {
        let odds = |succeeded, failed| Odds { succeeded, failed };
        assert!(!odds(8.0, 5.0).is_suspicious(5));
        assert!(odds(8.0, 6.0).is_suspicious(6));
        assert!(!odds(0.0, 1000.0).is_suspicious(1000), "nobody succeeds");
        assert!(!odds(100.0, 900.0 + 130.0).is_suspicious(130), "nine of ten fail anywhere");
        assert!(odds(100.0, 900.0 + 140.0).is_suspicious(140));
    }
}
