//! Read-only pictures for people and programs, as JSON.

use serde_json::{Value, json};

use crate::core::Core;
use crate::core::queues::Counts;
use crate::core::tasks::{Phase, Task};
use crate::cost::Figures;
use crate::frame::Decimal;
use crate::message::{Route, TaskFilter};
use crate::protocol::cron::cron_of;
use crate::task::{State, TaskId};

/// How many slots of the task table one TASKS looks at, so that no question stalls the scheduler.
const SCAN: u32 = 20_000;

impl Core {
    pub(super) fn view_queues(&self) -> Vec<u8> {
        let mut queues: Vec<Value> =
            self.queues.iter().map(|(number, _)| self.queue_value(number)).collect();
        queues.sort_by(|a, b| text(a, "name").cmp(text(b, "name")));
        spelled(&json!({ "queues": queues }))
    }

    pub(super) fn view_queue(&self, number: u32) -> Vec<u8> {
        spelled(&self.queue_value(number))
    }

    fn queue_value(&self, number: u32) -> Value {
        let queue = self.queues.queue(number);
        let policy = &queue.policy;
        let mut kinds: Vec<_> = queue
            .classes
            .iter()
            .map(|class| self.kinds.name(self.queues.class(*class).kind))
            .collect();
        kinds.sort();
        kinds.dedup();
        let able = |class: &u32| !self.queues.class(*class).pools.is_empty();
        let suspects = |class: u32| {
            let mut suspects = self.isolation.waiting.range((class, TaskId::default())..);
            suspects.next().is_some_and(|(its, _)| *its == class)
        };
        let waiting = |class: &&u32| {
            let lines = self.queues.class(**class).waiting > 0 || self.apart.contains_key(*class);
            lines || suspects(**class)
        };
        let unroutable = queue.classes.iter().filter(waiting).any(|class| !able(class));
        json!({
            "name": &*self.queue_names.name(queue.name),
            "order": policy.order.word(),
            "aging": policy.aging.value(),
            "alpha": policy.alpha.value(),
            "route": policy.route.word(),
            "spill_ms": policy.spill_ms.filter(|_| policy.route == Route::Hash),
            "weight": policy.weight.value(),
            "limit": policy.limit,
            "key_limit": policy.key_limit,
            "rate": policy.rate.map(Decimal::value),
            "paused": policy.paused,
            "configured": queue.configured,
            "kinds": kinds.iter().map(|kind| &**kind).collect::<Vec<_>>(),
            "unroutable": unroutable,
            "tasks": counts_value(&queue.counts),
        })
    }

    pub(super) fn view_workers(&self) -> Vec<u8> {
        let workers: Vec<Value> = self
            .workers
            .by_names(&self.worker_names)
            .into_iter()
            .map(|(name, number)| self.worker_value(&name, number))
            .collect();
        spelled(&json!({ "workers": workers }))
    }

    fn worker_value(&self, name: &str, number: u32) -> Value {
        let worker = self.workers.sessions.at(number);
        let entry = &worker.entry;
        let state = match (worker.peer, worker.draining) {
            (None, _) => "grace",
            (Some(_), true) => "draining",
            (Some(_), false) if worker.breaker.is_tripped() => "tripped",
            (Some(_), false) => "here",
        };
        let held = worker.stock.held.iter();
        let held = held.map(|(name, amount)| (self.demands.resources.name(*name), *amount));
        let held: Vec<_> = held.collect();
        let held = held.iter().map(|(name, amount)| (&**name, *amount));
        json!({
            "name": name,
            "session": worker.session.to_string(),
            "state": state,
            "superseded": worker.superseded,
            "host": entry.host,
            "pid": entry.pid,
            "slots": entry.slots,
            "leased": worker.leases.len(),
            "unanswered": worker.unanswered.len(),
            "weight": f64::from(entry.weight.thousandths()) / 1000.0,
            "kinds": entry.kinds,
            "queues": entry.queues,
            "tags": entry.tags,
            "res": amounts_value(entry.res.iter().map(|(name, amount)| (name.as_str(), *amount))),
            "held": amounts_value(held),
            "saved": worker.saved_for.is_some(),
            "heartbeat_ms": entry.heartbeat_ms,
            "since_ms": entry.since_ms,
        })
    }

    pub(super) fn view_tasks(&self, filter: &TaskFilter) -> Vec<u8> {
        let start = u32::try_from(filter.cursor).unwrap_or(u32::MAX);
        let end = self.tasks.bound().min(start.saturating_add(SCAN));
        let mut tasks = Vec::new();
        let mut slot = start;
        while slot < end && tasks.len() < filter.limit as usize {
            if let Some(task) = self.tasks.get(slot).filter(|task| self.matches(task, filter)) {
                tasks.push(self.task_value(task));
            }
            slot += 1;
        }
        let next = (slot < self.tasks.bound()).then_some(slot);
        spelled(&json!({ "tasks": tasks, "next": next }))
    }

