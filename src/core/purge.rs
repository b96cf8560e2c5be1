//! PURGE: clears a queue of what is dead, cancelled or waits.

use serde_json::json;

use crate::core::event::Peer;
use crate::core::timers::Reason;
use crate::core::view::spelled;
use crate::core::{Core, Effects};
use crate::message::{Code, Purge, Reply};
use crate::record::Write;
use crate::task::State;

/// How many slots of the task table one PURGE looks at, so that none stalls the scheduler.
const SCAN: u32 = 20_000;

/// How many tasks one PURGE clears at most: each is a durable write.
const MOST: usize = 2048;

impl Core {
    pub(super) fn on_purge(&mut self, peer: Peer, purge: &Purge, fx: &mut Effects) {
        let name = self.queue_names.find(&purge.queue);
        let Some(queue) = name.and_then(|name| self.queues.find(name)) else {
            let text = format!("there is no queue {}", purge.queue);
            return fx.refuse(peer, Code::UnknownQueue, text);
        };
        let mut slot = u32::try_from(purge.cursor).unwrap_or(u32::MAX);
        let end = self.tasks.bound().min(slot.saturating_add(SCAN));
        let mut purged = 0;
        while slot < end && purged < MOST {
            let task = self.tasks.get(slot).filter(|task| task.state() == purge.state);
            let its = task.filter(|task| self.queues.class(task.class).queue == queue);
            if its.is_some_and(|task| !task.state().is_end() || !self.has_dependents(task.id)) {
                self.clear(slot, fx);
                purged += 1;
            }
            slot += 1;
        }
        let next = (slot < self.tasks.bound()).then_some(slot);
        fx.send(peer, Reply::Json(spelled(&json!({ "purged": purged, "next": next }))));
    }

    fn clear(&mut self, slot: u32, fx: &mut Effects) {
        if self.tasks.at(slot).state().is_end() {
            self.forget(slot, fx);
        } else {
            self.withdraw(slot, fx);
            self.bury(slot, State::Cancelled, "purged", fx);
        }
    }

    /// Drops a dead or cancelled task for good.
    pub(super) fn forget(&mut self, slot: u32, fx: &mut Effects) {
        let task = self.tasks.at(slot);
        let (id, class, state) = (task.id, task.class, task.state());
        if let Some(at_ms) = task.forget_at_ms() {
            self.timers.off_wall(at_ms, Reason::Forget(id));
        }
        fx.write(Write::Drop { id });
        self.tasks.remove(slot);
        self.queues.class_mut(class).tasks -= 1;
        *self.queues.queue_of(class).counts.of(state) -= 1;
    }
}
