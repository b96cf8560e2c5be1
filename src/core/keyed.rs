//! Routes by key: every task has an owner among the workers and waits for it, up to the spill.

use crate::core::dispatch::{APART, NOBODY};
use crate::core::expire::LAPSED;
use crate::core::limits::ASIDE;
use crate::core::line::{Line, Place};
use crate::core::queues::Class;
use crate::core::spill::{Lined, Spill};
use crate::core::tasks::{How, Phase, Task};
use crate::core::timers::Reason;
use crate::core::{Core, Effects};
use crate::message::Route;
use crate::route::Digest;

/// How many places are sorted anew in one turn: one to three milliseconds, by the order.
const SLICE: usize = 1024;

/// How many entries of those who wait for their owners no longer are dropped in one turn: about a
/// millisecond.
const DROPS: usize = 1 << 15;

/// How many points along the ring a free worker is looked for. Where there are so many and nobody is
/// met, hardly anybody is free, and it matters little who of them.
const WALK: usize = 4096;

impl Core {
    /// Lets a ready task of a keyed class go to its owner, or wait for it.
    pub(super) fn wait_for_owner(&mut self, slot: u32, fx: &mut Effects) {
        let number = self.tasks.at(slot).class;
        if !self.is_ready(number) {
            return self.postpone(slot);
        }
        let owner = self.find_owner(slot);
        let open = self.is_open(self.queues.class(number).queue);
        let free = self.free_owner(number, owner).filter(|_| open);
        // Where the look was broken off somebody of the line may come before it.
        if let Some(worker) = free
            && self.front(number, owner).is_none()
            && !self.half_looked.contains(&number)
        {
            return self.lease_as(slot, worker, How::Owner, fx);
        }
        self.line_up(slot, owner);
        match free {
            Some(worker) => self.feed(worker, fx),
            None => self.serve_spilled(number, fx),
        }
    }

    /// Has a ready task wait until it is known who owns it.
    fn postpone(&mut self, slot: u32) {
        let key = self.order_key(slot);
        let task = self.tasks.at(slot);
        let place = Place { key, id: task.id, slot };
        if let Phase::Ready { owner, .. } = &mut task.phase {
            *owner = NOBODY;
        }
        let number = task.class;
        let mut line = Line::default();
        line.push(place);
        let class = self.queues.class_mut(number);
        class.waiting += 1;
        class.put_unsorted(line);
        self.unsorted.insert(number);
        self.watch_for_starving(number);
    }

    pub(super) fn free_owner(&self, class: u32, owner: u32) -> Option<u32> {
        let worker = self.workers.by_name(owner)?;
        let session = self.workers.sessions.get(worker)?;
        let able = session
            .pool
            .is_some_and(|(pool, _)| self.queues.class(class).pools.binary_search(&pool).is_ok());
        (able && session.is_free() && self.fits(worker, class)).then_some(worker)
    }

    /// The name of a task's owner, or nobody if there is no member.
    pub(super) fn owner_of(&self, slot: u32) -> u32 {
        let Some(task) = self.tasks.get(slot) else { return NOBODY };
        self.owner_by(task, Digest::of(&task.route_key()))
    }

    /// That name, where the same keys come again and again.
    fn find_owner(&mut self, slot: u32) -> u32 {
        let Some(task) = self.tasks.get(slot) else { return NOBODY };
        let compute = || Digest::of(&task.route_key());
        let digest = match task.encoded_key() {
            Some(key) => self.digests.of(key, compute),
            None => compute(),
        };
        self.owner_by(task, digest)
    }

    fn owner_by(&self, task: &Task, key: Digest) -> u32 {
        let class = self.queues.class(task.class);
        let route = self.queues.queue(class.queue).policy.route;
        let Some(members) = class.members.and_then(|members| self.members.get(members)) else {
            return NOBODY;
        };
        let owner = match route {
            Route::Hash => members.hash_owner(key),
            Route::Modulo => members.modulo_owner(key),
            _ => None,
        };
        owner.unwrap_or(NOBODY)
    }

    pub(super) fn spill_us(&self, class: u32) -> Option<u64> {
        let queue = self.queues.class(class).queue;
        let policy = self.queues.queue(queue).policy;
        let spill_ms = policy.spill_ms.filter(|_| policy.route == Route::Hash);
        spill_ms.map(|ms| ms.saturating_mul(1000))
    }

    /// Puts a task into its owner's line; its clock starts.
    fn line_up(&mut self, slot: u32, owner: u32) {
        let now_us = self.now.mono_us;
        let task = self.tasks.at(slot);
        let number = task.class;
        if let Phase::Ready { lined_us, .. } = &mut task.phase {
            *lined_us = now_us;
        }
        let place = self.wait(slot, owner);
        let class = self.queues.class_mut(number);
        if owner != NOBODY {
            // Also where nothing spills: that may change while the task waits.
            let tasks = &self.tasks;
            let waits = |(since, place): &Lined| waits_since(tasks, place, *since);
            class.spill.push((now_us, place), class.waiting, waits);
        }
        if self.queues.class(number).spill_timer.is_none() {
            self.arm_spill(number);
        }
    }

