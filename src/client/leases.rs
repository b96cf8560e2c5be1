//! What a worker holds, from TASK until its answer is acknowledged. A plain table without I/O.
//!
//! It outlives connections: a lease that the scheduler pushes again after a lost connection is known
//! here and not run twice, and an answer stays until OK or `stale` has come for it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::failure::Failure;
use super::handler::Finished;
use super::task::{Lease, Signal};
use crate::protocol::answer::Task;

/// Where a lease stands.
#[derive(Debug)]
enum Stage {
    /// Waits for a slot: only after leases were lost whose runs go on.
    Waiting,
    /// Its handler runs.
    Running(Arc<Signal>),
    /// Its handler runs, but the scheduler has given the lease up: nobody waits for its answer.
    Lost,
    /// Answered; the answer may be on its way, or wait for a connection.
    Answered,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: HashMap<Lease, Stage>,
    waiting: VecDeque<Task>,
    running: usize,
    /// Answers that are not acknowledged, oldest first.
    answers: VecDeque<Finished>,
}

impl Leases {
    /// Takes a lease on; what is known already is left as it is.
    pub(super) fn take(&mut self, task: Task) {
        if let Entry::Vacant(vacant) = self.held.entry((task.id, task.attempt)) {
            vacant.insert(Stage::Waiting);
            self.waiting.push_back(task);
        }
    }

    /// The next lease to run, if fewer than `slots` run.
    pub(super) fn start(&mut self, slots: usize) -> Option<(Task, Arc<Signal>)> {
        if self.running >= slots {
            return None;
        }
        let task = self.waiting.pop_front()?;
        let signal = Arc::<Signal>::default();
        self.held.insert((task.id, task.attempt), Stage::Running(signal.clone()));
        self.running += 1;
        Some((task, signal))
    }

    /// A run has ended. Whether its answer is to be sent.
    pub(super) fn finish(&mut self, finished: Finished) -> bool {
        match self.held.get(&finished.lease) {
            Some(Stage::Running(_)) => {
                self.running -= 1;
                self.answer(finished);
                true
            }
            Some(Stage::Lost) => {
                self.running -= 1;
                self.held.remove(&finished.lease);
                false
            }
            _ => false,
        }
    }

    /// Notes an answer that is to be sent.
    pub(super) fn answer(&mut self, finished: Finished) {
        self.held.insert(finished.lease, Stage::Answered);
        self.answers.push_back(finished);
    }

    /// The oldest answer is settled: OK or an error came for it.
    pub(super) fn settle(&mut self) {
        if let Some(finished) = self.answers.pop_front() {
            self.held.remove(&finished.lease);
        }
    }

    /// The answers that are not acknowledged, oldest first.
    pub(super) fn answers(&self) -> impl Iterator<Item = &Finished> {
        self.answers.iter()
    }

    /// The answer noted last.
    pub(super) fn last_answer(&self) -> Option<&Finished> {
        self.answers.back()
    }

    /// CANCEL: tells the run; what does not run is to be answered at once, for the scheduler keeps
    /// the slot until then. Whether it is.
    pub(super) fn cancel(&mut self, lease: Lease, reason: String) -> bool {
        match self.held.get(&lease) {
            Some(Stage::Running(signal)) => signal.raise(reason),
            Some(Stage::Answered | Stage::Lost) => {}
            Some(Stage::Waiting) => {
                self.waiting.retain(|task| (task.id, task.attempt) != lease);
                return true;
            }
            None => return true,
        }
        false
    }

    /// The scheduler has given up all that was held: runs are told, and the rest is forgotten, for
    /// their answers would be stale.
    pub(super) fn lose(&mut self) {
        self.waiting.clear();
        self.answers.clear();
        self.held.retain(|_, stage| {
            if let Stage::Running(signal) = stage {
                signal.raise("lost".to_owned());
                *stage = Stage::Lost;
            }
            matches!(stage, Stage::Lost)
        });
    }

    /// Gives back what waits.
    pub(super) fn release_waiting(&mut self) -> Vec<Lease> {
        self.waiting.drain(..).map(|task| (task.id, task.attempt)).collect()
    }

    /// Whether the lease is known.
    pub(super) fn holds(&self, lease: Lease) -> bool {
        self.held.contains_key(&lease)
    }

    /// Whether a handler runs for the lease.
    pub(super) fn is_running(&self, lease: Lease) -> bool {
        matches!(self.held.get(&lease), Some(Stage::Running(_)))
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Forgets everything: the session is about to end, and runs were stopped.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// An answer that gives a lease back unrun.
pub(super) fn unrun(lease: Lease) -> Finished {
    Finished { lease, outcome: Err(Failure::release(std::time::Duration::ZERO)) }
}
