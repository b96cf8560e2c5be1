//! A line of ready tasks in the order of a key, smallest first; ties by submission.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::task::TaskId;

/// A place in a line. It is only a hint: whoever takes it checks that the task still waits there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The order's key.
    pub(super) key: u64,
    /// The task.
    pub(super) id: TaskId,
    /// Where the task table has it.
    pub(super) slot: u32,
}

/// Places in order. Those that come in order, nearly all, cost no more than a queue; the others
/// go through a heap.
#[derive(Debug, Default)]
pub(super) struct Line {
    in_order: VecDeque<Place>,
    others: BinaryHeap<Reverse<Place>>,
}

impl Line {
    pub(super) fn push(&mut self, place: Place) {
        if self.in_order.back().is_none_or(|last| *last <= place) {
            self.in_order.push_back(place);
        } else {
            self.others.push(Reverse(place));
        }
    }

    /// The first place that `holds`; those before it that do not are dropped.
    pub(super) fn first(&mut self, holds: impl Fn(&Place) -> bool) -> Option<Place> {
        loop {
            let place = self.peek()?;
            if holds(&place) {
                return Some(place);
            }
            self.pop();
        }
    }

    /// The first place, whether it holds or not.
    pub(super) fn peek(&self) -> Option<Place> {
        let other = self.others.peek().map(|Reverse(place)| *place);
        match (self.in_order.front().copied(), other) {
            (Some(front), Some(other)) => Some(front.min(other)),
            (front, other) => front.or(other),
        }
    }

    /// Takes the first place, whether it holds or not.
    pub(super) fn pop(&mut self) -> Option<Place> {
        let first = self.peek()?;
        if self.in_order.front() == Some(&first) {
            self.in_order.pop_front()
        } else {
            self.others.pop().map(|Reverse(place)| place)
        }
    }

    /// The places in no particular order, those that no longer hold included.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.in_order.iter().chain(self.others.iter().map(|Reverse(place)| place))
    }

    /// How many places that hold come before another, after looking at so many at most; and whether
    /// that is all of them.
    pub(super) fn count_before(
        &self,
        place: Place,
        most: usize,
        holds: impl Fn(&Place) -> bool,
    ) -> (usize, bool) {
        let in_order = self.in_order.partition_point(|its| *its < place);
        let before = self.in_order.iter().take(in_order);
        // The greater part of a heap that comes first in it is small, so that what is not looked at
        // matters least.
        let others = self.others.iter().map(|Reverse(place)| place);
        let looked_at = before.chain(others).take(most);
        let count = looked_at.filter(|its| **its < place && holds(its)).count();
        (count, in_order + self.others.len() <= most)
    }

    /// The place of a task, if it is among so many.
    pub(super) fn find(&self, id: TaskId, most: usize) -> Option<Place> {
        self.iter().take(most).find(|place| place.id == id).copied()
    }

    /// Places, those that no longer hold included.
    pub(super) fn len(&self) -> usize {
        self.in_order.len() + self.others.len()
    }

    /// Drops the places that do not hold if they are the greater part, so that a line's memory
    /// stays within a constant factor of what waits in it.
    pub(super) fn shrink(&mut self, waiting: usize, holds: impl Fn(&Place) -> bool) {
        if self.len() > 2 * waiting + 64 {
            self.in_order.retain(&holds);
            self.others.retain(|Reverse(place)| holds(place));
            self.in_order.shrink_to(2 * waiting + 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: u64) -> Place {
        Place { key, id: TaskId::from_bits(key), slot: 0 }
    }

    #[test]
    fn latecomers_with_a_smaller_key_go_first() {
        let mut line = Line::default();
        [5, 7, 6, 1, 9].into_iter().for_each(|key| line.push(place(key)));
        let order: Vec<u64> = std::iter::from_fn(|| line.pop()).map(|place| place.key).collect();
        assert_eq!(order, [1, 5, 6, 7, 9]);
    }

    #[test]
    fn places_that_no_longer_hold_are_passed_over_and_given_up() {
        let mut line = Line::default();
        (0..1000).for_each(|key| line.push(place(key)));
        assert_eq!(line.first(|place| place.key >= 900).map(|place| place.key), Some(900));
        line.shrink(10, |place| place.key >= 990);
        assert_eq!(line.len(), 10);
    }

    #[test]
    fn those_before_are_counted_up_to_a_bound() {
        let mut line = Line::default();
        [5, 7, 6, 1, 9, 4].into_iter().for_each(|key| line.push(place(key)));
        let before = |key, most| line.count_before(place(key), most, |place| place.key != 5);
        assert_eq!(before(7, 100), (3, true));
        assert_eq!(before(1, 100), (0, true));
        assert_eq!(before(100, 100), (5, true));
        let (count, all) = before(100, 3);
        assert!(count <= 3 && !all, "{count}");
        assert_eq!(line.find(TaskId::from_bits(6), 100), Some(place(6)));
        assert_eq!(line.find(TaskId::from_bits(8), 100), None);
    }
}
