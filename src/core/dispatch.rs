//! Brings ready tasks and free slots together, and leases.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::core::line::Place;
use crate::core::queues::Class;
use crate::core::tasks::{How, Phase, Tasks};
use crate::core::timers::Reason;
use crate::core::{Core, Effects};
use crate::message::Reply;
use crate::record::Write;
use crate::task::State;

/// The owner of a task that waits in no owner's line.
pub(super) const NOBODY: u32 = u32::MAX;

/// The owner of a ready task that waits for a worker of its own or, within a step, nowhere: it has just
/// become ready, or has just been taken out to be leased. A task that comes back may have older places in
/// a line than its own; none of them stands for it while it has this owner.
pub(super) const NOWHERE: u32 = u32::MAX - 1;

/// The owner of a ready task that waits apart, because it was released.
pub(super) const APART: u32 = u32::MAX - 2;

/// Whether a place still stands for a task that waits there.
pub(super) fn holds(tasks: &Tasks, place: &Place, owner: u32) -> bool {
    tasks.get(place.slot).is_some_and(|task| {
        let waits = matches!(task.phase, Phase::Ready { owner: its, .. } if its == owner);
        task.id == place.id && waits && !task.is_isolated()
    })
}

/// Where a worker's next task comes from; smaller is served first among queues of equal pass.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Its own line of a keyed class.
    Own,
    /// The line of a class.
    Common,
    /// A line whose owner had its time.
    Spilled,
    /// What was released by others.
    Apart,
}

impl Source {
    const fn how(self) -> How {
        match self {
            Self::Own => How::Owner,
            Self::Common => How::Next,
            Self::Spilled => How::Spilled,
            Self::Apart => How::Apart,
        }
    }
}

/// A task that a worker could have next, smallest first: the pass of its queue, what it is served
/// like, its key, its class, and where it is taken from.
pub(super) type Next = (u64, Source, u64, u32, Source);

impl Core {
    /// A task is due: unless it waits for others, it is ready from now on, and leased at once if that
    /// is possible.
    pub(super) fn make_ready(&mut self, slot: u32, fx: &mut Effects) {
        if self.is_blocked(slot) {
            return self.block(slot);
        }
        let now_us = self.now.mono_us;
        let task = self.tasks.at(slot);
        let from = task.state();
        task.phase = Phase::Ready { since_us: now_us, lined_us: now_us, owner: NOWHERE };
        let (class, isolated) = (task.class, task.is_isolated());
        self.move_count(class, from, State::Ready);
        if isolated {
            return self.isolate(slot, fx);
        }
        self.enter(slot, fx);
    }

    /// A ready task that waits nowhere is leased at once if that is possible, else it waits.
    pub(super) fn enter(&mut self, slot: u32, fx: &mut Effects) {
        if self.is_barred(slot) {
            return self.bar(slot);
        }
        if self.offer_apart(slot, fx) {
            return;
        }
        let number = self.tasks.at(slot).class;
        let class = self.queues.class(number);
        if class.keyed {
            return self.wait_for_owner(slot, fx);
        }
        if class.waiting == 0
            && self.is_open(class.queue)
            && let Some(worker) = self.pick(number)
        {
            return self.lease(slot, worker, fx);
        }
        self.wait(slot, NOBODY);
    }

    pub(super) fn move_count(&mut self, class: u32, from: State, to: State) {
        let counts = &mut self.queues.queue_of(class).counts;
        *counts.of(from) -= 1;
        *counts.of(to) += 1;
    }

    /// Puts a ready task into a line; its place there.
    pub(super) fn wait(&mut self, slot: u32, owner: u32) -> Place {
        let key = self.order_key(slot);
        let task = self.tasks.at(slot);
        let place = Place { key, id: task.id, slot };
        let number = task.class;
        if let Phase::Ready { owner: its, .. } = &mut task.phase {
            *its = owner;
        }
        let class = self.queues.class_mut(number);
        class.waiting += 1;
        let waiting = class.waiting;
        if owner == NOBODY {
            class.line.push(place);
            if class.line.len() > 2 * waiting + 64 {
                class.line.shrink(waiting, |place| holds(&self.tasks, place, NOBODY));
            }
            self.list_head(number);
        } else {
            let line = class.owners.entry(owner).or_default();
            line.push(place);
            line.shrink(waiting, |place| holds(&self.tasks, place, owner));
            let owned = self.owned.entry(owner).or_insert_with(|| {
                self.worker_names.keep(owner);
                BTreeSet::new()
            });
            owned.insert(number);
        }
        if self.queues.class(number).keyed {
            for pool in &self.queues.class(number).pools {
                if let Some(pool) = self.workers.pools.get_mut(*pool) {
                    pool.keyed.insert(number);
                }
            }
        }
        self.watch_for_starving(number);
        place
    }

    /// A waiting task leaves its line without a lease. Its place stays behind and is dropped when it
    /// is met; call this when the task's phase has changed.
    pub(super) fn leave_line(&mut self, number: u32) {
        let class = self.queues.class_mut(number);
        class.waiting -= 1;
        if !class.keyed {
            self.list_head(number);
        }
    }

