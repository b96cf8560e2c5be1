//! `res=`: what a session has, and what its runs take up of it. A class whose tasks ask for amounts
//! has its own free sessions in each pool: those that have room for these amounts now.
//!
//! What is small would always find room first. So a class whose head has waited for half a minute has
//! a session saved for it: that gets nothing else until the head fits. Between two such savings of a
//! class lies half a minute, so that the small ones have their share as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::core::dispatch::NOBODY;
use crate::core::standing::Standing;
use crate::core::tasks::Phase;
use crate::core::timers::Reason;
use crate::core::workers::Worker;
use crate::core::{Core, Effects};
use crate::route::{Weight, Weighted};

/// Amounts by the number of what they are of, ascending.
pub(super) type Amounts = Arc<[(u32, u64)]>;

/// How long the head of a class waits until a session is saved for it, in microseconds.
const STARVED_US: u64 = 30_000_000;

/// How soon it is tried again where no session can be saved or the head is not known, in microseconds.
const AGAIN_US: u64 = 1_000_000;

/// What a session has and what is taken up of it.
#[derive(Debug, Default)]
pub(super) struct Stock {
    /// What it has, ascending.
    pub(super) capacities: Vec<(u32, u64)>,
    /// What its runs take up, those included whose leases have ended and that go on.
    pub(super) held: BTreeMap<u32, u64>,
}

impl Stock {
    /// Whether there is room for amounts.
    pub(super) fn fits(&self, amounts: &[(u32, u64)]) -> bool {
        amounts.iter().all(|(name, amount)| {
            let held = self.held.get(name).copied().unwrap_or(0);
            held.saturating_add(*amount) <= amount_of(&self.capacities, *name)
        })
    }

    pub(super) fn hold(&mut self, amounts: &[(u32, u64)]) {
        for (name, amount) in amounts {
            *self.held.entry(*name).or_default() += amount;
        }
    }

    fn release(&mut self, amounts: &[(u32, u64)]) {
        for (name, amount) in amounts {
            if let Some(held) = self.held.get_mut(name) {
                *held = held.saturating_sub(*amount);
            }
        }
        self.held.retain(|_, held| *held > 0);
    }
}

/// The amount of a name in an ascending list; 0 if it is not there.
pub(super) fn amount_of(amounts: &[(u32, u64)], name: u32) -> u64 {
    let found = amounts.binary_search_by_key(&name, |(its, _)| *its).ok();
    found.and_then(|at| amounts.get(at)).map_or(0, |(_, amount)| *amount)
}

/// The sessions of a pool that have room for amounts.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) amounts: Amounts,
    /// Their weights, by place.
    pub(super) free: Weighted,
    /// The orders of them that routes ask for.
    pub(super) standing: Option<Box<Standing>>,
}

impl Room {
    /// A worker has room with that weight, or none with weight 0.
    pub(super) fn set(&mut self, place: u32, worker: &Worker, weight: Weight) {
        if self.free.weight(place) != weight {
            self.free.set(place, weight);
        }
        if let Some(standing) = &mut self.standing {
            standing.set(place, worker, weight);
        }
    }
}

impl Core {
    /// Whether a worker with a free slot has room for a task of a class, too.
    pub(super) fn fits(&self, worker: u32, class: u32) -> bool {
        let amounts = self.queues.class(class).amounts.as_ref();
        amounts.is_none_or(|amounts| self.workers.sessions.at(worker).stock.fits(amounts))
    }

    /// The amounts of a task.
    pub(super) fn amounts_of(&self, slot: u32) -> Option<Amounts> {
        let task = self.tasks.get(slot)?;
        self.queues.class(task.class).amounts.clone()
    }

    /// A run of a task takes up its amounts.
    pub(super) fn hold_amounts(&mut self, slot: u32, worker: u32) {
        if let Some(amounts) = self.amounts_of(slot) {
            self.workers.sessions.at_mut(worker).stock.hold(&amounts);
        }
    }

    /// A run is over.
    pub(super) fn release_amounts(&mut self, worker: u32, amounts: Option<&Amounts>) {
        if let Some(amounts) = amounts {
            self.workers.sessions.at_mut(worker).stock.release(amounts);
        }
    }

