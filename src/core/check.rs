//! Proves the invariants by deriving every cross-reference anew. For tests and simulations: it walks
//! everything.

mod constraints;
mod members;
mod names;
mod spills;

use std::collections::{BTreeMap, BTreeSet};

use crate::core::Core;
use crate::core::dispatch::{APART, NOBODY, NOWHERE};
use crate::core::expire::LAPSED;
use crate::core::limits::ASIDE;
use crate::core::line::Line;
use crate::core::queues::Counts;
use crate::core::release::Apart;
use crate::core::tasks::{Phase, Task};
use crate::core::timers::Reason;
use crate::core::workers::{Pool, Worker};
use crate::message::Route;
use crate::route::Pace;
use crate::task::{State, TaskId};

impl Core {
    /// Checks every invariant that must hold between two events.
    ///
    /// # Panics
    ///
    /// With the invariant that does not hold, and where.
    pub fn check(&self) {
        self.check_counts();
        self.check_opened();
        self.check_leases();
        self.check_lines();
        self.check_pools();
        self.check_stock();
        self.check_standings();
        self.check_holds();
        self.check_turns();
        self.check_after();
        self.check_timers();
        self.check_names();
        self.check_members();
        self.check_spills();
    }

    /// Checks that no worker is free that could be given a waiting task, and that waiting tasks have
    /// the owners that they should have: between two turns, when joins and leaves are applied.
    ///
    /// # Panics
    ///
    /// With the task and the worker.
    pub fn check_idle(&self) {
        if !self.is_settled() {
            return;
        }
        self.check_memberships();
        self.check_suspects();
        self.check_saved();
        self.check_apart();
        self.check_spill_timers();
        for (slot, task) in self.tasks.iter() {
            let Phase::Ready { owner, lined_us, .. } = task.phase else { continue };
            let queue = self.queues.class(task.class).queue;
            if task.is_isolated() || owner == APART || !self.is_open(queue) {
                continue;
            }
            if owner == ASIDE {
                self.check_set_aside(slot, task);
                continue;
            }
            if self.is_barred(slot) {
                continue;
            }
            assert_eq!(owner, self.owner_of(slot), "the owner of task {}", task.id);
            for (number, worker) in self.workers.sessions.iter() {
                let Some((pool, _)) = worker.pool else { continue };
                let able = self.queues.class(task.class).pools.contains(&pool);
                let its = !self.queues.class(task.class).keyed || owner == NOBODY;
                let its = its || owner == worker.name || self.has_spilled(task, lined_us);
                assert!(
                    !(able && its && worker.is_free() && self.fits(number, task.class)),
                    "worker {number} is free while task {} waits for it",
                    task.id
                );
            }
        }
    }

    /// Checks that a suspect has its turn once it is time, if anybody is able.
    fn check_suspects(&self) {
        if self.isolation.current.is_none() && self.now.mono_us >= self.isolation.not_before_us {
            let overdue = self.timers.next().0.is_some_and(|at| at <= self.now.mono_us);
            assert!(overdue || self.next_suspect().is_none(), "{:?} waits", self.next_suspect());
        }
    }

    /// Checks that a task is set aside for a reason: its key is full, or another of its kind is before
    /// it.
    fn check_set_aside(&self, slot: u32, task: &Task) {
        let mut alike = self
            .tasks
            .iter()
            .filter(|(_, other)| other.class == task.class && other.key_text() == task.key_text());
        let before = alike
            .any(|(_, other)| matches!(other.phase, Phase::Ready { owner, .. } if owner != ASIDE));
        assert!(self.is_key_full(slot) || before, "task {} is set aside for nothing", task.id);
    }

    /// Checks that nobody is free who is offered a task that another one has released.
    fn check_apart(&self) {
        for (class, apart) in &self.apart {
            if !self.is_open(self.queues.class(*class).queue) {
                continue;
            }
            for (number, worker) in self.workers.sessions.iter() {
                let Some((pool, _)) = worker.pool.filter(|_| worker.is_free()) else { continue };
                let able = self.queues.class(*class).pools.contains(&pool);
                let offered = apart.iter().find(|place| apart.offers(place, worker.session));
                let fits = self.fits(number, *class);
                assert!(
                    !able || !fits || offered.is_none(),
                    "worker {number} is free for {offered:?}"
                );
            }
        }
    }

