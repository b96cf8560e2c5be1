//! The route `fastest`: who is expected to be through first, by kind.
//!
//! A worker's load changes with every task, its pace with every result, and both count for each
//! kind. So a change is noted once, and a kind takes note of the changes when it is asked for next:
//! its own traffic pays for it, and a kind that rests costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::ranked::Ranked;

/// How many kinds are kept in order at a time; beyond, the one that has rested longest is forgotten.
/// It is put in order anew when it is asked for again.
const KINDS_MAX: usize = 256;

/// How many times as long as usual a worker takes, in parts of 2⁻¹⁶; above 0 and up to 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio(u32);

impl Ratio {
    /// As long as usual.
    pub const ONE: Ratio = Ratio(1 << 16);

    /// The nearest there is; [`Ratio::ONE`] for what is no number.
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
    pub fn of(ratio: f64) -> Ratio {
        if ratio.is_nan() {
            return Ratio::ONE;
        }
        Ratio(((ratio * 65_536.0).round() as u32).clamp(1, 1 << 26))
    }

    /// As a number.
    pub fn value(self) -> f64 {
        f64::from(self.0) / 65_536.0
    }

    /// That many times a time in microseconds, in parts of 2⁻¹⁶.
    fn times(self, us: u64) -> u128 {
        u128::from(us) * u128::from(self.0)
    }
}

/// What a slot has to do, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Tasks that it runs.
    pub runs: usize,
    /// Tasks that it can run at once.
    pub slots: u32,
    /// How much longer than usual it takes with kinds that it was never measured with.
    pub slowness: Ratio,
}

/// When a worker is expected to be through with one more task, for comparison: estimate × (runs + 1)
/// ÷ slots. The estimate is in microseconds times 2¹⁶; the finish is that times 2³² and cut off, which
/// is exact as in [`load`](super::load).
///
/// By hand: 3 s with 1 run on 4 slots is 3 s × 2 ÷ 4 = 1.5 s; 1 s with 2 runs on 2 slots is as much.
pub fn finish(estimate: u128, runs: usize, slots: u32) -> u128 {
    let estimate = estimate.min(ESTIMATE_MAX);
    ((estimate * (runs as u128 + 1)) << 32) / u128::from(slots.max(1))
}

/// Keeps a finish of 65536 runs within 128 bits; 17 years.
const ESTIMATE_MAX: u128 = 1 << 65;

/// Slots, meant to be numbered densely, by load and by kind.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// The loads of those here, and the serial number of their last change.
    slots: Vec<Option<Load>>,
    changed_at: Vec<u64>,
    changes: BTreeSet<(u64, u32)>,
    serial: u64,
    kinds: BTreeMap<u32, Kind>,
}

/// The slots as they suit a kind.
#[derive(Clone, Debug, Default)]
struct Kind {
    /// The changes up to this one are taken note of.
    seen: u64,
    /// By expected finish.
    measured: Ranked,
    /// By slowness × (runs + 1) ÷ slots: one estimate for all of them.
    unmeasured: Ranked,
}

/// The best of a kind: the expected finish, and how many share it.
type Best = (u128, usize);

impl Pace {
    /// Nobody.
    pub fn new() -> Pace {
        Pace::default()
    }

    /// Notes that a slot is here with a load, or not here (`None`), or that something about its estimates
    /// has changed. O(log n).
    pub fn set(&mut self, index: u32, load: Option<Load>) {
        let at = index as usize;
        if self.slots.len() <= at {
            if load.is_none() {
                return;
            }
            self.slots.resize(at + 1, None);
            self.changed_at.resize(at + 1, 0);
        }
        let (Some(slot), Some(changed_at)) = (self.slots.get_mut(at), self.changed_at.get_mut(at))
        else {
            return;
        };
        if slot.is_none() && load.is_none() {
            return;
        }
        *slot = load;
        self.serial += 1;
        self.changes.remove(&(std::mem::replace(changed_at, self.serial), index));
        self.changes.insert((self.serial, index));
    }

    /// Forgets what is known of the kinds: all estimates may have changed.
    pub fn forget_kinds(&mut self) {
        self.kinds.clear();
    }

    /// Forgets what is known of a kind.
    pub fn forget(&mut self, kind: u32) {
        self.kinds.remove(&kind);
    }

    /// The slots that changed since a kind was asked for last, for [`Pace::put`] to be told of each.
    /// A kind that is new has seen nothing.
    pub fn news(&mut self, kind: u32) -> Vec<u32> {
        if self.kinds.len() >= KINDS_MAX
            && !self.kinds.contains_key(&kind)
            && let Some(oldest) = self.kinds.iter().min_by_key(|(_, kind)| kind.seen)
        {
            let oldest = *oldest.0;
            self.kinds.remove(&oldest);
        }
        let kind = self.kinds.entry(kind).or_default();
        let since = std::mem::replace(&mut kind.seen, self.serial);
        self.changes.range((since + 1, 0)..).map(|(_, index)| *index).collect()
    }

