//! Queues that have opened are served at the end of the turn: of what waits, whoever comes first has the
//! next run that may begin, whichever worker may do it. A worker for which such a queue would be the next in
//! turn waits for what becomes of it.

use std::collections::BTreeSet;

use crate::core::dispatch::NOBODY;
use crate::core::tasks::How;
use crate::core::{Core, Effects};

impl Core {
    /// Serves the queues that may have opened in this turn, and goes on with looks that were broken off.
    pub(super) fn serve_opened(&mut self, fx: &mut Effects) {
        self.bring_back(fx);
        (self.put_aside, self.dropped) = (0, 0);
        self.look_on();
        let mut half_served = BTreeSet::new();
        while let Some(number) = self.opened.pop_first() {
            if self.queues.find_queue_mut(number).is_some() && !self.serve_queue(number, fx) {
                half_served.insert(number);
            }
        }
        self.opened = half_served;
        self.feed_on(fx);
        if self.isolation.current.is_none() && !self.isolation.waiting.is_empty() {
            self.isolate_next(fx);
        }
    }

    /// False if that was broken off.
    fn serve_queue(&mut self, number: u32, fx: &mut Effects) -> bool {
        if std::mem::take(&mut self.queues.queue_mut(number).runs.is_opening) {
            self.serve_saved(number, fx);
            self.isolate_next_of(number, fx);
        }
        while self.is_open(number)
            && let Some(class) = self.first_servable(number)
        {
            if self.is_head_barred(class) {
                let mut pools = self.queues.class(class).pools.clone().into_iter();
                if pools.any(|pool| !self.pass_over_heads(pool, Some(number))) {
                    return false;
                }
                continue;
            }
            let Some(worker) = self.pick(class) else { break };
            let Some(slot) = self.take_first(class, NOBODY) else { continue };
            self.count_turn(worker, class);
            self.lease(slot, worker, fx);
        }
        let its = |class: &&u32| self.queues.class(**class).queue == number;
        for class in self.apart.keys().filter(its).copied().collect::<Vec<_>>() {
            self.serve_apart(class, fx);
        }
        let policy = self.queues.queue(number).policy;
        if policy.route.is_keyed() && (policy.limit.is_some() || policy.rate.is_some()) {
            self.serve_in_order(number, fx);
        } else if policy.route.is_keyed() {
            // Whoever is fed once has everything that it can have.
            let mut fed = BTreeSet::new();
            for class in self.queues.queue(number).classes.clone() {
                self.serve_owners(class, &mut fed, fx);
                self.serve_spilled(class, fx);
            }
        }
        true
    }

    /// Gives the runs of a keyed queue that may begin to those who come first, whoever owns them.
    fn serve_in_order(&mut self, number: u32, fx: &mut Effects) {
        if !self.is_open(number) {
            return;
        }
        // Of classes whose first spilled task met nobody along the ring the next does not either.
        let (mut heads, mut unmet) = (BTreeSet::new(), BTreeSet::new());
        for class in self.queues.queue(number).classes.clone() {
            let owners: Vec<u32> = self.queues.class(class).owners.keys().copied().collect();
            let lines = owners.into_iter().chain([NOBODY]);
            heads.extend(lines.filter_map(|owner| self.keyed_head(class, owner)));
        }
        while self.is_open(number)
            && let Some(head) = heads.pop_first()
        {
            let (_, class, owner) = head;
            // Others may have made it go, or its owner full.
            let now = self.keyed_head(class, owner);
            if now == Some(head) {
                if owner == NOBODY {
                    let met = self.serve_first_spilled(class, !unmet.contains(&class), fx);
                    unmet.extend(met.filter(|met| !met).map(|_| class));
                } else if let Some(worker) = self.free_owner(class, owner)
                    && let Some(slot) = self.take_first(class, owner)
                {
                    self.count_turn(worker, class);
                    self.lease_as(slot, worker, How::Owner, fx);
                }
                heads.extend(self.keyed_head(class, owner));
            } else {
                heads.extend(now);
            }
        }
    }

    /// The key of the first task in the line of an owner that is free; or, of nobody, of the first that
    /// may go to any able worker.
    fn keyed_head(&mut self, class: u32, owner: u32) -> Option<(u64, u32, u32)> {
        let key = if owner == NOBODY {
            self.first_spilled(class).filter(|_| self.pick_exists(class))?
        } else {
            self.free_owner(class, owner)?;
            self.front(class, owner)?.key
        };
        Some((key, class, owner))
    }

    /// The unkeyed class of a queue with the first head that somebody free is able to do.
    fn first_servable(&self, number: u32) -> Option<u32> {
        let free = || {
            let pools = self.workers.pools.iter().map(|(_, pool)| pool);
            pools.filter(|pool| pool.free.total() > 0)
        };
        let heads = free().filter_map(|pool| pool.heads.get(&number)?.first().copied());
        let bulky = |class: u32| {
            let its = self.queues.class(class);
            let (key, id) = its.listed.filter(|_| its.queue == number && its.amounts.is_some())?;
            self.pick_exists(class).then_some((key, id, class))
        };
        // All of the pools or all of the queue, whichever are fewer: many queues may open at once.
        let of_pools = || free().flat_map(|pool| pool.bulky.iter().copied());
        let of_queue = &self.queues.queue(number).classes;
        let first_bulky = if of_pools().take(of_queue.len()).count() < of_queue.len() {
            of_pools().filter_map(bulky).min()
        } else {
            of_queue.iter().copied().filter_map(bulky).min()
        };
        heads.chain(first_bulky).min().map(|(_, _, class)| class)
    }

    fn serve_owners(&mut self, number: u32, fed: &mut BTreeSet<u32>, fx: &mut Effects) {
        let owners: Vec<u32> = self.queues.class(number).owners.keys().copied().collect();
        for owner in owners {
            if !self.is_open(self.queues.class(number).queue) {
                return;
            }
            if let Some(worker) = self.free_owner(number, owner)
                && self.front(number, owner).is_some()
                && fed.insert(worker)
            {
                self.feed(worker, fx);
            }
        }
    }
}
