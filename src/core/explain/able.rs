//! Who is able to do a task, how each stands, and who only just is not.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{LOOK, NAMED};
use crate::core::Core;
use crate::core::dispatch::NOBODY;
use crate::core::stock::amount_of;
use crate::core::view::set;
use crate::core::workers::{Ability, Worker};
use crate::message::Route;

/// How an able worker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stand {
    /// It has a free slot.
    Free,
    /// It has none.
    Full,
    /// It has, but what it has of what the tasks take up is not free.
    Cramped,
    /// It is kept for a class that has starved for what its tasks take up.
    Saved,
    /// It is kept for a suspected task.
    Reserved,
    /// It fails everything, and is held up for a while.
    Tripped,
    /// It lost its connection, or has not come back since the start.
    Away,
    /// It gets nothing new.
    Draining,
    /// Its weight is 0.
    Weightless,
}

/// The able workers, by how they stand.
#[derive(Debug, Default)]
pub(super) struct Able {
    groups: [Group; 9],
    /// There are more than were looked at.
    pub(super) more: bool,
}

/// How many, and the first of them.
#[derive(Debug, Default, Clone)]
pub(super) struct Group {
    pub(super) count: usize,
    pub(super) first: Vec<u32>,
}

impl Able {
    pub(super) fn of(&self, stand: Stand) -> &Group {
        static NONE: Group = Group { count: 0, first: Vec::new() };
        self.groups.get(stand as usize).unwrap_or(&NONE)
    }

    /// All of them.
    pub(super) fn count(&self) -> usize {
        self.groups.iter().map(|group| group.count).sum()
    }

    /// Those that are given tasks, when they have room.
    pub(super) fn takers(&self) -> usize {
        let takers = [Stand::Free, Stand::Full, Stand::Cramped, Stand::Saved];
        let takers = takers.into_iter().chain([Stand::Reserved, Stand::Tripped]);
        takers.map(|stand| self.of(stand).count).sum()
    }

    /// The first of them, whoever has room before the others.
    pub(super) fn first(&self) -> Vec<u32> {
        let first = self.groups.iter().flat_map(|group| group.first.iter().copied());
        first.take(NAMED).collect()
    }
}

impl Stand {
    fn of(worker: &Worker) -> Self {
        match worker {
            _ if worker.draining => Self::Draining,
            _ if worker.peer.is_none() => Self::Away,
            _ if worker.entry.weight.thousandths() == 0 => Self::Weightless,
            _ if worker.reserved.is_some() => Self::Reserved,
            _ if !worker.breaker.lets_pass(worker.busy()) => Self::Tripped,
            _ if worker.is_free() => Self::Free,
            _ if worker.has_room() => Self::Saved,
            _ => Self::Full,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Full => "full",
            Self::Cramped => "cramped",
            Self::Saved => "saved",
            Self::Reserved => "reserved",
            Self::Tripped => "tripped",
            Self::Away => "away",
            Self::Draining => "draining",
            Self::Weightless => "weightless",
        }
    }
}

impl Core {
    /// The workers that are able to do tasks of a class.
    pub(super) fn able(&self, class: u32) -> Able {
        let pools = self.queues.class(class).pools.iter();
        let members = pools.filter_map(|pool| self.workers.pools.get(*pool));
        let members = members.flat_map(|pool| pool.members.iter().map(|(_, worker)| *worker));
        let mut able = Able::default();
        for (place, worker) in members.enumerate() {
            if place == LOOK {
                able.more = true;
                break;
            }
            let its = self.workers.sessions.at(worker);
            let stand = match Stand::of(its) {
                Stand::Saved if its.saved_for == Some(class) => Stand::Cramped,
                Stand::Free if !self.fits(worker, class) => Stand::Cramped,
                stand => stand,
            };
            if let Some(group) = able.groups.get_mut(stand as usize) {
                group.count += 1;
                if group.first.len() < NAMED {
                    group.first.push(worker);
                }
            }
        }
        able
    }

    /// Who could do tasks of a class but for little, with what each lacks, and the same in words: the
    /// first of those who are alike stands for all of them.
    pub(super) fn near_misses(&self, number: u32) -> (Vec<Value>, Vec<String>) {
        let pools = self.workers.pools.iter().take(LOOK);
        let mut misses: Vec<_> = pools
            .map(|(pool, its)| (self.lacks(&its.ability, number), pool))
            .filter(|(lacks, _)| !lacks.is_empty())
            .collect();
        misses.sort_by_key(|(lacks, pool)| (lacks.len(), *pool));
        misses.truncate(NAMED);
        let told = misses.into_iter().filter_map(|(lacks, pool)| {
            let members = &self.workers.pools.get(pool)?.members;
            let name = self.name_of(*members.iter().next()?.1);
            let alike = match members.len() {
                1 => String::new(),
                count => format!(" (and {} like it)", count - 1),
            };
            let (codes, texts): (Vec<_>, Vec<_>) = lacks.into_iter().unzip();
            let figures = json!({ "worker": &*name, "alike": members.len(), "lacks": codes });
            Some((figures, format!("{name}{alike} {}", texts.join(" and "))))
        });
        told.unzip()
    }

