//! A task that may have crashed two workers runs alone, on a session emptied for it, so that it
//! takes nothing else with it. One at a time: the others go on.

use std::collections::BTreeSet;

use crate::core::tasks::How;
use crate::core::timers::Reason;
use crate::core::{Core, Effects};
use crate::task::TaskId;

/// Pause between two such runs, in microseconds, so that a crowd of suspects leaves the workers to
/// the healthy most of the time.
const PAUSE_US: u64 = 1_000_000;

/// The suspects that are ready, and the one whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    /// By class, since the class decides who is able.
    pub(super) waiting: BTreeSet<(u32, TaskId)>,
    /// The suspect and the worker's session that is emptied for it or runs it.
    pub(super) current: Option<(TaskId, u32)>,
    /// Monotonic microseconds before which the next has no turn.
    pub(super) not_before_us: u64,
}

impl Isolation {
    /// The first waiting suspect of each class.
    fn firsts(&self) -> impl Iterator<Item = (u32, TaskId)> + '_ {
        let mut from = Some((0, TaskId::default()));
        std::iter::from_fn(move || {
            let first = self.waiting.range(from?..).next().copied();
            from = first.and_then(|(class, _)| Some((class.checked_add(1)?, TaskId::default())));
            first
        })
    }
}

impl Core {
    /// A suspect is ready.
    pub(super) fn isolate(&mut self, slot: u32, fx: &mut Effects) {
        let task = self.tasks.at(slot);
        let (id, class) = (task.id, task.class);
        self.isolation.waiting.insert((class, id));
        self.isolate_next(fx);
    }

    /// The slot and class of a suspect that waits, rather than runs or has ended.
    pub(super) fn waiting_suspect(&self, id: TaskId) -> Option<(u32, u32)> {
        let slot = self.tasks.find(id)?;
        let class = self.tasks.get(slot)?.class;
        self.isolation.waiting.contains(&(class, id)).then_some((slot, class))
    }

    /// Has a worker emptied for the next suspect, if it is time and somebody is able.
    pub(super) fn isolate_next(&mut self, fx: &mut Effects) {
        if self.may_isolate()
            && let Some((id, worker)) = self.next_suspect()
        {
            self.reserve(id, worker);
            self.step_reserved(worker, fx);
        }
    }

    /// As [`Core::isolate_next`], for a queue that has opened and may close with the next run.
    pub(super) fn isolate_next_of(&mut self, queue: u32, fx: &mut Effects) {
        let its = |(class, _): &(u32, TaskId)| self.queues.class(*class).queue == queue;
        if self.may_isolate()
            && let Some((id, worker)) = self.first_able(self.isolation.firsts().filter(its))
        {
            self.reserve(id, worker);
            self.step_reserved(worker, fx);
        }
    }

    /// Whether it is time for the next suspect.
    fn may_isolate(&self) -> bool {
        self.isolation.current.is_none() && self.now.mono_us >= self.isolation.not_before_us
    }

    /// The first suspect that somebody is able to run, and who is least busy of them.
    pub(super) fn next_suspect(&self) -> Option<(TaskId, u32)> {
        self.first_able(self.isolation.firsts())
    }

    fn first_able(&self, firsts: impl Iterator<Item = (u32, TaskId)>) -> Option<(TaskId, u32)> {
        let open = firsts.filter(|(class, id)| self.may_begin(*class, *id));
        let able = open.filter_map(|(class, id)| Some((id, self.least_busy(class)?)));
        able.min()
    }

    /// Whether the limits of its queue let a suspect begin.
    fn may_begin(&self, class: u32, id: TaskId) -> bool {
        let slot = self.tasks.find(id);
        self.is_open(self.queues.class(class).queue) && !slot.is_some_and(|s| self.is_key_full(s))
    }

    fn least_busy(&self, class: u32) -> Option<u32> {
        let pools = &self.queues.class(class).pools;
        let members = pools.iter().filter_map(|pool| self.workers.pools.get(*pool));
        let sessions = members.flat_map(|pool| pool.members.iter().map(|(_, worker)| *worker));
        let able = sessions.filter(|worker| self.will_do(*worker, class));
        able.min_by_key(|worker| (self.workers.sessions.at(*worker).busy(), *worker))
    }

    /// Whether a worker takes tasks of a class, once it has room.
    fn will_do(&self, worker: u32, class: u32) -> bool {
        let worker = self.workers.sessions.at(worker);
        let pools = &self.queues.class(class).pools;
        let able = worker.pool.is_some_and(|(pool, _)| pools.binary_search(&pool).is_ok());
        able && worker.takes_work() && worker.entry.slots > 0
    }

    /// Has a worker's session be for a suspect alone.
    pub(super) fn reserve(&mut self, id: TaskId, worker: u32) {
        self.isolation.current = Some((id, worker));
        self.workers.sessions.at_mut(worker).reserved = Some(id);
        self.workers.refresh(worker);
    }

    /// A reserved worker gets its suspect when it is empty, and nothing else. True if it is reserved.
    pub(super) fn step_reserved(&mut self, worker: u32, fx: &mut Effects) -> bool {
        let Some(session) = self.workers.sessions.get(worker) else { return false };
        let (Some(id), busy) = (session.reserved, session.busy()) else { return false };
        let Some((slot, class)) = self.waiting_suspect(id) else { return true };
        if !self.will_do(worker, class) || !self.may_begin(class, id) {
            self.give_up_isolation(fx);
            return false;
        }
        if busy == 0 {
            self.isolation.waiting.remove(&(class, id));
            self.lease_as(slot, worker, How::Alone, fx);
        }
        true
    }

    /// A worker is not able for the time being: if it waits for a suspect, another one has to do.
    pub(super) fn give_up_reserved(&mut self, worker: u32, fx: &mut Effects) {
        let reserved = self.workers.sessions.at(worker).reserved;
        if reserved.is_some_and(|id| self.waiting_suspect(id).is_some()) {
            self.give_up_isolation(fx);
        }
    }

    /// The reserved worker is no longer able: another one has to do.
    fn give_up_isolation(&mut self, fx: &mut Effects) {
        if let Some((_, worker)) = self.isolation.current.take() {
            self.workers.sessions.at_mut(worker).reserved = None;
            self.workers.refresh(worker);
            self.isolate_next(fx);
        }
    }

    /// A run of a task may be over: if it was the suspect's, its worker is everybody's again. A run
    /// that goes on though its lease has ended is not over.
    pub(super) fn end_isolation(&mut self, id: TaskId, worker: u32) {
        let session = self.workers.sessions.at(worker);
        if self.isolation.current != Some((id, worker)) || session.runs_unanswered(id) {
            return;
        }
        self.isolation.current = None;
        self.isolation.not_before_us = self.now.mono_us + PAUSE_US;
        self.timers.at_mono(self.isolation.not_before_us, Reason::Isolation);
        self.workers.sessions.at_mut(worker).reserved = None;
        self.workers.refresh(worker);
    }

    /// A suspect that waits was cancelled or expired.
    pub(super) fn leave_isolation(&mut self, class: u32, id: TaskId, fx: &mut Effects) {
        self.isolation.waiting.remove(&(class, id));
        if let Some((current, worker)) = self.isolation.current
            && current == id
        {
            self.give_up_isolation(fx);
            self.feed(worker, fx);
        }
    }
}
