//! The invariants of names: each is there for those who use it, and no longer.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::Core;
use crate::core::breaker::Odds;
use crate::core::names::Names;
use crate::core::tasks::Phase;
use crate::core::workers::Pool;

/// How many users each number has.
#[derive(Default)]
struct Users(BTreeMap<u32, u32>);

impl Users {
    fn count(&mut self, numbers: impl IntoIterator<Item = u32>) {
        numbers.into_iter().for_each(|number| *self.0.entry(number).or_default() += 1);
    }

    fn check(self, names: &Names, what: &str) {
        assert_eq!(names.users(), self.0, "users of {what}");
    }
}

impl Core {
    /// Every name has just the users that it counts.
    pub(super) fn check_names(&self) {
        self.check_kinds();
        self.check_queue_names();
        self.check_worker_names();
        self.check_demands();
    }

    fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.workers.pools.iter().map(|(_, pool)| pool)
    }

    fn check_kinds(&self) {
        let mut users = Users::default();
        users.count(self.queues.classes().map(|(_, class)| class.kind));
        self.pools().for_each(|pool| users.count(pool.ability.kinds.iter().flatten().copied()));
        for (kind, odds) in (0..).zip(&self.odds) {
            let known = users.0.contains_key(&kind) || *odds == Odds::default();
            assert!(known, "odds of kind {kind}, which is gone");
        }
        let classes = || self.queues.classes().map(|(_, class)| class.kind);
        for pool in self.pools() {
            let rooms = pool.rooms.values().map(|room| &room.standing);
            let standings = std::iter::once(&pool.standing).chain(rooms).flatten();
            for (kind, _) in standings.flat_map(|its| its.pace.iter()).flat_map(|its| its.kinds()) {
                assert!(classes().any(|its| its == kind), "pace of kind {kind}, which is gone");
            }
        }
        users.check(&self.kinds, "kinds");
    }

    fn check_queue_names(&self) {
        let mut users = Users::default();
        users.count(self.queues.iter().map(|(_, queue)| queue.name));
        self.pools().for_each(|pool| users.count(pool.ability.queues.iter().flatten().copied()));
        users.check(&self.queue_names, "names of queues");
    }

    fn check_worker_names(&self) {
        let mut users = Users::default();
        users.count(self.workers.sessions.iter().map(|(_, session)| session.name));
        self.members
            .iter()
            .for_each(|(_, members)| users.count(members.iter().map(|(name, _)| name)));
        users.count(self.changed_members.iter().copied());
        users.count(self.owned.keys().copied());
        let mut owned = BTreeMap::<u32, BTreeSet<u32>>::new();
        for (number, class) in self.queues.classes() {
            users.count(class.former.iter().copied());
            for owner in class.owners.keys() {
                owned.entry(*owner).or_default().insert(number);
            }
            let sorted = class.unsorted.is_empty() && !self.unsorted.contains(&number);
            assert!(!sorted || class.former.is_empty(), "former owners in class {number}");
        }
        assert_eq!(self.owned, owned, "classes with a line of an owner");
        for (_, task) in self.tasks.iter() {
            if let Phase::Ready { owner, .. } = task.phase
                && owner < crate::core::limits::ASIDE
            {
                let class = self.queues.class(task.class);
                let kept = class.owners.contains_key(&owner) || class.former.contains(&owner);
                assert!(kept, "task {} waits for {owner}, which has no line", task.id);
            }
        }
        users.check(&self.worker_names, "names of workers");
    }

    fn check_demands(&self) {
        let mut classes = Users::default();
        classes.count([0]);
        classes.count(self.queues.classes().map(|(_, class)| class.parts.demand));
        let (mut tags, mut resources) = (Users::default(), Users::default());
        for (number, demand, count) in self.demands.iter() {
            assert_eq!(classes.0.get(&number), Some(&count), "classes with demand {number}");
            tags.count(demand.tags.iter().copied());
            resources.count(demand.amounts.iter().map(|(name, _)| *name));
        }
        for pool in self.pools() {
            tags.count(pool.ability.tags.iter().copied());
            resources.count(pool.ability.capacities.iter().map(|(name, _)| *name));
        }
        for (_, session) in self.workers.sessions.iter() {
            let amounts = session.unanswered.values().filter_map(|run| run.amounts.as_ref());
            amounts.for_each(|its| resources.count(its.iter().map(|(name, _)| *name)));
        }
        tags.check(&self.demands.tags, "tags");
        resources.check(&self.demands.resources, "what amounts are of");
    }
}
