//! STATS: the counts, and the figures of kinds, workers and pairs.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::core::Core;
use crate::core::queues::Counts;
use crate::core::tasks::Phase;
use crate::core::view::rows::Rows;
use crate::core::view::spelled;
use crate::cost::{Figures, Habit};

#[derive(Serialize)]
#[serde(
    bound = "K: Iterator<Item: Serialize>, W: Iterator<Item: Serialize>, P: Iterator<Item: Serialize>"
)]
struct Stats<K, W, P> {
    at_ms: u64,
    connections: usize,
    inbox: Option<u64>,
    kinds: Rows<K>,
    next: Option<u64>,
    pairs: Rows<P>,
    store_pressure: bool,
    stragglers: usize,
    submitted: u64,
    tasks: Counts,
    timers: usize,
    up_ms: u64,
    workers: Rows<W>,
    workers_here: usize,
}

/// The figures of a kind, of a worker, or of both.
#[derive(Serialize)]
struct Row<'a> {
    at: u64,
    cost: Number,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    lost: u64,
    m2: Number,
    mean_us: Number,
    recent_at: u64,
    recent_m2: Number,
    recent_mean_us: Number,
    recent_weight: Number,
    spend: Number,
    succeeded: u64,
    throughput: Number,
    variance: Number,
    wait_mean_us: Number,
    waits: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
}

/// A number that is spelled without a point where it is whole.
struct Number(f64);

impl Serialize for Number {
    #[expect(clippy::cast_possible_truncation, reason = "what is cast is whole and in range")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(value) = *self;
        if value.fract() == 0.0 && (0.0..1e16).contains(&value) {
            return serializer.serialize_u64(value as u64);
        }
        serializer.serialize_f64(value)
    }
}

impl<'a> Row<'a> {
    fn new(kind: Option<&'a str>, worker: Option<&'a str>, figures: &Figures) -> Self {
        Self {
            at: figures.at_ms,
            cost: Number(figures.cost),
            failed: figures.failed,
            kind,
            lost: figures.lost,
            m2: Number(figures.m2),
            mean_us: Number(figures.mean_us),
            recent_at: figures.recent.at_ms(),
            recent_m2: Number(figures.recent.m2()),
            recent_mean_us: Number(figures.recent.mean()),
            recent_weight: Number(figures.recent.weight()),
            spend: Number(figures.spend),
            succeeded: figures.succeeded,
            throughput: Number(figures.throughput),
            variance: Number(figures.variance),
            wait_mean_us: Number(figures.wait_mean_us),
            waits: figures.waits,
            worker,
        }
    }
}

impl Core {
    pub(in crate::core) fn view_stats(&self, cursor: u64, limit: u32) -> Vec<u8> {
        let at_ms = self.now.wall_ms - self.now.wall_ms % 1000;
        let page = self.costs.page(at_ms, cursor, limit as usize);
        let (kinds, workers) = (page.kinds.into_iter(), page.workers.into_iter());
        let pairs = page.pairs.into_iter();
        spelled(&Stats {
            at_ms,
            connections: self.workers.connections().count(),
            inbox: self.inbox,
            kinds: Rows::new(kinds.map(|(kind, its)| Row::new(Some(kind), None, &its))),
            next: page.next,
            pairs: Rows::new(pairs.map(|(kind, who, its)| Row::new(Some(kind), Some(who), &its))),
            store_pressure: self.pressure,
            stragglers: self.stragglers(),
            submitted: self.submitted,
            tasks: self.totals(),
            timers: self.timers.len(),
            up_ms: (self.now.mono_us - self.started.mono_us) / 1000,
            workers: Rows::new(workers.map(|(worker, its)| Row::new(None, Some(worker), &its))),
            workers_here: self.workers.sessions.len(),
        })
    }

    /// How many runs are far beyond the habits of their kinds.
    fn stragglers(&self) -> usize {
        let mut habits: BTreeMap<u32, Option<Habit>> = BTreeMap::new();
        let slots = self.workers.sessions.iter().flat_map(|(_, worker)| worker.leases.iter());
        let straggles = |slot: &&u32| {
            let Some(task) = self.tasks.get(**slot) else { return false };
            let Phase::Leased { since_us, .. } = task.phase else { return false };
            let kind = self.queues.class(task.class).kind;
            let habit = || self.costs.habit(self.kinds.text(kind));
            let running_us = self.now.mono_us.saturating_sub(since_us);
            let habit = habits.entry(kind).or_insert_with(habit);
            habit.is_some_and(|habit| habit.is_far_exceeded_by(running_us))
        };
        slots.filter(straggles).count()
    }
}
