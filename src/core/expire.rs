//! What happens because time passes.

use crate::core::dispatch::APART;
use crate::core::limits::ASIDE;
use crate::core::queues::Queue;
use crate::core::tasks::{Phase, Task};
use crate::core::timers::Reason;
use crate::core::{Core, Effects};
use crate::message::Retry;
use crate::record::Write;
use crate::task::{State, TaskId};

/// The owner of a ready task that has expired and was taken out of its line: it is about to end.
pub(super) const LAPSED: u32 = u32::MAX - 3;

/// Deadlines handled in one turn; the rest is handled in the next, after what has arrived.
const SLICE: usize = 4096;

/// How often idle queues, old figures and workers' entries are looked at, in microseconds.
const HOUSEKEEPING_US: u64 = 60_000_000;

/// How long an empty queue without policies is kept, in microseconds.
const IDLE_QUEUE_US: u64 = 3_600_000_000;

/// How many queues or classes without tasks make place for others at once.
const PLACES: usize = 16;

/// How long after a vain look for such a queue or class there is none, in microseconds.
const CROWDED_US: u64 = 10_000;

impl Core {
    pub(super) fn on_due(&mut self, fx: &mut Effects) {
        for _ in 0..SLICE {
            if let Some(id) = self.lapsed.pop_front() {
                self.end_lapsed(id, fx);
                continue;
            }
            let Some(reason) = self.timers.pop(self.now) else { return };
            match reason {
                Reason::LeaseLimit(id) => self.on_lease_limit(id, fx),
                Reason::Grace(worker) => self.on_grace_over(worker, fx),
                Reason::Spill(class) => self.on_spill(class, fx),
                Reason::Breaker(worker) => self.on_breaker(worker, fx),
                Reason::Starved(class) => self.on_starved(class),
                Reason::Rate(queue) => self.on_rate(queue),
                Reason::Apart(id) => self.on_apart(id, fx),
                Reason::Isolation => self.isolate_next(fx),
                Reason::Housekeeping => self.on_housekeeping(fx),
                Reason::TaskDue(id) => self.on_task_due(id, fx),
                Reason::Expiry(id) => self.on_expiry(id, fx),
                Reason::Forget(id) => self.on_forget(id, fx),
                Reason::Unhold => self.on_unhold(fx),
                Reason::Figures => self.on_figures(fx),
                Reason::Cron(number) => self.on_cron(number, false, fx),
                Reason::CronRetry(number) => self.on_cron(number, true, fx),
                Reason::Snapshot(peer) => self.on_snapshot(peer, fx),
                Reason::Publish => self.on_publish(fx),
            }
        }
    }

    fn on_lease_limit(&mut self, id: TaskId, fx: &mut Effects) {
        let Some(slot) = self.tasks.find(id) else { return };
        let Phase::Leased { worker, .. } = self.tasks.at(slot).phase else { return };
        let Some((at_us, end)) = self.lease_limit(slot) else { return };
        if at_us > self.now.mono_us {
            return self.arm_limit(slot);
        }
        self.stop_run(slot, worker, end, fx);
        self.fail_lease(slot, worker, end, Retry::Backoff, fx);
        self.feed(worker, fx);
    }

    /// Sets the timer for the first limit of a lease, if it has one.
    pub(super) fn arm_limit(&mut self, slot: u32) {
        if let Some((at_us, _)) = self.lease_limit(slot) {
            self.disarm_limit(slot);
            let task = self.tasks.at(slot);
            task.more().timer_us = at_us;
            self.timers.at_mono(at_us, Reason::LeaseLimit(task.id));
        }
    }

    /// Drops the timer of a lease.
    pub(super) fn disarm_limit(&mut self, slot: u32) {
        let task = self.tasks.at(slot);
        if let Some(more) = task.more.as_mut() {
            let at_us = std::mem::take(&mut more.timer_us);
            self.timers.off_mono(at_us, Reason::LeaseLimit(task.id));
        }
    }

