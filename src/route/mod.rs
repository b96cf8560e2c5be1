//! Which worker gets a ready task: the pure choices that need no more than a key, names and weights.
//!
//! Everything here is a function of its arguments: no clock, no randomness of its own, no hash-map
//! order. Two programs that know the same names and weights come to the same answer, in any
//! language; `tests/vectors/route.json` holds published answers and `tests/vectors/route.py` a second
//! implementation to check them with.
//!
//! - `weight`: [`Weight`], a worker's share, in thousandths
//! - `md5`: the [`Digest`] of a key, and where it lies on the ring, [`point`]
//! - `digests`: [`Digests`], those of the keys that were met last
//! - `ring`: [`Ring`], the ketama ring behind the route `hash`
//! - `modulo`: [`modulo`], the route of that name
//! - `weighted`: [`Weighted`], a random choice in proportion to weight
//! - `circle`: [`Circle`], one after the other by name
//! - `turns`: [`Turns`], one after the other in proportion to weight
//! - `ranked`: [`Ranked`], a random choice among those of the smallest key; the key [`load`]
//! - `pace`: [`Pace`], the smallest expected [`finish`] by kind; [`Ratio`], how slow a worker is
//!
//! It never learns what a task, a session or a slot is; who is able and free is for its caller to say.

mod weight;

mod md5;

mod digests;

mod ring;

mod modulo;

mod weighted;

mod circle;

mod turns;

mod ranked;

mod pace;

pub use self::circle::{Circle, comes_before};
pub use self::digests::Digests;
pub use self::md5::{Digest, point};
pub use self::modulo::modulo;
pub use self::pace::{Load, Pace, Ratio, finish};
pub use self::ranked::{Ranked, load};
pub use self::ring::{Ring, points_of_weight};
pub use self::turns::{Turn, Turns};
pub use self::weight::Weight;
pub use self::weighted::Weighted;

#[cfg(test)]
mod tests;
