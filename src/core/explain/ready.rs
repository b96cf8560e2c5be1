//! What keeps a ready task waiting, the most decisive first.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::able::{Able, Stand};
use super::{LOOK, NAMED, before_it, reason, spoken};
use crate::core::Core;
use crate::core::dispatch::{APART, NOBODY, holds};
use crate::core::limits::ASIDE;
use crate::core::line::Place;
use crate::core::order::key_value;
use crate::core::tasks::{Phase, Task};
use crate::core::view::set;
use crate::message::{Order, Why};

impl Core {
    /// `key` is the task's in its queue's order, as it would be computed now.
    pub(super) fn why_ready(&self, slot: u32, task: &Task, key: u64) -> Vec<Value> {
        let Phase::Ready { owner, lined_us, .. } = task.phase else { return Vec::new() };
        let able = self.able(task.class);
        let mut reasons = Vec::new();
        if able.count() == 0 {
            reasons.push(self.why_unable(task.class));
        } else if able.takers() == 0 {
            reasons.extend(self.why_nobody(&able));
        }
        self.why_closed(slot, task, &mut reasons);
        if task.is_isolated() {
            reasons.push(self.why_isolated(task));
            return reasons;
        }
        if owner == APART {
            reasons.push(self.why_apart(task));
        }
        reasons.extend(self.why_owner(slot, task, lined_us));
        let full = able.takers() > 0 && able.of(Stand::Free).count == 0;
        if full {
            reasons.extend(self.why_full(&able));
            reasons.extend(self.why_nobody(&able));
        }
        let sorting = self.is_sorting(task.class);
        if sorting {
            let text = "the tasks of its queue are being put into order anew";
            reasons.push(reason(Why::Sorting, text, json!({})));
        }
        if full {
            reasons.extend(self.why_others(task.class));
        }
        if reasons.is_empty() {
            let text = "nothing keeps it: it is about to be given to a worker";
            reasons.push(reason(Why::Next, text, json!({})));
        }
        if !sorting && owner != APART {
            reasons.extend(self.place_of(slot, task, owner, key));
        }
        reasons
    }

    fn why_unable(&self, class: u32) -> Value {
        let (misses, texts) = self.near_misses(class);
        let text = match texts.is_empty() {
            true => "no worker is connected".to_owned(),
            false => format!("no worker that is connected is able: {}", texts.join("; ")),
        };
        reason(Why::NoWorker, text, json!({ "near_misses": misses }))
    }

    /// Those who are able, but get nothing.
    fn why_nobody(&self, able: &Able) -> Vec<Value> {
        let mut reasons = Vec::new();
        let away = able.of(Stand::Away);
        if away.count > 0 {
            let name = |worker: u32| {
                let until_us = self.workers.sessions.at(worker).grace_until_us;
                format!("{} (for {} at most)", self.name_of(worker), spoken(self.left_ms(until_us)))
            };
            let text = format!("able, but without a connection: {}", Self::listed(away, name));
            reasons.push(self.of_workers(Why::Away, text, away.count, &away.first));
        }
        let rest = [
            (Stand::Draining, Why::Draining, "able, but given nothing new"),
            (Stand::Weightless, Why::Weight, "able, but never given anything with weight 0"),
        ];
        for (stand, why, text) in rest {
            let group = able.of(stand);
            if group.count > 0 {
                let text =
                    format!("{text}: {}", Self::listed(group, |w| self.name_of(w).to_string()));
                reasons.push(self.of_workers(why, text, group.count, &group.first));
            }
        }
        reasons
    }

    fn of_workers(&self, why: Why, text: String, count: usize, first: &[u32]) -> Value {
        reason(why, text, json!({ "count": count, "workers": self.figures_of(first) }))
    }

    /// What the policies of its queue keep from beginning.
    fn why_closed(&self, slot: u32, task: &Task, reasons: &mut Vec<Value>) {
        let number = self.queues.class(task.class).queue;
        let queue = self.queues.queue(number);
        let name = self.queue_names.name(queue.name);
        if queue.policy.paused {
            let text = format!("the queue {name} is paused");
            reasons.push(reason(Why::Paused, text, json!({})));
        }
        if matches!(task.phase, Phase::Ready { owner: ASIDE, .. }) || self.is_key_full(slot) {
            reasons.push(self.why_key(task));
        }
        let runs = queue.runs.count;
        if let Some(limit) = queue.policy.limit.filter(|limit| runs >= *limit) {
            let text = format!("the queue {name} has {runs} running, of {limit} that may at once");
            reasons.push(reason(Why::Limit, text, json!({ "running": runs, "limit": limit })));
        }
        if let Some(at_us) = queue.runs.timer_us {
            let in_ms = self.left_ms(at_us);
            let rate = queue.policy.rate.map(|rate| rate.value());
            let text = format!("the rate of the queue {name} lets the next run begin in ");
            let figures = json!({ "in_ms": in_ms, "rate": rate });
            reasons.push(reason(Why::Rate, text + &spoken(in_ms), figures));
        }
    }

