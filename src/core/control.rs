//! What clients and operators ask about single tasks and queues.

use crate::core::event::Peer;
use crate::core::inbox::keep_ms;
use crate::core::spill::Spill;
use crate::core::tasks::{Phase, Task};
use crate::core::timers::Reason;
use crate::core::{Ask, Core, Effects};
use crate::frame::decode;
use crate::message::reply::TaskInfo;
use crate::message::{Code, Policy, Reply};
use crate::protocol::cron::cron_of;
use crate::record::{self, Write};
use crate::task::{State, TaskId};

impl Core {
    pub(super) fn on_get(&mut self, peer: Peer, id: TaskId, fx: &mut Effects) {
        if let Some(slot) = self.find_or_ask(peer, id, Ask::Get, fx) {
            let info = self.info(slot);
            fx.send(peer, Reply::Task(Box::new(info)));
        }
    }

    fn info(&mut self, slot: u32) -> TaskInfo {
        let task = self.tasks.at(slot);
        let class = self.queues.class(task.class);
        let queue = self.queues.queue(class.queue).name;
        let worker = match task.phase {
            Phase::Leased { worker, .. } => self.workers.sessions.get(worker),
            _ => None,
        };
        let more = task.more.as_deref();
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        TaskInfo {
            id: task.id,
            state: task.state(),
            kind: self.kinds.name(class.kind),
            queue: self.queue_names.name(queue),
            attempt: task.attempt,
            used: task.used,
            due_ms: match task.phase {
                Phase::Scheduled { due_ms, .. } => Some(due_ms),
                _ => None,
            },
            worker: worker.map(|worker| self.worker_names.name(worker.name)),
            percent: more.and_then(|more| more.percent),
            reason: more.and_then(|more| some(more.reason)),
            cron: cron_of(task.options()).map(str::to_owned),
            history: more.and_then(|more| some(&more.history)),
            error: more.and_then(|more| some(&more.error)).map(|error| error.as_bytes().into()),
        }
    }

    pub(super) fn on_watch(&mut self, peer: Peer, id: TaskId, fx: &mut Effects) {
        let Some(slot) = self.find_or_ask(peer, id, Ask::Watch, fx) else { return };
        fx.send(peer, Reply::OkTask(id));
        if self.tasks.at(slot).state().is_end() {
            self.tell_end(peer, slot, fx);
        } else {
            self.watch(peer, slot);
        }
    }

    pub(super) fn watch(&mut self, peer: Peer, slot: u32) {
        if self.tasks.at(slot).watch(peer) {
            self.count_watch(peer);
        }
    }

    pub(super) fn count_watch(&mut self, peer: Peer) {
        if let Some(connection) = self.workers.connection_mut(peer) {
            connection.watching += 1;
        }
    }

    /// Pushes a RESULT that a peer waited for; one that will say no more goes after its last.
    pub(super) fn push_result(&mut self, peer: Peer, reply: Reply, fx: &mut Effects) {
        let observes = self.is_observing(peer);
        let Some(connection) = self.workers.connection_mut(peer) else { return };
        connection.watching = connection.watching.saturating_sub(1);
        let leaves = connection.half_closed && connection.watching == 0 && !observes;
        fx.send(peer, reply);
        if leaves {
            fx.send(peer, Reply::Close);
        }
    }

    /// Pushes how a dead or cancelled task ended to a peer that waited for it.
    pub(super) fn push_end(&mut self, peer: Peer, slot: u32, fx: &mut Effects) {
        let reply = Reply::Result(self.put_end(slot, fx));
        self.push_result(peer, reply, fx);
    }

    /// Tells a peer that comes late how a dead or cancelled task ended.
    pub(super) fn tell_end(&mut self, peer: Peer, slot: u32, fx: &mut Effects) {
        let frame = self.put_end(slot, fx);
        fx.send(peer, Reply::Result(frame));
    }

    /// Tells the list that a dead or cancelled task named how it ended.
    pub(super) fn tell_list(&mut self, slot: u32, fx: &mut Effects) {
        let task = self.tasks.at(slot);
        let Some(reply) = task.reply().map(str::to_owned) else { return };
        let keep_ms = keep_ms(task.result_ttl_ms());
        let frame = self.put_end(slot, fx);
        fx.tell(&reply, frame, keep_ms);
    }

    fn put_end(&mut self, slot: u32, fx: &mut Effects) -> record::Text {
        let task: &Task = self.tasks.at(slot);
        let (id, attempt, used) = (task.id, task.attempt, task.used);
        let (reason, error) = match task.more.as_deref() {
            Some(more) => (more.reason, more.error.as_str()),
            None => ("", ""),
        };
        let phase = task.phase;
        fx.batch.put(|out| match phase {
            Phase::Dead { at_ms } => {
                let error = error.as_bytes();
                record::put_result_dead(out, id, reason, attempt, used, at_ms, error);
            }
            Phase::Cancelled { at_ms } => record::put_result_cancelled(out, id, reason, at_ms),
            _ => unreachable!("only an end is told"),
        })
    }

    pub(super) fn on_cancel(&mut self, peer: Peer, id: TaskId, fx: &mut Effects) {
        let Some(slot) = self.find_or_ask(peer, id, Ask::Change, fx) else { return };
        let task = self.tasks.at(slot);
        let (phase, attempt) = (task.phase, task.attempt);
        if task.state().is_end() {
            let text = format!("task {id} is {} already", task.state());
            return fx.refuse(peer, Code::Ended, text);
        }
        fx.send(peer, Reply::OkTask(id));
        let worker = match phase {
            Phase::Leased { worker, .. } => {
                self.stop_run(slot, worker, "cancelled", fx);
                self.end_lease(slot, worker);
                self.note_end(slot, attempt, "cancelled", worker);
                Some(worker)
            }
            _ => {
                self.withdraw(slot, fx);
                None
            }
        };
        self.bury(slot, State::Cancelled, "cancelled", fx);
        if let Some(worker) = worker {
            self.feed(worker, fx);
        }
    }

