//! The policies of a queue: which task next, which worker, how much at once.

use std::fmt;

use crate::frame::{Decimal, number};
use crate::message::{Code, Refusal};

/// Which task comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// By submission.
    #[default]
    Fcfs,
    /// The shortest estimated time first.
    Sjf,
    /// The highest priority first.
    Priority,
    /// The earliest `expires=` first; tasks without one last.
    Deadline,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fcfs, Self::Sjf, Self::Priority, Self::Deadline];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fcfs => "fcfs",
            Self::Sjf => "sjf",
            Self::Priority => "priority",
            Self::Deadline => "deadline",
        }
    }
}

/// Which worker gets a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Route {
    /// The owner of the task's key on the hash ring; another one after `spill`.
    Hash,
    /// The key's MD5 modulo the number of able workers, sorted by name; waits for it.
    Modulo,
    /// Random, in proportion to weight.
    #[default]
    WeightedRandom,
    /// Random, each as likely as another.
    Random,
    /// One after the other, by name.
    RoundRobin,
    /// One after the other, in proportion to weight.
    WeightedRoundRobin,
    /// The smallest runs ÷ slots.
    LeastLoaded,
    /// The smallest expected finish, by what the kind's runs on that worker took.
    Fastest,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::WeightedRandom,
        Self::Random,
        Self::WeightedRoundRobin,
        Self::RoundRobin,
        Self::LeastLoaded,
        Self::Fastest,
        Self::Hash,
        Self::Modulo,
    ];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Modulo => "modulo",
            Self::WeightedRandom => "weighted-random",
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::WeightedRoundRobin => "weighted-round-robin",
            Self::LeastLoaded => "least-loaded",
            Self::Fastest => "fastest",
        }
    }

    /// Whether the free workers are kept in an order of this route's own while a queue uses it.
    pub const fn is_ranked(self) -> bool {
        !self.is_keyed() && !matches!(self, Self::WeightedRandom)
    }

    /// Whether tasks have owners.
    pub const fn is_keyed(self) -> bool {
        matches!(self, Self::Hash | Self::Modulo)
    }
}

/// What is chosen per queue; `QUEUE name option=…` changes it, live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which task.
    pub order: Order,
    /// How much a second of waiting improves a task's place, in the unit of the order: seconds of
    /// estimated time, priority, seconds of the deadline.
    pub aging: Decimal,
    /// How many standard deviations an estimate counts above the mean.
    pub alpha: Decimal,
    /// Which worker.
    pub route: Route,
    /// Under `hash`: how long a task waits for its owner, in milliseconds; `None` is for ever.
    pub spill_ms: Option<u64>,
    /// The queue's share of a worker that serves several; above 0.
    pub weight: Decimal,
    /// Tasks leased at once, at most.
    pub limit: Option<u32>,
    /// Tasks of one key leased at once, at most.
    pub key_limit: Option<u32>,
    /// Leases begun per second, at most; above 0.
    pub rate: Option<Decimal>,
    /// Whether nothing is leased until RESUME.
    pub paused: bool,
}

impl Policy {
    /// What `spill=` may be, in milliseconds: up to ten years.
    pub const SPILL_MS: (u64, u64) = (0, 315_360_000_000);
    /// The most tasks that `limit=` and `key-limit=` may bound.
    pub const LIMIT_MAX: u64 = 1_000_000;
    /// The highest aging and alpha.
    pub const FACTOR_MAX: Decimal = Decimal::whole(1_000_000);
    /// The highest weight of a queue.
    pub const WEIGHT_MAX: Decimal = Decimal::whole(1000);
    /// The highest rate, per second.
    pub const RATE_MAX: Decimal = Decimal::whole(1_000_000);

    /// Changes one policy, spelled as on the wire.
    ///
    /// # Errors
    ///
    /// [`Code::UnknownOption`], or [`Code::BadValue`] with what the option takes.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        match name {
            "order" => self.order = word(name, value, Order::ALL.map(|o| (o.word(), o)))?,
            "route" => self.route = word(name, value, Route::ALL.map(|r| (r.word(), r)))?,
            "aging" => self.aging = decimal(name, value, Decimal::default(), Self::FACTOR_MAX)?,
            "alpha" => self.alpha = decimal(name, value, Decimal::default(), Self::FACTOR_MAX)?,
            "weight" => self.weight = decimal(name, value, LEAST, Self::WEIGHT_MAX)?,
            "rate" if value == "none" => self.rate = None,
            "rate" => self.rate = Some(rate(name, value)?),
            "spill" => self.spill_ms = spill(value)?,
            "limit" => self.limit = limit(name, value)?,
            "key-limit" => self.key_limit = limit(name, value)?,
            "paused" => self.paused = word(name, value, [("yes", true), ("no", false)])?,
            _ => {
                let text = format!("a queue has no policy {name}");
                return Err(Refusal::new(Code::UnknownOption, text));
            }
        }
        Ok(())
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            order: Order::default(),
            aging: Decimal::default(),
            alpha: Decimal::ONE,
            route: Route::default(),
            spill_ms: Some(1000),
            weight: Decimal::ONE,
            limit: None,
            key_limit: None,
            rate: None,
            paused: false,
        }
    }
}

