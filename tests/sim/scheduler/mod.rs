//! The scheduler's process: the real engine and core, with a shell around them that does what the
//! server does, on simulated links, clocks and storage. It can be dropped at any moment.

mod connections;
mod delivery;
mod recovery;

use std::collections::VecDeque;

use bytes::BytesMut;
use ganger::core::{Core, Event, Now, Peer};
use ganger::message::Role;
use ganger::protocol::{Codec, read_entry};
use ganger::record::{Batch, Taken};
use ganger::server::engine::{Engine, Turn};
use ganger::store::Store;
use ganger::store::inbox::{Bite, Found};

use crate::auditor::{Auditor, difference, require};
use crate::happening::Happening;
use crate::mutants::{self, Mutant};
use crate::net::Net;
use crate::store::Disk;

pub(crate) use recovery::{Interrupted, recover};

/// A running scheduler.
pub(crate) struct Scheduler {
    pub(crate) life: u32,
    engine: Engine,
    /// By the index of the peer; the first is the auditor's.
    sessions: Vec<Option<Session>>,
    serial: u32,
    inbox: VecDeque<Event>,
    flight: Option<Flight>,
    /// Entries of the inbox are in a turn that the store has not answered.
    has_entries: bool,
    turns: u64,
    started_us: u64,
    /// What the monotonic clock showed at the start.
    origin_us: u64,
    wake_us: Option<u64>,
    stop: Stop,
}

/// How far an orderly stop is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    Asked,
    Applied,
}

/// A turn in the store's hands.
struct Flight {
    turn: Turn,
    number: u64,
    /// How often the store has applied the batch.
    applications: u32,
    /// What a mutant made of the batch.
    spoilt: Option<Batch>,
}

/// The scheduler's end of a connection.
struct Session {
    peer: Peer,
    link: usize,
    codec: Codec,
    buffer: BytesMut,
    out: BytesMut,
    role: Option<Role>,
    heartbeat_us: Option<u64>,
    heard_us: u64,
    pinged: bool,
}

/// Whether the process goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Lives,
    Dies,
    /// It has stopped orderly.
    Exits,
}

impl Scheduler {
    /// A process around an engine that has been restored at `now`.
    pub(crate) fn new(life: u32, engine: Engine, net: &Net, now: Now) -> Self {
        Self {
            life,
            engine,
            sessions: vec![None],
            serial: 1,
            inbox: VecDeque::new(),
            flight: None,
            has_entries: false,
            turns: 0,
            started_us: net.now_us,
            origin_us: now.mono_us,
            wake_us: None,
            stop: Stop::No,
        }
    }

    pub(crate) fn core_mut(&mut self) -> &mut Core {
        self.engine.core_mut()
    }

    /// Nothing is in the store's hands and nothing has arrived: memory and store say the same.
    pub(crate) fn is_quiet(&self) -> bool {
        self.flight.is_none() && self.inbox.is_empty()
    }

    pub(crate) fn now(&self, net: &Net) -> Now {
        let fast = if net.mutant == Some(Mutant::FastClock) { 2 } else { 1 };
        let mono_us = self.origin_us + (net.now_us - self.started_us) * fast;
        let ahead_ms = if net.mutant == Some(Mutant::HastyClock) { 3_600_000 } else { 0 };
        Now { mono_us, wall_ms: net.wall_ms() + ahead_ms }
    }

    /// Has a turn taken soon.
    pub(crate) fn wake(&mut self, net: &mut Net, us: u64) {
        let at_us = net.now_us + us;
        if self.wake_us.is_none_or(|wake_us| wake_us > at_us) {
            self.wake_us = Some(at_us);
            net.at(at_us, Happening::Turn { life: self.life });
        }
    }

    fn inform(&mut self, net: &mut Net, event: Event) {
        self.inbox.push_back(event);
        let us = net.dice.below(300);
        self.wake(net, us);
    }

    /// Begins an orderly stop.
    pub(crate) fn ask_to_stop(&mut self, net: &mut Net) {
        if self.stop == Stop::No {
            self.stop = Stop::Asked;
            net.listening = false;
            self.inform(net, Event::Stop);
        }
    }

    pub(crate) fn on_pressure(&mut self, net: &mut Net, pressure: bool) {
        self.inform(net, Event::Pressure(pressure));
    }