    /// Tells the pools which task is the first of an unkeyed class.
    pub(super) fn list_head(&mut self, number: u32) {
        let keyed = self.queues.class(number).keyed;
        let first = if keyed { None } else { self.front(number, NOBODY) };
        let head = first.map(|place| (place.key, place.id));
        let class = self.queues.class_mut(number);
        let was = std::mem::replace(&mut class.listed, head);
        if was == head {
            return;
        }
        let bulky = class.amounts.is_some();
        let queue = class.queue;
        let open = !self.queues.queue(queue).runs.is_shut;
        for pool in &self.queues.class(number).pools {
            let Some(pool) = self.workers.pools.get_mut(*pool) else { continue };
            if bulky {
                pool.list_bulky(number, head.is_some());
                continue;
            }
            // The new one first: a queue that has but this class stays listed all the while.
            if let Some((key, id)) = head {
                pool.list(queue, open, (key, id, number));
            }
            if let Some((key, id)) = was {
                pool.unlist(queue, (key, id, number));
            }
        }
    }

    /// Leases a ready task that waits in no line (any more) to a worker with room, which the route
    /// has drawn.
    pub(super) fn lease(&mut self, slot: u32, worker: u32, fx: &mut Effects) {
        self.lease_as(slot, worker, How::Drawn, fx);
    }

    /// Leases a ready task that waits in no line (any more) to a worker with room.
    pub(super) fn lease_as(&mut self, slot: u32, worker: u32, how: How, fx: &mut Effects) {
        let now_us = self.now.mono_us;
        let session = self.workers.sessions.at_mut(worker);
        let task = self.tasks.at(slot);
        let Phase::Ready { since_us, .. } = task.phase else {
            unreachable!("only ready is leased")
        };
        let place = u32::try_from(session.leases.len()).unwrap_or(u32::MAX);
        if let Some(at_ms) = task.expires_at_ms() {
            self.timers.off_wall(at_ms, Reason::Expiry(task.id));
        }
        task.attempt += 1;
        task.phase = Phase::Leased { since_us: now_us, worker, place, how };
        let mut line = task.line();
        line.at_ms = self.now.wall_ms;
        let line = fx.batch.put(|out| {
            line.put(out);
            out.extend_from_slice(session.lease_words.as_bytes());
        });
        let (id, attempt, class, record) = (task.id, task.attempt, task.class, task.record.clone());
        fx.write(Write::State { id, line });
        session.leases.push(slot);
        if let Some(peer) = session.peer {
            fx.send(peer, Reply::Run { id, attempt, record });
        }
        self.arm_limit(slot);
        self.hold_amounts(slot, worker);
        self.workers.refresh(worker);
        self.begin_run(slot);
        self.move_count(class, State::Ready, State::Leased);
        let (kind, wait_us) = (self.queues.class(class).kind, now_us - since_us);
        let pair = self.pair(worker, kind);
        self.costs.waited(pair, wait_us);
        self.event(fx, "leased", id, attempt, class, Some(worker), &[("wait-us", wait_us)]);
    }

    /// Gives a worker tasks as long as it has room and something waits for it.
    pub(super) fn feed(&mut self, worker: u32, fx: &mut Effects) {
        if self.step_reserved(worker, fx) || self.step_saved(worker, fx) {
            return;
        }
        while self.workers.sessions.get(worker).is_some_and(|worker| worker.is_free()) {
            let Some((slot, source)) = self.take_next(worker) else { break };
            self.lease_as(slot, worker, source.how(), fx);
        }
        self.workers.refresh(worker);
    }

    /// Takes the task that a worker with room is to have next out of its line.
    fn take_next(&mut self, worker: u32) -> Option<(u32, Source)> {
        let session = self.workers.sessions.at(worker);
        let (name, pool) = (session.name, session.pool?.0);
        let (class, source, slot) = loop {
            let common = self.first_common(pool);
            let bulky = self.first_bulky(worker, pool);
            let keyed = self.first_keyed(worker, name, pool);
            let apart = self.first_apart(worker, pool);
            let next = [common, bulky, keyed, apart].into_iter().flatten().min()?;
            let (_, _, _, class, source) = next;
            if !self.is_open(self.queues.class(class).queue) {
                // It is served at the end of the turn, and the worker is fed after that.
                self.half_fed.insert(worker);
                return None;
            }
            let slot = match source {
                Source::Own => self.take_first(class, name)?,
                Source::Spilled => self.take_spilled(class)?,
                Source::Apart => self.take_apart(class, worker)?,
                // What is listed may not be leased any more: another one is listed then, or none.
                Source::Common if self.is_head_barred(class) => {
                    if !self.pass_over_heads(pool, None) {
                        self.half_fed.insert(worker);
                        return None;
                    }
                    continue;
                }
                Source::Common => match self.take_first(class, NOBODY) {
                    Some(slot) => slot,
                    None => continue,
                },
            };
            break (class, source, slot);
        };
        self.count_turn(worker, class);
        Some((slot, source))
    }

