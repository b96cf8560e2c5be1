//! Heads of lines that may not be leased any more, because they have expired or their keys have enough:
//! they are passed over by whoever meets them, no more in one turn than can be done at once.

use crate::core::{Core, Effects};

/// How many tasks are passed over in one turn: about a millisecond.
const SLICE: usize = 4096;

impl Core {
    /// Whether one more of a class may be taken out of its line in this turn; if not, the look goes on
    /// in the next.
    pub(super) fn may_pass_over(&mut self, number: u32) -> bool {
        if !self.may_look_on() {
            self.half_looked.insert(number);
            return false;
        }
        self.put_aside += 1;
        true
    }

    const fn may_look_on(&self) -> bool {
        self.put_aside < SLICE
    }

    /// Whether the task that is listed as the first of a class may not be leased any more.
    pub(super) fn is_head_barred(&self, number: u32) -> bool {
        let class = self.queues.class(number);
        let may_be = self.has_key_limit(number) || self.timers.is_wall_due(self.now);
        let slot = class.listed.filter(|_| may_be).and_then(|(_, id)| self.tasks.find(id));
        slot.is_some_and(|slot| self.is_barred(slot))
    }

    /// Has heads of a pool that may not be leased any more make way: that of the queue whose turn it is,
    /// or of another, until it may be leased, and those of all classes with amounts. Whoever looks for
    /// the next task looks at all of these, which must not happen once for each.
    ///
    /// False if that was broken off, to go on in the next turn.
    pub(super) fn pass_over_heads(&mut self, pool: u32, queue: Option<u32>) -> bool {
        while let Some(class) = self.first_head(pool, queue)
            && self.is_head_barred(class)
        {
            if !self.may_look_on() {
                return false;
            }
            self.list_head(class);
        }
        let bulky: Vec<u32> = self.workers.pools.at(pool).bulky.iter().copied().collect();
        for class in bulky {
            if self.is_head_barred(class) {
                if !self.may_look_on() {
                    return false;
                }
                self.list_head(class);
            }
        }
        true
    }

    fn first_head(&self, pool: u32, queue: Option<u32>) -> Option<u32> {
        let pool = self.workers.pools.get(pool)?;
        let queue = queue.or_else(|| pool.shares.first().map(|(_, queue)| queue))?;
        pool.heads.get(&queue)?.first().map(|(_, _, class)| *class)
    }

    /// Goes on with the classes at whose lines a look was broken off.
    pub(super) fn look_on(&mut self) {
        for class in std::mem::take(&mut self.half_looked) {
            let Some(its) = self.queues.find_class_mut(class) else { continue };
            let (keyed, queue) = (its.keyed, its.queue);
            if !keyed && !self.may_look_on() {
                self.half_looked.insert(class);
                continue;
            }
            self.list_head(class);
            self.opened.insert(queue);
        }
    }

    /// Goes on with the workers whose look for a task was broken off.
    pub(super) fn feed_on(&mut self, fx: &mut Effects) {
        for worker in std::mem::take(&mut self.half_fed) {
            if !self.may_look_on() {
                self.half_fed.insert(worker);
            } else if self.workers.sessions.get(worker).is_some() {
                self.feed(worker, fx);
            }
        }
    }
}