    /// The key of the first task that may go to any able worker; such a class stays listed only
    /// while something waits.
    pub(super) fn first_spilled(&mut self, number: u32) -> Option<u64> {
        let now_us = self.now.mono_us;
        let class = self.queues.class_mut(number);
        if class.waiting == 0 {
            for pool in &class.pools {
                if let Some(pool) = self.workers.pools.get_mut(*pool) {
                    pool.keyed.remove(&number);
                }
            }
            return None;
        }
        let queue = class.queue;
        if !self.is_open(queue) {
            return None;
        }
        if let Some(place) = self.front(number, NOBODY) {
            return Some(place.key);
        }
        // The timer is set for the first of them, or for one that came before it.
        if self.queues.class(number).spill_timer.is_some_and(|armed_us| armed_us > now_us) {
            return None;
        }
        let (due_us, place) = self.spill_front(number)?;
        if due_us > now_us {
            self.arm_spill_at(number, due_us);
            return None;
        }
        Some(place.key)
    }

    /// When the first task that waits for its owner may go to another, and its place.
    fn spill_front(&mut self, number: u32) -> Option<(u64, Place)> {
        let spill_us = self.spill_us(number)?;
        let resumed_us = self.queues.queue_of(number).runs.resumed_us;
        let (since_us, place) = self.first_lined(number)?;
        Some((since_us.max(resumed_us).saturating_add(spill_us), place))
    }

    /// The first task that came into its owner's line and waits there still, and since when.
    ///
    /// It drops no more entries of others in one turn than can be done at once; what is left goes on
    /// in the next.
    pub(super) fn first_lined(&mut self, number: u32) -> Option<(u64, Place)> {
        let limited = self.has_key_limit(number);
        while let Some((since_us, place)) = self.queues.class(number).spill.first() {
            if !waits_since(&self.tasks, &place, since_us) {
                if self.dropped >= DROPS {
                    self.half_looked.insert(number);
                    return None;
                }
                self.dropped += 1;
                self.queues.class_mut(number).spill.pop();
            } else if self.is_expired(place.slot) || limited && self.is_key_full(place.slot) {
                if !self.may_pass_over(number) {
                    return None;
                }
                self.queues.class_mut(number).waiting -= 1;
                self.bar(place.slot);
            } else {
                return Some((since_us, place));
            }
        }
        None
    }

    /// Takes the task that [`Core::first_spilled`] speaks of.
    pub(super) fn take_spilled(&mut self, number: u32) -> Option<u32> {
        self.first_spilled(number)?;
        self.queues.class_mut(number).waiting -= 1;
        let common = self.front(number, NOBODY);
        let class = self.queues.class_mut(number);
        if let Some(place) = common {
            class.line.pop();
            self.take_out(place.slot);
            return Some(place.slot);
        }
        let (_, place) = class.spill.pop()?;
        self.take_out(place.slot);
        Some(place.slot)
    }

    /// Gives tasks whose owners had their time to the next free worker along the ring.
    pub(super) fn serve_spilled(&mut self, number: u32, fx: &mut Effects) {
        // Whom one task did not meet along the ring the next does not meet either.
        let mut is_met = true;
        while let Some(met) = self.serve_first_spilled(number, is_met, fx) {
            is_met &= met;
        }
    }

    /// Gives the first of them away; whether somebody may be met along the ring by the next. None if none
    /// can be given to anybody.
    pub(super) fn serve_first_spilled(
        &mut self,
        number: u32,
        is_met: bool,
        fx: &mut Effects,
    ) -> Option<bool> {
        self.first_spilled(number).filter(|_| self.pick_exists(number))?;
        let slot = self.take_spilled(number)?;
        let along = if is_met { self.next_along_ring(slot) } else { None };
        let met = along.is_some() || !self.tasks.at(slot).barred().is_empty();
        let Some(worker) = along.or_else(|| self.pick(number)) else {
            unreachable!("somebody able is free")
        };
        self.lease_as(slot, worker, How::Spilled, fx);
        Some(met)
    }

    /// The next worker along the ring that could have a task, as far as it is looked for.
    pub(super) fn next_along_ring(&mut self, slot: u32) -> Option<u32> {
        let task = self.tasks.get(slot)?;
        let class = task.class;
        let members = self.queues.class(class).members.and_then(|m| self.members.get(m));
        let key = Digest::of(&task.route_key());
        let names = members.into_iter().flat_map(|members| members.walk(key));
        let barred = task.barred();
        names
            .take(WALK)
            .filter_map(|name| self.free_owner(class, name))
            .find(|free| !barred.contains(&self.workers.sessions.at(*free).session))
    }