    /// When a limit ends a lease, in monotonic microseconds, and which.
    ///
    /// Nobody is late because the scheduler was down: while a session may still come back after a
    /// start, nothing ends its leases; then `timeout=` counts anew, and `max-run=` leaves time for
    /// an answer that could not be given.
    pub(super) fn lease_limit(&self, slot: u32) -> Option<(u64, &'static str)> {
        self.lease_limits(slot)?.into_iter().flatten().min()
    }

    /// When `timeout=` and when `max-run=` ends a lease, as far as each does.
    pub(super) fn lease_limits(&self, slot: u32) -> Option<[Option<(u64, &'static str)>; 2]> {
        let task = self.tasks.get(slot)?;
        let Phase::Leased { since_us, worker, .. } = task.phase else { return None };
        let (more, session) = (task.more.as_ref()?, self.workers.sessions.at(worker));
        let after = |from_us: u64, ms: u64| from_us.saturating_add(ms.saturating_mul(1000));
        let (back_us, least_us) = match session.returned_us {
            // Its grace decides; at the end of that, too.
            _ if session.restored => return None,
            returned_us if returned_us > since_us => {
                (returned_us, after(returned_us, self.settings.grace_ms))
            }
            _ => (0, 0),
        };
        let from_us = since_us.max(more.progress_us).max(back_us);
        let timeout = more.timeout_ms.map(|ms| (after(from_us, ms), "timeout"));
        let max_run = more.max_run_ms.map(|ms| (after(since_us, ms).max(least_us), "max-run"));
        Some([timeout, max_run])
    }

    fn on_task_due(&mut self, id: TaskId, fx: &mut Effects) {
        let Some(slot) = self.tasks.find(id) else { return };
        if self.tasks.at(slot).phase.is_due(self.now) {
            self.make_ready(slot, fx);
        } else {
            self.arm_due(slot);
        }
    }

    /// Sets the timer of a scheduled task.
    pub(super) fn arm_due(&mut self, slot: u32) {
        let task = self.tasks.at(slot);
        match task.phase {
            Phase::Scheduled { due_ms, over_us: 0 } => {
                self.timers.at_wall(due_ms, Reason::TaskDue(task.id));
            }
            Phase::Scheduled { over_us, .. } => {
                self.timers.at_mono(over_us, Reason::TaskDue(task.id));
            }
            _ => {}
        }
    }

    /// Drops the timer of a scheduled task.
    pub(super) fn disarm_due(&mut self, slot: u32) {
        let task = self.tasks.at(slot);
        if let Phase::Scheduled { due_ms, over_us } = task.phase {
            self.timers.off_wall(due_ms, Reason::TaskDue(task.id));
            self.timers.off_mono(over_us, Reason::TaskDue(task.id));
        }
    }

    fn on_expiry(&mut self, id: TaskId, fx: &mut Effects) {
        let Some(slot) = self.tasks.find(id) else { return };
        let task = self.tasks.at(slot);
        let Some(at_ms) = task.expires_at_ms() else { return };
        if at_ms <= self.now.wall_ms {
            self.expire(slot, fx);
        } else {
            self.timers.at_wall(at_ms, Reason::Expiry(id));
        }
    }

    /// Takes a task that is not leased from wherever it waits.
    pub(super) fn withdraw(&mut self, slot: u32, fx: &mut Effects) {
        let task = self.tasks.at(slot);
        let (id, class) = (task.id, task.class);
        let Phase::Ready { owner, .. } = task.phase else { return };
        let isolated = task.is_isolated();
        if owner == APART {
            self.leave_apart(slot);
        }
        self.tasks.at(slot).phase = Phase::DUE;
        self.move_count(class, State::Ready, State::Scheduled);
        if isolated {
            self.leave_isolation(class, id, fx);
        } else if owner != ASIDE {
            if owner != APART && owner != LAPSED {
                self.leave_line(class);
            }
            self.give_way(slot);
        }
    }

    /// Whether it is too late to lease a task.
    pub(super) fn is_expired(&self, slot: u32) -> bool {
        let expires_ms = self.tasks.get(slot).and_then(Task::expires_at_ms);
        expires_ms.is_some_and(|at_ms| at_ms <= self.now.wall_ms)
    }

    /// An expired task has been met that is in no line (any more), before its deadline was looked at:
    /// it ends when they are, unless the clock was set back.
    pub(super) fn lapse(&mut self, slot: u32) {
        let task = self.tasks.at(slot);
        if let Phase::Ready { owner, .. } = &mut task.phase {
            *owner = LAPSED;
        }
        self.lapsed.push_back(task.id);
    }

    fn end_lapsed(&mut self, id: TaskId, fx: &mut Effects) {
        let Some(slot) = self.tasks.find(id) else { return };
        if !matches!(self.tasks.at(slot).phase, Phase::Ready { owner: LAPSED, .. }) {
            return;
        }
        if self.is_expired(slot) {
            self.expire(slot, fx);
        } else {
            self.enter(slot, fx);
        }
    }

    /// Ends a task that has expired.
    pub(super) fn expire(&mut self, slot: u32, fx: &mut Effects) {
        self.withdraw(slot, fx);
        self.bury(slot, State::Cancelled, "expired", fx);
    }

    fn on_forget(&mut self, id: TaskId, fx: &mut Effects) {
        let Some(slot) = self.tasks.find(id) else { return };
        let task = self.tasks.at(slot);
        let Some(until_ms) = task.forget_at_ms() else { return };
        if until_ms > self.now.wall_ms {
            self.timers.at_wall(until_ms, Reason::Forget(id));
            return;
        }
        if self.keeps_for_dependents(id) {
            return;
        }
        self.forget(slot, fx);
    }

    pub(super) fn arm_housekeeping(&mut self) {
        self.timers.at_mono(self.now.mono_us + HOUSEKEEPING_US, Reason::Housekeeping);
    }

    fn on_housekeeping(&mut self, fx: &mut Effects) {
        let now_us = self.now.mono_us;
        let idle = self.queues.iter().filter(|(number, queue)| {
            let idle = now_us.saturating_sub(queue.used_us) >= IDLE_QUEUE_US;
            idle && self.is_unused(*number, queue)
        });
        let idle: Vec<u32> = idle.map(|(number, _)| number).collect();
        idle.into_iter().for_each(|number| self.forget_queue(number));
        let workers: Vec<u32> = self.workers.sessions.iter().map(|(number, _)| number).collect();
        for worker in workers {
            if self.workers.sessions.at(worker).peer.is_some() {
                self.write_worker(worker, fx);
            }
        }
        let batch = &mut fx.batch;
        let mut forgotten = false;
        self.costs.forget(self.now.wall_ms, &mut |kind, worker| {
            forgotten = true;
            let name = batch.put(|out| put_pair(out, kind, worker));
            batch.writes.push(Write::StatsGone { name });
        });
        if forgotten {
            self.workers.forget_paces();
        }
        self.arm_housekeeping();
    }

    /// Whether a queue can be forgotten: it is as one that is made anew.
    fn is_unused(&self, number: u32, queue: &Queue) -> bool {
        let empty = queue.counts.held() == 0 && queue.runs.count == 0;
        !queue.configured && empty && !self.holds.has_queue(number)
    }

    /// There are as many queues as may be: forgets some without tasks.
    pub(super) fn forget_idle_queues(&mut self) {
        if self.now.mono_us < self.crowded_us {
            return;
        }
        let idle = self.queues.iter().filter(|(number, queue)| {
            queue.classes.len() <= PLACES && self.is_unused(*number, queue)
        });
        let idle: Vec<u32> = idle.map(|(number, _)| number).take(PLACES).collect();
        if idle.is_empty() {
            self.crowded_us = self.now.mono_us + CROWDED_US;
        }
        idle.into_iter().for_each(|number| self.forget_queue(number));
    }

    /// There are as many classes as may be: forgets some without tasks.
    pub(super) fn forget_idle_classes(&mut self) {
        if self.now.mono_us < self.crowded_us {
            return;
        }
        let idle = self.queues.classes().filter(|(_, class)| class.tasks == 0);
        let idle: Vec<u32> = idle.map(|(number, _)| number).take(PLACES).collect();
        if idle.is_empty() {
            self.crowded_us = self.now.mono_us + CROWDED_US;
        }
        idle.into_iter().for_each(|number| self.forget_class(number));
    }

    fn forget_queue(&mut self, number: u32) {
        self.ended.done += self.queues.queue(number).counts.done;
        for (_, pool) in self.workers.pools.iter_mut() {
            pool.shares.forget(number);
        }
        for class in self.queues.queue(number).classes.clone() {
            self.forget_class(class);
        }
        if let Some(gone) = self.queues.remove(number) {
            self.queue_names.give_up(gone.name);
        }
    }

    /// Forgets a class without tasks.
    pub(super) fn forget_class(&mut self, number: u32) {
        self.stop_saving(number);
        let class = self.queues.class(number);
        if let Some(at_us) = class.starved_timer {
            self.timers.off_mono(at_us, Reason::Starved(number));
        }
        let (kind, demand, members) = (class.kind, class.parts.demand, class.members);
        for owner in class.owners.keys().copied().collect::<Vec<_>>() {
            self.disown(owner, number);
        }
        self.disarm_spill(number);
        for pool in self.queues.class(number).pools.clone() {
            let pool = self.workers.pools.at_mut(pool);
            pool.classes.retain(|its| *its != number);
            pool.keyed.remove(&number);
            pool.bulky.remove(&number);
            pool.forget_pace(kind);
            let mut classes = pool.classes.iter().map(|class| self.queues.class(*class));
            if classes.all(|class| class.parts.demand != demand) {
                pool.rooms.remove(&demand);
            }
        }
        self.end_sorting(number);
        self.repooled.remove(&number);
        self.displaced.remove(&number);
        self.queues.remove_class(number);
        self.give_up_kind(kind);
        self.demands.give_up(demand);
        if let Some(members) = members {
            self.leave_members(members, number);
        }
    }

    /// Figures are written at whole seconds of the wall clock while there is something to tell, so
    /// that a throughput of sixty seconds is one of sixty whole ones.
    pub(super) fn arm_figures(&mut self) {
        if !self.figures_timer && self.costs.is_changed() {
            self.figures_timer = true;
            let next_ms = self.now.wall_ms - self.now.wall_ms % 1000 + 1000;
            self.timers.at_wall(next_ms, Reason::Figures);
        }
    }

    fn on_figures(&mut self, fx: &mut Effects) {
        self.figures_timer = false;
        self.write_figures(fx);
    }

    /// Writes the figures that changed, as of the last whole second.
    pub(super) fn write_figures(&mut self, fx: &mut Effects) {
        let at_ms = self.now.wall_ms - self.now.wall_ms % 1000;
        let batch = &mut fx.batch;
        self.costs.flush(at_ms, &mut |kind, worker, figures| {
            let name = batch.put(|out| put_pair(out, kind, worker));
            let mut words = Vec::new();
            figures.fields(&mut |name, value| {
                words.extend_from_slice(format!(" {name}={value}").as_bytes());
            });
            let line = batch.put(|out| out.extend_from_slice(words.get(1..).unwrap_or_default()));
            batch.writes.push(Write::Stats { name, line });
        });
    }
}

fn put_pair(out: &mut Vec<u8>, kind: &str, worker: Option<&str>) {
    out.extend_from_slice(kind.as_bytes());
    if let Some(worker) = worker {
        out.push(b'@');
        out.extend_from_slice(worker.as_bytes());
    }
}
