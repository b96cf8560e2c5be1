//! Mean and variance of the recent past, in which an observation fades with time and with those that
//! come after it.

/// The time in which half of the weight of what was observed goes, in milliseconds.
pub const HALF_LIFE_MS: u64 = 60_000;

/// The weight of all observations together at most, so that the last few hundred count whatever the
/// rate at which they come.
pub const WEIGHT_MAX: f64 = 200.0;

/// What is left of the weight over any silence. One observation alone never outweighs all that was
/// before it by more than two to one: what is rare is not judged by a single run.
const LEFT_MIN: f64 = 0.5;

/// A running mean and variance in which what was observed fades.
///
/// An observation has the weight 1. Before the next is added, all that is there is multiplied by
/// 2^(−t ÷ 60 s), t being the time between the two, but at least by ½; and cut down to 199 where it
/// is more, which together with the new one makes 200.
///
/// So when durations jump, the mean has gone nine tenths of the way after 200 s (2^(−200 ÷ 60) =
/// 0.099), or 460 observations if those come sooner ((1 − 1 ÷ 200)^460 = 0.0997), or 4 if they
/// are more than a minute apart (½⁴ = 0.0625). By time alone a worker that becomes slow would be
/// noticed late: it is observed the less often the slower it is. By number alone a kind that is
/// rare would.
///
/// The recurrence is that of D. H. D. West, "Updating Mean and Variance Estimates: An Improved Method"
/// (1979), for weighted observations; merging is Chan, Golub and LeVeque (1983) with weights in place
/// of counts. Fading multiplies weight and m2 alike and leaves mean and variance as they are.
///
/// By hand: 10 and, 30 s later, 20 have the weights 0.7071 and 1, the mean (10 × 0.7071 + 20) ÷ 1.7071
/// = 15.8579 and the variance 100 × 0.7071 ÷ 1.7071² = 24.2641. An hour apart they have ½ and 1, the
/// mean 25 ÷ 1.5 = 16.6667 and the variance 50 ÷ 2.25 = 22.2222.
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

    /// Adds an observation made at `at_ms`. When time has gone backwards nothing fades by it, and ages
    /// count from the new time on.
    pub fn observe(&mut self, at_ms: u64, x: f64) {
        let before = self.faded_to(at_ms).cut_to(WEIGHT_MAX - 1.0);
        let delta = x - self.mean;
        self.weight = before.weight + 1.0;
        self.mean += delta / self.weight;
        self.m2 = before.m2 + delta * (x - self.mean);
        self.at_ms = at_ms;
    }

    /// Adds all observations of another one, the older of the two faded to the time of the younger.
    ///
    /// That is as if one had observed all, as long as neither was silent for a minute and all of them
    /// weigh less than [`WEIGHT_MAX`] together; else what is older counts for a little more.
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
        *self = self.cut_to(WEIGHT_MAX);
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
        let age_ms = at_ms.saturating_sub(self.at_ms);
        // A busy row is observed many times in a millisecond; those need no exponential.
        if age_ms == 0 {
            return *self;
        }
        let left = (-(age_ms as f64) / HALF_LIFE_MS as f64).exp2().max(LEFT_MIN);
        Decayed { weight: self.weight * left, m2: self.m2 * left, ..*self }
    }

    /// The same observations, with no more weight than that.
    fn cut_to(&self, most: f64) -> Decayed {
        if self.weight <= most {
            return *self;
        }
        Decayed { weight: most, m2: self.m2 * (most / self.weight), ..*self }
    }
}
