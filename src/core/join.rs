//! Peers come and go.

use crate::core::entry::{Entry, put_host};
use crate::core::event::Peer;
use crate::core::queues::Parts;
use crate::core::submit::size_of_limit;
use crate::core::timers::Reason;
use crate::core::workers::{Ability, Worker};
use crate::core::{Core, Effects};
use crate::message::{Code, Hello, Refusal, Reply, Role, Severity};
use crate::record::Write;
use crate::route::Ratio;
use crate::task::SessionId;

/// How a worker's session ended, for the leases it still had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loss {
    /// It gave them back.
    Returned,
    /// It vanished while the scheduler was up: perhaps a task's doing.
    Crash,
    /// It did not come back after the scheduler's own restart.
    Restart,
}

impl Loss {
    /// As `worker-left` has it.
    const fn word(self) -> &'static str {
        match self {
            Self::Returned => "bye",
            Self::Crash => "lost",
            Self::Restart => "restart",
        }
    }
}

impl Core {
    pub(super) fn on_joined(
        &mut self,
        peer: Peer,
        hello: Hello,
        fresh: SessionId,
        credential: u32,
        fx: &mut Effects,
    ) {
        if hello.role != Role::Worker {
            self.workers.connect(peer, None);
            return fx.send(peer, Reply::Welcome { session: fresh, resumed: false });
        }
        let name = self.worker_names.find(&hello.name);
        let known = hello.session.and_then(|session| self.workers.by_session(session));
        let known = known.filter(|&worker| {
            let worker = self.workers.sessions.at(worker);
            worker.credential == credential && Some(worker.name) == name
        });
        if let Some(worker) = known {
            return self.resume(worker, peer, hello, fx);
        }
        if let Some(older) = name.and_then(|name| self.workers.by_name(name)) {
            if self.workers.sessions.at(older).credential != credential {
                let text = "the name is in use by a session with another token";
                fx.refuse(peer, Code::Denied, text);
                return fx.send(peer, Reply::Close);
            }
            self.supersede(older, fx);
        }
        let worker = self.new_session(peer, hello, fresh, credential);
        self.workers.connect(peer, Some(worker));
        fx.send(peer, Reply::Welcome { session: fresh, resumed: false });
        self.place(worker);
        self.write_worker(worker, fx);
        self.event_worker(fx, "worker-joined", worker, "new");
        self.isolate_next(fx);
        self.feed(worker, fx);
    }

    fn new_session(
        &mut self,
        peer: Peer,
        hello: Hello,
        session: SessionId,
        credential: u32,
    ) -> u32 {
        let name = self.worker_names.take(&hello.name);
        let entry = Entry::of(hello, self.now.wall_ms);
        self.costs.set_price(self.worker_names.text(name), entry.price);
        let mut worker = Worker::new(session, name, self.worker_names.name(name), entry);
        worker.credential = credential;
        worker.peer = Some(peer);
        worker.slowness = Ratio::of(self.costs.slowness(&self.worker_names.name(name)));
        self.workers.insert(worker)
    }

    /// A worker is back: its leases are pushed again, for it to ignore those that it is running.
    fn resume(&mut self, worker: u32, peer: Peer, hello: Hello, fx: &mut Effects) {
        if let Some(older) = self.workers.sessions.at(worker).peer {
            self.workers.disconnect(older);
            fx.send(older, Reply::Close);
        }
        self.end_grace(worker);
        let entry = Entry::of(hello, self.now.wall_ms);
        let session = self.workers.sessions.at_mut(worker);
        session.entry = Entry { since_ms: session.entry.since_ms, ..entry };
        session.peer = Some(peer);
        if std::mem::take(&mut session.restored) {
            session.returned_us = self.now.mono_us;
        }
        let (id, title, price) = (session.session, session.title.clone(), session.entry.price);
        let mut leases = session.leases.clone();
        session.slowness = Ratio::of(self.costs.slowness(&title));
        self.costs.set_price(&title, price);
        self.workers.connect(peer, Some(worker));
        fx.send(peer, Reply::Welcome { session: id, resumed: true });
        leases.sort_by_key(|slot| self.tasks.get(*slot).map(|task| task.id));
        for slot in leases {
            let task = self.tasks.at(slot);
            let (id, attempt, record) = (task.id, task.attempt, task.record.clone());
            fx.send(peer, Reply::Run { id, attempt, record });
            self.arm_limit(slot);
        }
        // What was ended meanwhile, it may be running still.
        let unanswered = self.workers.sessions.at(worker).unanswered.clone();
        for ((id, attempt), run) in unanswered {
            fx.send(peer, Reply::Stop { id, attempt, reason: run.reason });
        }
        // Whether it was told before it lost its connection, nobody knows.
        self.tell_drain(worker, fx);
        self.place(worker);
        self.write_worker(worker, fx);
        self.event_worker(fx, "worker-joined", worker, "resumed");
        self.isolate_next(fx);
        self.feed(worker, fx);
    }

