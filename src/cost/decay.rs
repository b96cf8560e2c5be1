//! Mean and variance of the recent past, in which an observation fades with its age.

/// The time, in milliseconds, in which the weight of an observation falls to 1/e.
pub const TIME_CONSTANT_MS: u64 = 300_000;

/// Beyond this age nothing fades further, so that a weight never reaches zero and the mean outlives
/// any silence. What is left by then, e⁻³⁰, is less than a part in 10¹³.
const AGE_MAX_MS: u64 = 30 * TIME_CONSTANT_MS;

/// A running mean and variance in which an observation of age t has the weight e^(−t ÷ 300 s).
///
/// The recurrence is that of D. H. D. West, "Updating Mean and Variance Estimates: An Improved Method"
/// (1979), for weighted observations; merging is Chan, Golub and LeVeque (1983) with weights in place
/// of counts. Fading multiplies weight and m2 alike and leaves mean and variance as they are.
///
/// By hand: 10 and, 300 s later, 20 have the weights e⁻¹ and 1, the mean (10 e⁻¹ + 20) ÷ (e⁻¹ + 1) =
/// 17.3106 and the variance 100 e⁻¹ ÷ (e⁻¹ + 1)² = 19.6612.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decayed {
    weight: f64,
    mean: f64,
    m2: f64,
    at_ms: u64,
}

impl Decayed {
    /// Puts one back together from what the methods of the same names told. The parts must be finite
    /// and not negative.
    pub fn from_parts(weight: f64, mean: f64, m2: f64, at_ms: u64) -> Decayed {
        Decayed { weight, mean, m2, at_ms }
    }

    /// Adds an observation made at `at_ms`. When time has gone backwards nothing fades, and ages count
    /// from the new time on.
    pub fn observe(&mut self, at_ms: u64, x: f64) {
        let faded = self.faded_to(at_ms);
        let delta = x - self.mean;
        self.weight = faded.weight + 1.0;
        self.mean += delta / self.weight;
        self.m2 = faded.m2 + delta * (x - self.mean);
        self.at_ms = at_ms;
    }

    /// Adds all observations of another one, the older of the two faded to the time of the younger.
    pub fn merge(&mut self, other: &Decayed) {
        if other.weight <= 0.0 {
            return;
        }
        if self.weight <= 0.0 {
            *self = *other;
            return;
        }
        let at_ms = self.at_ms.max(other.at_ms);
        let (a, b) = (self.faded_to(at_ms), other.faded_to(at_ms));
        let share = b.weight / (a.weight + b.weight);
        let delta = b.mean - a.mean;
        self.weight = a.weight + b.weight;
        self.mean = a.mean + delta * share;
        self.m2 = a.m2 + b.m2 + delta * delta * (a.weight * share);
        self.at_ms = at_ms;
    }

    /// The sum of the weights as of [`at_ms`](Decayed::at_ms); 0 without observations.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The weighted mean, in the unit of the observations; 0 without any.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The weighted sum of squared deviations from the mean, as of [`at_ms`](Decayed::at_ms).
    pub fn m2(&self) -> f64 {
        self.m2
    }

    /// The time of the last observation, in milliseconds; 0 without any.
    pub fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// The weighted population variance, m2 ÷ weight; 0 without observations.
    pub fn variance(&self) -> f64 {
        if self.weight > 0.0 { self.m2 / self.weight } else { 0.0 }
    }

    /// The coefficient of variation, standard deviation ÷ mean; 0 where the mean is 0.
    pub fn cv(&self) -> f64 {
        if self.mean > 0.0 { self.variance().sqrt() / self.mean } else { 0.0 }
    }

    /// The same observations, seen from a later time.
    fn faded_to(&self, at_ms: u64) -> Decayed {
        let age_ms = at_ms.saturating_sub(self.at_ms).min(AGE_MAX_MS);
        // A busy row is observed many times in a millisecond; those need no exponential.
        if age_ms == 0 {
            return *self;
        }
        let left = (-(age_ms as f64) / TIME_CONSTANT_MS as f64).exp();
        Decayed { weight: self.weight * left, m2: self.m2 * left, ..*self }
    }
}
