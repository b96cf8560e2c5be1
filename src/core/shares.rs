//! Whose turn it is among the queues that wait for the workers of a pool: in proportion to their
//! weights, by stride scheduling (C. A. Waldspurger and W. E. Weihl, 1995). Each queue has a *pass*,
//! which moves by its *stride* with each task; the one with the smallest is next.
//!
//! Every pool counts for itself: what a queue had of other workers, or could not have while it was
//! empty or closed, it neither owes nor is owed here.

use std::collections::{BTreeMap, BTreeSet};

use crate::frame::Decimal;

/// The turns of a pool.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// The pass of the queue that was served last.
    pass: u64,
    /// The passes of those that were served, or wait.
    passes: BTreeMap<u32, u64>,
    /// Those that wait, by pass.
    waiting: BTreeSet<(u64, u32)>,
}

impl Shares {
    /// The pass of a queue. One that begins to wait has no turns saved up; of those that wait, none
    /// is behind the one that was served last.
    pub(super) fn pass_of(&self, queue: u32) -> u64 {
        self.passes.get(&queue).map_or(self.pass, |pass| self.pass.max(*pass))
    }

    /// A queue waits.
    pub(super) fn wait(&mut self, queue: u32) {
        self.rest(queue);
        let pass = self.pass_of(queue);
        self.passes.insert(queue, pass);
        self.waiting.insert((pass, queue));
    }

    /// A queue no longer waits.
    pub(super) fn rest(&mut self, queue: u32) {
        if let Some(pass) = self.passes.get(&queue) {
            self.waiting.remove(&(*pass, queue));
        }
    }

    /// The queue whose turn it is, of those that wait, and its pass.
    pub(super) fn first(&self) -> Option<(u64, u32)> {
        self.waiting.first().copied()
    }

    /// A queue is served, at its pass.
    pub(super) fn serve(&mut self, queue: u32, weight: Decimal) {
        let pass = self.pass_of(queue);
        self.pass = pass;
        let before = self.passes.insert(queue, pass + stride(weight));
        if before.is_some_and(|before| self.waiting.remove(&(before, queue))) {
            self.waiting.insert((pass + stride(weight), queue));
        }
    }

    /// A queue is gone.
    pub(super) fn forget(&mut self, queue: u32) {
        self.rest(queue);
        self.passes.remove(&queue);
    }

    /// Those that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> {
        self.waiting.iter().map(|(_, queue)| *queue)
    }
}

/// How far a pass moves with each task. By hand: weight 1 moves 2²⁰, weight 2 half of that.
fn stride(weight: Decimal) -> u64 {
    const ONE: u64 = 1 << 20;
    ONE * 1000 / weight.thousandths().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(shares: &mut Shares, weights: &[u64], times: usize) -> Vec<u32> {
        let serve = |_| {
            let (_, queue) = shares.first().unwrap();
            shares.serve(queue, Decimal::whole(weights[queue as usize]));
            queue
        };
        (0..times).map(serve).collect()
    }

    #[test]
    fn turns_are_in_proportion_to_weight_over_every_period() {
        let mut shares = Shares::default();
        (0..3).for_each(|queue| shares.wait(queue));
        for _ in 0..100 {
            let turns = served(&mut shares, &[1, 2, 4], 7);
            let had = |queue| turns.iter().filter(|its| **its == queue).count();
            assert_eq!([had(0), had(1), had(2)], [1, 2, 4], "{turns:?}");
        }
    }

    #[test]
    fn who_did_not_wait_has_no_turns_saved_up_and_none_to_make_good() {
        let mut shares = Shares::default();
        shares.wait(0);
        assert_eq!(served(&mut shares, &[1, 1], 1000), vec![0; 1000]);
        shares.wait(1);
        let turns = served(&mut shares, &[1, 1], 100);
        assert_eq!(turns.iter().filter(|queue| **queue == 1).count(), 50);
        shares.rest(1);
        served(&mut shares, &[1, 1], 1000);
        shares.wait(1);
        let turns = served(&mut shares, &[1, 1], 100);
        assert_eq!(turns.iter().filter(|queue| **queue == 1).count(), 50);
    }
}
