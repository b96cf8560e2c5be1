//! Where a ready task stands in its line: the key of its queue's order, smallest first.
//!
//! Aging is linear in time, so that any two tasks of a queue compare the same whenever they are
//! compared: a task that has waited `w` seconds is better by `aging × w`, which is, but for what is
//! common to all at that moment, `aging × its submission`. It is folded into the key once.

use crate::core::Core;
use crate::core::tasks::Task;
use crate::cost::Estimate;
use crate::frame::{Decimal, number};
use crate::message::{Order, Policy};

/// Seconds that a task is believed to take where nothing of its queue was ever measured.
const UNKNOWN_S: f64 = 1.0;

/// What a task says of its place in an order. It stays in the record until somebody asks.
#[derive(Debug, Default)]
struct Said {
    priority: Option<Decimal>,
    weight: Option<Decimal>,
    time_ms: Option<u64>,
    resource: Option<Decimal>,
}

impl Core {
    /// The key of a task in the lines of its class.
    pub(super) fn order_key(&mut self, slot: u32) -> u64 {
        let task = self.tasks.at(slot);
        let class = self.queues.class(task.class);
        let policy = &self.queues.queue(class.queue).policy;
        let (id, number) = (task.id, task.class);
        if policy.order == Order::Fcfs {
            return id.bits();
        }
        let said = Said::of(task, policy.order);
        let deadline_s = task.expires_at_ms().map(|ms| ms as f64 / 1000.0);
        let aged = policy.aging.value() * id.wall_ms() as f64 / 1000.0;
        let key = match policy.order {
            Order::Fcfs | Order::Sjf => self.estimate_s(number, &said, policy),
            Order::Priority => -self.priority(number, &said, policy),
            Order::Deadline => deadline_s.unwrap_or(f64::INFINITY),
        };
        ascending(key + aged)
    }

    /// `priority=`, or weight × time ÷ resource, the time in seconds.
    ///
    /// By hand: weight 2, time 3 s, resource 4: 2 × 3 ÷ 4 = 1.5.
    fn priority(&self, class: u32, said: &Said, policy: &Policy) -> f64 {
        let one = |given: Option<Decimal>| given.map_or(1.0, Decimal::value);
        match said.priority {
            Some(priority) => priority.value(),
            None => one(said.weight) * self.estimate_s(class, said, policy) / one(said.resource),
        }
    }

    /// How long a task will take, in seconds: what it says; else mean × (1 + alpha × cv) of its kind;
    /// else the mean of its queue's measured kinds, weighted by how often they ran; else a second.
    ///
    /// By hand: mean 2 s, standard deviation 1 s, so cv 0.5; alpha 1: 2 × (1 + 1 × 0.5) = 3 s.
    fn estimate_s(&self, class: u32, said: &Said, policy: &Policy) -> f64 {
        if let Some(ms) = said.time_ms {
            return ms as f64 / 1000.0;
        }
        let class = self.queues.class(class);
        let measured = |kind: u32| self.costs.estimate(self.kinds.text(kind));
        if let Some(Estimate { mean_us, cv, .. }) = measured(class.kind) {
            return mean_us / 1e6 * (1.0 + policy.alpha.value() * cv);
        }
        let classes = self.queues.queue(class.queue).classes.iter();
        let kinds = classes.filter_map(|class| measured(self.queues.class(*class).kind));
        let (sum_us, count) = kinds.fold((0.0, 0.0), |(sum_us, count), kind| {
            (sum_us + kind.mean_us * kind.count as f64, count + kind.count as f64)
        });
        if count > 0.0 { sum_us / count / 1e6 } else { UNKNOWN_S }
    }
}

impl Said {
    /// As far as an order goes by it.
    fn of(task: &Task, order: Order) -> Self {
        let mut said = Self::default();
        if order == Order::Deadline {
            return said;
        }
        let decimal = |value| std::str::from_utf8(value).ok().and_then(Decimal::parse);
        for word in task.header().split(|byte| *byte == b' ') {
            if let Some(value) = word.strip_prefix(b"priority=") {
                said.priority = decimal(value);
            } else if let Some(value) = word.strip_prefix(b"weight=") {
                said.weight = decimal(value);
            } else if let Some(value) = word.strip_prefix(b"time=") {
                said.time_ms = number(value);
            } else if let Some(value) = word.strip_prefix(b"resource=") {
                said.resource = decimal(value);
            } else {
                continue;
            }
            // With a priority there is nothing else to go by.
            if said.priority.is_some() || order == Order::Sjf && said.time_ms.is_some() {
                break;
            }
        }
        said
    }
}

/// A number whose order among its like is that of the floats: IEEE 754 orders them by their bits
/// but for the sign.
fn ascending(key: f64) -> u64 {
    let bits = (key + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// What a key of an order other than `fcfs` stands for.
pub(super) fn key_value(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_with_what_they_stand_for() {
        let numbers = [f64::NEG_INFINITY, -1e9, -1.5, -1e-9, 0.0, 1e-9, 1.5, 1e9, f64::INFINITY];
        assert!(numbers.map(ascending).is_sorted_by(|a, b| a < b));
        assert_eq!(ascending(-0.0), ascending(0.0));
        assert_eq!(numbers.map(|number| key_value(ascending(number))), numbers);
    }
}
