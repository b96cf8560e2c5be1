//! A worker gives a lease back unrun. For a second the task is not offered to its session again, and
//! waits apart, for any other that gets room or comes.
//!
//! Under a keyed route it is its owner's turn first: where the owner itself has released the task, it
//! waits for the spill, or for the end of the second; where another one has, which can only have got
//! it after the spill, the spill is over.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::dispatch::{APART, NOBODY, NOWHERE, Next, Source};
use crate::core::event::Peer;
use crate::core::finish::{Answered, GIVEN_UP};
use crate::core::line::Place;
use crate::core::tasks::{How, Phase};
use crate::core::timers::Reason;
use crate::core::{Core, Effects};
use crate::message::Reply;
use crate::task::{Attempt, SessionId, TaskId};

/// How long a task is not offered again to the session that released it, in microseconds.
const BAR_US: u64 = 1_000_000;

/// The released tasks of a class that wait apart.
#[derive(Debug, Default)]
pub(super) struct Apart {
    /// By the sessions that they are not offered to.
    open: BTreeMap<Vec<SessionId>, BTreeSet<Place>>,
    /// The first of each of these, so that whoever looks for a task passes over no more than the few
    /// that begin what it has released itself.
    firsts: BTreeSet<(Place, Vec<SessionId>)>,
    /// Those that nobody is offered for the time being.
    closed: BTreeSet<Place>,
}

impl Apart {
    /// The first task that a session is offered.
    fn first(&self, session: SessionId) -> Option<Place> {
        let offered = self.firsts.iter().find(|(_, barred)| !barred.contains(&session));
        offered.map(|(place, _)| *place)
    }

    fn change(&mut self, barred: Vec<SessionId>, change: impl FnOnce(&mut BTreeSet<Place>)) {
        let places = self.open.entry(barred.clone()).or_default();
        let before = places.first().copied();
        change(places);
        let after = places.first().copied();
        if after.is_none() {
            self.open.remove(&barred);
        }
        if before != after {
            if let Some(before) = before {
                self.firsts.remove(&(before, barred.clone()));
            }
            self.firsts.extend(after.map(|after| (after, barred)));
        }
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.closed.is_empty()
    }

    /// All of them, those that nobody is offered last.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.open.values().flatten().chain(&self.closed)
    }

    /// The first places of those that somebody is offered, as they are to be.
    pub(super) fn check(&self) {
        let first = |(barred, places): (&Vec<SessionId>, &BTreeSet<Place>)| {
            let place = *places.first().expect("nobody is barred from nothing");
            (place, barred.clone())
        };
        let firsts: BTreeSet<_> = self.open.iter().map(first).collect();
        assert_eq!(self.firsts, firsts, "the first tasks apart");
        assert!(!self.is_empty(), "a class without tasks apart is listed");
    }

    /// Whether a session is offered a task.
    pub(super) fn offers(&self, place: &Place, session: SessionId) -> bool {
        let offered = self.open.iter().filter(|(barred, _)| !barred.contains(&session));
        offered.into_iter().any(|(_, places)| places.contains(place))
    }
}

impl Core {
    pub(super) fn on_release(
        &mut self,
        peer: Peer,
        id: TaskId,
        attempt: Attempt,
        delay_ms: u64,
        fx: &mut Effects,
    ) {
        let answered = self.answered(peer, id, attempt, &GIVEN_UP, fx);
        let Answered::Lease { slot, worker } = answered else { return };
        fx.send(peer, Reply::OkTask(id));
        self.end_lease(slot, worker);
        self.note_end(slot, attempt, "released", worker);
        let class = self.tasks.at(slot).class;
        self.event(fx, "released", id, attempt, class, Some(worker), &[]);
        let (session, now_us) = (self.workers.sessions.at(worker).session, self.now.mono_us);
        let task = self.tasks.at(slot);
        task.lift_bars(now_us);
        task.more().bars.push((session, now_us.saturating_add(BAR_US)));
        if delay_ms > 0 {
            self.schedule(slot, delay_ms, fx);
        } else {
            self.back_to_ready(slot, fx);
        }
        self.feed(worker, fx);
    }

    /// Offers a ready task that waits nowhere to those who may have it though others may not. False
    /// if it may wait like any other: nobody who released it could get it that way.
    pub(super) fn offer_apart(&mut self, slot: u32, fx: &mut Effects) -> bool {
        let now_us = self.now.mono_us;
        let task = self.tasks.at(slot);
        task.lift_bars(now_us);
        if task.bars().is_empty() {
            return false;
        }
        let (opens_us, strict) = self.opening_us(slot);
        let owner = self.owner_of(slot);
        let owner = self.workers.by_name(owner).and_then(|owner| self.workers.sessions.get(owner));
        let owner = owner.map(|owner| owner.session);
        let task = self.tasks.at(slot);
        let barred = owner.is_some_and(|owner| task.bars().iter().any(|(its, _)| *its == owner));
        if strict && !barred {
            return false;
        }
        let closed = barred && opens_us.is_none_or(|at_us| at_us > now_us);
        let class = self.tasks.at(slot).class;
        let open = self.is_open(self.queues.class(class).queue);
        if !closed
            && open
            && let Some(worker) = self.pick_other(slot)
        {
            self.lease_as(slot, worker, How::Apart, fx);
            return true;
        }
        self.put_apart(slot, if closed { opens_us } else { None }, closed);
        true
    }

