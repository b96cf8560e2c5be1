//! Who is connected, which workers' sessions there are, and who of them has a free slot.
//!
//! Workers that can do the same (kinds, queues, tags, size) form a *pool*: whether a class is able
//! is decided once per pool, and a worker that gets or loses its free slot touches its pool alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::core::breaker::Breaker;
use crate::core::demand::Demand;
use crate::core::entry::Entry;
use crate::core::event::Peer;
use crate::core::queues::Class;
use crate::core::shares::Shares;
use crate::core::slots::Slots;
use crate::core::standing::{Standing, Uses};
use crate::core::stock::{Room, Stock, amount_of};
use crate::core::unanswered::Unanswered;
use crate::cost::Pair;
use crate::route::{Ratio, Weight, Weighted};
use crate::task::{Attempt, SessionId, TaskId};

/// A connection after HELLO.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    pub(super) serial: u32,
    /// The worker's session.
    pub(super) worker: Option<u32>,
    /// RESULT pushes that it waits for.
    pub(super) watching: u32,
    /// It will send nothing more and goes when nothing is due.
    pub(super) half_closed: bool,
}

/// A worker's session. It outlives its connection by the grace.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) session: SessionId,
    pub(super) credential: u32,
    pub(super) name: u32,
    /// The name itself, which is its place in routes.
    pub(super) title: Arc<str>,
    pub(super) entry: Entry,
    /// The connection; `None` in grace.
    pub(super) peer: Option<Peer>,
    /// The pool and the place in it; `None` where the abilities are not known (a session of which
    /// only leases were found after a start).
    pub(super) pool: Option<(u32, u32)>,
    /// Slots of the task table.
    pub(super) leases: Vec<u32>,
    /// Leases that were ended without the worker and that it has not answered.
    pub(super) unanswered: BTreeMap<(TaskId, Attempt), Unanswered>,
    /// Takes nothing new: drained, superseded, or leaving.
    pub(super) draining: bool,
    /// A newer session bears its name.
    pub(super) superseded: bool,
    /// Held up because it fails everything.
    pub(super) breaker: Breaker,
    /// What it has, and what of it is taken up.
    pub(super) stock: Stock,
    /// The class for whose head it gets nothing else.
    pub(super) saved_for: Option<u32>,
    /// Emptied for a suspected task.
    pub(super) reserved: Option<TaskId>,
    /// Monotonic microseconds until which the session is kept without a connection.
    pub(super) grace_until_us: u64,
    /// It was found in the store and has not come back yet: losing it is the scheduler's restart,
    /// not its own crash.
    pub(super) restored: bool,
    /// Monotonic microseconds of its return after that, or 0.
    pub(super) returned_us: u64,
    /// How many times as long as usual its runs take, for the route `fastest`.
    pub(super) slowness: Ratio,
    /// Where the figures of each kind that it has run are booked, by the kind's number, with the serial of the kind
    /// that it was the number of.
    pub(super) pairs: BTreeMap<u32, (u32, Pair)>,
    /// `session=… worker=…` of its state lines.
    pub(super) lease_words: String,
}

impl Worker {
    /// A session without connection, pool and leases.
    pub(super) fn new(session: SessionId, name: u32, title: Arc<str>, entry: Entry) -> Self {
        Self {
            session,
            credential: 0,
            name,
            entry,
            peer: None,
            pool: None,
            leases: Vec::new(),
            unanswered: BTreeMap::new(),
            draining: false,
            superseded: false,
            breaker: Breaker::default(),
            stock: Stock::default(),
            saved_for: None,
            reserved: None,
            grace_until_us: 0,
            restored: false,
            returned_us: 0,
            slowness: Ratio::ONE,
            pairs: BTreeMap::new(),
            lease_words: format!(" session={session} worker={title}"),
            title,
        }
    }

    /// Slots in use, those of unanswered leases included.
    pub(super) fn busy(&self) -> usize {
        self.leases.len() + self.unanswered.len()
    }

