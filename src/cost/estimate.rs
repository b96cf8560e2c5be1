//! What the table answers to those who decide: how long a task will take, and what is unusual.

use super::rows::{Kind, index};
use super::{Costs, Decayed, Pair, Welford};

/// How far beyond its kind's habit a run is before it is called a straggler, in standard deviations.
const STRAGGLER_SD: f64 = 4.0;

/// How long a task will take, as far as its kind's recent durations tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Recent mean duration in microseconds, at least 1.
    pub mean_us: f64,
    /// Recent coefficient of variation: standard deviation ÷ mean.
    pub cv: f64,
    /// How many durations have ever been measured, at least 1.
    pub count: u64,
}

/// How long runs of a kind usually take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Habit {
    /// Mean duration in microseconds.
    pub mean_us: f64,
    /// Standard deviation in microseconds.
    pub sd_us: f64,
}

impl Habit {
    /// Beyond how many microseconds a run is a straggler: mean + 4 standard deviations.
    ///
    /// By hand: 100, 120 and 140 ms have the mean 120 and the variance 800 ÷ 3, so the standard
    /// deviation 16.33 and the bound 185.32 ms.
    fn bound_us(&self) -> f64 {
        self.mean_us + STRAGGLER_SD * self.sd_us
    }

    /// Whether a run of so many microseconds is far beyond it. While all took the same, none is.
    pub fn is_far_exceeded_by(&self, duration_us: u64) -> bool {
        self.sd_us > 0.0 && duration_us as f64 > self.bound_us()
    }
}

impl Costs {
    /// How long a task of a kind will take, or `None` before the first has succeeded. O(1).
    pub fn estimate(&self, kind: &str) -> Option<Estimate> {
        let kind = self.kind(kind)?;
        estimate(&kind.duration, &kind.recent)
    }

    /// The same for one pair.
    pub fn pair_estimate(&self, pair: Pair) -> Option<Estimate> {
        let book = self.row(pair)?.book.as_ref()?;
        estimate(&book.duration, &book.recent)
    }

    /// How many times as long as usual a worker takes: the recent mean of duration ÷ recent mean of its
    /// kind before that, over all its kinds. 1 where nothing is known, and for [`OTHER`](super::OTHER),
    /// which stands for several.
    ///
    /// By hand: where `b` has taken 100 for a task of a kind, and `a` then 300 for one and 200 for
    /// another, the slowness of `a` is (300 ÷ 100 + 200 ÷ 200) ÷ 2 = 2.
    pub fn slowness(&self, worker: &str) -> f64 {
        let number = self.worker_numbers.get(worker).filter(|_| worker != super::OTHER);
        let worker = number.and_then(|number| self.workers.get(index(*number)));
        worker.map_or(1.0, |worker| slowness_of(&worker.slowness))
    }

    /// The slowness of a pair's worker.
    pub fn slowness_on(&self, pair: Pair) -> f64 {
        let row = self.row(pair).filter(|_| !self.is_shared(pair));
        let worker = row.and_then(|row| self.workers.get(index(row.worker)));
        worker.map_or(1.0, |worker| slowness_of(&worker.slowness))
    }

    /// The mean and standard deviation, in microseconds, of the durations of a kind, against which a
    /// straggler stands out; `None` before the first has succeeded. O(1).
    ///
    /// Of all durations and of the recent ones, those by which a run has to be longer: a kind that has
    /// drifted is not full of stragglers, and a few recent runs that were much alike make none either.
    pub fn habit(&self, kind: &str) -> Option<Habit> {
        let Kind { duration, recent, .. } = self.kind(kind)?;
        let ever = Habit { mean_us: duration.mean(), sd_us: duration.variance().sqrt() };
        let of_late = Habit { mean_us: recent.mean(), sd_us: recent.variance().sqrt() };
        let longer = if of_late.bound_us() > ever.bound_us() { of_late } else { ever };
        (duration.count() > 0).then_some(longer)
    }
}

fn slowness_of(ratios: &Decayed) -> f64 {
    if ratios.weight() > 0.0 { ratios.mean() } else { 1.0 }
}

fn estimate(duration: &Welford, recent: &Decayed) -> Option<Estimate> {
    (duration.count() > 0).then(|| Estimate {
        mean_us: recent.mean().max(1.0),
        cv: recent.cv(),
        count: duration.count(),
    })
}