    /// Tells a worker that gets nothing new why that is so.
    fn tell_drain(&self, worker: u32, fx: &mut Effects) {
        let session = self.workers.sessions.at(worker);
        let reason = if session.superseded { "superseded" } else { "drain" };
        if let Some(peer) = session.peer.filter(|_| session.draining) {
            fx.send(peer, Reply::Drain { reason });
        }
    }

    /// A newer session has the name: the older one keeps its leases and gets nothing new.
    fn supersede(&mut self, worker: u32, fx: &mut Effects) {
        self.workers.sessions.at_mut(worker).superseded = true;
        self.event_worker(fx, "worker-left", worker, "superseded");
        self.stop_feeding(worker, fx);
        self.tell_drain(worker, fx);
    }

    /// A worker gets nothing new from now on.
    pub(super) fn stop_feeding(&mut self, worker: u32, fx: &mut Effects) {
        let session = self.workers.sessions.at_mut(worker);
        session.draining = true;
        let name = session.name;
        self.workers.refresh(worker);
        self.member_changed(name);
        self.give_up_reserved(worker, fx);
    }

    /// Puts a worker into the pool of its abilities.
    pub(super) fn place(&mut self, worker: u32) {
        let ability = self.ability(&self.workers.sessions.at(worker).entry.clone());
        self.workers.sessions.at_mut(worker).stock.capacities.clone_from(&ability.capacities);
        let (pool, new) = self.workers.pool_of(&ability);
        if !new {
            self.give_up_ability(&ability);
        }
        let before = self.workers.sessions.at(worker).pool;
        if before.is_none_or(|(before, _)| before != pool) {
            let place = self.workers.pools.at_mut(pool).members.insert(worker);
            self.leave_pool(worker);
            self.workers.sessions.at_mut(worker).pool = Some((pool, place));
        }
        if new {
            self.connect_pool(pool);
        }
        self.workers.refresh(worker);
        let name = self.workers.sessions.at(worker).name;
        self.member_changed(name);
    }

    /// What a worker is able to do by its entry; the names in it have a user more.
    fn ability(&mut self, entry: &Entry) -> Ability {
        let kinds = entry.kinds.as_ref().map(|kinds| self.kinds.take_all(kinds));
        let queues = entry.queues.as_ref().map(|queues| self.queue_names.take_all(queues));
        let tags = self.demands.tags.take_all(&entry.tags);
        let limit =
            entry.payload_max.unwrap_or(u64::MAX).min(self.settings.payload_max.max(1 << 26));
        let amount = |(name, amount): &(String, u64)| (self.demands.resources.take(name), *amount);
        let mut capacities: Vec<(u32, u64)> = entry.res.iter().map(amount).collect();
        capacities.sort_unstable();
        Ability { kinds, queues, tags, capacities, size: size_of_limit(limit) }
    }

    /// Whether workers of an ability are able to do a class.
    pub(super) fn covers(&self, ability: &Ability, parts: &Parts) -> bool {
        let queue = self.queues.queue(parts.queue).name;
        ability.covers(queue, parts.kind, parts.size, self.demands.at(parts.demand))
    }

