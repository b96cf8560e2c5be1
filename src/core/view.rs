//! Read-only pictures for people and programs, as JSON.
//!
//! Every picture is written straight from what the core holds, without a tree of values: there may be
//! ten thousand queues or workers in one, and everybody waits meanwhile. Members stand in the order of
//! their names.

mod figures;
mod rows;

use serde::Serialize;
use serde_json::Value;

use crate::core::Core;
use crate::core::tasks::{Phase, Task};
use crate::core::view::rows::{
    Amounts, QueueList, QueueRow, Rows, TaskList, TaskRow, WorkerList, WorkerRow,
};
use crate::core::workers::Worker;
use crate::frame::Decimal;
use crate::message::{Route, TaskFilter};
use crate::protocol::cron::cron_of;
use crate::task::TaskId;

/// How many slots of the task table one TASKS looks at, so that no question stalls the scheduler.
const SCAN: u32 = 20_000;

/// About as many bytes as most rows have.
const ROW: usize = 512;

impl Core {
    pub(super) fn view_queues(&self) -> Vec<u8> {
        let queues = self.queues.iter();
        let mut queues: Vec<(&str, u32)> =
            queues.map(|(number, queue)| (self.queue_names.text(queue.name), number)).collect();
        queues.sort_unstable();
        let rows = Rows::new(queues.into_iter().map(|(_, number)| self.queue_row(number)));
        spelled_rows(&QueueList { queues: rows }, self.queues.len())
    }

    pub(super) fn view_queue(&self, number: u32) -> Vec<u8> {
        spelled(&self.queue_row(number))
    }

    fn queue_row(&self, number: u32) -> QueueRow<'_> {
        let queue = self.queues.queue(number);
        let policy = &queue.policy;
        let classes = || queue.classes.iter().map(|class| (*class, self.queues.class(*class)));
        let mut kinds: Vec<&str> =
            classes().map(|(_, class)| self.kinds.text(class.kind)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let suspects = |class: u32| {
            let mut suspects = self.isolation.waiting.range((class, TaskId::default())..);
            suspects.next().is_some_and(|(its, _)| *its == class)
        };
        let mut unable = classes().filter(|(_, class)| class.pools.is_empty());
        let unroutable = unable.any(|(number, class)| {
            class.waiting > 0 || self.apart.contains_key(&number) || suspects(number)
        });
        QueueRow {
            aging: policy.aging.value(),
            alpha: policy.alpha.value(),
            configured: queue.configured,
            key_limit: policy.key_limit,
            kinds,
            limit: policy.limit,
            name: self.queue_names.text(queue.name),
            order: policy.order.word(),
            paused: policy.paused,
            rate: policy.rate.map(Decimal::value),
            route: policy.route.word(),
            spill_ms: policy.spill_ms.filter(|_| policy.route == Route::Hash),
            tasks: queue.counts,
            unroutable,
            weight: policy.weight.value(),
        }
    }

    pub(super) fn view_workers(&self) -> Vec<u8> {
        let sessions = self.workers.sessions.iter();
        let mut sessions: Vec<(&str, u32)> =
            sessions.map(|(number, session)| (&*session.title, number)).collect();
        sessions.sort_unstable();
        let rows = sessions.into_iter().map(|(_, number)| self.workers.sessions.at(number));
        let rows = Rows::new(rows.map(|worker| self.worker_row(worker)));
        spelled_rows(&WorkerList { workers: rows }, self.workers.sessions.len())
    }

    fn worker_row<'a>(&'a self, worker: &'a Worker) -> WorkerRow<'a> {
        let entry = &worker.entry;
        let state = match (worker.peer, worker.draining) {
            (None, _) => "grace",
            (Some(_), true) => "draining",
            (Some(_), false) if worker.breaker.is_tripped() => "tripped",
            (Some(_), false) => "here",
        };
        let has = entry.res.iter().map(|(name, amount)| (name.as_str(), *amount));
        let held = worker.stock.held.iter();
        let held = held.map(|(name, amount)| (self.demands.resources.text(*name), *amount));
        WorkerRow {
            heartbeat_ms: entry.heartbeat_ms,
            held: Amounts::new(held),
            host: &entry.host,
            kinds: entry.kinds.as_deref(),
            leased: worker.leases.len(),
            name: &worker.title,
            pid: entry.pid,
            queues: entry.queues.as_deref(),
            res: Amounts::new(has),
            saved: worker.saved_for.is_some(),
            session: worker.session,
            since_ms: entry.since_ms,
            slots: entry.slots,
            state,
            superseded: worker.superseded,
            tags: &entry.tags,
            unanswered: worker.unanswered.len(),
            weight: f64::from(entry.weight.thousandths()) / 1000.0,
        }
    }