    pub(super) fn stand(&self, worker: u32) -> Stand {
        Stand::of(self.workers.sessions.at(worker))
    }

    /// What keeps workers of an ability from tasks of a class.
    fn lacks(&self, ability: &Ability, number: u32) -> Vec<(&'static str, String)> {
        let class = self.queues.class(number);
        let queue = self.queues.queue(class.queue).name;
        let has = |list: &Option<Vec<u32>>, number: u32| {
            list.as_ref().is_none_or(|list| list.binary_search(&number).is_ok())
        };
        let mut lacks = Vec::new();
        if !has(&ability.kinds, class.kind) {
            lacks.push(("kind", format!("does not do {}", self.kinds.name(class.kind))));
        }
        if !has(&ability.queues, queue) {
            let name = self.queue_names.name(queue);
            lacks.push(("queue", format!("does not serve the queue {name}")));
        }
        let demand = self.demands.at(class.parts.demand);
        let untagged = demand.tags.iter().filter(|tag| ability.tags.binary_search(tag).is_err());
        let untagged: Vec<String> =
            untagged.map(|tag| self.demands.tags.name(*tag).to_string()).collect();
        if !untagged.is_empty() {
            lacks.push(("needs", format!("lacks {}", untagged.join(", "))));
        }
        let scarce = |(name, amount): &&(u32, u64)| *amount > amount_of(&ability.capacities, *name);
        let scarce = demand.amounts.iter().filter(scarce);
        let scarce: Vec<String> = scarce
            .map(|(name, amount)| format!("{amount} of {}", self.demands.resources.name(*name)))
            .collect();
        if !scarce.is_empty() {
            lacks.push(("res", format!("has not {} in all", scarce.join(", "))));
        }
        if class.parts.size > ability.size {
            let bytes = 1_u64.checked_shl(ability.size.into()).unwrap_or(u64::MAX);
            lacks.push(("payload", format!("takes no payload over {bytes} bytes")));
        }
        lacks
    }

    /// How some workers stand.
    pub(super) fn figures_of(&self, workers: &[u32]) -> Vec<Value> {
        workers.iter().map(|worker| self.worker_figures(*worker)).collect()
    }

    /// How a worker stands, with the figures that routes go by.
    pub(super) fn worker_figures(&self, number: u32) -> Value {
        let worker = self.workers.sessions.at(number);
        json!({
            "worker": &*self.name_of(number),
            "state": Stand::of(worker).word(),
            "weight": f64::from(worker.entry.weight.thousandths()) / 1000.0,
            "leased": worker.leases.len(),
            "unanswered": worker.unanswered.len(),
            "slots": worker.entry.slots,
        })
    }

    /// A worker with what a route goes by beside its weight.
    pub(super) fn candidate(&self, number: u32, kind: &str, route: Route) -> Value {
        let mut figures = self.worker_figures(number);
        let worker = self.workers.sessions.at(number);
        let (busy, slots) = (worker.busy() as f64, f64::from(worker.entry.slots));
        if route == Route::LeastLoaded {
            set(&mut figures, "load", json!(busy / slots));
        }
        if route == Route::Fastest {
            let pair = self.costs.find(kind, &self.name_of(number));
            let pair = pair.filter(|pair| !self.costs.is_shared(*pair));
            let its = pair.and_then(|pair| self.costs.pair_estimate(pair));
            let usual = || Some(self.costs.estimate(kind)?.mean_us * worker.slowness.value());
            let mean_us = its.map(|known| known.mean_us).or_else(usual);
            let expected_us = mean_us.map(|mean_us| (mean_us * (busy + 1.0) / slots).round());
            set(&mut figures, "expected_us", json!(expected_us));
        }
        figures
    }

    /// A worker with its slots in use, in words.
    pub(super) fn in_use(&self, number: u32) -> String {
        let worker = self.workers.sessions.at(number);
        let (busy, slots) = (worker.busy(), worker.entry.slots);
        let s = if slots == 1 { "" } else { "s" };
        format!("{} ({busy} of {slots} slot{s})", self.name_of(number))
    }

    /// The first of a group, in words.
    pub(super) fn listed(group: &Group, name: impl Fn(u32) -> String) -> String {
        let named: Vec<String> = group.first.iter().map(|worker| name(*worker)).collect();
        match group.count - named.len() {
            0 => named.join(", "),
            more => format!("{} and {more} more", named.join(", ")),
        }
    }

    pub(super) fn name_of(&self, worker: u32) -> Arc<str> {
        self.worker_names.name(self.workers.sessions.at(worker).name)
    }

    pub(super) fn name_if_any(&self, name: u32) -> Option<Arc<str>> {
        (name != NOBODY).then(|| self.worker_names.name(name))
    }
}