    /// Finds the classes that a new pool is able to do.
    fn connect_pool(&mut self, number: u32) {
        let ability = self.workers.pools.at(number).ability.clone();
        let able = self.queues.classes().filter(|(_, class)| self.covers(&ability, &class.parts));
        let able: Vec<u32> = able.map(|(class, _)| class).collect();
        for &number_of_class in &able {
            let class = self.queues.class_mut(number_of_class);
            if let Err(at) = class.pools.binary_search(&number) {
                class.pools.insert(at, number);
            }
            let (queue, listed, keyed) = (class.queue, class.listed, class.keyed);
            let (waits, bulky) = (class.waiting > 0, class.amounts.is_some());
            let open = !self.queues.queue(queue).runs.is_shut;
            let pool = self.workers.pools.at_mut(number);
            if bulky && listed.is_some() {
                pool.bulky.insert(number_of_class);
            } else if let Some((key, id)) = listed {
                pool.list(queue, open, (key, id, number_of_class));
            }
            if keyed && waits {
                pool.keyed.insert(number_of_class);
            }
            if keyed {
                self.repooled.insert(number_of_class);
            }
        }
        able.iter().for_each(|class| self.make_room(*class));
        self.workers.pools.at_mut(number).classes = able;
    }

    /// Takes a worker out of its pool; a pool without workers goes.
    fn leave_pool(&mut self, worker: u32) {
        let session = self.workers.sessions.at_mut(worker);
        let (name, title) = (session.name, session.title.clone());
        let Some((number, place)) = session.pool.take() else { return };
        self.member_changed(name);
        let pool = self.workers.pools.at_mut(number);
        pool.members.remove(place);
        pool.leave(place, &title);
        if pool.members.len() > 0 {
            return;
        }
        let Some(gone) = self.workers.remove_pool(number) else { return };
        self.give_up_ability(&gone.ability);
        for class in gone.classes {
            let its = self.queues.class_mut(class);
            its.pools.retain(|pool| *pool != number);
            if its.keyed {
                self.repooled.insert(class);
            }
        }
    }

    pub(super) fn on_left(&mut self, peer: Peer, fx: &mut Effects) {
        self.end_observing(peer);
        let Some(connection) = self.workers.disconnect(peer) else { return };
        let Some(worker) = connection.worker else { return };
        let session = self.workers.sessions.at_mut(worker);
        session.peer = None;
        if session.entry.heartbeat_ms.is_none() {
            return self.end_session(worker, Loss::Crash, fx);
        }
        if !session.superseded {
            self.event_worker(fx, "worker-left", worker, "away");
        }
        self.give_grace(worker, self.settings.grace_ms, fx);
    }

    /// Keeps a session without a connection for a while.
    pub(super) fn give_grace(&mut self, worker: u32, grace_ms: u64, fx: &mut Effects) {
        let until_us = self.now.mono_us.saturating_add(grace_ms.saturating_mul(1000));
        self.workers.sessions.at_mut(worker).grace_until_us = until_us;
        self.timers.at_mono(until_us, Reason::Grace(worker));
        self.workers.refresh(worker);
        self.give_up_reserved(worker, fx);
    }

    fn end_grace(&mut self, worker: u32) {
        let until_us = self.workers.sessions.at(worker).grace_until_us;
        self.timers.off_mono(until_us, Reason::Grace(worker));
    }

    pub(super) fn on_grace_over(&mut self, worker: u32, fx: &mut Effects) {
        let Some(session) = self.workers.sessions.get(worker) else { return };
        let loss = if session.restored { Loss::Restart } else { Loss::Crash };
        self.end_session(worker, loss, fx);
    }

