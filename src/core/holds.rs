//! Who holds which `unique=`: an unended task of the queue, or one that has ended for as long as its
//! `unique-for=` says.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::timers::Reason;
use crate::core::{Core, Effects};
use crate::record::Write;
use crate::task::TaskId;

/// The queue's number and the value, encoded in its one way.
pub(super) type Name = (u32, Box<str>);

/// Who holds a `unique=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) id: TaskId,
    /// Its task has ended, and the hold does at this Unix time in milliseconds.
    pub(super) until_ms: Option<u64>,
}

/// The holds by name, and those that outlive their tasks by their ends.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_name: BTreeMap<Name, Hold>,
    ends: BTreeSet<(u64, Name)>,
    /// When the timer is set, in Unix milliseconds.
    timer_ms: Option<u64>,
}

impl Holds {
    pub(super) fn get(&self, name: &Name) -> Option<Hold> {
        self.by_name.get(name).copied()
    }

    /// Gives a name a holder, in place of the one it had.
    pub(super) fn set(&mut self, name: Name, hold: Hold) {
        self.remove(&name);
        if let Some(until_ms) = hold.until_ms {
            self.ends.insert((until_ms, name.clone()));
        }
        self.by_name.insert(name, hold);
    }

    fn remove(&mut self, name: &Name) {
        if let Some(Hold { until_ms: Some(until_ms), .. }) = self.by_name.remove(name) {
            self.ends.remove(&(until_ms, name.clone()));
        }
    }

    /// Whether anything of a queue is held.
    pub(super) fn has_queue(&self, queue: u32) -> bool {
        let mut from = self.by_name.range((queue, Box::from(""))..);
        from.next().is_some_and(|((its, _), _)| *its == queue)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Hold)> {
        self.by_name.iter()
    }

    /// When the first hold ends, in Unix milliseconds.
    pub(super) fn next_end(&self) -> Option<u64> {
        self.ends.first().map(|(until_ms, _)| *until_ms)
    }
}

impl Core {
    /// The name of a task's `unique=`, if it has one.
    fn unique_of(&self, slot: u32) -> Option<Name> {
        let task = self.tasks.get(slot)?;
        let unique = task.more.as_ref()?.unique.clone()?;
        Some((self.queues.class(task.class).queue, unique))
    }

    /// Whether a task that has ended could be brought back: nobody else has its `unique=`.
    pub(super) fn may_take_unique_again(&self, slot: u32) -> bool {
        let hold = self.unique_of(slot).and_then(|name| self.holds.get(&name));
        let id = self.tasks.get(slot).map(|task| task.id);
        hold.is_none_or(|hold| Some(hold.id) == id)
    }

    /// A task is brought back and takes its `unique=` again.
    pub(super) fn take_unique_again(&mut self, slot: u32, fx: &mut Effects) {
        let Some(name) = self.unique_of(slot) else { return };
        let id = self.tasks.at(slot).id;
        if self.holds.get(&name).is_some() {
            self.write_unhold(&name, fx);
        }
        self.holds.set(name, Hold { id, until_ms: None });
        self.arm_unhold();
    }

    /// A task has ended: gives its `unique=` up, or keeps it for its time after the end.
    pub(super) fn release_unique(&mut self, slot: u32, fx: &mut Effects) {
        let Some(name) = self.unique_of(slot) else { return };
        let task = self.tasks.at(slot);
        let (id, for_ms) = (task.id, task.more().unique_for_ms);
        if for_ms == 0 {
            return self.holds.remove(&name);
        }
        let until_ms = self.now.wall_ms.saturating_add(for_ms);
        let text = fx.text(self.hold_text(&name).as_bytes());
        let line = fx.text(format!("id={id} until={until_ms}").as_bytes());
        fx.write(Write::Hold { name: text, line });
        self.hold_until(name, id, until_ms);
    }

    /// Keeps a name held until a Unix time in milliseconds.
    pub(super) fn hold_until(&mut self, name: Name, id: TaskId, until_ms: u64) {
        self.holds.set(name, Hold { id, until_ms: Some(until_ms) });
        self.arm_unhold();
    }

    pub(super) fn on_unhold(&mut self, fx: &mut Effects) {
        self.holds.timer_ms = None;
        while let Some((until_ms, name)) = self.holds.ends.first().cloned()
            && until_ms <= self.now.wall_ms
        {
            self.holds.remove(&name);
            self.write_unhold(&name, fx);
        }
        self.arm_unhold();
    }

    fn write_unhold(&self, name: &Name, fx: &mut Effects) {
        let name = fx.text(self.hold_text(name).as_bytes());
        fx.write(Write::Unhold { name });
    }

    /// Sets the timer for the first hold that ends.
    fn arm_unhold(&mut self) {
        let next_ms = self.holds.next_end();
        let armed_ms = std::mem::replace(&mut self.holds.timer_ms, next_ms);
        if armed_ms != next_ms {
            armed_ms.into_iter().for_each(|at_ms| self.timers.off_wall(at_ms, Reason::Unhold));
            next_ms.into_iter().for_each(|at_ms| self.timers.at_wall(at_ms, Reason::Unhold));
        }
    }

    fn hold_text(&self, (queue, unique): &Name) -> String {
        let queue = self.queue_names.name(self.queues.queue(*queue).name);
        format!("{queue} {unique}")
    }
}