    fn has_spilled(&self, task: &Task, lined_us: u64) -> bool {
        let queue = self.queues.class(task.class).queue;
        let policy = self.queues.queue(queue).policy;
        match policy.spill_ms.filter(|_| policy.route == Route::Hash) {
            Some(ms) => {
                let since_us = lined_us.max(self.queues.queue(queue).runs.resumed_us);
                // At the very instant the timer has yet to be handled.
                since_us.saturating_add(ms.saturating_mul(1000)) < self.now.mono_us
                    && self.timers.next().0.is_none_or(|at| at > self.now.mono_us)
            }
            _ => false,
        }
    }

    fn check_counts(&self) {
        let mut counts: BTreeMap<u32, Counts> = BTreeMap::new();
        for (slot, task) in self.tasks.iter() {
            assert_eq!(self.tasks.find(task.id), Some(slot), "task {} is not found", task.id);
            assert!(task.id <= self.last, "task {} is beyond the last", task.id);
            let queue = self.queues.class(task.class).queue;
            *counts.entry(queue).or_default().of(task.state()) += 1;
        }
        for (number, queue) in self.queues.iter() {
            let derived = counts.remove(&number).unwrap_or_default();
            let counted = Counts { done: 0, ..queue.counts };
            assert_eq!(counted, derived, "counts of queue {number}");
        }
        let mut totals = self.totals();
        let ended = *totals.of(State::Done);
        assert_eq!(totals.held(), self.tasks.len() as u64, "held tasks, beside {ended} done");
    }

    /// A queue that may open does so at the end of the turn, and one that may not is shut.
    fn check_opened(&self) {
        for (number, queue) in self.queues.iter() {
            let (may, runs) = (self.may_open(number), &queue.runs);
            assert_eq!(may, !runs.is_shut, "whether queue {number} may open");
            let served = self.opened.contains(&number);
            assert!(!runs.is_opening || may && served, "queue {number} opens for nobody");
        }
    }

    fn check_leases(&self) {
        let mut listed = 0;
        for (number, worker) in self.workers.sessions.iter() {
            for (place, slot) in worker.leases.iter().enumerate() {
                let task = self.tasks.get(*slot).expect("a lease is of a task");
                let Phase::Leased { worker: its, place: kept, .. } = task.phase else {
                    panic!("worker {number} lists task {}, which is not leased", task.id)
                };
                assert_eq!((its, kept as usize), (number, place), "the lease of task {}", task.id);
                listed += 1;
            }
            assert!(worker.peer.is_some() || !worker.is_free(), "worker {number} is free and away");
            let current = self.isolation.current.filter(|(_, its)| *its == number);
            assert_eq!(worker.reserved, current.map(|(id, _)| id), "worker {number} is reserved");
        }
        let leased = self.tasks.iter().filter(|(_, task)| task.state() == State::Leased).count();
        assert_eq!(listed, leased, "leases that no worker lists");
    }

    fn check_lines(&self) {
        let mut waiting: BTreeMap<u32, usize> = BTreeMap::new();
        let mut aside = BTreeSet::new();
        let (mut suspects, mut apart) = (BTreeSet::new(), BTreeSet::new());
        for (_, task) in self.tasks.iter() {
            if let Phase::Ready { owner, .. } = task.phase {
                if owner == APART {
                    apart.insert((task.class, task.id));
                } else if owner == ASIDE {
                    aside.insert(task.id);
                } else if task.is_isolated() {
                    suspects.insert((task.class, task.id));
                } else if owner == LAPSED {
                    assert!(self.lapsed.contains(&task.id), "task {} does not end", task.id);
                } else {
                    assert_ne!(owner, NOWHERE, "task {} waits nowhere", task.id);
                    *waiting.entry(task.class).or_default() += 1;
                }
            }
        }
        assert_eq!(self.isolation.waiting, suspects, "suspects that wait");
        self.apart.values().for_each(Apart::check);
        let kept = self
            .apart
            .iter()
            .flat_map(|(class, apart)| apart.iter().map(|place| (*class, place.id)));
        assert_eq!(kept.collect::<BTreeSet<_>>(), apart, "tasks that wait apart");
        self.check_aside(&aside);
        for (number, class) in self.queues.classes() {
            let derived = waiting.get(&number).copied().unwrap_or(0);
            assert_eq!(class.waiting, derived, "tasks waiting in class {number}");
            assert!(!class.keyed || class.listed.is_none(), "keyed class {number} is listed");
            assert!(class.keyed == class.members.is_some(), "members of class {number}");
            let sorted = class.unsorted.is_empty() && !self.half_looked.contains(&number);
            assert!(
                class.keyed || derived == 0 || !sorted || class.listed.is_some(),
                "class {number} waits unlisted"
            );
            if let Some((_, id)) = class.listed {
                let task = self.tasks.find(id).and_then(|slot| self.tasks.get(slot));
                let waits = task.is_some_and(|task| {
                    task.class == number && matches!(task.phase, Phase::Ready { owner: NOBODY, .. })
                });
                assert!(waits, "task {id} is listed by class {number} and does not wait there");
            }
        }
    }