    /// Whether a run of a task goes on here whose lease has ended.
    pub(super) fn runs_unanswered(&self, id: TaskId) -> bool {
        self.unanswered.range((id, 0)..=(id, Attempt::MAX)).next().is_some()
    }

    /// Whether it can be given a task now, if that takes up no more than is there.
    pub(super) fn is_free(&self) -> bool {
        self.saved_for.is_none() && self.has_room()
    }

    /// As [`Worker::is_free`], but for what it is saved for.
    pub(super) fn has_room(&self) -> bool {
        let busy = self.busy();
        let takes = self.takes_work() && self.reserved.is_none() && self.breaker.lets_pass(busy);
        takes && busy < self.entry.slots as usize
    }

    /// Whether it will be given tasks at all when it has room.
    pub(super) fn takes_work(&self) -> bool {
        self.peer.is_some() && !self.draining && self.entry.weight.thousandths() > 0
    }

    /// Whether keyed routes count it: also while it is full or in grace.
    pub(super) fn is_member(&self) -> bool {
        !self.draining && self.pool.is_some() && self.entry.weight.thousandths() > 0
    }
}

/// What makes workers able to do the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ability {
    /// Numbers of kinds, ascending; `None` is every kind.
    pub(super) kinds: Option<Vec<u32>>,
    /// Numbers of queues' names, ascending; `None` is every queue.
    pub(super) queues: Option<Vec<u32>>,
    /// Numbers of tags, ascending.
    pub(super) tags: Vec<u32>,
    /// What they have, by its number, ascending.
    pub(super) capacities: Vec<(u32, u64)>,
    /// The power of two of the largest payload.
    pub(super) size: u8,
}

impl Ability {
    /// Whether a task of a queue (by its name's number), a kind and a size that asks for that can
    /// be done at all.
    pub(super) fn covers(&self, queue: u32, kind: u32, size: u8, demand: &Demand) -> bool {
        let has = |list: &Option<Vec<u32>>, number: u32| {
            list.as_ref().is_none_or(|list| list.binary_search(&number).is_ok())
        };
        let tagged = demand.tags.iter().all(|tag| self.tags.binary_search(tag).is_ok());
        let enough = |(name, amount): &(u32, u64)| *amount <= amount_of(&self.capacities, *name);
        let tagged = tagged && demand.amounts.iter().all(enough);
        size <= self.size && tagged && has(&self.kinds, kind) && has(&self.queues, queue)
    }
}

/// Workers that can do the same.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) ability: Ability,
    /// Classes that they are able to do.
    pub(super) classes: Vec<u32>,
    /// Workers by place.
    pub(super) members: Slots<u32>,
    /// The weights of the free ones, by place.
    pub(super) free: Weighted,
    /// The free ones in the orders that routes in use ask for.
    pub(super) standing: Option<Box<Standing>>,
    /// Unkeyed classes with waiting tasks by their heads, per queue.
    pub(super) heads: BTreeMap<u32, BTreeSet<Head>>,
    /// Whose turn it is: of the queues of `heads`, those that are open wait.
    pub(super) shares: Shares,
    /// Keyed classes with waiting tasks.
    pub(super) keyed: BTreeSet<u32>,
    /// Unkeyed classes with amounts whose heads are listed; they are few, so each is looked at.
    pub(super) bulky: BTreeSet<u32>,
    /// Who has room, by the demand of classes with amounts.
    pub(super) rooms: BTreeMap<u32, Room>,
}

/// Connections, workers' sessions and pools.
#[derive(Debug, Default)]
pub(super) struct Workers {
    connections: Vec<Option<Connection>>,
    pub(super) sessions: Slots<Worker>,
    by_session: BTreeMap<SessionId, u32>,
    /// The session that bears a name, by the name's number.
    by_name: Vec<Option<u32>>,
    pub(super) pools: Slots<Pool>,
    by_ability: BTreeMap<Ability, u32>,
    pub(super) uses: Uses,
}