    /// A worker's session is over for good; its leases end with it.
    fn end_session(&mut self, worker: u32, loss: Loss, fx: &mut Effects) {
        if !self.workers.sessions.at(worker).superseded {
            self.event_worker(fx, "worker-left", worker, loss.word());
        }
        self.stop_feeding(worker, fx);
        self.drop_breaker(worker);
        self.give_up_saving(worker);
        let session = self.workers.sessions.at_mut(worker);
        let unanswered = std::mem::take(&mut session.unanswered);
        let mut leases = session.leases.clone();
        for ((id, attempt), run) in unanswered {
            self.settle_run(id, attempt, worker, &run, fx);
        }
        leases.sort_by_key(|slot| self.tasks.get(*slot).map(|task| task.id));
        for slot in leases {
            if loss == Loss::Returned {
                let attempt = self.tasks.at(slot).attempt;
                self.end_lease(slot, worker);
                self.note_end(slot, attempt, "returned", worker);
                let (id, class) = (self.tasks.at(slot).id, self.tasks.at(slot).class);
                self.event(fx, "returned", id, attempt, class, Some(worker), &[]);
                self.back_to_ready(slot, fx);
            } else {
                self.lose_lease(slot, worker, loss == Loss::Crash, fx);
            }
        }
        self.leave_pool(worker);
        let Some(gone) = self.workers.remove(worker) else { return };
        if !gone.superseded {
            let name = fx.text(gone.title.as_bytes());
            let host = fx.batch.put(|out| put_host(out, &gone.entry.host));
            fx.write(Write::WorkerGone { name, host });
        }
        self.give_up_worker_name(gone.name);
        self.isolate_next(fx);
    }

    pub(super) fn on_bye(&mut self, peer: Peer, fx: &mut Effects) {
        fx.send(peer, Reply::Ok);
        fx.send(peer, Reply::Close);
        if let Some(connection) = self.workers.disconnect(peer)
            && let Some(worker) = connection.worker
        {
            self.workers.sessions.at_mut(worker).peer = None;
            self.end_session(worker, Loss::Returned, fx);
        }
    }

    /// A frame was refused before it meant anything; the worst of them end the connection.
    pub(super) fn on_refused(&mut self, peer: Peer, refusal: Refusal, fx: &mut Effects) {
        if self.workers.connection(peer).is_none() {
            return;
        }
        let closes = refusal.code.severity() == Severity::Close;
        fx.send(peer, Reply::Refused(refusal));
        if closes {
            fx.send(peer, Reply::Close);
            self.on_left(peer, fx);
        }
    }

    /// A client that will say no more stays for what it waits for; a worker cannot answer any more.
    pub(super) fn on_half_closed(&mut self, peer: Peer, fx: &mut Effects) {
        let observes = self.is_observing(peer);
        let Some(connection) = self.workers.connection_mut(peer) else { return };
        if connection.worker.is_some() {
            fx.send(peer, Reply::Close);
            return self.on_left(peer, fx);
        }
        connection.half_closed = true;
        if connection.watching == 0 && !observes {
            fx.send(peer, Reply::Close);
        }
    }

    pub(super) fn on_slots(&mut self, peer: Peer, slots: u32, fx: &mut Effects) {
        let Some(worker) = self.workers.of(peer) else {
            return fx.refuse(peer, Code::Forbidden, "only a worker has slots");
        };
        self.workers.sessions.at_mut(worker).entry.slots = slots;
        fx.send(peer, Reply::Ok);
        self.write_worker(worker, fx);
        self.workers.refresh(worker);
        self.isolate_next(fx);
        self.feed(worker, fx);
    }

    pub(super) fn on_drain(&mut self, peer: Peer, name: &str, fx: &mut Effects) {
        let number = self.worker_names.find(name).and_then(|name| self.workers.by_name(name));
        let Some(worker) = number else {
            return fx.refuse(peer, Code::UnknownWorker, format!("no worker {name} is here"));
        };
        fx.send(peer, Reply::Ok);
        self.stop_feeding(worker, fx);
        self.write_worker(worker, fx);
        self.tell_drain(worker, fx);
    }

    /// The scheduler stops; running tasks go on and are resumed.
    pub(super) fn on_stop(&mut self, fx: &mut Effects) {
        let peers: Vec<Peer> = self.workers.sessions.iter().filter_map(|(_, w)| w.peer).collect();
        for peer in peers {
            fx.send(peer, Reply::Drain { reason: "restart" });
        }
        self.write_figures(fx);
    }

    pub(super) fn write_worker(&mut self, worker: u32, fx: &mut Effects) {
        let session = self.workers.sessions.at(worker);
        if session.superseded {
            return;
        }
        let name = fx.text(session.title.as_bytes());
        let seen_ms = self.now.wall_ms;
        let line = fx.batch.put(|out| session.put_entry(out, seen_ms));
        fx.write(Write::Worker { name, line });
    }
}
