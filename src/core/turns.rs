//! `serial=yes`: tasks of one key in one queue have their turns one after another.
//!
//! A task joins the line of its key when it is due and waits for no task that it comes after. Whose
//! turn it is keeps the turn until it has ended, through failures and their backoff: its key waits,
//! no other key does. The next is the one with the smallest identifier of those that have joined. A
//! run that goes on though its lease has ended keeps the key, too.

use std::collections::BTreeSet;

use crate::core::tasks::{Phase, Task};
use crate::core::{Core, Effects};
use crate::task::{State, TaskId};

/// The line of a key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Turns {
    /// Whose turn it is: its slot in the task table.
    pub(super) current: Option<u32>,
    /// Those that have joined and are blocked.
    pub(super) waiting: BTreeSet<(TaskId, u32)>,
    /// Runs whose leases have ended and that go on.
    pub(super) unanswered: u32,
}

impl Core {
    fn turns(&mut self, queue: u32, key: &str) -> &mut Turns {
        self.queues.queue_mut(queue).turns.entry(key.into()).or_default()
    }

    /// The queue and the key of a serial task.
    pub(super) fn turn_of(&self, slot: u32) -> Option<(u32, Box<str>)> {
        let task = self.tasks.get(slot).filter(|task| task.serial)?;
        Some((self.queues.class(task.class).queue, task.key_text()?))
    }

    /// Whether a task that is due must wait for others. One that waits for nothing but its turn has
    /// joined the line then.
    pub(super) fn is_blocked(&mut self, slot: u32) -> bool {
        if self.tasks.at(slot).after {
            return true;
        }
        let Some((queue, key)) = self.turn_of(slot) else { return false };
        let id = self.tasks.at(slot).id;
        let turns = self.turns(queue, &key);
        if turns.unanswered == 0 {
            turns.current.get_or_insert(slot);
        }
        if turns.current == Some(slot) {
            return turns.unanswered > 0;
        }
        turns.waiting.insert((id, slot));
        true
    }

    /// Has a task wait for others, wherever it stood.
    pub(super) fn block(&mut self, slot: u32) {
        let task = self.tasks.at(slot);
        let (class, from) = (task.class, task.state());
        task.phase = Phase::Blocked;
        self.move_count(class, from, State::Blocked);
    }

    /// A serial task has ended: its turn has, or it has none any more.
    pub(super) fn leave_turns(&mut self, slot: u32, queue: u32, key: &str) {
        let id = self.tasks.at(slot).id;
        let turns = self.turns(queue, key);
        turns.current = turns.current.filter(|current| *current != slot);
        turns.waiting.remove(&(id, slot));
    }

    /// A run of a serial task goes on, though its lease is about to end.
    pub(super) fn hold_turns(&mut self, queue: u32, key: &str) {
        self.turns(queue, key).unanswered += 1;
    }

    /// Such a run is over.
    pub(super) fn unhold_turns(&mut self, queue: u32, key: &str, fx: &mut Effects) {
        self.turns(queue, key).unanswered -= 1;
        self.next_turn(queue, key, fx);
    }

    /// Gives the next of a key its turn, if nothing keeps it from that.
    pub(super) fn next_turn(&mut self, queue: u32, key: &str, fx: &mut Effects) {
        let turns = self.turns(queue, key);
        if turns.unanswered > 0 {
            return;
        }
        let next = turns.current.or_else(|| turns.waiting.first().map(|(_, slot)| *slot));
        let Some(next) = next else {
            self.queues.queue_mut(queue).turns.remove(key);
            return;
        };
        turns.current = Some(next);
        let task = self.tasks.at(next);
        let (id, blocked) = (task.id, task.phase == Phase::Blocked);
        self.turns(queue, key).waiting.remove(&(id, next));
        if blocked {
            self.make_ready(next, fx);
        }
    }

    /// After a start: a task that is leased, or waits for its next attempt, has the turn of its key.
    pub(super) fn keep_turn(&mut self, slot: u32) {
        if let Some((queue, key)) = self.turn_of(slot) {
            self.turns(queue, &key).current = Some(slot);
        }
    }
}

impl Task {
    /// Whether it has been leased and waits for its next attempt.
    pub(super) fn is_between_attempts(&self) -> bool {
        let waits = matches!(self.phase, Phase::Scheduled { due_ms, .. } if due_ms > 0);
        waits && self.attempt > 0
    }
}
