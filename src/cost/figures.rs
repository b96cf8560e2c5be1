//! The published numbers of one row, as they stand in the store and in reports.

use std::fmt::{self, Write};

use super::Decayed;

/// What is known of one kind, one worker or one (kind, worker) pair at one moment.
///
/// Durations run from the task's leaving for the worker to its answer. Their mean, m2 and variance
/// are of the attempts that succeeded; money is spent on failed ones too.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Attempts that ended in a result.
    pub succeeded: u64,
    /// Attempts that the worker said went wrong.
    pub failed: u64,
    /// Attempts whose session ended under them.
    pub lost: u64,
    /// Mean duration in microseconds; 0 when nothing succeeded.
    pub mean_us: f64,
    /// Sum of the squared deviations from that mean, in microseconds squared.
    pub m2: f64,
    /// Population variance of the durations, in microseconds squared: m2 ÷ succeeded.
    pub variance: f64,
    /// Leases taken, each after a wait.
    pub waits: u64,
    /// Mean wait from ready to lease, in microseconds.
    pub wait_mean_us: f64,
    /// Durations in microseconds again, the last minutes counting most.
    pub recent: Decayed,
    /// Successes per second over (at − 60 s, at], `at` taken as a whole second.
    pub throughput: f64,
    /// [`cost`] of the row.
    pub cost: f64,
    /// Sum of duration × the worker's price per hour, in the unit of the price.
    pub spend: f64,
    /// When the row was read, wall clock, in milliseconds.
    pub at_ms: u64,
}

/// Throughput × e^(−mean wait ÷ mean duration): what gets through, discounted where tasks wait long
/// for how long they take. 0 when nothing succeeded; a duration counts as at least 1 µs.
///
/// By hand: 5 tasks/s of 20 ms that wait 10 ms cost 5 × e^(−0.5) = 3.0327.
pub fn cost(throughput: f64, wait_mean_us: f64, duration_mean_us: f64) -> f64 {
    throughput * (-wait_mean_us / duration_mean_us.max(1.0)).exp()
}

impl Figures {
    /// Tells each number as a name and a text, always in the same order.
    ///
    /// Texts are the shortest that read back as the same number, with an exponent only where plain
    /// digits would be many.
    pub fn fields(&self, field: &mut dyn FnMut(&'static str, &str)) {
        let mut text = String::new();
        let mut tell = |name, value: Number| {
            text.clear();
            // Writing to a String cannot fail.
            let _ = write!(text, "{value}");
            field(name, &text);
        };
        tell("succeeded", Number::Whole(self.succeeded));
        tell("failed", Number::Whole(self.failed));
        tell("lost", Number::Whole(self.lost));
        tell("mean-us", Number::Real(self.mean_us));
        tell("m2", Number::Real(self.m2));
        tell("variance", Number::Real(self.variance));
        tell("waits", Number::Whole(self.waits));
        tell("wait-mean-us", Number::Real(self.wait_mean_us));
        tell("recent-weight", Number::Real(self.recent.weight()));
        tell("recent-mean-us", Number::Real(self.recent.mean()));
        tell("recent-m2", Number::Real(self.recent.m2()));
        tell("recent-at", Number::Whole(self.recent.at_ms()));
        tell("throughput", Number::Real(self.throughput));
        tell("cost", Number::Real(self.cost));
        tell("spend", Number::Real(self.spend));
        tell("at", Number::Whole(self.at_ms));
    }

    /// Reads what [`fields`](Figures::fields) told, in any order. A missing field is 0 and an unknown
    /// one is ignored, so that rows of older and newer versions can be read; a field that is not a
    /// finite number of its type, at least 0, is an error that names it.
    pub fn from_fields<'a>(
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Figures, String> {
        let mut figures = Figures::default();
        let (mut weight, mut mean_us, mut m2, mut recent_at_ms) = (0.0, 0.0, 0.0, 0);
        for (name, text) in fields {
            match name {
                "succeeded" => figures.succeeded = whole(name, text)?,
                "failed" => figures.failed = whole(name, text)?,
                "lost" => figures.lost = whole(name, text)?,
                "mean-us" => figures.mean_us = real(name, text)?,
                "m2" => figures.m2 = real(name, text)?,
                "variance" => figures.variance = real(name, text)?,
                "waits" => figures.waits = whole(name, text)?,
                "wait-mean-us" => figures.wait_mean_us = real(name, text)?,
                "recent-weight" => weight = real(name, text)?,
                "recent-mean-us" => mean_us = real(name, text)?,
                "recent-m2" => m2 = real(name, text)?,
                "recent-at" => recent_at_ms = whole(name, text)?,
                "throughput" => figures.throughput = real(name, text)?,
                "cost" => figures.cost = real(name, text)?,
                "spend" => figures.spend = real(name, text)?,
                "at" => figures.at_ms = whole(name, text)?,
                _ => {}
            }
        }
        figures.recent = Decayed::from_parts(weight, mean_us, m2, recent_at_ms);
        Ok(figures)
    }
}

/// A number on its way to text.
enum Number {
    Whole(u64),
    Real(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Number::Whole(value) => write!(f, "{value}"),
            Number::Real(value) if value == 0.0 || (1e-6..1e16).contains(&value) => {
                write!(f, "{value}")
            }
            Number::Real(value) => write!(f, "{value:e}"),
        }
    }
}

fn whole(name: &str, text: &str) -> Result<u64, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(value) if digits => Ok(value),
        _ => Err(format!("{name}: {text:?} is not a whole number of at most 64 bits")),
    }
}

fn real(name: &str, text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err(format!("{name}: {text:?} is not a finite number of at least 0")),
    }
}