/// The policies as options, all of them.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order={} aging={} alpha={}", self.order.word(), self.aging, self.alpha)?;
        write!(f, " route={} spill={}", self.route.word(), Bound(self.spill_ms))?;
        write!(f, " weight={} limit={}", self.weight, Bound(self.limit))?;
        write!(f, " key-limit={} rate={}", Bound(self.key_limit), Bound(self.rate))?;
        write!(f, " paused={}", if self.paused { "yes" } else { "no" })
    }
}

/// A number, or `none`.
struct Bound<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Bound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(bound) => bound.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// What must not be zero.
const LEAST: Decimal = Decimal::from_thousandths(1);

fn word<T: Copy, const N: usize>(
    name: &str,
    value: &str,
    known: [(&str, T); N],
) -> Result<T, Refusal> {
    let found = known.iter().find(|(word, _)| *word == value).map(|(_, meant)| *meant);
    found.ok_or_else(|| {
        let words = known.map(|(word, _)| word).join(", ");
        bad(format!("{name} is one of {words}"))
    })
}

fn decimal(name: &str, value: &str, least: Decimal, most: Decimal) -> Result<Decimal, Refusal> {
    Decimal::parse(value).filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        bad(format!("{name} is a number from {least} to {most} with up to three decimals"))
    })
}

fn rate(name: &str, value: &str) -> Result<Decimal, Refusal> {
    let rate = decimal(name, value, LEAST, Policy::RATE_MAX);
    rate.map_err(|refusal| bad(format!("{}, or none", refusal.text)))
}

/// A number that may be none; `what` is what it is a number of.
fn bounded(value: &str, what: &str, (least, most): (u64, u64)) -> Result<Option<u64>, Refusal> {
    if value == "none" {
        return Ok(None);
    }
    let read = number(value.as_bytes()).filter(|number| (least..=most).contains(number));
    read.map(Some).ok_or_else(|| bad(format!("{what} from {least} to {most}, or none")))
}

fn spill(value: &str) -> Result<Option<u64>, Refusal> {
    bounded(value, "spill is a plain number of milliseconds", Policy::SPILL_MS)
}

fn limit(name: &str, value: &str) -> Result<Option<u32>, Refusal> {
    let what = format!("{name} is a plain number");
    let bound = bounded(value, &what, (1, Policy::LIMIT_MAX))?;
    Ok(bound.map(|bound| u32::try_from(bound).unwrap_or(u32::MAX)))
}

fn bad(text: String) -> Refusal {
    Refusal::new(Code::BadValue, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Word, Words};

    #[test]
    fn what_is_printed_reads_back() {
        let mut policy = Policy::default();
        let said = "order=sjf aging=0.5 alpha=0 route=hash spill=none weight=2.5 limit=7 \
                    key-limit=1 rate=0.001 paused=yes";
        for (name, value) in said.split_whitespace().filter_map(|word| word.split_once('=')) {
            policy.set(name, value).unwrap();
        }
        assert_eq!(policy.to_string(), said);
        let mut again = Policy::default();
        for word in Words::of(&policy.to_string()) {
            let Word::Option(name, value) = word else { panic!("an option") };
            again.set(name, value).unwrap();
        }
        assert_eq!(again, policy);
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_range() {
        for (name, value, says) in [
            ("order", "lifo", "order is one of fcfs, sjf, priority, deadline"),
            ("route", "", "route is one of"),
            ("aging", "-1", "aging is a number from 0 to 1000000"),
            ("alpha", "1e3", "alpha is a number"),
            ("weight", "0", "weight is a number from 0.001 to 1000"),
            ("weight", "1000.001", "weight is"),
            (
                "rate",
                "0",
                "rate is a number from 0.001 to 1000000 with up to three decimals, or none",
            ),
            ("limit", "0", "limit is a plain number from 1 to 1000000, or none"),
            ("key-limit", "1.5", "key-limit is"),
            ("spill", "01", "spill is a plain number of milliseconds from 0"),
            ("paused", "maybe", "paused is one of yes, no"),
        ] {
            let refusal = Policy::default().set(name, value).unwrap_err();
            assert_eq!(refusal.code, Code::BadValue, "{name}={value}");
            assert!(refusal.text.starts_with(says), "{}", refusal.text);
        }
        let refusal = Policy::default().set("colour", "red").unwrap_err();
        assert_eq!(refusal.code, Code::UnknownOption);
    }
}
