//! What tasks cost: counts, durations, waits, throughput and money by kind, by worker and by both.
//!
//! Everything is measured by the scheduler and kept in numbers that merge: the figures of a kind are
//! those of its (kind, worker) pairs put together, but for the recent mean and variance, which a kind
//! keeps of its own because fading does not merge exactly. A restart goes on from the stored ones. Times
//! are arguments: wall-clock milliseconds since the Unix epoch; durations are whole microseconds, at
//! least 1. This module never reads a clock, never writes to a store and never iterates a hash map.
//!
//! - `welford`: [`Welford`], mean and variance of all there ever was
//! - `decay`: [`Decayed`], mean and variance of the last few minutes, or the last few hundred runs
//! - `throughput`: [`Throughput`], how many in the last sixty seconds, exactly
//! - `figures`: [`Figures`], the published numbers of one row, to text and back; [`cost`]
//! - `book`: the running sums behind one row
//! - `costs`: [`Costs`], the table that books what happens
//! - `estimate`: [`Estimate`], how long a task will take; [`Habit`], what is unusual
//! - `rows`: how the table finds, brings back and marks its rows
//! - `publish`: the way of the table to the store and back, and what is forgotten
//! - `report`: read-only rows for people

mod welford;

mod decay;

mod throughput;

mod figures;

mod book;

mod costs;

mod estimate;

mod rows;

mod publish;

mod report;

pub use self::costs::{Costs, OTHER, PAIRS_MAX, Pair};
pub use self::decay::{Decayed, HALF_LIFE_MS, WEIGHT_MAX};
pub use self::estimate::{Estimate, Habit};
pub use self::figures::{Figures, cost};
pub use self::publish::FORGET_AFTER_MS;
pub use self::report::Page;
pub use self::throughput::{Throughput, WINDOW_S};
pub use self::welford::Welford;

#[cfg(test)]
mod tests;