    /// A queue has its turn with a worker.
    pub(super) fn count_turn(&mut self, worker: u32, class: u32) {
        let Some((pool, _)) = self.workers.sessions.at(worker).pool else { return };
        let queue = self.queues.class(class).queue;
        let weight = self.queues.queue(queue).policy.weight;
        self.workers.pools.at_mut(pool).shares.serve(queue, weight);
    }

    fn first_common(&mut self, pool: u32) -> Option<Next> {
        let pool = self.workers.pools.at(pool);
        let (pass, queue) = pool.shares.first()?;
        let (key, _, class) = pool.heads.get(&queue)?.first().copied()?;
        Some((pass, Source::Common, key, class, Source::Common))
    }

    /// The best of the unkeyed classes with amounts for which a worker has room.
    fn first_bulky(&self, worker: u32, pool: u32) -> Option<Next> {
        let bulky = self.workers.pools.at(pool).bulky.iter().copied();
        let fitting = bulky.filter(|number| {
            self.fits(worker, *number) && self.may_open(self.queues.class(*number).queue)
        });
        let heads = fitting.filter_map(|number| {
            let class = self.queues.class(number);
            let (key, _) = class.listed?;
            let pass = self.pass_of(pool, number);
            Some((pass, Source::Common, key, number, Source::Common))
        });
        heads.min()
    }

    /// The pass of a class's queue with the workers of a pool.
    pub(super) fn pass_of(&self, pool: u32, class: u32) -> u64 {
        self.workers.pools.at(pool).shares.pass_of(self.queues.class(class).queue)
    }

    /// The best of the keyed classes: they are few, so each is looked at.
    fn first_keyed(&mut self, worker: u32, name: u32, pool: u32) -> Option<Next> {
        let mut best = None;
        let mut last = None;
        while let Some(number) = self.owned.get(&name).and_then(|its| first_after(its, last)) {
            last = Some(number);
            let class = self.queues.class(number);
            let able = class.pools.contains(&pool) && self.fits(worker, number);
            if !able || !self.may_open(class.queue) {
                continue;
            }
            if let Some(place) = self.front(number, name) {
                let pass = self.pass_of(pool, number);
                better(&mut best, (pass, Source::Own, place.key, number, Source::Own));
            }
        }
        let mut last = None;
        while let Some(number) = first_after(&self.workers.pools.at(pool).keyed, last) {
            last = Some(number);
            if !self.fits(worker, number) {
                continue;
            }
            if let Some(key) = self.first_spilled(number) {
                let pass = self.pass_of(pool, number);
                better(&mut best, (pass, Source::Spilled, key, number, Source::Spilled));
            }
        }
        best
    }

    /// Takes the first task of a class, or of an owner's line in it.
    pub(super) fn take_first(&mut self, number: u32, owner: u32) -> Option<u32> {
        let Some(place) = self.front(number, owner) else {
            self.list_head(number);
            return None;
        };
        let class = self.queues.class_mut(number);
        let line = if owner == NOBODY { &mut class.line } else { class.owners.get_mut(&owner)? };
        line.pop();
        let empty = owner != NOBODY && line.len() == 0;
        class.waiting -= 1;
        if empty {
            class.owners.remove(&owner);
            self.disown(owner, number);
        }
        self.take_out(place.slot);
        if owner == NOBODY {
            self.list_head(number);
        }
        Some(place.slot)
    }

    /// A task has been taken out of its line: whatever places it has there are void.
    pub(super) fn take_out(&mut self, slot: u32) {
        if let Phase::Ready { owner, .. } = &mut self.tasks.at(slot).phase {
            *owner = NOWHERE;
        }
    }

    /// An owner has no line in a class any more.
    pub(super) fn disown(&mut self, owner: u32, class: u32) {
        if let Some(classes) = self.owned.get_mut(&owner) {
            classes.remove(&class);
            if classes.is_empty() {
                self.owned.remove(&owner);
                self.give_up_worker_name(owner);
            }
        }
    }

    /// Leases what waits in an unkeyed class while somebody is free.
    pub(super) fn serve(&mut self, class: u32, fx: &mut Effects) {
        while self.waits(class) {
            if self.is_head_barred(class) {
                self.list_head(class);
                continue;
            }
            let Some(worker) = self.pick(class) else { return };
            let Some(slot) = self.take_first(class, NOBODY) else { return };
            self.lease(slot, worker, fx);
        }
    }

    fn waits(&self, class: u32) -> bool {
        let class: &Class = self.queues.class(class);
        !class.keyed && class.listed.is_some() && self.is_open(class.queue)
    }
}

/// Keeps the smaller of two.
fn better(best: &mut Option<Next>, other: Next) {
    if best.is_none_or(|best| other < best) {
        *best = Some(other);
    }
}

/// The first of some numbers that comes after one, or the first of all: for a walk in which they may
/// change.
fn first_after(numbers: &BTreeSet<u32>, last: Option<u32>) -> Option<u32> {
    match last {
        None => numbers.first().copied(),
        Some(last) => numbers.range((Bound::Excluded(last), Bound::Unbounded)).next().copied(),
    }
}