    /// What is set aside can be found again, and runs are counted.
    fn check_aside(&self, aside: &BTreeSet<TaskId>) {
        let mut kept: BTreeSet<TaskId> =
            self.returning.iter().map(|(_, _, place)| place.id).collect();
        for (number, queue) in self.queues.iter() {
            let keys = queue.runs.keys.values().flat_map(|key| key.aside.values());
            let lines = keys.chain(&queue.runs.released);
            kept.extend(lines.flat_map(Line::iter).map(|place| place.id));
            let sessions = self.workers.sessions.iter();
            let runs = sessions.map(|(_, session)| self.runs_of(number, session)).sum::<usize>();
            assert_eq!(queue.runs.count as usize, runs, "runs of queue {number}");
            if queue.policy.key_limit.is_some() {
                let mut keys = BTreeMap::<Box<str>, u32>::new();
                self.running_keys(number)
                    .into_iter()
                    .for_each(|k| *keys.entry(k).or_default() += 1);
                let counted = queue.runs.keys.iter().filter(|(_, runs)| runs.count > 0);
                let counted: BTreeMap<_, _> = counted.map(|(k, r)| (k.clone(), r.count)).collect();
                assert_eq!(counted, keys, "runs by key of queue {number}");
            }
        }
        assert!(aside.is_subset(&kept), "tasks set aside and lost: {aside:?}, {kept:?}");
    }

    fn runs_of(&self, queue: u32, session: &Worker) -> usize {
        let its = |slot: &&u32| {
            self.tasks.get(**slot).is_some_and(|t| self.queues.class(t.class).queue == queue)
        };
        let unanswered = session.unanswered.values().filter(|run| run.queue == queue).count();
        session.leases.iter().filter(its).count() + unanswered
    }

    fn check_pools(&self) {
        for (number, pool) in self.workers.pools.iter() {
            assert!(pool.members.len() > 0, "pool {number} is empty");
            for (place, worker) in pool.members.iter() {
                let session = self.workers.sessions.at(*worker);
                assert_eq!(session.pool, Some((number, place)), "the pool of worker {worker}");
                let weight = pool.free.weight(place);
                assert_eq!(
                    weight.thousandths() > 0,
                    session.is_free(),
                    "worker {worker} as its pool has it"
                );
            }
            for (demand, room) in &pool.rooms {
                for (place, worker) in pool.members.iter() {
                    let session = self.workers.sessions.at(*worker);
                    let weight = room.free.weight(place).thousandths();
                    let free = session.is_free() && session.stock.fits(&room.amounts);
                    assert_eq!(weight > 0, free, "room of worker {worker} for demand {demand}");
                }
            }
            let open = |queue: &&u32| self.may_open(**queue);
            let wanted: BTreeSet<u32> = pool.heads.keys().filter(open).copied().collect();
            let waiting: BTreeSet<u32> = pool.shares.waiting().collect();
            assert_eq!(waiting, wanted, "queues that take turns in pool {number}");
            for (class_number, class) in self.queues.classes() {
                let able = self.covers(&pool.ability, &class.parts);
                assert_eq!(
                    able,
                    class.pools.contains(&number),
                    "pool {number}, class {class_number}"
                );
                let heads = pool.heads.get(&class.queue);
                assert_eq!(
                    able && class.amounts.is_some() && class.listed.is_some(),
                    pool.bulky.contains(&class_number),
                    "class {class_number} with amounts in pool {number}"
                );
                if class.amounts.is_some() {
                    let demand = class.parts.demand;
                    assert!(!able || pool.rooms.contains_key(&demand), "room for {class_number}");
                    continue;
                }
                let listed = class.listed.is_some_and(|(key, id)| {
                    heads.is_some_and(|heads| heads.contains(&(key, id, class_number)))
                });
                assert_eq!(able && class.listed.is_some(), listed, "head of class {class_number}");
            }
        }
    }

