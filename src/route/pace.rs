//! The route `fastest`: who is expected to be through first, by kind.
//!
//! A worker's load changes with every task, its pace with every result, and both count for each
//! kind. So a change is noted once, and a kind takes note of the changes when it is asked for next:
//! its own traffic pays for it, and a kind that rests costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::ranked::{Ranked, finish, load};

/// How many kinds are kept in order at a time; beyond, the one that has rested longest is forgotten.
/// It is put in order anew when it is asked for again.
const KINDS_MAX: usize = 256;

/// Slots, meant to be numbered densely, by load and by kind.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// The runs and slots of those here, and the serial number of their last change.
    slots: Vec<Option<(usize, u32)>>,
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
    /// By (runs + 1) ÷ slots: one estimate for all of them.
    unmeasured: Ranked,
}

/// The best of a kind: the expected finish, and how many share it.
type Best = (u128, usize);

impl Pace {
    /// Nobody.
    pub fn new() -> Pace {
        Pace::default()
    }

    /// Notes that a slot is here with so many runs on so many slots of its own, or not here (`None`),
    /// or that something about its estimates has changed. O(log n).
    pub fn set(&mut self, index: u32, load: Option<(usize, u32)>) {
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
    /// estimate given, in microseconds. O(log n).
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
            let (runs, slots) = self.load(kind.unmeasured.pick(0)?)?;
            Some((finish(estimate_us, runs, slots), count))
        });
        Some((kind.measured.first(), unmeasured))
    }

    /// The runs and slots of a slot that is here.
    pub fn load(&self, index: u32) -> Option<(usize, u32)> {
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
            (Some((runs, slots)), Some(us)) => (Some(finish(us, runs, slots)), None),
            (Some((runs, slots)), None) => (None, Some(load(runs + 1, slots))),
        }
    }
}
