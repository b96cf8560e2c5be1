//! Who can own keys: the able workers by name, those that are full or in grace included, and after
//! a start also those that were there before it.

use std::sync::Arc;

use crate::core::Core;
use crate::route::{Ring, Weight, modulo, point};

/// Points on rings below which changes of members are applied at once.
const POINTS_AT_ONCE: usize = 20_000;

/// Points on rings for which changes of members are gathered one microsecond: an application takes
/// about a tenth of that.
const POINTS_PER_US: u64 = 5;

/// The members of all classes that the same pools are able to do.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) pools: Vec<u32>,
    ring: Ring,
    /// By name, ascending.
    sorted: Vec<(Arc<str>, u32, Weight)>,
}

/// A name that becomes a member, changes its weight, or is one no longer.
struct Change {
    number: u32,
    name: Arc<str>,
    before: Option<Weight>,
    after: Option<Weight>,
}

impl Members {
    /// The owner's name on the ring.
    pub(super) fn hash_owner(&self, key: &[u8]) -> Option<u32> {
        self.ring.owner(point(key))
    }

    /// Names along the ring, beginning with the owner.
    pub(super) fn walk(&self, key: &[u8]) -> impl Iterator<Item = u32> + '_ {
        self.ring.walk(point(key))
    }

    /// The owner's name by division.
    pub(super) fn modulo_owner(&self, key: &[u8]) -> Option<u32> {
        let index = modulo(key, self.sorted.len())?;
        self.sorted.get(index).map(|(_, name, _)| *name)
    }

    fn weight(&self, name: &Arc<str>) -> Option<Weight> {
        let found = self.sorted.binary_search_by(|(its, _, _)| its.cmp(name)).ok()?;
        self.sorted.get(found).map(|(_, _, weight)| *weight)
    }

    fn set(&mut self, name: &Arc<str>, number: u32, weight: Option<Weight>) {
        let place = self.sorted.binary_search_by(|(its, _, _)| its.cmp(name));
        match (place, weight) {
            (Ok(at), Some(weight)) => {
                if let Some(member) = self.sorted.get_mut(at) {
                    member.2 = weight;
                }
            }
            (Ok(at), None) => {
                self.sorted.remove(at);
            }
            (Err(at), Some(weight)) => self.sorted.insert(at, (name.clone(), number, weight)),
            (Err(_), None) => {}
        }
    }

    /// Applies changes, all in one pass over the ring.
    fn change(&mut self, changes: &[Change]) {
        let leave: Vec<u32> = changes.iter().map(|change| change.number).collect();
        let join = changes.iter().filter_map(|change| {
            change.after.map(|weight| (change.number, change.name.as_ref(), weight))
        });
        self.ring.change(&leave, &join.collect::<Vec<_>>());
        for change in changes {
            self.set(&change.name, change.number, change.after);
        }
    }

    /// The numbers of the members' names.
    pub(super) fn names(&self) -> impl Iterator<Item = u32> {
        self.sorted.iter().map(|(_, number, _)| *number)
    }
}

impl Core {
    /// Gives a keyed class the members that its pools have; classes of the same pools share them.
    /// Other members mean other owners, so that what waits is sorted anew.
    pub(super) fn choose_members(&mut self, number: u32) {
        let class = self.queues.class(number);
        let chosen = class.keyed.then(|| class.pools.clone()).map(|pools| {
            let known = self.members.iter().find(|(_, members)| members.pools == pools);
            match known.map(|(known, _)| known) {
                Some(known) => known,
                None => self.new_members(pools),
            }
        });
        let before = std::mem::replace(&mut self.queues.class_mut(number).members, chosen);
        if before != chosen {
            self.unsort(number);
        }
        if let Some(before) = before.filter(|before| Some(*before) != chosen) {
            self.give_up_members(before);
        }
    }

    /// Forgets members that no class has.
    pub(super) fn give_up_members(&mut self, number: u32) {
        if self.queues.classes().any(|(_, class)| class.members == Some(number)) {
            return;
        }
        for (_, name, _) in self.members.remove(number).into_iter().flat_map(|gone| gone.sorted) {
            self.give_up_worker_name(name);
        }
    }

    fn new_members(&mut self, pools: Vec<u32>) -> u32 {
        let mut members = Members { pools, ring: Ring::new(), sorted: Vec::new() };
        let sessions = self.workers.sessions.iter();
        let names =
            sessions.map(|(_, worker)| worker.name).collect::<std::collections::BTreeSet<_>>();
        let changes = self.member_changes(&members, names.into_iter());
        members.change(&changes);
        self.count_members(&changes);
        self.members.insert(members)
    }

    /// Members are users of their names.
    fn count_members(&mut self, changes: &[Change]) {
        for change in changes {
            match (change.before, change.after) {
                (None, Some(_)) => self.worker_names.keep(change.number),
                (Some(_), None) => self.give_up_worker_name(change.number),
                _ => {}
            }
        }
    }

    /// Remembers that the membership of a worker's name may have changed.
    pub(super) fn member_changed(&mut self, name: u32) {
        if self.members.len() > 0 && self.changed_members.insert(name) {
            self.worker_names.keep(name);
        }
    }

    fn member_changes(&self, members: &Members, names: impl Iterator<Item = u32>) -> Vec<Change> {
        let mut changes = Vec::new();
        for number in names {
            let session = self.workers.by_name(number);
            let session = session.and_then(|session| self.workers.sessions.get(session));
            let session = session.filter(|session| session.is_member());
            let able = |pool: u32| members.pools.binary_search(&pool).is_ok();
            let session =
                session.filter(|session| session.pool.is_some_and(|(pool, _)| able(pool)));
            let (name, after) = (self.worker_names.name(number), session.map(|s| s.entry.weight));
            let before = members.weight(&name);
            if before != after {
                changes.push(Change { number, name, before, after });
            }
        }
        changes
    }

    /// Applies the joins and leaves of a turn together, and has the waiting tasks sorted anew.
    pub(super) fn apply_member_changes(&mut self) {
        for class in std::mem::take(&mut self.repooled) {
            if self.queues.find_class_mut(class).is_some() {
                self.choose_members(class);
            }
        }
        if self.changed_members.is_empty() || self.now.mono_us < self.members_at_us {
            return;
        }
        let names = std::mem::take(&mut self.changed_members);
        for number in 0..self.members.bound() {
            let Some(members) = self.members.get(number) else { continue };
            let changes = self.member_changes(members, names.iter().copied());
            if changes.is_empty() {
                continue;
            }
            self.members.at_mut(number).change(&changes);
            self.count_members(&changes);
            let classes = self.queues.classes().filter(|(_, class)| class.members == Some(number));
            let classes: Vec<u32> = classes.map(|(class, _)| class).collect();
            classes.into_iter().for_each(|class| self.unsort(class));
        }
        names.into_iter().for_each(|name| self.give_up_worker_name(name));
        self.members_at_us = self.now.mono_us + self.members_pause_us();
    }

    /// How long changes of members are gathered after some were applied, in microseconds: each
    /// application goes through all points of the rings, so that among very many of them it takes a
    /// small part of the time only.
    fn members_pause_us(&self) -> u64 {
        let points: usize = self.members.iter().map(|(_, members)| members.ring.len()).sum();
        if points < POINTS_AT_ONCE { 0 } else { points as u64 / POINTS_PER_US }
    }
}