    /// Has the pools of a class know who has room for its tasks.
    pub(super) fn make_room(&mut self, number: u32) {
        let class = self.queues.class(number);
        let Some(amounts) = class.amounts.clone() else { return };
        let (demand, pools) = (class.parts.demand, class.pools.clone());
        for pool in pools {
            let standing = self.workers.new_standing();
            let pool = self.workers.pools.at_mut(pool);
            if pool.rooms.contains_key(&demand) {
                continue;
            }
            let (amounts, free) = (amounts.clone(), Weighted::default());
            pool.rooms.insert(demand, Room { amounts, free, standing });
            let members: Vec<u32> = pool.members.iter().map(|(_, worker)| *worker).collect();
            members.into_iter().for_each(|worker| self.workers.refresh(worker));
        }
    }

    /// Looks in a while whether the head of a class has waited too long.
    pub(super) fn arm_starved(&mut self, number: u32, at_us: u64) {
        let class = self.queues.class_mut(number);
        let needless = class.starved_timer.is_some() || class.saved.is_some();
        if class.amounts.is_some() && class.waiting > 0 && !needless {
            class.starved_timer = Some(at_us);
            self.timers.at_mono(at_us, Reason::Starved(number));
        }
    }

    /// As [`Core::arm_starved`], for a task that has begun to wait.
    pub(super) fn watch_for_starving(&mut self, number: u32) {
        if self.queues.class(number).amounts.is_some() {
            self.arm_starved(number, self.now.mono_us.saturating_add(STARVED_US));
        }
    }

    pub(super) fn on_starved(&mut self, number: u32) {
        let now_us = self.now.mono_us;
        let Some(class) = self.queues.find_class_mut(number) else { return };
        class.starved_timer = None;
        if let Some(worker) = class.saved {
            return self.look_after_saved(number, worker);
        }
        let saved_us = class.saved_us;
        let Some((since_us, owner)) = self.head_to_save_for(number) else {
            let again_us = if self.is_half_known(number) { AGAIN_US } else { STARVED_US };
            return self.arm_starved(number, now_us.saturating_add(again_us));
        };
        let due_us = since_us.max(saved_us).saturating_add(STARVED_US);
        if due_us > now_us {
            return self.arm_starved(number, due_us);
        }
        let has_room = match owner {
            NOBODY => self.pick_exists(number),
            _ => self.free_owner(number, owner).is_some(),
        };
        if has_room {
            // There is room: it waits for its queue, and has its turn there.
            return self.arm_starved(number, now_us.saturating_add(AGAIN_US));
        }
        let Some(worker) = self.session_to_save(number, owner) else {
            let able = !self.queues.class(number).pools.is_empty();
            let again_us = if able { AGAIN_US } else { STARVED_US };
            return self.arm_starved(number, now_us.saturating_add(again_us));
        };
        self.workers.sessions.at_mut(worker).saved_for = Some(number);
        self.queues.class_mut(number).saved = Some(worker);
        self.queues.queue_of(number).runs.saved.insert(number);
        self.saved.insert(number);
        self.workers.refresh(worker);
        self.arm_saved(number);
    }

    /// Looks in a while what a session is saved for.
    fn arm_saved(&mut self, number: u32) {
        let at_us = self.now.mono_us.saturating_add(STARVED_US);
        self.queues.class_mut(number).starved_timer = Some(at_us);
        self.timers.at_mono(at_us, Reason::Starved(number));
    }

    /// A session has been saved for some time. One that has room, while another run of the queue has yet to
    /// end, is no longer: that run may take long, and may even wait for what others would do there.
    fn look_after_saved(&mut self, number: u32, worker: u32) {
        let queue = self.queues.queue_of(number);
        let full = queue.policy.limit.is_some_and(|limit| queue.runs.count >= limit);
        if full && self.workers.sessions.at(worker).has_room() && self.fits(worker, number) {
            self.stop_saving(number);
            self.half_fed.insert(worker);
        } else {
            self.arm_saved(number);
        }
    }

    /// Since when the head of a class is ready, in monotonic microseconds, and the owner for which it
    /// waits, if only that may have it.
    fn head_to_save_for(&mut self, number: u32) -> Option<(u64, u32)> {
        if !self.opens_within(self.queues.class(number).queue, STARVED_US) {
            return None;
        }
        self.list_head(number);
        let common = self.front(number, NOBODY);
        let place = common.or_else(|| self.first_lined(number).map(|(_, place)| place))?;
        let task = self.tasks.get(place.slot)?;
        let Phase::Ready { since_us, owner, .. } = task.phase else { return None };
        let spilled = self.first_spilled(number).is_some();
        Some((since_us, if spilled { NOBODY } else { owner }))
    }