    fn why_key(&self, task: &Task) -> Value {
        let number = self.queues.class(task.class).queue;
        let queue = self.queues.queue(number);
        let key = task.key_text().unwrap_or_default();
        let (count, limit) =
            (queue.runs.keys.get(&key).map_or(0, |runs| runs.count), queue.policy.key_limit);
        let running = self.running_of_key(number, &key);
        let named = match running.is_empty() {
            true => String::new(),
            false => format!(" ({})", running.join(", ")),
        };
        let limit_text = limit.map_or("any number".to_owned(), |limit| limit.to_string());
        let text = format!("its key has {count} running{named}, of {limit_text} that may at once");
        let figures = json!({ "key": key, "running": count, "limit": limit, "tasks": running });
        reason(Why::KeyLimit, text, figures)
    }

    /// The first of the tasks of a key of a queue that run.
    fn running_of_key(&self, number: u32, key: &str) -> Vec<String> {
        let sessions = self.workers.sessions.iter().take(LOOK);
        let runs = sessions.flat_map(|(_, session)| {
            let leases = session.leases.iter().filter_map(|slot| self.tasks.get(*slot));
            let its = move |task: &&Task| self.queues.class(task.class).queue == number;
            let leases = leases.map(move |task| {
                (its(&task) && task.key_text().as_deref() == Some(key)).then_some(task.id)
            });
            let unanswered = session.unanswered.iter().map(move |((id, _), run)| {
                (run.queue == number && run.key.as_deref() == Some(key)).then_some(*id)
            });
            leases.chain(unanswered)
        });
        runs.take(LOOK).flatten().take(NAMED).map(|id| id.to_string()).collect()
    }

    fn why_isolated(&self, task: &Task) -> Value {
        let (class, id) = (task.class, task.id);
        let before = self.isolation.waiting.iter().take(LOOK).filter(|(_, its)| *its < id).count();
        let begin = format!("lost with {} workers in a row, it has to run alone: ", task.suspected);
        let mut figures = json!({ "suspected": task.suspected, "suspects_before": before });
        let text = match self.isolation.current {
            Some((current, worker)) => {
                set(&mut figures, "current", json!(current.to_string()));
                set(&mut figures, "worker", json!(&*self.name_of(worker)));
                let session = self.workers.sessions.at(worker);
                let what = if current == id { "for it".into() } else { format!("for {current}") };
                match self.waiting_suspect(current).is_some() {
                    true => format!(
                        "{} is being emptied {what} (runs that have to end: {})",
                        self.name_of(worker),
                        session.busy()
                    ),
                    false => format!("{current} has its turn on {}", self.name_of(worker)),
                }
            }
            None if self.now.mono_us < self.isolation.not_before_us => {
                let in_ms = self.left_ms(self.isolation.not_before_us);
                set(&mut figures, "in_ms", json!(in_ms));
                format!("the next such task has its turn in {}", spoken(in_ms))
            }
            None if before > 0 => format!("of such tasks, {}", before_it(before)),
            None => {
                let nobody = self.able(class).takers() == 0;
                let who =
                    if nobody { "no able worker is there" } else { "its queue lets none begin" };
                who.to_owned()
            }
        };
        reason(Why::Isolated, begin + &text, figures)
    }

    fn why_apart(&self, task: &Task) -> Value {
        let mut barred = Vec::new();
        let mut texts = Vec::new();
        for (session, until_us) in task.bars().iter().take(NAMED) {
            let in_ms = self.left_ms(*until_us);
            let worker = self.workers.by_session(*session);
            let name = worker.map_or("one that is gone".into(), |worker| self.name_of(worker));
            texts.push(format!("{name} for another {}", spoken(in_ms)));
            barred.push(json!({ "worker": &*name, "in_ms": in_ms }));
        }
        let text = format!("released just now, it is not offered to {}", texts.join(", "));
        reason(Why::Released, text, json!({ "not_offered_to": barred }))
    }

    /// Under a keyed route: whose the task is, and for how long only that one's.
    fn why_owner(&self, slot: u32, task: &Task, lined_us: u64) -> Option<Value> {
        let class = self.queues.class(task.class);
        if !class.keyed {
            return None;
        }
        let owner = self.owner_of(slot);
        let name = self.name_if_any(owner)?;
        let queue = self.queues.queue(class.queue);
        let spill_us = self.spill_us(task.class);
        let since_us = lined_us.max(queue.runs.resumed_us);
        let in_ms = spill_us.map(|us| self.left_ms(since_us.saturating_add(us)));
        let session = self.workers.by_name(owner);
        let stands = session.map_or(String::new(), |worker| match self.stand(worker) {
            Stand::Full => format!(", which is full: {}", self.in_use(worker)),
            Stand::Free => ", which has a free slot".to_owned(),
            stand => format!(", which is {}", stand.word()),
        });
        let then = match in_ms {
            None => "it waits for that one alone".to_owned(),
            Some(0) => "any able worker that gets room may have it by now".to_owned(),
            Some(ms) => format!("others may have it in {}", spoken(ms)),
        };
        let text = format!("its owner is {name}{stands}; {then}");
        let figures = json!({
            "owner": &*name,
            "route": queue.policy.route.word(),
            "spill_in_ms": in_ms,
            "worker": session.map(|worker| self.worker_figures(worker)),
        });
        Some(reason(Why::Owner, text, figures))
    }