    /// The orders that routes in use ask for are there, no others are, and in each stands who is free,
    /// where its load has it stand.
    fn check_standings(&self) {
        let users =
            |route| self.queues.iter().filter(move |(_, queue)| queue.policy.route == route);
        let ranked = Route::ALL.into_iter().filter(|route| route.is_ranked());
        let wanted: Vec<Route> = ranked.filter(|route| users(*route).count() > 0).collect();
        for route in Route::ALL.into_iter().filter(|route| route.is_ranked()) {
            let counted = self.workers.uses.of(route) as usize;
            assert_eq!(counted, users(route).count(), "queues of {}", route.word());
        }
        for (number, pool) in self.workers.pools.iter() {
            let of_all = (pool.standing.as_deref(), &[][..]);
            let rooms = pool.rooms.values();
            let rooms = rooms.map(|room| (room.standing.as_deref(), &*room.amounts));
            for (standing, amounts) in std::iter::once(of_all).chain(rooms) {
                assert_eq!(standing.is_some(), !wanted.is_empty(), "standing of pool {number}");
                let Some(standing) = standing else { continue };
                assert_eq!(standing.routes(), wanted, "orders of pool {number}");
                standing.check(pool, &self.workers.sessions, amounts);
                standing.pace.iter().for_each(|pace| self.check_pace(number, pool, pace));
            }
        }
    }

    fn check_pace(&self, number: u32, pool: &Pool, pace: &Pace) {
        for (kind, news) in pace.kinds() {
            let places = (0..pool.members.bound()).filter(|place| !news.contains(place));
            for place in places {
                let worker = pool.members.get(place);
                let estimate_us = worker.and_then(|worker| self.estimate_on(*worker, kind));
                let stands = pace.stands(kind, place, estimate_us);
                assert!(stands, "place {place} of pool {number} for kind {kind}");
            }
        }
    }

    fn check_holds(&self) {
        for ((queue, unique), hold) in self.holds.iter() {
            if hold.until_ms.is_some() {
                continue;
            }
            let task = self.tasks.find(hold.id).and_then(|slot| self.tasks.get(slot));
            let task = task.expect("an open hold is of an unended task");
            assert!(!task.state().is_end(), "task {} holds {unique} after its end", task.id);
            assert_eq!(self.queues.class(task.class).queue, *queue, "the queue of {unique}");
        }
    }

    /// Every timer is of something that waits for just that time, and whatever waits has its timer.
    fn check_timers(&self) {
        let mut wanted: BTreeMap<Reason, u64> = BTreeMap::new();
        for (slot, task) in self.tasks.iter() {
            if let Phase::Scheduled { due_ms, over_us } = task.phase {
                wanted.insert(Reason::TaskDue(task.id), if over_us > 0 { over_us } else { due_ms });
            }
            if let Some(at_ms) = task.expires_at_ms() {
                wanted.insert(Reason::Expiry(task.id), at_ms);
            }
            if let Some(at_ms) = task.forget_at_ms().filter(|_| !self.after.kept.contains(&task.id))
            {
                wanted.insert(Reason::Forget(task.id), at_ms);
            }
            let at_us = task.more.as_ref().map_or(0, |more| more.timer_us);
            if let Phase::Ready { owner: APART, .. } = task.phase {
                wanted.insert(Reason::Apart(task.id), at_us);
                continue;
            }
            let limit_us = self.lease_limit(slot).map_or(0, |(at_us, _)| at_us);
            assert!(at_us <= limit_us, "the limit of task {}", task.id);
            assert_eq!(at_us == 0, limit_us == 0, "the timer of the limit of task {}", task.id);
            if at_us > 0 {
                wanted.insert(Reason::LeaseLimit(task.id), at_us);
            }
        }
        for (number, session) in self.workers.sessions.iter() {
            wanted.extend(session.breaker.until_us.map(|at| (Reason::Breaker(number), at)));
            if session.peer.is_none() {
                wanted.insert(Reason::Grace(number), session.grace_until_us);
            }
        }
        for (number, class) in self.queues.classes() {
            wanted.extend(class.starved_timer.map(|at_us| (Reason::Starved(number), at_us)));
            wanted.extend(class.spill_timer.map(|at_us| (Reason::Spill(number), at_us)));
        }
        for (number, queue) in self.queues.iter() {
            wanted.extend(queue.runs.timer_us.map(|at_us| (Reason::Rate(number), at_us)));
        }
        for (peer, snapshots) in &self.observing.observers {
            wanted.extend(snapshots.map(|(_, due_us)| (Reason::Snapshot(*peer), due_us)));
        }
        wanted.extend(self.holds.next_end().map(|at_ms| (Reason::Unhold, at_ms)));
        wanted.extend(self.check_crons());
        for (at, reason) in self.timers.iter() {
            match reason {
                Reason::Isolation | Reason::Housekeeping | Reason::Figures | Reason::Publish => {}
                _ => assert_eq!(wanted.remove(&reason), Some(at), "a timer that nobody waits for"),
            }
        }
        assert_eq!(wanted, BTreeMap::new(), "what waits without a timer");
    }
}