    /// When a task's owner had its time, in monotonic microseconds, if it ever has; and whether
    /// only the owner may have it.
    fn opening_us(&mut self, slot: u32) -> (Option<u64>, bool) {
        let task = self.tasks.at(slot);
        let Phase::Ready { lined_us, .. } = task.phase else { return (None, false) };
        let class = task.class;
        if !self.queues.class(class).keyed {
            return (Some(lined_us), false);
        }
        let spill_us = self.spill_us(class);
        (spill_us.map(|us| lined_us.saturating_add(us)), spill_us.is_none())
    }

    /// A free worker that has not released a task.
    fn pick_other(&mut self, slot: u32) -> Option<u32> {
        let task = self.tasks.at(slot);
        let class = task.class;
        let sessions = task.bars().iter();
        let barred: Vec<u32> =
            sessions.filter_map(|(session, _)| self.workers.by_session(*session)).collect();
        barred.iter().for_each(|worker| self.workers.hide(*worker));
        let other = if !self.pick_exists(class) {
            None
        } else if self.queues.class(class).keyed {
            self.next_along_ring(slot).or_else(|| self.pick(class))
        } else {
            self.pick(class)
        };
        barred.iter().for_each(|worker| self.workers.refresh(*worker));
        other
    }

    fn put_apart(&mut self, slot: u32, opens_us: Option<u64>, closed: bool) {
        let task = self.tasks.at(slot);
        let (number, place) = (task.class, Place { key: task.id.bits(), id: task.id, slot });
        let lifted_us = task.bars().first().map(|(_, until_us)| *until_us);
        let at_us = lifted_us.into_iter().chain(opens_us).min().unwrap_or_default();
        task.more().timer_us = at_us;
        self.timers.at_mono(at_us, Reason::Apart(place.id));
        if let Phase::Ready { owner, .. } = &mut task.phase {
            *owner = APART;
        }
        let barred = task.barred();
        let apart = self.apart.entry(number).or_default();
        if closed {
            apart.closed.insert(place);
        } else {
            apart.change(barred, |places| {
                places.insert(place);
            });
        }
    }

    /// A task waits apart no longer, and nowhere else yet.
    pub(super) fn leave_apart(&mut self, slot: u32) {
        let task = self.tasks.at(slot);
        let (number, place) = (task.class, Place { key: task.id.bits(), id: task.id, slot });
        let at_us = std::mem::take(&mut task.more().timer_us);
        self.timers.off_mono(at_us, Reason::Apart(place.id));
        if let Phase::Ready { owner, .. } = &mut task.phase {
            *owner = NOWHERE;
        }
        let barred = task.barred();
        let Some(apart) = self.apart.get_mut(&number) else { return };
        if !apart.closed.remove(&place) {
            apart.change(barred, |places| {
                places.remove(&place);
            });
        }
        if apart.is_empty() {
            self.apart.remove(&number);
        }
    }

    /// A task may have become everybody's, or open to more.
    pub(super) fn on_apart(&mut self, id: TaskId, fx: &mut Effects) {
        let Some(slot) = self.tasks.find(id) else { return };
        if matches!(self.tasks.at(slot).phase, Phase::Ready { owner: APART, .. }) {
            self.leave_apart(slot);
            self.enter(slot, fx);
        }
    }

    /// The first task apart that a worker is offered. The classes that have any are few: those of
    /// which something was released within the second.
    pub(super) fn first_apart(&mut self, worker: u32, pool: u32) -> Option<Next> {
        let session = self.workers.sessions.at(worker).session;
        let mut best = None;
        for (&number, apart) in &self.apart {
            let class = self.queues.class(number);
            if class.pools.binary_search(&pool).is_ok()
                && self.fits(worker, number)
                && self.may_open(class.queue)
                && let Some(place) = apart.first(session)
            {
                let like = if class.keyed { Source::Spilled } else { Source::Common };
                let pass = self.pass_of(pool, number);
                let next = (pass, like, place.key, number, Source::Apart);
                best = best.into_iter().chain([next]).min();
            }
        }
        best
    }

    /// Takes the task that [`Core::first_apart`] speaks of.
    pub(super) fn take_apart(&mut self, number: u32, worker: u32) -> Option<u32> {
        let session = self.workers.sessions.at(worker).session;
        let place = self.apart.get(&number)?.first(session)?;
        self.leave_apart(place.slot);
        Some(place.slot)
    }

    /// Offers what waits apart again: its queue has opened.
    pub(super) fn serve_apart(&mut self, number: u32, fx: &mut Effects) {
        let Some(apart) = self.apart.get(&number) else { return };
        for slot in apart.iter().map(|place| place.slot).collect::<Vec<_>>() {
            self.leave_apart(slot);
            self.enter(slot, fx);
        }
    }

    /// Puts what waits apart into the line of its class, which is about to be sorted anew: as many
    /// steps as there were releases within the second.
    pub(super) fn line_up_apart(&mut self, number: u32) {
        let Some(apart) = self.apart.remove(&number) else { return };
        for place in apart.iter() {
            let task = self.tasks.at(place.slot);
            let at_us = std::mem::take(&mut task.more().timer_us);
            self.timers.off_mono(at_us, Reason::Apart(place.id));
            if let Phase::Ready { owner, .. } = &mut task.phase {
                *owner = NOBODY;
            }
            let class = self.queues.class_mut(number);
            class.line.push(*place);
            class.waiting += 1;
        }
    }
}