    /// A turn: what has arrived, then what is due, then the store.
    pub(crate) fn turn(&mut self, net: &mut Net, audit: &mut Auditor, disk: &mut Disk) -> Fate {
        if self.wake_us.is_none_or(|wake_us| wake_us > net.now_us) {
            // An alarm that was set for a later time before this one.
            return Fate::Lives;
        }
        self.wake_us = None;
        let now = self.now(net);
        audit.clock(net.now_us, net.wall_ms());
        let mut most = net.dice.within(1..=48);
        while most > 0 && !self.engine.is_full() {
            let Some(event) = self.inbox.pop_front() else { break };
            audit.applying(net, &event);
            if event == Event::Stop {
                self.stop = Stop::Applied;
            }
            let event = mutants::spoil_event(net.mutant, event);
            self.engine.apply(now, event);
            self.engine.core().check();
            most -= 1;
        }
        self.take_entries(net, audit, disk);
        if self.is_due(now) && net.mutant != Some(Mutant::DeafToTime) {
            self.engine.apply(now, Event::Due);
            self.engine.core().check();
        }
        self.engine.settle(now);
        self.engine.core().check();
        self.engine.core().check_idle();
        self.next_turn(net, audit, disk)
    }

    /// Takes a bite of the inbox, if none is under way and there is room.
    fn take_entries(&mut self, net: &mut Net, audit: &mut Auditor, disk: &mut Disk) {
        if self.has_entries || self.stop != Stop::No || disk.inbox.waiting.is_empty() {
            return;
        }
        if !self.engine.core().has_room() {
            return net.mark("entries of the inbox wait");
        }
        let payload_max = net.plan.settings.payload_max;
        let bite = Bite { entries: net.dice.index(8) + 1, bytes: 1 << 20, entry_max: u64::MAX };
        let found = disk.entries(bite).expect("this store has no errors to tell");
        let read = found.into_iter().map(|found| match found {
            Found::Whole(entry) => read_entry(entry, payload_max),
            Found::TooLarge { .. } => unreachable!("none is"),
        });
        let event = Event::Entries(read.collect());
        audit.applying(net, &event);
        let now = self.now(net);
        self.engine.apply(now, event);
        self.engine.core().check();
        self.has_entries = self.engine.takes_entries();
    }

    /// A turn is durable: its entries are gone, and there may be more.
    fn end_bite(&mut self, net: &mut Net, turn: &Turn) {
        for taken in &turn.batch().inbox.taken {
            net.mark(match taken {
                Taken::Accepted { .. } => "an entry of the inbox is a task",
                _ => "an entry of the inbox is refused",
            });
        }
        if !turn.batch().inbox.taken.is_empty() {
            self.has_entries = false;
            self.wake(net, 1);
        }
    }

    fn is_due(&self, now: Now) -> bool {
        let deadline = self.engine.next_deadline();
        deadline.mono_us.is_some_and(|at_us| at_us <= now.mono_us)
            || deadline.wall_ms.is_some_and(|at_ms| at_ms <= now.wall_ms)
    }

    /// Gives the store the next turn, if it is free, and sees to it that this goes on.
    fn next_turn(&mut self, net: &mut Net, audit: &mut Auditor, disk: &mut Disk) -> Fate {
        let fate = self.take_turns(net, audit, disk);
        if fate == Fate::Lives {
            self.set_alarm(net);
        }
        fate
    }

    fn take_turns(&mut self, net: &mut Net, audit: &mut Auditor, disk: &mut Disk) -> Fate {
        while self.flight.is_none() {
            let Some(mut turn) = self.engine.take_turn() else { break };
            self.turns += 1;
            let early = net.mutant == Some(Mutant::DeliverBeforeCommit);
            if !turn.is_idle() && !early {
                self.hand_over(net, audit, disk, turn);
                break;
            }
            audit.handed(turn.batch());
            if early {
                turn.commit(disk).expect("this store has no errors to tell");
                self.end_bite(net, &turn);
            } else {
                audit.acknowledged();
            }
            let fate = self.deliver(net, audit, turn);
            if early {
                audit.acknowledged();
            }
            if fate != Fate::Lives {
                return fate;
            }
        }
        if self.flight.is_none() {
            audit.nothing_pending();
        }
        if self.stop == Stop::Applied && self.flight.is_none() {
            return Fate::Exits;
        }
        Fate::Lives
    }

