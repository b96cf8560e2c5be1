//! The tasks of a keyed class in the order in which they came into their owners' lines.

use std::collections::VecDeque;

use crate::core::line::Place;

/// Since when a task waits for its owner, in monotonic microseconds, and its place. It is only a hint,
/// as a place is.
pub(super) type Lined = (u64, Place);

/// Entries in a chunk. To look whether each of them holds takes a small part of a millisecond.
const CHUNK: usize = 1024;

/// Entries in order, in chunks: those that no longer hold are dropped a chunk at a time, so that nobody
/// waits while a million are looked at.
#[derive(Debug, Default)]
pub(super) struct Spill {
    /// None is empty but the only one.
    chunks: VecDeque<VecDeque<Lined>>,
    len: usize,
    /// The chunk that is looked through next.
    next: usize,
    /// One that was emptied, kept for its memory.
    spare: VecDeque<Lined>,
}

impl Spill {
    /// Adds an entry behind the last. Of `waiting` tasks each may have one. While there are more than
    /// twice as many, two entries are looked at for each that is added, a chunk at a time, so that hardly
    /// more are there that no longer hold.
    pub(super) fn push(&mut self, lined: Lined, waiting: usize, holds: impl Fn(&Lined) -> bool) {
        let full = self.chunks.back().is_none_or(|last| last.len() >= CHUNK);
        let many = self.len > 2 * waiting + 64;
        if full && many {
            let mut looked = 0;
            while looked < 2 * CHUNK {
                looked += self.sweep(&holds);
            }
        } else if self.chunks.len() == 1 && many {
            self.sweep(&holds);
        }
        if full || self.chunks.is_empty() {
            self.chunks.push_back(std::mem::take(&mut self.spare));
        }
        if let Some(last) = self.chunks.back_mut() {
            last.push_back(lined);
            self.len += 1;
        }
    }

    /// The first entry, whether it holds or not.
    pub(super) fn first(&self) -> Option<Lined> {
        self.chunks.front()?.front().copied()
    }

    /// Takes the first entry, whether it holds or not.
    pub(super) fn pop(&mut self) -> Option<Lined> {
        let first = self.chunks.front_mut()?;
        let lined = first.pop_front()?;
        self.len -= 1;
        if first.is_empty() {
            self.spare = self.chunks.pop_front().unwrap_or_default();
            self.next = self.next.saturating_sub(1);
        }
        Some(lined)
    }

    /// The entries in order, those that no longer hold included.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lined> {
        self.chunks.iter().flatten()
    }

    /// Entries, those that no longer hold included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Drops what does not hold of the chunk whose turn it is; how much work that was, in entries.
    fn sweep(&mut self, holds: &impl Fn(&Lined) -> bool) -> usize {
        if self.next >= self.chunks.len() {
            self.next = 0;
        }
        let Some(chunk) = self.chunks.get_mut(self.next) else { return CHUNK };
        let before = chunk.len();
        chunk.retain(holds);
        self.len -= before - chunk.len();
        if chunk.is_empty() {
            self.chunks.remove(self.next);
        } else {
            chunk.shrink_to(2 * chunk.len());
            self.next += 1;
        }
        before + 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskId;

    fn lined(number: u64) -> Lined {
        (number, Place { key: 0, id: TaskId::from_bits(number), slot: 0 })
    }

    #[test]
    fn entries_come_in_order_and_what_does_not_hold_is_given_up() {
        let mut spill = Spill::default();
        // Only the last twenty thousand hold.
        for number in 0..1_000_000u64 {
            spill.push(lined(number), 20_000, |(its, _)| its + 20_000 > number);
            assert!(spill.len() <= 70_000, "{} entries", spill.len());
        }
        let rest: Vec<u64> = std::iter::from_fn(|| spill.pop()).map(|(number, _)| number).collect();
        assert!(rest.is_sorted() && rest.ends_with(&[999_998, 999_999]));
        assert!(rest.len() >= 20_000 && (spill.len(), spill.first()) == (0, None));
    }

    #[test]
    fn a_few_are_looked_through_when_most_do_not_hold() {
        let mut spill = Spill::default();
        for number in 0..1000 {
            spill.push(lined(number), 1, |(its, _)| *its == number);
            assert!((1..=70).contains(&spill.len()), "{} entries", spill.len());
        }
    }

    #[test]
    fn what_waits_long_does_not_keep_the_others() {
        let mut spill = Spill::default();
        // One of 1024 waits as long as a thousand such are there, the others for 2048 entries.
        let (long, life, mut most) = (1000, 2048, 0);
        for number in 0..6 * 1024 * long {
            let waiting = (number / 1024).min(long) + number.min(life);
            spill.push(lined(number), usize::try_from(waiting).unwrap(), |(its, _)| {
                its % 1024 == 0 && its + 1024 * long > number || its + life > number
            });
            most = most.max(spill.len());
        }
        assert!(most < 32_000, "{most} entries while 3048 wait");
    }
}