    pub(super) fn on_retry(&mut self, peer: Peer, id: TaskId, fx: &mut Effects) {
        let Some(slot) = self.find_or_ask(peer, id, Ask::Change, fx) else { return };
        let task = self.tasks.at(slot);
        let unanswered = task.more.as_ref().is_some_and(|more| more.unanswered > 0);
        if !task.state().is_end() || unanswered {
            let text = if unanswered {
                format!("the last run of task {id} is unanswered")
            } else {
                format!("task {id} has not ended: it is {}", task.state())
            };
            return fx.refuse(peer, Code::Running, text);
        }
        if !self.may_take_unique_again(slot) {
            return fx.refuse(peer, Code::Conflict, "its unique value is held by another task");
        }
        if let Some(parent) = self.failed_parent(slot) {
            let text = format!("task {parent}, which it comes after, has failed: retry that first");
            return fx.refuse(peer, Code::Conflict, text);
        }
        let task = self.tasks.at(slot);
        let (class, from) = (task.class, task.state());
        let reason = task.more.as_ref().map_or("", |more| more.reason);
        fx.send(peer, Reply::Retried { id, was: from, reason });
        if let Some(at_ms) = task.forget_at_ms() {
            self.timers.off_wall(at_ms, Reason::Forget(id));
        }
        self.after.kept.remove(&id);
        task.phase = Phase::DUE;
        (task.used, task.suspected, task.retried) = (0, 0, true);
        task.more().reason = "";
        let (mut line, record) = (task.line(), task.record.clone());
        line.state = State::Ready;
        let line = fx.batch.put(|out| line.put(out));
        let frame = fx.text(&record);
        fx.write(Write::Revive { id, line, frame });
        self.take_unique_again(slot, fx);
        self.move_count(class, from, State::Scheduled);
        let attempt = self.tasks.at(slot).attempt;
        self.event(fx, "retried", id, attempt, class, None, &[]);
        self.come_after(slot);
        self.make_ready(slot, fx);
    }

    pub(super) fn on_queue(
        &mut self,
        peer: Peer,
        name: &str,
        policies: &[(String, String)],
        fx: &mut Effects,
    ) {
        if policies.is_empty() {
            let known = self.queue_names.find(name).and_then(|name| self.queues.find(name));
            return match known {
                Some(queue) => fx.send(peer, Reply::Json(self.view_queue(queue))),
                None => fx.refuse(peer, Code::UnknownQueue, format!("there is no queue {name}")),
            };
        }
        let known = self.queue_names.find(name).and_then(|name| self.queues.find(name));
        let mut policy =
            known.map_or_else(Policy::default, |queue| self.queues.queue(queue).policy);
        for (option, value) in policies {
            let value = decode(value).unwrap_or_default();
            if let Err(refusal) = policy.set(option, &value) {
                return fx.send(peer, Reply::Refused(refusal));
            }
        }
        let Some(queue) = self.queue_by_name(name) else {
            return fx.refuse_busy(peer, 60_000, "too many queues");
        };
        self.set_policy(queue, policy);
        let (name, line) = (fx.text(name.as_bytes()), fx.text(policy.to_string().as_bytes()));
        fx.write(Write::Queue { name, line });
        fx.send(peer, Reply::Json(self.view_queue(queue)));
    }

    pub(super) fn on_pause(&mut self, peer: Peer, name: &str, paused: bool, fx: &mut Effects) {
        let Some(queue) = self.queue_names.find(name).and_then(|name| self.queues.find(name))
        else {
            return fx.refuse(peer, Code::UnknownQueue, format!("there is no queue {name}"));
        };
        let policy = Policy { paused, ..self.queues.queue(queue).policy };
        self.set_policy(queue, policy);
        let (name, line) = (fx.text(name.as_bytes()), fx.text(policy.to_string().as_bytes()));
        fx.write(Write::Queue { name, line });
        fx.send(peer, Reply::Ok);
    }

    /// Puts policies in force; what waits is sorted anew, in slices.
    pub(super) fn set_policy(&mut self, number: u32, policy: Policy) {
        let queue = self.queues.queue_mut(number);
        queue.configured = true;
        let before = std::mem::replace(&mut queue.policy, policy);
        if before.route != policy.route {
            queue.chosen = None;
            self.workers.change_route(before.route, policy.route);
        }
        self.rebound(number, &before);
        let queue = self.queues.queue_mut(number);
        // The other routes choose among the free workers, and leave what waits where it is.
        let keyed = |policy: &Policy| policy.route.is_keyed().then_some(policy.route);
        let placed = |policy: &Policy| {
            (policy.order, policy.aging, policy.alpha, keyed(policy), policy.spill_ms)
        };
        if placed(&before) == placed(&policy) {
            return;
        }
        for class in queue.classes.clone() {
            let its = self.queues.class_mut(class);
            its.keyed = policy.route.is_keyed();
            // What has yet to be sorted may find its owner again before that is done.
            if !its.keyed && its.waiting == 0 {
                its.spill = Spill::default();
            }
            for pool in self.queues.class(class).pools.clone() {
                self.workers.pools.at_mut(pool).keyed.remove(&class);
            }
            self.choose_members(class);
            self.disarm_spill(class);
            self.unsort(class);
        }
    }
}
