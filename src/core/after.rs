//! `after=`: tasks that wait until others, their *parents*, are done.
//!
//! A parent that is no longer in the core is done: what was dead or cancelled stays for as long as
//! somebody waits for it. Nothing of this is written: what waits for what is found again from the
//! records. Dependents of a parent that has ended are told in slices, so that no crowd of them
//! holds up the rest; and never from within each other's end, however long the chain is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::core::tasks::{Phase, Task};
use crate::core::timers::Reason;
use crate::core::{Core, Effects};
use crate::message::{AfterFailure, Code, Refusal, Submit};
use crate::task::{State, TaskId};

/// How many dependents are told in one go: about a millisecond.
const SLICE: usize = 4096;

/// Who waits for whom.
#[derive(Debug, Default)]
pub(super) struct After {
    /// By parent.
    pub(super) dependents: BTreeMap<TaskId, Dependents>,
    /// By dependent.
    pub(super) waiting: BTreeMap<TaskId, Waiting>,
    /// Parents that have ended and whose dependents have yet to be told.
    pub(super) ended: VecDeque<TaskId>,
    /// Cancelled parents that would be forgotten by now.
    pub(super) kept: BTreeSet<TaskId>,
}

/// Those that wait for a task.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dependents {
    /// Those that wait on where it is dead or cancelled.
    pub(super) patient: BTreeSet<TaskId>,
    /// The others.
    pub(super) hasty: BTreeSet<TaskId>,
}

/// What a task waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Those that are not done.
    pub(super) parents: BTreeSet<TaskId>,
    pub(super) on_failure: AfterFailure,
}

impl Dependents {
    fn of(&mut self, on_failure: AfterFailure) -> &mut BTreeSet<TaskId> {
        match on_failure {
            AfterFailure::Wait => &mut self.patient,
            AfterFailure::Cancel | AfterFailure::Run => &mut self.hasty,
        }
    }

    fn is_empty(&self) -> bool {
        self.patient.is_empty() && self.hasty.is_empty()
    }
}

impl Task {
    /// What its record says of the tasks that it comes after, unless it was leased: then it is past
    /// that.
    fn parents(&self) -> Option<(Vec<TaskId>, AfterFailure)> {
        let (mut parents, mut on_failure) = (None, AfterFailure::default());
        for (name, value) in self.options().filter(|_| self.attempt == 0) {
            match name {
                "after" => {
                    let ids = value.split(',');
                    parents = Some(ids.filter_map(|id| TaskId::parse(id.as_bytes())).collect());
                }
                "after-failure" => on_failure = AfterFailure::parse(value).unwrap_or_default(),
                _ => {}
            }
        }
        Some((parents?, on_failure))
    }
}

impl Core {
    /// Whether a new task can come after those that it names.
    pub(super) fn may_come_after(&self, submit: &Submit) -> Result<(), Refusal> {
        for id in submit.after() {
            if id.shard() != self.settings.shard {
                let text = format!("task {id} is of shard {}", id.shard());
                return Err(Refusal::new(Code::WrongShard, text));
            }
            if id > self.last {
                let text = format!("no task {id} was ever submitted");
                return Err(Refusal::new(Code::UnknownTask, text));
            }
        }
        Ok(())
    }

    /// The first of a task's parents that keeps it from being brought back: it would be cancelled at
    /// once.
    pub(super) fn failed_parent(&self, slot: u32) -> Option<TaskId> {
        let (parents, on_failure) = self.tasks.get(slot)?.parents()?;
        let failed = |id: &TaskId| self.tasks.find(*id).is_some_and(|slot| self.has_failed(slot));
        parents.into_iter().filter(|_| on_failure == AfterFailure::Cancel).find(failed)
    }

    /// Whether a task that is still here has ended.
    fn has_failed(&self, slot: u32) -> bool {
        self.tasks.get(slot).is_some_and(|task| task.state().is_end())
    }