    fn why_full(&self, able: &Able) -> Vec<Value> {
        let mut reasons = Vec::new();
        let full = able.of(Stand::Full);
        if full.count > 0 {
            let listed = Self::listed(full, |worker| self.in_use(worker));
            let text = format!("able, but full: {listed}");
            reasons.push(self.of_workers(Why::NoSlot, text, full.count, &full.first));
        }
        let others = [
            (Stand::Cramped, Why::NoRoom, "able, but what it takes up is not free there"),
            (Stand::Saved, Why::Saved, "kept for a task that has starved for what it takes up"),
        ];
        for (stand, why, text) in others {
            let group = able.of(stand);
            if group.count > 0 {
                let listed = Self::listed(group, |worker| self.name_of(worker).to_string());
                let text = format!("{text}: {listed}");
                reasons.push(self.of_workers(why, text, group.count, &group.first));
            }
        }
        let reserved = able.of(Stand::Reserved);
        if reserved.count > 0 {
            let listed = Self::listed(reserved, |worker| self.name_of(worker).to_string());
            let text = format!("kept for a task that may crash its worker: {listed}");
            reasons.push(self.of_workers(Why::Reserved, text, reserved.count, &reserved.first));
        }
        let tripped = able.of(Stand::Tripped);
        if tripped.count > 0 {
            let name = |worker: u32| match self.workers.sessions.at(worker).breaker.until_us {
                Some(at_us) => {
                    format!("{} (for {})", self.name_of(worker), spoken(self.left_ms(at_us)))
                }
                None => format!("{} (one task is being tried)", self.name_of(worker)),
            };
            let text = format!(
                "able, but held up for failing everything: {}",
                Self::listed(tripped, name)
            );
            reasons.push(self.of_workers(Why::Tripped, text, tripped.count, &tripped.first));
        }
        reasons
    }

    fn is_sorting(&self, class: u32) -> bool {
        let its = self.queues.class(class);
        let unsorted = self.unsorted.contains(&class) || self.half_looked.contains(&class);
        unsorted || self.released.contains(&its.queue)
    }

    /// The queues that have had less of the workers that they share with this one.
    fn why_others(&self, number: u32) -> Option<Value> {
        let class = self.queues.class(number);
        let its = self.queues.queue(class.queue);
        let pools = class.pools.iter().filter_map(|pool| self.workers.pools.get(*pool));
        let listed = pools.flat_map(|pool| {
            let pass = pool.shares.pass_of(class.queue);
            let keyed = pool.keyed.iter().map(|class| self.queues.class(*class).queue);
            let others = pool.shares.waiting().chain(keyed);
            others.map(move |queue| (queue, pool.shares.pass_of(queue) < pass))
        });
        let before = listed
            .take(LOOK)
            .filter(|(queue, before)| *before && *queue != class.queue && self.is_open(*queue));
        let others: BTreeSet<u32> = before.map(|(queue, _)| queue).collect();
        let names: Vec<_> = others
            .iter()
            .take(NAMED)
            .map(|queue| self.queue_names.name(self.queues.queue(*queue).name).to_string())
            .collect();
        if names.is_empty() {
            return None;
        }
        let text = format!(
            "queues that share its workers have had less of them, by weight, and come first: {}",
            names.join(", ")
        );
        let figures = json!({
            "queues": names,
            "count": others.len(),
            "weight": its.policy.weight.value(),
        });
        Some(reason(Why::QueueShare, text, figures))
    }

    /// Where a task stands in its line.
    fn place_of(&self, slot: u32, task: &Task, owner: u32, key: u64) -> Option<Value> {
        let class = self.queues.class(task.class);
        let queue = self.queues.queue(class.queue);
        let line = match owner {
            NOBODY => Some(&class.line),
            ASIDE => queue.runs.keys.get(&task.key_text()?)?.aside.get(&task.class),
            owner => class.owners.get(&owner),
        }?;
        let order = queue.policy.order;
        // The key of before: an estimate may have changed since.
        let known = (order != Order::Fcfs).then(|| line.find(task.id, LOOK)).flatten();
        let place = known.unwrap_or(Place { key, id: task.id, slot });
        let (before, all) =
            line.count_before(place, LOOK, |place| holds(&self.tasks, place, owner));
        let of_what = if owner == ASIDE { "of its kind and key" } else { "of its kind" };
        let text = match (before, all) {
            (0, true) => format!("it is the next {of_what} in the order {}", order.word()),
            (_, true) => format!("before it in the order {}: {before} {of_what}", order.word()),
            (_, false) => {
                format!("before it in the order {}: {before} {of_what} or more", order.word())
            }
        };
        let key = match order {
            Order::Fcfs => json!(task.id.wall_ms()),
            _ => json!(key_value(place.key)),
        };
        let figures = json!({ "order": order.word(), "key": key, "before": before, "more": !all });
        Some(reason(Why::Order, text, figures))
    }
}
