//! `rate=`: when the next run of a queue may begin. Exact at any rate: what an interval has beyond whole
//! microseconds is carried over to the next.

use crate::frame::Decimal;

/// How far beginnings that came late may be made up for, in microseconds: the loop's own jitter.
const SLACK_US: u64 = 50_000;

/// When the last run began, by an even spread: on a microsecond, or a fraction after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beat {
    /// Monotonic microseconds.
    at_us: u64,
    /// Of the next microsecond, in as many parts as the rate has thousandths.
    rest: u64,
}

impl Beat {
    /// At a whole microsecond.
    pub(super) fn at(at_us: u64) -> Self {
        Self { at_us, rest: 0 }
    }

    /// An interval later.
    ///
    /// By hand: 300,000 per second are 3 ⅓ µs apart, or 3 and 10⁸ of 3 × 10⁸ parts. From 0 on, runs begin
    /// at 3 ⅓, 6 ⅔ and 10 µs; 4 per second begin at 250,000, 500,000 and 750,000 µs.
    fn next(self, rate: Decimal) -> Self {
        let parts = rate.thousandths().max(1);
        let whole = self.rest.saturating_add(US_TIMES_THOUSANDTHS);
        Self { at_us: self.at_us.saturating_add(whole / parts), rest: whole % parts }
    }

    /// The first whole microsecond that is not before it.
    fn due_us(self) -> u64 {
        self.at_us.saturating_add(u64::from(self.rest > 0))
    }

    /// When the next run may begin, in monotonic microseconds.
    pub(super) fn next_us(self, rate: Decimal) -> u64 {
        self.next(rate).due_us()
    }

    /// The beat of a run that begins now. One that comes late has the beat that it should have had, as
    /// long as that can be made up for.
    pub(super) fn of_run(self, rate: Decimal, now_us: u64) -> Self {
        let next = self.next(rate);
        let in_time = next.due_us() <= now_us && next.at_us.saturating_add(SLACK_US) >= now_us;
        if in_time { next } else { Self::at(now_us) }
    }

    /// The same under another rate.
    pub(super) fn whole(self) -> Self {
        Self::at(self.due_us())
    }
}

/// An interval of one thousandth per second, in microseconds.
const US_TIMES_THOUSANDTHS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Decimal {
        Decimal::parse(text).expect("a rate")
    }

    /// When so many runs begin that all come as soon as they may.
    fn beats(text: &str, runs: usize) -> Vec<u64> {
        let (rate, mut beat) = (rate(text), Beat::at(0));
        let begin = |_| {
            let at_us = beat.next_us(rate);
            beat = beat.of_run(rate, at_us);
            at_us
        };
        (0..runs).map(begin).collect()
    }

    #[test]
    fn beats_by_hand() {
        assert_eq!(beats("300000", 6), [4, 7, 10, 14, 17, 20]);
        assert_eq!(beats("4", 3), [250_000, 500_000, 750_000]);
        assert_eq!(beats("0.001", 1), [1_000_000_000]);
        assert_eq!(beats("1000000", 3), [1, 2, 3]);
        assert_eq!(beats("666666.666", 4), [2, 4, 5, 7], "1.5 µs and a little apart");
    }

    #[test]
    fn as_many_begin_in_a_second_as_the_rate_says() {
        for per_s in ["3", "7", "99999", "123457", "300000", "600001", "999999"] {
            let runs = per_s.parse().expect("a whole number");
            assert_eq!(beats(per_s, runs).last(), Some(&1_000_000), "{per_s}");
        }
        // 123,456.789 in a second are 123,456,789 in 1000 s; a second has the whole ones of them.
        let last = beats("123456.789", 123_456).last().copied();
        assert!(last.is_some_and(|last| (999_992..=1_000_000).contains(&last)), "{last:?}");
    }

    #[test]
    fn what_is_late_is_made_up_for_within_the_slack() {
        let rate = rate("10");
        let beat = Beat::at(0).of_run(rate, 150_000);
        assert_eq!((beat, beat.next_us(rate)), (Beat::at(100_000), 200_000));
        let beat = Beat::at(0).of_run(rate, 150_001);
        assert_eq!((beat, beat.next_us(rate)), (Beat::at(150_001), 250_001));
        assert_eq!(Beat::at(0).of_run(rate, 50_000), Beat::at(50_000), "whoever began too soon");
    }
}