    /// The least busy session that could run tasks of a class if it were emptied.
    fn session_to_save(&self, number: u32, owner: u32) -> Option<u32> {
        let pools = self.queues.class(number).pools.iter();
        let pools = pools.filter_map(|pool| self.workers.pools.get(*pool));
        let sessions = pools.flat_map(|pool| pool.members.iter().map(|(_, worker)| *worker));
        let able = sessions.filter(|worker| {
            let session = self.workers.sessions.at(*worker);
            let its = owner == NOBODY || owner == session.name;
            its && session.saved_for.is_none() && self.may_save(*worker)
        });
        able.min_by_key(|worker| (self.workers.sessions.at(*worker).busy(), *worker))
    }

    fn may_save(&self, worker: u32) -> bool {
        let session = self.workers.sessions.at(worker);
        let healthy = session.reserved.is_none() && !session.breaker.is_tripped();
        healthy && session.takes_work() && session.entry.slots > 0
    }

    /// Whether something waits for the saving of a session.
    fn still_saves(&mut self, worker: u32, number: u32) -> bool {
        let class = self.queues.class(number);
        let session = self.workers.sessions.at(worker);
        let name = session.name;
        let able = session.pool.is_some_and(|(pool, _)| class.pools.binary_search(&pool).is_ok());
        let may_run = class.waiting > 0 && self.opens_within(class.queue, STARVED_US);
        if !able || !may_run || !self.may_save(worker) {
            return false;
        }
        if !self.is_open(class.queue) {
            return true;
        }
        let found = if self.queues.class(number).keyed {
            self.front(number, name).is_some() || self.first_spilled(number).is_some()
        } else {
            self.list_head(number);
            self.queues.class(number).listed.is_some()
        };
        found || self.is_half_known(number)
    }

    /// Whether more may wait in the lines of a class than is found there now: the look was broken off,
    /// or they are being sorted anew. Both go on in the next turn.
    fn is_half_known(&self, number: u32) -> bool {
        self.half_looked.contains(&number) || !self.queues.class(number).unsorted.is_empty()
    }

    /// Gives a worker what it is saved for, once that fits. True if it gets nothing else meanwhile.
    pub(super) fn step_saved(&mut self, worker: u32, fx: &mut Effects) -> bool {
        let session = self.workers.sessions.get(worker);
        let Some(number) = session.and_then(|session| session.saved_for) else { return false };
        if !self.still_saves(worker, number) {
            self.stop_saving(number);
            return false;
        }
        let open = self.is_open(self.queues.class(number).queue);
        if !open || !self.workers.sessions.at(worker).has_room() || !self.fits(worker, number) {
            return true;
        }
        let name = self.workers.sessions.at(worker).name;
        let slot = if !self.queues.class(number).keyed {
            self.take_first(number, NOBODY)
        } else if self.front(number, name).is_some() {
            self.take_first(number, name)
        } else {
            self.take_spilled(number)
        };
        if slot.is_none() && self.is_half_known(number) {
            return true;
        }
        self.stop_saving(number);
        if let Some(slot) = slot {
            self.lease(slot, worker, fx);
        }
        false
    }

    /// A session is no longer saved for a class.
    pub(super) fn stop_saving(&mut self, number: u32) {
        let class = self.queues.class_mut(number);
        class.saved_us = self.now.mono_us;
        if let Some(worker) = class.saved.take() {
            self.queues.queue_of(number).runs.saved.remove(&number);
            self.saved.remove(&number);
            self.workers.sessions.at_mut(worker).saved_for = None;
            self.workers.refresh(worker);
        }
        self.watch_for_starving(number);
    }

    /// A session ends, or gets nothing more.
    pub(super) fn give_up_saving(&mut self, worker: u32) {
        if let Some(number) = self.workers.sessions.at(worker).saved_for {
            self.stop_saving(number);
        }
    }

    /// A queue has opened, and may close with the next run: whoever a session is saved for there comes
    /// first, and of several the one whose last saving is longest ago.
    pub(super) fn serve_saved(&mut self, queue: u32, fx: &mut Effects) {
        let saved = self.queues.queue(queue).runs.saved.iter();
        let saved = saved.map(|class| (self.queues.class(*class).saved_us, *class));
        for (_, class) in saved.collect::<BTreeSet<_>>() {
            if let Some(worker) = self.queues.class(class).saved {
                self.feed(worker, fx);
            }
        }
    }

    /// Looks after the saved sessions at the end of a turn: what waited for them may be gone.
    pub(super) fn step_all_saved(&mut self, fx: &mut Effects) {
        for number in self.saved.clone() {
            if let Some(worker) = self.queues.class(number).saved {
                self.feed(worker, fx);
            }
        }
    }
}
