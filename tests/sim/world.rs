//! A run: everything that one seed makes happen, in the order of simulated time.
//!
//! First with faults, for a number of happenings; then everything is healed, and all that is left
//! must drain; then everybody leaves, and nothing must be left over.

mod faults;
mod pushes;

use std::collections::BTreeMap;

use ganger::core::Now;
use ganger::store::Store;

use crate::auditor::{Auditor, picture};
use crate::dice::Dice;
use crate::happening::{Actor, Errand, Fault, Happening, Way};
use crate::mutants::Mutant;
use crate::net::{Net, note};
use crate::peers::Talk;
use crate::peers::client::Client;
use crate::peers::worker::Worker;
use crate::scheduler::{Fate, Interrupted, Scheduler, recover};
use crate::store::Disk;
use crate::workload::Plan;

/// A run of a seed.
pub(crate) struct World {
    pub(crate) net: Net,
    audit: Auditor,
    disk: Disk,
    scheduler: Option<Scheduler>,
    lives: u32,
    workers: Vec<Worker>,
    clients: Vec<Client>,
    talk: Talk,
    pub(crate) steps: u64,
    /// Happenings since the clock last moved.
    standing: u32,
}

/// After healing, everything must have drained within so many simulated microseconds.
const DRAIN_US: u64 = 900_000_000;
/// After that, sessions are gone within so many: silence is noticed, and grace is over.
const LEAVE_US: u64 = 120_000_000;
/// Happenings without the clock moving that are taken for a busy loop.
const STANDING_MAX: u32 = 20_000;

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::of(&mut dice);
        let settings = plan.settings;
        let (workers, clients) = (plan.workers, plan.clients);
        let mut net = Net::new(plan, dice, mutant);
        let mut talk = Talk::default();
        let workers = (0..workers).map(|index| Worker::new(&mut net, index, &mut talk)).collect();
        Self {
            net,
            audit: Auditor::new(settings),
            disk: Disk::new(mutant),
            scheduler: None,
            lives: 0,
            workers,
            clients: (0..clients).map(Client::new).collect(),
            talk,
            steps: 0,
            standing: 0,
        }
    }

    /// The whole run.
    ///
    /// # Panics
    ///
    /// With the identifier of the invariant that does not hold.
    pub(crate) fn run(&mut self) {
        let plan = self.net.plan.clone();
        note!(self.net, "{plan:?}");
        self.net.at(0, Happening::Start);
        self.net.after(1_000_000, Happening::Sweep);
        for worker in &mut self.workers {
            worker.begin(&mut self.net);
        }
        for client in &self.clients {
            client.plan(&mut self.net, 1000, Errand::Dial);
        }
        for fault in Fault::ALL {
            self.plan_fault(fault);
        }
        self.plan_push();
        while self.steps < u64::from(plan.steps) {
            self.step();
        }
        self.heal();
        let end_us = self.net.now_us + DRAIN_US;
        while self.net.now_us < end_us && !self.is_drained() {
            self.step();
        }
        note!(self.net, "drained after {} steps: {}", self.steps, self.audit.tally());
        if !self.is_drained() {
            self.note_who_waits();
        }
        self.audit.settled(&self.net);
        let (fires, owed) = self.audit.fires();
        (fires > 0).then(|| self.net.mark("a periodic task fires"));
        (owed > 0).then(|| self.net.mark("a periodic task fires what it owes"));
        self.desert();
    }

    fn is_drained(&self) -> bool {
        let quiet = self.scheduler.as_ref().is_some_and(Scheduler::is_quiet);
        quiet
            && self.disk.inbox.waiting.is_empty()
            && self.audit.unfinished(&self.net).is_empty()
            && self.audit.everybody_is_answered()
    }

    fn note_who_waits(&mut self) {
        let Some(scheduler) = &mut self.scheduler else { return };
        let now = scheduler.now(&self.net);
        note!(self.net, "{}", picture::who_waits(scheduler.core_mut(), now));
    }

    fn heal(&mut self) {
        note!(self.net, "healed: {}", self.audit.tally());
        self.net.healed = true;
        self.net.after(0, Happening::Pressure(false));
        for client in &mut self.clients {
            client.quiet = true;
        }
        let mut names: Vec<String> = Vec::new();
        for worker in &mut self.workers {
            if names.iter().any(|name| name == worker.name()) {
                // Two processes of one name take it from each other for ever.
                worker.retire(&mut self.net);
            } else {
                names.push(worker.name().to_owned());
                worker.heal(&mut self.net);
            }
        }
        for _ in 0..2 {
            let mut healer = Worker::healer(self.workers.len());
            healer.begin(&mut self.net);
            self.workers.push(healer);
        }
    }

    fn desert(&mut self) {
        for worker in &mut self.workers {
            worker.retire(&mut self.net);
        }
        for client in &mut self.clients {
            client.retire(&mut self.net);
        }
        let end_us = self.net.now_us + LEAVE_US;
        while self.net.next_us().is_some_and(|us| us < end_us) {
            self.step();
        }
        let scheduler = self.scheduler.as_mut().expect("nothing stops it any more");
        let now = scheduler.now(&self.net);
        note!(self.net, "deserted after {} steps", self.steps);
        self.audit.deserted(scheduler.core_mut(), now);
    }

    /// The next thing happens.
    fn step(&mut self) {
        let before_us = self.net.now_us;
        let happening = self.net.next().expect("the store is swept for ever");
        self.steps += 1;
        self.standing = if self.net.now_us > before_us { 0 } else { self.standing + 1 };
        assert!(self.standing < STANDING_MAX, "Q02: a busy loop: {happening:?}");
        match happening {
            Happening::Dialled { link } => self.on_dialled(link),
            Happening::Arrive { link, way } => self.on_arrival(link, way),
            Happening::Gone { link, way } => self.on_gone(link, way),
            Happening::Start => self.start(),
            Happening::Fault(fault) => self.on_fault(fault),
            Happening::Sweep => self.sweep(),
            Happening::Push => self.push(),
            Happening::Worker { index, life, chore } => {
                self.workers[index].do_chore(&mut self.net, &mut self.talk, life, chore);
            }
            Happening::Client { index, life, chore } => {
                self.clients[index].do_errand(&mut self.net, &mut self.talk, life, chore);
            }
            Happening::Pressure(pressure) => {
                if let Some(scheduler) = &mut self.scheduler {
                    scheduler.on_pressure(&mut self.net, pressure);
                }
            }
            Happening::Turn { .. }
            | Happening::Applied { .. }
            | Happening::Answered { .. }
            | Happening::Beat { .. }
            | Happening::Crash { .. } => self.go_on(&happening),
        }
    }

    /// Something within the scheduler's process.
    fn go_on(&mut self, happening: &Happening) {
        let Some(scheduler) = &mut self.scheduler else { return };
        let (net, audit, disk) = (&mut self.net, &mut self.audit, &mut self.disk);
        let its = scheduler.life;
        let fate = match *happening {
            Happening::Turn { life } if life == its => scheduler.turn(net, audit, disk),
            Happening::Applied { life, turn } if life == its => {
                scheduler.on_applied(net, disk, turn);
                Fate::Lives
            }
            Happening::Answered { life, turn } if life == its => {
                scheduler.on_answered(net, audit, disk, turn)
            }
            Happening::Beat { life, peer } if life == its => {
                scheduler.on_beat(net, peer);
                Fate::Lives
            }
            Happening::Crash { life } if life == its => Fate::Dies,
            _ => Fate::Lives,
        };
        match fate {
            Fate::Lives => self.compare(),
            fate => self.end_process(fate),
        }
    }

    /// Now and then, when nothing is under way, memory is compared with the rows.
    fn compare(&mut self) {
        let Some(scheduler) = self.scheduler.as_mut().filter(|its| its.is_quiet()) else { return };
        if self.net.dice.per_mille(15) {
            let now = scheduler.now(&self.net);
            self.audit.compare(&self.net, scheduler.core_mut(), now, "live");
        }
    }

    fn end_process(&mut self, fate: Fate) {
        note!(self.net, "the scheduler {}", if fate == Fate::Dies { "crashes" } else { "stops" });
        self.net.mark(if fate == Fate::Dies { "a crash" } else { "an orderly stop" });
        self.scheduler = None;
        self.net.hang_up();
        let us = self.net.dice.spread(1_000..=20_000_000);
        self.net.after(us, Happening::Start);
    }

    /// A process starts, reads what is kept, and may die of that.
    fn start(&mut self) {
        self.lives += 1;
        let net = &mut self.net;
        note!(net, "a scheduler starts");
        for place in (1..self.disk.order.len()).rev() {
            let other = net.dice.index(place + 1);
            self.disk.order.swap(place, other);
        }
        let mono_us = *net.dice.pick(&[0, 1_000_000, 1 << 40]);
        let now = Now { mono_us, wall_ms: net.wall_ms() };
        let seed = net.dice.bits();
        let settings = net.plan.settings;
        if !net.healed && net.dice.per_mille(net.plan.scheduler.in_recovery) {
            net.mark("crash during recovery");
            let records = net.dice.index(40);
            let mut disk = Interrupted { disk: &mut self.disk, records };
            drop(recover(settings, &mut disk, now, seed));
            let us = net.dice.spread(1_000..=20_000_000);
            return net.after(us, Happening::Start);
        }
        self.audit.found(net, self.lives, &self.disk.rows, &self.disk.inbox);
        let read = |disk: &mut Disk| {
            let engine = recover(settings, disk, now, seed);
            engine.unwrap_or_else(|error| panic!("I30: what was written is not read: {error}"))
        };
        let mut engine = read(&mut self.disk);
        engine.core().check();
        self.audit.compare(net, engine.core_mut(), now, "recovered");
        self.disk.order.reverse();
        let mut again = read(&mut self.disk);
        let equal = tasks(&mut engine, now) == tasks(&mut again, now);
        assert!(equal, "I30: two recoveries of the same rows differ");
        let mut scheduler = Scheduler::new(self.lives, engine, net, now);
        net.listening = true;
        scheduler.wake(net, 0);
        self.scheduler = Some(scheduler);
    }

    fn on_dialled(&mut self, link: usize) {
        let reachable = self.net.listening && self.net.is_live(link);
        if let Some(scheduler) = self.scheduler.as_mut().filter(|_| reachable) {
            scheduler.on_dialled(&mut self.net, link);
        }
    }

    fn on_arrival(&mut self, link: usize, way: Way) {
        let Some(piece) = self.net.arrived(link, way) else { return };
        let (net, audit, talk) = (&mut self.net, &mut self.audit, &mut self.talk);
        match (way, net.link(link).owner) {
            (Way::Up, _) => {
                let peer = net.link(link).peer;
                if let (Some(scheduler), Some(peer)) = (&mut self.scheduler, peer) {
                    scheduler.on_piece(net, peer, piece);
                }
            }
            (Way::Down, Actor::Worker(index)) if self.workers[index].has(link) => {
                self.workers[index].on_piece(net, audit, talk, piece);
            }
            (Way::Down, Actor::Client(index)) if self.clients[index].has(link) => {
                self.clients[index].on_piece(net, audit, talk, piece);
            }
            (Way::Down, _) => {}
        }
    }

    fn on_gone(&mut self, link: usize, way: Way) {
        let net = &mut self.net;
        match (way, net.link(link).owner) {
            (Way::Up, _) => {
                let peer = net.link(link).peer;
                if let (Some(scheduler), Some(peer)) = (&mut self.scheduler, peer) {
                    scheduler.on_gone(net, peer);
                }
            }
            (Way::Down, Actor::Worker(index)) if self.workers[index].has(link) => {
                self.workers[index].on_gone(net);
            }
            (Way::Down, Actor::Client(index)) if self.clients[index].has(link) => {
                self.clients[index].on_gone(net);
            }
            (Way::Down, _) => {}
        }
    }

    fn sweep(&mut self) {
        let wall_ms = self.net.wall_ms();
        self.disk.sweep(wall_ms).expect("this store has no errors to tell");
        self.audit.swept(wall_ms);
        self.ring();
        self.net.after(7_000_000, Happening::Sweep);
    }

    /// What was met in this run.
    pub(crate) fn marks(&self) -> &BTreeMap<&'static str, u64> {
        &self.net.marks
    }
}

fn tasks(
    engine: &mut ganger::server::engine::Engine,
    now: Now,
) -> BTreeMap<ganger::task::TaskId, String> {
    picture::tasks(engine.core_mut(), now)
}
