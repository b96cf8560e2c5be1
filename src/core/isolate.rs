//! A task that may have crashed two workers runs alone, on a session emptied for it, so that it
//! takes nothing else with it. One at a time: the others go on.

use std::collections::BTreeSet;

use crate::core::timers::Reason;
use crate::core::{Core, Effects};
use crate::task::TaskId;

/// Pause between two such runs, in microseconds, so that a crowd of suspects leaves the workers to
/// the healthy most of the time.
const PAUSE_US: u64 = 1_000_000;

/// The suspects that are ready, and the one whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    pub(super) waiting: BTreeSet<TaskId>,
    /// The suspect and the worker's session that is emptied for it or runs it.
    pub(super) current: Option<(TaskId, u32)>,
    /// Monotonic microseconds before which the next has no turn.
    not_before_us: u64,
}

impl Core {
    /// A suspect is ready.
    pub(super) fn isolate(&mut self, slot: u32, fx: &mut Effects) {
        let id = self.tasks.at(slot).id;
        self.isolation.waiting.insert(id);
        self.isolate_next(fx);
    }

    /// Has a worker emptied for the next suspect, if it is time and somebody is able.
    pub(super) fn isolate_next(&mut self, fx: &mut Effects) {
        if self.isolation.current.is_some() || self.now.mono_us < self.isolation.not_before_us {
            return;
        }
        let waiting: Vec<TaskId> = self.isolation.waiting.iter().copied().take(100).collect();
        for id in waiting {
            if let Some(worker) = self.least_busy(id) {
                self.isolation.current = Some((id, worker));
                self.workers.sessions.at_mut(worker).reserved = Some(id);
                self.workers.refresh(worker);
                self.step_reserved(worker, fx);
                return;
            }
        }
    }

    fn least_busy(&mut self, id: TaskId) -> Option<u32> {
        let class = self.tasks.find(id).map(|slot| self.tasks.at(slot).class)?;
        let pools = &self.queues.class(class).pools;
        let members = pools.iter().filter_map(|pool| self.workers.pools.get(*pool));
        let sessions = members.flat_map(|pool| pool.members.iter().map(|(_, worker)| *worker));
        let able = sessions.filter(|worker| {
            let worker = self.workers.sessions.at(*worker);
            worker.takes_work() && worker.reserved.is_none() && worker.entry.slots > 0
        });
        able.min_by_key(|worker| (self.workers.sessions.at(*worker).busy(), *worker))
    }

    /// A reserved worker gets its suspect when it is empty, and nothing else. True if it is reserved.
    pub(super) fn step_reserved(&mut self, worker: u32, fx: &mut Effects) -> bool {
        let Some(session) = self.workers.sessions.get(worker) else { return false };
        let Some(id) = session.reserved else { return false };
        let able = session.takes_work() && session.entry.slots > 0;
        if !self.isolation.waiting.contains(&id) {
            return true;
        }
        if !able {
            self.give_up_isolation(fx);
            return false;
        }
        if session.busy() == 0
            && let Some(slot) = self.tasks.find(id)
        {
            self.isolation.waiting.remove(&id);
            self.lease(slot, worker, fx);
        }
        true
    }

    /// The reserved worker is no longer able: another one has to do.
    pub(super) fn give_up_isolation(&mut self, fx: &mut Effects) {
        if let Some((_, worker)) = self.isolation.current.take() {
            if let Some(session) = self.workers.sessions.get_mut(worker) {
                session.reserved = None;
            }
            self.workers.refresh(worker);
            self.isolate_next(fx);
        }
    }

    /// The lease of a task ended: if it was the suspect's, its worker is everybody's again.
    pub(super) fn end_isolation(&mut self, id: TaskId) {
        let Some((current, worker)) = self.isolation.current else { return };
        if current != id {
            return;
        }
        self.isolation.current = None;
        self.isolation.not_before_us = self.now.mono_us + PAUSE_US;
        self.timers.at_mono(self.isolation.not_before_us, Reason::Isolation);
        if let Some(session) = self.workers.sessions.get_mut(worker) {
            session.reserved = None;
        }
        self.workers.refresh(worker);
    }

    /// A suspect that waits was cancelled or expired.
    pub(super) fn leave_isolation(&mut self, id: TaskId, fx: &mut Effects) {
        self.isolation.waiting.remove(&id);
        if let Some((current, worker)) = self.isolation.current
            && current == id
        {
            self.give_up_isolation(fx);
            self.feed(worker, fx);
        }
    }
}
