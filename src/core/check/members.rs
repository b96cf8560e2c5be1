//! The invariants of who can own keys.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::Core;

impl Core {
    /// Members and classes know of each other, and classes of the same pools share their members.
    pub(super) fn check_members(&self) {
        let mut classes = BTreeMap::<u32, BTreeSet<u32>>::new();
        for (number, class) in self.queues.classes() {
            let Some(members) = class.members else { continue };
            classes.entry(members).or_default().insert(number);
            let its = self.members.at(members);
            let to_choose = self.repooled.contains(&number);
            assert!(its.pools == class.pools || to_choose, "the pools of class {number}");
        }
        let mut pools = BTreeSet::new();
        for (number, members) in self.members.iter() {
            assert_eq!(Some(&members.classes), classes.get(&number), "classes of members {number}");
            assert!(pools.insert(&members.pools), "members {number} are there twice");
        }
        assert_eq!(self.members.len(), classes.len(), "members that a class has");
        let known = |number: &u32| self.members.get(*number).is_some();
        assert!(self.unready.iter().chain(&self.moved).all(known), "members that are gone");
    }

    /// Between two turns, when joins and leaves are applied: members are those who are there.
    pub(super) fn check_memberships(&self) {
        assert!(self.unready.is_empty() && self.moved.is_empty(), "members that are not complete");
        for (number, members) in self.members.iter() {
            let sessions = self.workers.sessions.iter().map(|(_, session)| session.name);
            let weight = |name| Some((name, self.membership(&members.pools, name)?));
            let derived: BTreeMap<_, _> = sessions.filter_map(weight).collect();
            assert_eq!(members.iter().collect::<BTreeMap<_, _>>(), derived, "members {number}");
        }
    }
}