impl Workers {
    pub(super) fn connect(&mut self, peer: Peer, worker: Option<u32>) {
        let index = peer.index as usize;
        if self.connections.len() <= index {
            self.connections.resize(index + 1, None);
        }
        if let Some(slot) = self.connections.get_mut(index) {
            let serial = peer.serial;
            *slot = Some(Connection { serial, worker, watching: 0, half_closed: false });
        }
    }

    pub(super) fn disconnect(&mut self, peer: Peer) -> Option<Connection> {
        let gone = self.connection(peer).copied()?;
        if let Some(slot) = self.connections.get_mut(peer.index as usize) {
            *slot = None;
        }
        Some(gone)
    }

    pub(super) fn connection(&self, peer: Peer) -> Option<&Connection> {
        let connection = self.connections.get(peer.index as usize)?.as_ref();
        connection.filter(|connection| connection.serial == peer.serial)
    }

    pub(super) fn connection_mut(&mut self, peer: Peer) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(peer.index as usize)?.as_mut();
        connection.filter(|connection| connection.serial == peer.serial)
    }

    /// The worker's session behind a connection.
    pub(super) fn of(&self, peer: Peer) -> Option<u32> {
        self.connection(peer)?.worker
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().flatten()
    }

    pub(super) fn insert(&mut self, worker: Worker) -> u32 {
        let (session, name, superseded) = (worker.session, worker.name, worker.superseded);
        let number = self.sessions.insert(worker);
        self.by_session.insert(session, number);
        if !superseded {
            *self.bearer(name) = Some(number);
        }
        number
    }

    /// The entry of a session of which only leases were known is here; what was known before.
    pub(super) fn complete(&mut self, number: u32, found: Worker) -> Worker {
        *self.bearer(found.name) = Some(number);
        std::mem::replace(self.sessions.at_mut(number), found)
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<Worker> {
        let worker = self.sessions.remove(number)?;
        self.by_session.remove(&worker.session);
        if self.by_name(worker.name) == Some(number) {
            *self.bearer(worker.name) = None;
        }
        Some(worker)
    }

    pub(super) fn by_session(&self, session: SessionId) -> Option<u32> {
        self.by_session.get(&session).copied()
    }

    pub(super) fn by_name(&self, name: u32) -> Option<u32> {
        self.by_name.get(name as usize).copied().flatten()
    }

    fn bearer(&mut self, name: u32) -> &mut Option<u32> {
        let place = name as usize;
        if self.by_name.len() <= place {
            self.by_name.resize(place + 1, None);
        }
        self.by_name.get_mut(place).expect("there is a place for it now")
    }

    /// The pool of an ability, and whether it is new.
    pub(super) fn pool_of(&mut self, ability: &Ability) -> (u32, bool) {
        if let Some(&pool) = self.by_ability.get(ability) {
            return (pool, false);
        }
        let standing = self.new_standing();
        let pool = self.pools.insert(Pool {
            ability: ability.clone(),
            classes: Vec::new(),
            members: Slots::default(),
            free: Weighted::default(),
            standing,
            heads: BTreeMap::new(),
            shares: Shares::default(),
            keyed: BTreeSet::new(),
            bulky: BTreeSet::new(),
            rooms: BTreeMap::new(),
        });
        self.by_ability.insert(ability.clone(), pool);
        (pool, true)
    }

    pub(super) fn remove_pool(&mut self, number: u32) -> Option<Pool> {
        let pool = self.pools.remove(number)?;
        self.by_ability.remove(&pool.ability);
        Some(pool)
    }

    /// Tells the pool whether the worker has room.
    pub(super) fn refresh(&mut self, number: u32) {
        let Some(worker) = self.sessions.get(number) else { return };
        let Some((pool, place)) = worker.pool else { return };
        let weight = if worker.is_free() { worker.entry.weight } else { Weight::ZERO };
        let Some(pool) = self.pools.get_mut(pool) else { return };
        if pool.free.weight(place) != weight {
            pool.free.set(place, weight);
        }
        if let Some(standing) = &mut pool.standing {
            standing.set(place, worker, weight);
        }
        for room in pool.rooms.values_mut() {
            let weight = if worker.stock.fits(&room.amounts) { weight } else { Weight::ZERO };
            room.set(place, worker, weight);
        }
    }

    /// Tells the pool that the worker has no room, for as long as nobody refreshes it.
    pub(super) fn hide(&mut self, number: u32) {
        let Some(worker) = self.sessions.get(number) else { return };
        let Some((pool, place)) = worker.pool else { return };
        let Some(pool) = self.pools.get_mut(pool) else { return };
        pool.free.set(place, Weight::ZERO);
        if let Some(standing) = &mut pool.standing {
            standing.set(place, worker, Weight::ZERO);
        }
        for room in pool.rooms.values_mut() {
            room.set(place, worker, Weight::ZERO);
        }
    }
}

