//! The routes `random`, `least-loaded` and `fastest`: the smallest key comes first, and of equal ones
//! each is as likely as another. The random number comes from the caller.

use std::collections::BTreeMap;

/// Slots 0, 1, 2, … under keys, meant to be numbered densely: space is 48 bytes for each slot up to
/// the largest ever given a key.
#[derive(Clone, Debug, Default)]
pub struct Ranked {
    by_key: BTreeMap<u128, Vec<u32>>,
    /// By slot: its key, and its place among those of that key.
    slots: Vec<Option<(u128, usize)>>,
    len: usize,
}

impl Ranked {
    /// Nothing under any key.
    pub fn new() -> Ranked {
        Ranked::default()
    }

    /// Gives a slot a key, in place of the one it had; `None` takes it out. O(log n), and O(gap) more
    /// when the slot lies beyond the largest so far.
    pub fn set(&mut self, index: u32, key: Option<u128>) {
        let before = self.key(index);
        if before == key {
            return;
        }
        if before.is_some() {
            self.take_out(index);
        }
        let Some(key) = key else { return };
        if self.slots.len() <= index as usize {
            self.slots.resize(index as usize + 1, None);
        }
        let equals = self.by_key.entry(key).or_default();
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *slot = Some((key, equals.len()));
            equals.push(index);
            self.len += 1;
        }
    }

    /// The key of a slot.
    pub fn key(&self, index: u32) -> Option<u128> {
        self.slots.get(index as usize).copied().flatten().map(|(key, _)| key)
    }

    /// The smallest key, and how many have it.
    pub fn first(&self) -> Option<(u128, usize)> {
        self.by_key.first_key_value().map(|(key, equals)| (*key, equals.len()))
    }

    /// One of those that have the smallest key, by a number below how many they are: a uniform number
    /// makes all of them equally likely. O(log n).
    pub fn pick(&self, number: usize) -> Option<u32> {
        self.by_key.first_key_value().and_then(|(_, equals)| equals.get(number)).copied()
    }

    /// How many slots have a key.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no slot has a key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn take_out(&mut self, index: u32) {
        let Some((key, place)) = self.slots.get_mut(index as usize).and_then(Option::take) else {
            return;
        };
        self.len -= 1;
        let Some(equals) = self.by_key.get_mut(&key) else { return };
        equals.swap_remove(place);
        if let Some(moved) = equals.get(place)
            && let Some(Some((_, its))) = self.slots.get_mut(*moved as usize)
        {
            *its = place;
        }
        if equals.is_empty() {
            self.by_key.remove(&key);
        }
    }
}

/// How loaded a worker is: its runs ÷ its slots, for comparison.
///
/// In units of 2⁻³² and cut off, which is exact: two different fractions whose denominators are at
/// most 65535 are at least 1 ÷ 65535² apart, a little more than 2⁻³².
///
/// By hand: 1 run on 4 slots is a quarter, 2³⁰; 2 on 8 are as much, and 1 on 3 more.
pub fn load(runs: usize, slots: u32) -> u128 {
    ((runs as u128) << 32) / u128::from(slots.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_compare_as_the_fractions_do() {
        assert_eq!(load(1, 4), 1 << 30);
        assert_eq!(load(1, 4), load(2, 8));
        assert!(load(1, 3) > load(1, 4));
        assert!(load(65_534, 65_535) > load(65_533, 65_534));
        assert!(load(1, 65_535) < load(1, 65_534));
    }
}