    pub(super) fn view_tasks(&self, filter: &TaskFilter) -> Vec<u8> {
        let start = u32::try_from(filter.cursor).unwrap_or(u32::MAX);
        let end = self.tasks.bound().min(start.saturating_add(SCAN));
        let mut tasks = Vec::new();
        let mut slot = start;
        while slot < end && tasks.len() < filter.limit as usize {
            if let Some(task) = self.tasks.get(slot).filter(|task| self.matches(task, filter)) {
                tasks.push(self.task_row(task));
            }
            slot += 1;
        }
        let next = (slot < self.tasks.bound()).then_some(slot);
        spelled(&TaskList { next, tasks })
    }

    fn matches(&self, task: &Task, filter: &TaskFilter) -> bool {
        let class = self.queues.class(task.class);
        let queue = self.queues.queue(class.queue).name;
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|w| w == name);
        filter.state.is_none_or(|state| state == task.state())
            && is(&filter.queue, self.queue_names.text(queue))
            && is(&filter.kind, self.kinds.text(class.kind))
            && filter.worker.as_ref().is_none_or(|wanted| match task.phase {
                Phase::Leased { worker, .. } => *self.workers.sessions.at(worker).title == **wanted,
                _ => false,
            })
    }

    pub(super) fn task_row<'a>(&'a self, task: &'a Task) -> TaskRow<'a> {
        let class = self.queues.class(task.class);
        let kind = self.kinds.text(class.kind);
        let more = task.more.as_deref();
        let some = |text: &'a str| (!text.is_empty()).then_some(text);
        let mut row = TaskRow {
            age_ms: self.now.wall_ms.saturating_sub(task.id.wall_ms()),
            attempt: task.attempt,
            cron: cron_of(task.options()),
            error: more.and_then(|more| some(&more.error)),
            history: more.and_then(|more| some(&more.history)),
            id: task.id,
            kind,
            percent: more.and_then(|more| more.percent),
            queue: self.queue_names.text(self.queues.queue(class.queue).name),
            reason: more.and_then(|more| some(more.reason)),
            state: task.state().word(),
            used: task.used,
            ..TaskRow::default()
        };
        let since = |since_us: u64| self.now.mono_us.saturating_sub(since_us);
        match task.phase {
            Phase::Blocked => {}
            Phase::Scheduled { due_ms, .. } => row.due_ms = Some(due_ms),
            Phase::Ready { since_us, .. } => row.waiting_ms = Some(since(since_us) / 1000),
            Phase::Leased { since_us, worker, .. } => {
                row.worker = Some(&self.workers.sessions.at(worker).title);
                row.running_ms = Some(since(since_us) / 1000);
                row.straggler = Some(self.is_straggler(kind, since(since_us)));
            }
            Phase::Dead { at_ms } | Phase::Cancelled { at_ms } => row.ended_ms = Some(at_ms),
        }
        row
    }

    /// A run far beyond its kind's habit is flagged, and left alone.
    pub(super) fn is_straggler(&self, kind: &str, running_us: u64) -> bool {
        self.costs.habit(kind).is_some_and(|habit| habit.is_far_exceeded_by(running_us))
    }
}

pub(super) fn set(value: &mut Value, name: &str, to: Value) {
    if let Some(map) = value.as_object_mut() {
        map.insert(name.to_owned(), to);
    }
}

/// A picture of so many rows: its memory need not grow as it is written.
fn spelled_rows(picture: &impl Serialize, rows: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + ROW * rows);
    // Writing to memory fails for what is no JSON alone, which a picture is not made of.
    let _ = serde_json::to_writer(&mut out, picture);
    out
}

pub(super) fn spelled(picture: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(picture).unwrap_or_default()
}
