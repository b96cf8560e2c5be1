//! Who can own keys: the able workers by name, those that are full or in grace included, and after
//! a start also those that were there before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::core::Core;
use crate::route::{Digest, Ring, Weight, points_of_weight};

/// How many points of rings come and go in one turn: about a millisecond; and then those of the worker
/// whose points are more than that.
const POINTS: usize = 8192;

/// How many points a new ring has at most that is complete at once: about two milliseconds.
const POINTS_AT_ONCE: usize = 20_000;

/// How long changes that take several turns are applied before what waits is sorted anew, in
/// microseconds.
const ROUND_US: u64 = 50_000;

/// How many owners' lines are given up in one turn to be sorted anew: about a millisecond.
const LINES: usize = 2048;

/// How many of them are so few that changes of members need not be gathered.
const LINES_AT_ONCE: usize = 256;

/// How long changes of members are gathered for each line that the last ones had sorted anew, in
/// microseconds: to give a line up takes about a tenth of that.
const GATHER_US: u64 = 5;

/// The members of all classes that the same pools are able to do.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) pools: Vec<u32>,
    /// The classes that have them.
    pub(super) classes: BTreeSet<u32>,
    ring: Ring,
    /// By name, ascending.
    sorted: Vec<(Arc<str>, u32, Weight)>,
}

impl Members {
    /// The owner's name on the ring.
    pub(super) fn hash_owner(&self, key: Digest) -> Option<u32> {
        self.ring.owner(key.point())
    }

    /// Names along the ring, beginning with the owner.
    pub(super) fn walk(&self, key: Digest) -> impl Iterator<Item = u32> + '_ {
        self.ring.walk(key.point())
    }

    /// The owner's name by division.
    pub(super) fn modulo_owner(&self, key: Digest) -> Option<u32> {
        let index = key.modulo(self.sorted.len())?;
        self.sorted.get(index).map(|(_, name, _)| *name)
    }

    /// The members' names with their weights, in the order of the names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Weight)> {
        self.sorted.iter().map(|(_, number, weight)| (*number, *weight))
    }

    fn weight(&self, name: &Arc<str>) -> Option<Weight> {
        let found = self.sorted.binary_search_by(|(its, _, _)| its.cmp(name)).ok()?;
        self.sorted.get(found).map(|(_, _, weight)| *weight)
    }

    fn set(&mut self, name: &Arc<str>, number: u32, weight: Option<Weight>) {
        self.ring.set(number, name, weight);
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
}

impl Core {
    /// Gives a keyed class the members that its pools have; classes of the same pools share them.
    /// Other members mean other owners, so that what waits is sorted anew.
    pub(super) fn choose_members(&mut self, number: u32) {
        let class = self.queues.class(number);
        let (before, keyed) = (class.members, class.keyed);
        if keyed && before.is_some_and(|before| self.go_along(before, number)) {
            return;
        }
        let chosen = keyed.then(|| self.queues.class(number).pools.clone()).map(|pools| {
            let known = self.members.iter().find(|(_, members)| members.pools == pools);
            match known.map(|(known, _)| known) {
                Some(known) => known,
                None => self.new_members(pools),
            }
        });
        self.queues.class_mut(number).members = chosen;
        if let Some(chosen) = chosen {
            self.members.at_mut(chosen).classes.insert(number);
        }
        if before != chosen {
            self.unsort(number);
        }
        if let Some(before) = before.filter(|before| Some(*before) != chosen) {
            self.leave_members(before, number);
        }
    }

    /// Whether members suit a class of theirs still. Where all their classes have come to the same new
    /// pools they go along: who is in those and was not before, or no longer, has changed anyway.
    fn go_along(&mut self, members: u32, class: u32) -> bool {
        let pools = &self.queues.class(class).pools;
        let its = self.members.at(members);
        if its.pools == *pools {
            return true;
        }
        let known = self.members.iter().any(|(_, others)| others.pools == *pools);
        let together = its.classes.iter().all(|its| self.queues.class(*its).pools == *pools);
        if together && !known {
            self.members.at_mut(members).pools.clone_from(pools);
        }
        together && !known
    }

    /// A class has these members no longer; members without classes are forgotten.
    pub(super) fn leave_members(&mut self, number: u32, class: u32) {
        let members = self.members.at_mut(number);
        members.classes.remove(&class);
        if !members.classes.is_empty() {
            return;
        }
        self.unready.remove(&number);
        self.moved.remove(&number);
        for (_, name, _) in self.members.remove(number).into_iter().flat_map(|gone| gone.sorted) {
            self.give_up_worker_name(name);
        }
    }