    fn matches(&self, task: &Task, filter: &TaskFilter) -> bool {
        let class = self.queues.class(task.class);
        let queue = self.queues.queue(class.queue).name;
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|w| w == name);
        filter.state.is_none_or(|state| state == task.state())
            && is(&filter.queue, &self.queue_names.name(queue))
            && is(&filter.kind, &self.kinds.name(class.kind))
            && filter.worker.as_ref().is_none_or(|wanted| match task.phase {
                Phase::Leased { worker, .. } => {
                    *self.worker_names.name(self.workers.sessions.at(worker).name) == **wanted
                }
                _ => false,
            })
    }

    pub(super) fn task_value(&self, task: &Task) -> Value {
        let class = self.queues.class(task.class);
        let kind = self.kinds.name(class.kind);
        let queue = self.queue_names.name(self.queues.queue(class.queue).name);
        let mut value = json!({
            "id": task.id.to_string(),
            "state": task.state().word(),
            "kind": &*kind,
            "queue": &*queue,
            "attempt": task.attempt,
            "used": task.used,
            "age_ms": self.now.wall_ms.saturating_sub(task.id.wall_ms()),
        });
        let now_us = self.now.mono_us;
        match task.phase {
            Phase::Blocked => {}
            Phase::Scheduled { due_ms, .. } => set(&mut value, "due_ms", json!(due_ms)),
            Phase::Ready { since_us, .. } => {
                set(&mut value, "waiting_ms", json!(now_us.saturating_sub(since_us) / 1000));
            }
            Phase::Leased { since_us, worker, .. } => {
                let name = self.worker_names.name(self.workers.sessions.at(worker).name);
                let running_us = now_us.saturating_sub(since_us);
                set(&mut value, "worker", json!(&*name));
                set(&mut value, "running_ms", json!(running_us / 1000));
                set(&mut value, "straggler", json!(self.is_straggler(&kind, running_us)));
            }
            Phase::Dead { at_ms } | Phase::Cancelled { at_ms } => {
                set(&mut value, "ended_ms", json!(at_ms));
            }
        }
        if let Some(cron) = cron_of(task.options()) {
            set(&mut value, "cron", json!(cron));
        }
        if let Some(more) = &task.more {
            for (name, text) in
                [("reason", more.reason), ("history", &more.history), ("error", &more.error)]
            {
                if !text.is_empty() {
                    set(&mut value, name, json!(text));
                }
            }
            if let Some(percent) = more.percent {
                set(&mut value, "percent", json!(percent));
            }
        }
        value
    }

    /// A run far beyond its kind's habit is flagged, and left alone.
    pub(super) fn is_straggler(&self, kind: &str, running_us: u64) -> bool {
        self.costs.habit(kind).is_some_and(|habit| habit.is_far_exceeded_by(running_us))
    }

    pub(super) fn view_stats(&self) -> Vec<u8> {
        let at_ms = self.now.wall_ms - self.now.wall_ms % 1000;
        let kinds = self.costs.kinds(at_ms).into_iter();
        let kinds = kinds.map(|(kind, figures)| named("kind", kind, &figures)).collect::<Vec<_>>();
        let workers = self.costs.workers(at_ms).into_iter();
        let workers = workers.map(|(worker, figures)| named("worker", worker, &figures));
        let pairs = self.costs.pairs(at_ms).into_iter().map(|(kind, worker, figures)| {
            let mut value = named("kind", kind, &figures);
            set(&mut value, "worker", json!(worker));
            value
        });
        let leased = self.tasks_leased();
        let stragglers = leased.filter(|(kind, us)| self.is_straggler(kind, *us)).count();
        spelled(&json!({
            "at_ms": at_ms,
            "up_ms": (self.now.mono_us - self.started.mono_us) / 1000,
            "submitted": self.submitted,
            "tasks": counts_value(&self.totals()),
            "stragglers": stragglers,
            "connections": self.workers.connections().count(),
            "workers_here": self.workers.sessions.len(),
            "timers": self.timers.len(),
            "store_pressure": self.pressure,
            "kinds": kinds,
            "workers": workers.collect::<Vec<_>>(),
            "pairs": pairs.collect::<Vec<_>>(),
        }))
    }

    fn tasks_leased(&self) -> impl Iterator<Item = (std::sync::Arc<str>, u64)> + '_ {
        let slots = self.workers.sessions.iter().flat_map(|(_, worker)| worker.leases.iter());
        slots.filter_map(|slot| {
            let task = self.tasks.get(*slot)?;
            let Phase::Leased { since_us, .. } = task.phase else { return None };
            let kind = self.kinds.name(self.queues.class(task.class).kind);
            Some((kind, self.now.mono_us.saturating_sub(since_us)))
        })
    }
}

fn amounts_value<'a>(amounts: impl Iterator<Item = (&'a str, u64)>) -> Value {
    Value::Object(amounts.map(|(name, amount)| (name.to_owned(), json!(amount))).collect())
}

fn counts_value(counts: &Counts) -> Value {
    let mut value = json!({});
    for state in State::ALL {
        let mut counts = *counts;
        set(&mut value, state.word(), json!(*counts.of(state)));
    }
    value
}

fn named(what: &str, name: &str, figures: &Figures) -> Value {
    let mut value = json!({ what: name });
    figures.fields(&mut |name, text| {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        let number = text.parse::<u64>().map(Value::from).ok().or(number.map(Value::from));
        set(&mut value, &name.replace('-', "_"), number.unwrap_or(Value::Null));
    });
    value
}

pub(super) fn set(value: &mut Value, name: &str, to: Value) {
    if let Some(map) = value.as_object_mut() {
        map.insert(name.to_owned(), to);
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn spelled(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
