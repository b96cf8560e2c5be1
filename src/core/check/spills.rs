//! The invariants of tasks that wait for their owners up to the spill.

use std::collections::BTreeSet;

use crate::core::Core;
use crate::core::limits::ASIDE;
use crate::core::tasks::Phase;

impl Core {
    /// Whoever waits for its owner is in the list by which it spills, and no timer is set for a time
    /// that is later than the first of them may wait.
    pub(super) fn check_spills(&self) {
        for (number, class) in self.queues.classes().filter(|(_, class)| class.keyed) {
            assert!(
                class.spill.iter().is_sorted_by_key(|(since_us, _)| *since_us),
                "class {number} lists who waits out of order"
            );
        }
        let listed: BTreeSet<_> = self
            .queues
            .classes()
            .flat_map(|(_, class)| class.spill.iter())
            .map(|(since_us, place)| (*since_us, place.id))
            .collect();
        for (_, task) in self.tasks.iter() {
            let Phase::Ready { owner, lined_us, .. } = task.phase else { continue };
            let class = self.queues.class(task.class);
            if !class.keyed || owner >= ASIDE || task.is_isolated() {
                continue;
            }
            assert!(listed.contains(&(lined_us, task.id)), "task {} would never spill", task.id);
            let Some(spill_us) = self.spill_us(task.class) else { continue };
            let resumed_us = self.queues.queue(class.queue).runs.resumed_us;
            let due_us = lined_us.max(resumed_us).saturating_add(spill_us);
            let in_time = class.spill_timer.is_none_or(|at_us| at_us <= due_us);
            assert!(in_time, "task {} may go to others before its timer", task.id);
        }
    }

    /// Between two turns: while somebody is free for the tasks of a class, the timer is set for those who
    /// wait for their owners.
    pub(super) fn check_spill_timers(&self) {
        for (_, task) in self.tasks.iter() {
            let Phase::Ready { owner, .. } = task.phase else { continue };
            let class = self.queues.class(task.class);
            let waits = class.keyed && owner < ASIDE && !task.is_isolated();
            if waits && self.is_open(class.queue) && self.spill_us(task.class).is_some() {
                let timed = class.spill_timer.is_some() || !self.pick_exists(task.class);
                assert!(timed, "nobody looks when task {} may go to others", task.id);
            }
        }
    }
}