    /// The members of some pools. If they have many points the ring is not used before it is complete:
    /// what waits has no owner until then.
    fn new_members(&mut self, pools: Vec<u32>) -> u32 {
        let able = pools.iter().filter_map(|pool| self.workers.pools.get(*pool));
        let sessions = able.flat_map(|pool| pool.members.iter().map(|(_, worker)| *worker));
        let sessions = sessions.filter_map(|worker| self.workers.sessions.get(worker));
        let names: Vec<(u32, usize)> = sessions
            .map(|session| (session.name, points_of_weight(session.entry.weight)))
            .collect();
        let (ring, sorted) = (Ring::new(), Vec::new());
        let members = Members { pools, classes: BTreeSet::new(), ring, sorted };
        let number = self.members.insert(members);
        let points: usize = names.iter().map(|(_, points)| points + 1).sum();
        if points > POINTS_AT_ONCE {
            self.unready.insert(number);
            names.into_iter().for_each(|(name, _)| self.member_changed(name));
        } else {
            for (name, _) in names {
                self.update_member(number, name);
            }
        }
        number
    }

    /// Remembers that the membership of a worker's name may have changed.
    pub(super) fn member_changed(&mut self, name: u32) {
        if self.members.len() > 0 && self.changed_members.insert(name) {
            self.worker_names.keep(name);
        }
    }

    /// The weight with which a name is among the members of some pools.
    pub(super) fn membership(&self, pools: &[u32], name: u32) -> Option<Weight> {
        let session = self.workers.sessions.get(self.workers.by_name(name)?)?;
        let (pool, _) = session.pool?;
        let able = session.is_member() && pools.binary_search(&pool).is_ok();
        able.then_some(session.entry.weight)
    }

    /// Has a name among members as it should be; how many points that took, if anything changed.
    fn update_member(&mut self, number: u32, name: u32) -> Option<usize> {
        let members = self.members.get(number)?;
        let title = self.worker_names.name(name);
        let (before, after) = (members.weight(&title), self.membership(&members.pools, name));
        if before == after {
            return None;
        }
        self.members.at_mut(number).set(&title, name, after);
        match (before, after) {
            (None, Some(_)) => self.worker_names.keep(name),
            (Some(_), None) => self.give_up_worker_name(name),
            _ => {}
        }
        Some([before, after].into_iter().flatten().map(points_of_weight).sum())
    }

    /// Applies joins and leaves, as many in one turn as it has time for, and has the tasks that wait
    /// sorted anew.
    pub(super) fn apply_member_changes(&mut self) {
        for class in std::mem::take(&mut self.repooled) {
            if self.queues.find_class_mut(class).is_some() {
                self.choose_members(class);
            }
        }
        let is_time = self.now.mono_us >= self.members_at_us || !self.unready.is_empty();
        if is_time && !self.changed_members.is_empty() {
            self.change_members();
        }
        if !self.displaced.is_empty() {
            self.unsort_displaced();
        }
    }

    fn change_members(&mut self) {
        if self.moved.is_empty() {
            self.round_us = self.now.mono_us.saturating_add(ROUND_US);
        }
        let mut budget = POINTS;
        while budget > 0 {
            let Some(name) = self.changed_members.pop_first() else { break };
            for number in 0..self.members.bound() {
                let was_empty = self.members.get(number).is_some_and(|its| its.ring.is_empty());
                let Some(points) = self.update_member(number, name) else { continue };
                budget = budget.saturating_sub(points);
                self.moved.insert(number);
                if was_empty {
                    self.unready.insert(number);
                }
            }
            budget = budget.saturating_sub(1 + self.members.len());
            self.give_up_worker_name(name);
        }
        if self.changed_members.is_empty() {
            self.unready.clear();
        }
        if self.changed_members.is_empty() || self.now.mono_us >= self.round_us {
            for number in std::mem::take(&mut self.moved) {
                self.displaced.extend(&self.members.at(number).classes);
            }
        }
    }

    /// Has the lines of classes sorted anew whose members have changed.
    fn unsort_displaced(&mut self) {
        let mut lines = 0;
        while lines < LINES {
            let Some(number) = self.displaced.pop_first() else { break };
            if let Some(class) = self.queues.find_class_mut(number) {
                lines += 1 + class.owners.len();
                self.unsort(number);
            }
        }
        let gather_us = if lines > LINES_AT_ONCE { GATHER_US * lines as u64 } else { 0 };
        self.members_at_us = self.now.mono_us.saturating_add(gather_us);
    }

    /// Whether the owners of a class's tasks are known.
    pub(super) fn is_ready(&self, class: u32) -> bool {
        let members = self.queues.class(class).members;
        members.is_none_or(|members| !self.unready.contains(&members))
    }
}