    /// Sets the timer for the first task, if its time is yet to come. While it is over, every worker
    /// that gets room looks here anyway.
    fn arm_spill(&mut self, number: u32) {
        if let Some((due_us, _)) = self.spill_front(number)
            && due_us > self.now.mono_us
        {
            self.arm_spill_at(number, due_us);
        }
    }

    fn arm_spill_at(&mut self, number: u32, due_us: u64) {
        let class = self.queues.class_mut(number);
        if class.spill_timer.is_none_or(|armed_us| armed_us > due_us) {
            if let Some(armed_us) = class.spill_timer.replace(due_us) {
                self.timers.off_mono(armed_us, Reason::Spill(number));
            }
            self.timers.at_mono(due_us, Reason::Spill(number));
        }
    }

    /// Another spill or another route: the timer is set anew by who looks next.
    pub(super) fn disarm_spill(&mut self, number: u32) {
        if let Some(armed_us) = self.queues.class_mut(number).spill_timer.take() {
            self.timers.off_mono(armed_us, Reason::Spill(number));
        }
    }

    pub(super) fn on_spill(&mut self, number: u32, fx: &mut Effects) {
        let Some(class) = self.queues.find_class_mut(number) else { return };
        class.spill_timer = None;
        if class.keyed {
            self.serve_spilled(number, fx);
        }
    }

    /// Has the lines of a class sorted anew: its members or its route changed.
    pub(super) fn unsort(&mut self, number: u32) {
        self.line_up_apart(number);
        let class = self.queues.class_mut(number);
        let (common, owners) = (std::mem::take(&mut class.line), std::mem::take(&mut class.owners));
        let waits = class.waiting > 0;
        if waits {
            class.put_unsorted(common);
        }
        for (owner, line) in owners {
            let class = self.queues.class_mut(number);
            if waits && class.former.insert(owner) {
                self.worker_names.keep(owner);
            }
            if waits {
                class.put_unsorted(line);
            }
            self.disown(owner, number);
        }
        self.list_head(number);
        if waits {
            self.unsorted.insert(number);
        }
    }

    /// Nothing of a class is to be sorted anew any more.
    pub(super) fn end_sorting(&mut self, number: u32) {
        self.unsorted.remove(&number);
        let Some(class) = self.queues.find_class_mut(number) else { return };
        if !class.keyed {
            class.spill = Spill::default();
        }
        for owner in std::mem::take(&mut class.former) {
            self.give_up_worker_name(owner);
        }
    }

    /// Sorts some places anew; nobody else waits longer than that takes.
    pub(super) fn sort_slice(&mut self, fx: &mut Effects) {
        let mut budget = SLICE;
        while budget > 0 {
            let next = self.unsorted.iter().find(|number| self.is_ready(**number));
            let Some(&number) = next else { break };
            let class = self.queues.find_class_mut(number);
            let Some(place) = class.and_then(Class::take_unsorted) else {
                self.end_sorting(number);
                // Whoever came meanwhile waits, though nobody may have been left to be sorted.
                if let Some(class) = self.queues.find_class_mut(number) {
                    self.opened.insert(class.queue);
                }
                continue;
            };
            budget -= 1;
            self.sort(number, place, fx);
        }
        while budget > 0 && self.bring_back_released(fx) {
            budget -= 1;
        }
    }

    /// Puts a task where it belongs now. A place that its task has left and come back beside is
    /// doubled by this, which is harmless: the task is leased from whichever is met first.
    fn sort(&mut self, number: u32, place: Place, fx: &mut Effects) {
        let Some(task) = self.tasks.get(place.slot).filter(|task| task.id == place.id) else {
            return;
        };
        let Phase::Ready { owner, .. } = task.phase else { return };
        if task.is_isolated() || [APART, ASIDE, LAPSED].contains(&owner) {
            return;
        }
        self.queues.class_mut(number).waiting -= 1;
        if self.is_barred(place.slot) {
            return self.bar(place.slot);
        }
        if self.offer_apart(place.slot, fx) {
            return;
        }
        if !self.queues.class(number).keyed {
            self.wait(place.slot, NOBODY);
            return self.serve(number, fx);
        }
        let now_owner = self.find_owner(place.slot);
        if now_owner == owner && owner != NOBODY {
            self.wait(place.slot, owner);
        } else {
            self.line_up(place.slot, now_owner);
        }
        let open = self.is_open(self.queues.class(number).queue);
        match self.free_owner(number, now_owner).filter(|_| open) {
            Some(worker) => self.feed(worker, fx),
            None => self.serve_spilled(number, fx),
        }
    }
}

fn waits_since(tasks: &crate::core::tasks::Tasks, place: &Place, since: u64) -> bool {
    let phase = tasks.get(place.slot).filter(|task| task.id == place.id).map(|task| task.phase);
    matches!(phase, Some(Phase::Ready { lined_us, owner, .. })
        if lined_us == since && owner < ASIDE)
}