    /// Puts a slot where its load and its estimate for a kind, in microseconds, have it stand; `None`
    /// where nothing was measured.
    pub fn put(&mut self, kind: u32, index: u32, estimate_us: Option<u64>) {
        let (measured, unmeasured) = self.keys(index, estimate_us);
        let Some(kind) = self.kinds.get_mut(&kind) else { return };
        kind.measured.set(index, measured);
        kind.unmeasured.set(index, unmeasured);
    }

    /// The smallest expected finish for a kind, and how many have it; whoever is unmeasured has the
    /// estimate given, in microseconds, times its slowness. O(log n).
    pub fn best(&self, kind: u32, estimate_us: u64) -> Option<(u128, usize)> {
        let (measured, unmeasured) = self.firsts(kind, estimate_us)?;
        let best = measured.into_iter().chain(unmeasured).map(|(finish, _)| finish).min()?;
        let equals = measured.into_iter().chain(unmeasured).filter(|(finish, _)| *finish == best);
        Some((best, equals.map(|(_, count)| count).sum()))
    }

    /// One of those that [`Pace::best`] speaks of, by a number below how many they are.
    pub fn pick(&self, kind: u32, estimate_us: u64, number: usize) -> Option<u32> {
        let (best, _) = self.best(kind, estimate_us)?;
        let (measured, _) = self.firsts(kind, estimate_us)?;
        let kind = self.kinds.get(&kind)?;
        let first = measured.filter(|(finish, _)| *finish == best).map_or(0, |(_, count)| count);
        match number.checked_sub(first) {
            None => kind.measured.pick(number),
            Some(number) => kind.unmeasured.pick(number),
        }
    }

    /// The first of the measured and of the unmeasured, by expected finish.
    fn firsts(&self, kind: u32, estimate_us: u64) -> Option<(Option<Best>, Option<Best>)> {
        let kind = self.kinds.get(&kind)?;
        let unmeasured = kind.unmeasured.first().and_then(|(_, count)| {
            let its = self.load(kind.unmeasured.pick(0)?)?;
            Some((finish(its.slowness.times(estimate_us), its.runs, its.slots), count))
        });
        Some((kind.measured.first(), unmeasured))
    }

    /// The load of a slot that is here.
    pub fn load(&self, index: u32) -> Option<Load> {
        self.slots.get(index as usize).copied().flatten()
    }

    /// The kinds that are kept in order, with the slots that they have not taken note of.
    pub fn kinds(&self) -> impl Iterator<Item = (u32, BTreeSet<u32>)> {
        self.kinds.iter().map(|(number, kind)| {
            let news = self.changes.range((kind.seen + 1, 0)..);
            (*number, news.map(|(_, index)| *index).collect())
        })
    }

    /// Whether a slot stands where [`Pace::put`] would put it.
    pub fn stands(&self, kind: u32, index: u32, estimate_us: Option<u64>) -> bool {
        let kept = self.kinds.get(&kind);
        let kept = kept.map(|kind| (kind.measured.key(index), kind.unmeasured.key(index)));
        kept.is_none_or(|kept| kept == self.keys(index, estimate_us))
    }

    /// The key of a slot among the measured, or among the unmeasured.
    fn keys(&self, index: u32, estimate_us: Option<u64>) -> (Option<u128>, Option<u128>) {
        match (self.load(index), estimate_us) {
            (None, _) => (None, None),
            (Some(its), Some(us)) => {
                (Some(finish(Ratio::ONE.times(us), its.runs, its.slots)), None)
            }
            (Some(its), None) => (None, Some(finish(its.slowness.times(1), its.runs, its.slots))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finishes_compare_as_the_fractions_do() {
        let us = |us: u64| Ratio::ONE.times(us);
        assert_eq!(finish(us(3_000_000), 1, 4), us(1_500_000) << 32);
        assert_eq!(finish(us(3_000_000), 1, 4), finish(us(1_000_000), 2, 2));
        let longest = Ratio::of(f64::INFINITY).times(u64::MAX);
        assert!(finish(longest, 65_534, 65_535) < finish(longest, 65_535, 65_535));
        assert_eq!(finish(Ratio::of(1.5).times(2), 0, 1), finish(us(3), 0, 1));
    }

    #[test]
    fn ratios_are_bounded() {
        assert_eq!([0.0, -1.0].map(|ratio| Ratio::of(ratio).value()), [1.0 / 65_536.0; 2]);
        assert_eq!(
            [1e9, f64::INFINITY, f64::NAN].map(|ratio| Ratio::of(ratio).value()),
            [1024.0, 1024.0, 1.0]
        );
    }
}