/// The first task of a class: its key, itself, the class.
pub(super) type Head = (u64, TaskId, u32);

impl Pool {
    /// A worker leaves its place to others.
    pub(super) fn leave(&mut self, place: u32, title: &Arc<str>) {
        self.free.set(place, Weight::ZERO);
        self.rooms.values_mut().for_each(|room| room.free.set(place, Weight::ZERO));
        for standing in self.standings_mut().flatten() {
            standing.forget(place, title);
        }
    }

    /// A kind may be gone, and its number may become another's.
    pub(super) fn forget_pace(&mut self, kind: u32) {
        let paces = self.standings_mut().flatten().filter_map(|standing| standing.pace.as_mut());
        paces.for_each(|pace| pace.forget(kind));
    }

    /// The orders of its free workers, and of those that have room for some amounts.
    pub(super) fn standings_mut(&mut self) -> impl Iterator<Item = &mut Option<Box<Standing>>> {
        let rooms = self.rooms.values_mut().map(|room| &mut room.standing);
        std::iter::once(&mut self.standing).chain(rooms)
    }

    /// The orders of those that have room for what a demand takes up.
    pub(super) fn standing_for(&self, demand: u32) -> Option<&Standing> {
        match self.rooms.get(&demand) {
            Some(room) => room.standing.as_deref(),
            None => self.standing.as_deref(),
        }
    }

    /// As [`Pool::standing_for`], to change them.
    pub(super) fn standing_for_mut(&mut self, demand: u32) -> Option<&mut Standing> {
        match self.rooms.get_mut(&demand) {
            Some(room) => room.standing.as_deref_mut(),
            None => self.standing.as_deref_mut(),
        }
    }

    /// The weights of those that have room for tasks of a class, by place.
    pub(super) fn free_for(&self, class: &Class) -> &Weighted {
        match self.rooms.get(&class.parts.demand) {
            Some(room) => &room.free,
            None => &self.free,
        }
    }

    /// Lists a class with amounts, or no longer.
    pub(super) fn list_bulky(&mut self, class: u32, waits: bool) {
        if waits {
            self.bulky.insert(class);
        } else {
            self.bulky.remove(&class);
        }
    }

    /// Lists the head of a class; its queue waits from then on, if it is open.
    pub(super) fn list(&mut self, queue: u32, open: bool, head: Head) {
        let heads = self.heads.entry(queue).or_default();
        if heads.is_empty() && open {
            self.shares.wait(queue);
        }
        heads.insert(head);
    }

    pub(super) fn unlist(&mut self, queue: u32, head: Head) {
        let Some(heads) = self.heads.get_mut(&queue) else { return };
        heads.remove(&head);
        if heads.is_empty() {
            self.shares.rest(queue);
            self.heads.remove(&queue);
        }
    }
}
