//! Mean and variance in one pass, without keeping the observations.

/// A running mean and variance.
///
/// Observations are added by the recurrence of B. P. Welford, "Note on a Method for Calculating
/// Corrected Sums of Squares and Products" (1962), which does not cancel where the sum of squares
/// would; two of these merge by Chan, Golub and LeVeque, "Algorithms for Computing the Sample
/// Variance" (1983).
///
/// By hand: 2, 4, 9 have the mean 5, the sum of squared deviations 9 + 1 + 16 = 26 and the variance
/// 26 ÷ 3.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Welford {
    count: u64,
    mean: f64,
    m2: f64,
}

impl Welford {
    /// Puts one back together from what [`count`](Welford::count), [`mean`](Welford::mean) and
    /// [`m2`](Welford::m2) told. The parts must be finite and not negative.
    pub fn from_parts(count: u64, mean: f64, m2: f64) -> Welford {
        Welford { count, mean, m2 }
    }

    /// Adds an observation.
    pub fn observe(&mut self, x: f64) {
        self.count += 1;
        let delta = x - self.mean;
        self.mean += delta / self.count as f64;
        self.m2 += delta * (x - self.mean);
    }

    /// Adds all observations of another one: as if one had observed all.
    ///
    /// By hand: 2 and 4 (mean 3, m2 2) with 9, 11 and 13 (mean 11, m2 8) make the mean 3 + 8 × 3 ÷ 5 =
    /// 7.8 and the m2 2 + 8 + 8² × 2 × 3 ÷ 5 = 86.8, as do all five.
    pub fn merge(&mut self, other: &Welford) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        self.count += other.count;
        self.mean += delta * (b / (a + b));
        self.m2 += other.m2 + delta * delta * (a * (b / (a + b)));
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean, in their unit; 0 without any.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The sum of their squared deviations from the mean, in their unit squared.
    pub fn m2(&self) -> f64 {
        self.m2
    }

    /// Their population variance, m2 ÷ count, in their unit squared; 0 without any.
    pub fn variance(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.m2 / self.count as f64 }
    }
}