    fn hand_over(&mut self, net: &mut Net, audit: &mut Auditor, disk: &Disk, turn: Turn) {
        let (life, number) = (self.life, self.turns);
        let spoilt = mutants::spoil_batch(net, &disk.rows, turn.batch());
        audit.handed(spoilt.as_ref().unwrap_or(turn.batch()));
        let (store, outages) = (net.plan.store.clone(), net.plan.scheduler.clone());
        let faulty = !net.healed;
        let mut applied_us = net.dice.spread(50..=store.commit_us);
        if faulty && net.dice.per_mille(store.slow) {
            net.mark("the store tries again for a while");
            applied_us += net.dice.spread(10_000..=10_000_000);
        }
        let mut answered_us = applied_us + net.dice.spread(20..=store.commit_us);
        if faulty && net.dice.per_mille(store.unknown) {
            net.mark("an unknown outcome is resolved by sending again");
            let again_us = applied_us + net.dice.spread(1_000..=3_000_000);
            net.after(again_us, Happening::Applied { life, turn: number });
            answered_us = again_us + 20;
        }
        if faulty && net.dice.per_mille(outages.before_commit) {
            net.mark("crash before a batch is applied");
            let us = net.dice.below(applied_us);
            net.after(us, Happening::Crash { life });
        } else if faulty && net.dice.per_mille(outages.after_commit) {
            net.mark("crash between a batch and its answer");
            net.after(applied_us + 1, Happening::Crash { life });
        }
        if net.mutant != Some(Mutant::AckBeforeApply) {
            net.after(applied_us, Happening::Applied { life, turn: number });
        }
        net.after(answered_us, Happening::Answered { life, turn: number });
        self.flight = Some(Flight { turn, number, applications: 0, spoilt });
    }

    /// The store applies the batch that it was given.
    pub(crate) fn on_applied(&mut self, net: &mut Net, disk: &mut Disk, number: u64) {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.number == number) else {
            return;
        };
        disk.wall_ms = net.wall_ms();
        let before =
            (flight.applications > 0 || flight.spoilt.is_some()).then(|| disk.rows.clone());
        flight.turn.commit(disk).expect("this store has no errors to tell");
        flight.applications += 1;
        if let Some(mut before) = before {
            match &flight.spoilt {
                None => {
                    // A result may have been forgotten in between.
                    let mut after = disk.rows.clone();
                    before.sweep(disk.swept_ms);
                    after.sweep(disk.swept_ms);
                    require!(
                        "I29",
                        before == after,
                        "a batch that is applied twice changes something: {}",
                        difference(&before, &after)
                    );
                }
                Some(spoilt) => {
                    disk.rows = before;
                    disk.rows.apply(spoilt, usize::MAX);
                }
            }
        }
    }

    /// The store says that the batch is durable.
    pub(crate) fn on_answered(
        &mut self,
        net: &mut Net,
        audit: &mut Auditor,
        disk: &mut Disk,
        number: u64,
    ) -> Fate {
        let flight = self.flight.take_if(|flight| flight.number == number);
        let Some(mut flight) = flight else { return Fate::Lives };
        audit.acknowledged();
        let mut late = None;
        if net.mutant == Some(Mutant::AckBeforeApply) {
            let mut after = disk.clone();
            flight.turn.commit(&mut after).expect("this store has no errors to tell");
            late = Some(after);
        }
        self.end_bite(net, &flight.turn);
        let fate = self.deliver(net, audit, flight.turn);
        if let Some(after) = late {
            if net.dice.per_mille(50) {
                return Fate::Dies;
            }
            *disk = after;
        }
        match fate {
            Fate::Lives => self.next_turn(net, audit, disk),
            fate => fate,
        }
    }

    fn set_alarm(&mut self, net: &mut Net) {
        if net.mutant == Some(Mutant::DeafToTime) && self.inbox.is_empty() {
            return;
        }
        let deadline = self.engine.next_deadline();
        let (started_us, origin_us) = (self.started_us, self.origin_us);
        let mono = deadline.mono_us.map(|us| started_us + us.saturating_sub(origin_us));
        let wall = deadline.wall_ms.map(|ms| net.at_wall(ms));
        let at_us = mono.into_iter().chain(wall).min();
        if let Some(at_us) = at_us {
            self.wake(net, at_us.saturating_sub(net.now_us));
        }
        if !self.inbox.is_empty() {
            self.wake(net, 1);
        }
    }

    /// The wall clock was set: deadlines on it are elsewhere.
    pub(crate) fn on_wall_set(&mut self, net: &mut Net) {
        self.set_alarm(net);
    }

    /// The process was held up: its monotonic clock stood still, and silence meanwhile proves
    /// nothing.
    pub(crate) fn on_held_up(&mut self, us: u64) {
        self.started_us += us;
        for session in self.sessions.iter_mut().flatten() {
            session.heard_us += us;
        }
    }
}