    /// Has a task wait for its parents, as far as they are not done. True if one of them has failed,
    /// and the task is to be cancelled for that.
    pub(super) fn come_after(&mut self, slot: u32) -> bool {
        let task = self.tasks.at(slot);
        let id = task.id;
        let Some((parents, on_failure)) = task.parents() else {
            task.after = false;
            return false;
        };
        let (mut waits_for, mut doomed) = (BTreeSet::new(), false);
        for parent in parents {
            let Some(its) = self.tasks.find(parent) else { continue };
            let failed = self.has_failed(its);
            if failed && on_failure == AfterFailure::Run {
                continue;
            }
            doomed |= failed && on_failure == AfterFailure::Cancel;
            waits_for.insert(parent);
            self.after.dependents.entry(parent).or_default().of(on_failure).insert(id);
        }
        self.tasks.at(slot).after = !waits_for.is_empty();
        if !waits_for.is_empty() {
            self.after.waiting.insert(id, Waiting { parents: waits_for, on_failure });
        }
        doomed
    }

    /// A task has ended, in whatever way: who waits for it is to be told, and it waits no more.
    pub(super) fn note_after(&mut self, id: TaskId) {
        if self.has_dependents(id) {
            self.after.ended.push_back(id);
        }
        if let Some(waiting) = self.after.waiting.remove(&id) {
            for parent in waiting.parents {
                self.part(parent, id, waiting.on_failure);
            }
            if let Some(slot) = self.tasks.find(id) {
                self.tasks.at(slot).after = false;
            }
        }
    }

    /// A parent has a dependent less; without any, it is forgotten at its time.
    fn part(&mut self, parent: TaskId, id: TaskId, on_failure: AfterFailure) {
        let Some(dependents) = self.after.dependents.get_mut(&parent) else { return };
        dependents.of(on_failure).remove(&id);
        if !dependents.is_empty() {
            return;
        }
        self.after.dependents.remove(&parent);
        if self.after.kept.remove(&parent)
            && let Some(slot) = self.tasks.find(parent)
            && let Some(at_ms) = self.tasks.at(slot).forget_at_ms()
        {
            self.timers.at_wall(at_ms, Reason::Forget(parent));
        }
    }

    /// Whether somebody waits for a task.
    pub(super) fn has_dependents(&self, id: TaskId) -> bool {
        self.after.dependents.contains_key(&id)
    }

    /// Whether a cancelled task is to be kept beyond its time, because somebody waits for it.
    pub(super) fn keeps_for_dependents(&mut self, id: TaskId) -> bool {
        let kept = self.has_dependents(id);
        if kept {
            self.after.kept.insert(id);
        }
        kept
    }

    /// Tells dependents of those that have ended, up to a number.
    pub(super) fn tell_dependents(&mut self, fx: &mut Effects) {
        let mut budget = SLICE;
        while budget > 0
            && let Some(&parent) = self.after.ended.front()
        {
            let slot = self.tasks.find(parent);
            let failed = slot.is_some_and(|slot| self.has_failed(slot));
            match self.first_to_tell(parent, slot.is_none(), failed) {
                Some(id) => self.tell(id, parent, failed, fx),
                None => drop(self.after.ended.pop_front()),
            }
            budget -= 1;
        }
    }

    /// A dependent to which the end of a task means something. One that was brought back has not
    /// ended after all.
    fn first_to_tell(&self, parent: TaskId, done: bool, failed: bool) -> Option<TaskId> {
        let dependents = self.after.dependents.get(&parent)?;
        let hasty = dependents.hasty.first().filter(|_| done || failed);
        hasty.or_else(|| dependents.patient.first().filter(|_| done)).copied()
    }

    fn tell(&mut self, id: TaskId, parent: TaskId, failed: bool, fx: &mut Effects) {
        let slot = self.tasks.find(id).expect("who waits is here");
        let waiting = self.after.waiting.get_mut(&id).expect("who is waited for knows it");
        let on_failure = waiting.on_failure;
        if failed && on_failure == AfterFailure::Cancel {
            return self.bury(slot, State::Cancelled, "after", fx);
        }
        waiting.parents.remove(&parent);
        let free = waiting.parents.is_empty();
        self.part(parent, id, on_failure);
        if free {
            self.after.waiting.remove(&id);
            let task = self.tasks.at(slot);
            task.after = false;
            if task.phase == Phase::Blocked {
                self.make_ready(slot, fx);
            }
        }
    }

    /// After a start: finds out who waits for whom; those that are to be cancelled.
    pub(super) fn restore_after(&mut self) -> Vec<u32> {
        let waiting = self.tasks.iter().filter(|(_, task)| task.after);
        let waiting: Vec<u32> = waiting.map(|(slot, _)| slot).collect();
        waiting.into_iter().filter(|slot| self.come_after(*slot)).collect()
    }
}
