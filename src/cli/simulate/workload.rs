//! Who works, and what comes when.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// A worker: how fast it is against the usual one, and how many tasks it has at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hand {
    pub(super) speed: f64,
    pub(super) slots: u32,
}

impl Hand {
    /// What it gets done, against a usual worker with one slot; its weight.
    pub(super) fn pace(self) -> f64 {
        self.speed * f64::from(self.slots)
    }
}

/// Eight unequal workers.
pub(super) const HANDS: [Hand; 8] = [
    Hand { speed: 0.5, slots: 2 },
    Hand { speed: 0.5, slots: 4 },
    Hand { speed: 1.0, slots: 2 },
    Hand { speed: 1.0, slots: 4 },
    Hand { speed: 1.0, slots: 4 },
    Hand { speed: 1.0, slots: 8 },
    Hand { speed: 2.0, slots: 4 },
    Hand { speed: 4.0, slots: 4 },
];

/// Kinds of tasks, by what they take in the mean, in microseconds.
pub(super) const KINDS: [(&str, f64); 5] = [
    ("tiny", 20_000.0),
    ("small", 50_000.0),
    ("middling", 150_000.0),
    ("large", 500_000.0),
    ("huge", 2_000_000.0),
];

/// The spread of each kind: the standard deviation of the logarithm.
const SIGMA: f64 = 0.5;

/// Keys that tasks belong to.
const KEYS: u32 = 1000;

/// A task to come.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// When it comes, in virtual microseconds; in waves, when those before it are done.
    pub(super) at_us: u64,
    pub(super) kind: usize,
    pub(super) key: u32,
    /// What it takes a usual worker, in microseconds.
    pub(super) work_us: f64,
    pub(super) priority: u32,
    pub(super) expires_ms: u64,
}

/// When tasks come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrival {
    /// All at the beginning.
    Together,
    /// At random (Poisson), as that share of what the workers can do.
    Steady(f64),
    /// In stages: so many tasks as that share of all slots, and the next when all of them are done.
    Waves(f64),
}

/// The tasks in the order in which they come.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) pieces: Vec<Piece>,
    /// So many come together, each time when those before are done.
    pub(super) wave: Option<usize>,
}

impl Workload {
    pub(super) fn new(tasks: u32, arrival: Arrival, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let pace: f64 = HANDS.iter().map(|hand| hand.pace()).sum();
        let work_us = KINDS.iter().map(|(_, mean_us)| mean_us).sum::<f64>() / KINDS.len() as f64;
        let gap_us = match arrival {
            Arrival::Together | Arrival::Waves(_) => 0.0,
            Arrival::Steady(load) => work_us / (pace * load),
        };
        let wave = match arrival {
            Arrival::Together | Arrival::Steady(_) => None,
            Arrival::Waves(share) => Some(wave_of(share)),
        };
        let mut at_us = 0.0;
        let pieces = (0..tasks).map(|_| {
            at_us -= gap_us * (1.0 - rng.random::<f64>()).ln();
            piece(whole(at_us), &mut rng)
        });
        Self { pieces: pieces.collect(), wave }
    }
}

/// How many tasks that share of all slots is, at least one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "there are 32 slots")]
fn wave_of(share: f64) -> usize {
    let slots: u32 = HANDS.iter().map(|hand| hand.slots).sum();
    (f64::from(slots) * share).max(1.0) as usize
}

/// Whole microseconds.
#[expect(clippy::cast_possible_truncation, reason = "a play lasts for less than 2^53 of them")]
pub(super) fn whole(us: f64) -> u64 {
    us.ceil() as u64
}

fn piece(at_us: u64, rng: &mut SmallRng) -> Piece {
    let kind = rng.random_range(0..KINDS.len());
    let mean_us = KINDS.get(kind).map_or(1.0, |(_, mean_us)| *mean_us);
    Piece {
        at_us,
        kind,
        key: rng.random_range(0..KEYS),
        work_us: lognormal(mean_us, rng),
        priority: rng.random_range(0..10),
        // Long enough that none is cancelled.
        expires_ms: rng.random_range(100_000_000..200_000_000),
    }
}

/// A lognormal number of that mean: e to a normal one (G. E. P. Box and M. E. Muller, 1958).
///
/// By hand: the mean of e^N(μ, σ²) is e^(μ + σ²/2), so μ = ln mean − σ²/2.
fn lognormal(mean: f64, rng: &mut SmallRng) -> f64 {
    let (u, v) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (mean.ln() - SIGMA * SIGMA / 2.0 + SIGMA * normal).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_mean_of_their_kind_and_gaps_that_of_the_load() {
        let workload = Workload::new(50_000, Arrival::Steady(0.8), 1);
        for (kind, (name, mean_us)) in KINDS.iter().enumerate() {
            let its: Vec<f64> =
                workload.pieces.iter().filter(|p| p.kind == kind).map(|p| p.work_us).collect();
            let mean = its.iter().sum::<f64>() / its.len() as f64;
            assert!((mean / mean_us - 1.0).abs() < 0.03, "{name}: {mean}");
        }
        // 544 ms of work in the mean, 45 at a time, at 0.8: one each 15.1 ms.
        let span_us = workload.pieces.last().unwrap().at_us as f64;
        assert!((span_us / 50_000.0 / 15_111.0 - 1.0).abs() < 0.03, "{span_us}");
    }
}
