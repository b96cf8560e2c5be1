//! The route `weighted-random`: a random choice in proportion to weight, in logarithmic time.
//!
//! The sums live in a binary indexed tree (Peter Fenwick, "A New Data Structure for Cumulative
//! Frequency Tables", 1994). The random number comes from the caller.

use super::Weight;

/// Weighted choice over slots 0, 1, 2, …, meant to be numbered densely: space is 12 bytes for each
/// slot up to the largest ever given a weight.
#[derive(Clone, Debug, Default)]
pub struct Weighted {
    /// Thousandths by slot.
    weights: Vec<u32>,
    /// Node n, counted from 1, holds the sum of the last `n & -n` slots up to slot n − 1.
    ///
    /// A u64 cannot overflow: 2³² slots of 100,000 thousandths make less than 2⁴⁹.
    tree: Vec<u64>,
    total: u64,
}

impl Weighted {
    /// A choice over nothing.
    pub fn new() -> Weighted {
        Weighted::default()
    }

    /// Gives a slot a weight, in place of the one it had; weight 0 takes it out. O(log n), and O(gap)
    /// more when the slot lies beyond the largest so far.
    pub fn set(&mut self, index: u32, weight: Weight) {
        let Ok(index) = usize::try_from(index) else { return };
        if index >= self.weights.len() {
            if weight == Weight::ZERO {
                return;
            }
            self.grow(index + 1);
        }
        let Some(slot) = self.weights.get_mut(index) else { return };
        let new = weight.thousandths();
        let old = u64::from(std::mem::replace(slot, new));
        let new = u64::from(new);
        // Adding first keeps every step in range: each sum touched contains the old weight.
        self.total = self.total + new - old;
        let mut node = index + 1;
        while let Some(sum) = self.tree.get_mut(node - 1) {
            *sum = *sum + new - old;
            node += lowest_bit(node);
        }
    }

    /// The weight of a slot; 0 for one that was never set.
    pub fn weight(&self, index: u32) -> Weight {
        let weight = usize::try_from(index).ok().and_then(|index| self.weights.get(index));
        weight
            .and_then(|&thousandths| Weight::from_thousandths(thousandths))
            .unwrap_or(Weight::ZERO)
    }

    /// The sum of all weights, in thousandths.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The slot that `r`, in 0 .. [`total`](Weighted::total), falls to when the slots are laid end to
    /// end in their order, each as long as its weight in thousandths. `None` for an `r` beyond them,
    /// and so always when there is nothing to choose from.
    ///
    /// A uniform `r` chooses in proportion to weight; a slot of weight 0 is never chosen. O(log n).
    pub fn pick(&self, r: u64) -> Option<u32> {
        if r >= self.total {
            return None;
        }
        // Descends to the largest number of leading slots whose sum is at most r; the slot after
        // them is the one that r falls to, and it has a weight, for otherwise it were one of them.
        let mut skipped = 0;
        let mut rest = r;
        let mut step = self.tree.len().checked_ilog2().map_or(0, |bits| 1 << bits);
        while step > 0 {
            if let Some(&sum) = self.tree.get(skipped + step - 1)
                && sum <= rest
            {
                rest -= sum;
                skipped += step;
            }
            step /= 2;
        }
        u32::try_from(skipped).ok()
    }

    /// Appends slots of weight 0 until there are `len`.
    fn grow(&mut self, len: usize) {
        self.weights.resize(len, 0);
        while self.tree.len() < len {
            let node = self.tree.len() + 1;
            let reach = node - lowest_bit(node);
            let mut sum = 0;
            let mut below = node - 1;
            while below > reach {
                sum += self.tree.get(below - 1).copied().unwrap_or(0);
                below -= lowest_bit(below);
            }
            self.tree.push(sum);
        }
    }
}

/// The lowest set bit of a positive node number: how many slots the node sums up.
fn lowest_bit(node: usize) -> usize {
    node & node.wrapping_neg()
}
