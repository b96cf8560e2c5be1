//! The scheduler's process: the real engine and core, with a shell around them that does what the
//! server does, on simulated links, clocks and storage. It can be dropped at any moment.

use std::collections::VecDeque;

use bytes::BytesMut;
use ganger::core::{Core, Event, Now, Peer};
use ganger::frame::Frame;
use ganger::message::Role;
use ganger::protocol::{Codec, Limits, Parsed, Violation, greet, parse_request, put_ping};
use ganger::record::{Batch, Record, StateLine};
use ganger::server::engine::{Engine, Turn};
use ganger::store::{Error, Store};
use ganger::task::{SessionId, TaskId};
use tokio_util::codec::Decoder;

use crate::auditor::Auditor;
use crate::mutants::{self, Mutant};
use crate::net::{Happening, Net, Piece, Way, note};
use crate::store::Disk;

/// A running scheduler.
pub(crate) struct Scheduler {
    pub(crate) life: u32,
    engine: Engine,
    /// By the index of the peer; the first is the auditor's.
    sessions: Vec<Option<Session>>,
    serial: u32,
    inbox: VecDeque<Event>,
    flight: Option<Flight>,
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

/// Reads all that is kept into a core.
pub(crate) fn restore_all(engine: &mut Engine, disk: &mut Disk, now: Now) -> Result<(), Error> {
    let loaded = disk.load(&mut |record| restore(engine.core_mut(), record))?;
    engine.restored(now, loaded.last);
    Ok(())
}

/// Reads what is kept into a core, up to so many records; `None` if it was interrupted there.
pub(crate) fn recover(
    net: &Net,
    disk: &mut Disk,
    now: Now,
    seed: u64,
    records: usize,
) -> Option<Engine> {
    let core = Core::new(net.plan.settings, seed, now);
    let mut engine = Engine::new(core, net.plan.settings.payload_max);
    let mut seen = 0;
    let loaded = disk.load(&mut |record| {
        seen += 1;
        if seen > records {
            return Err("interrupted".into());
        }
        restore(engine.core_mut(), record)
    });
    match loaded {
        Ok(loaded) => {
            engine.restored(now, loaded.last);
            Some(engine)
        }
        Err(error) if seen > records => {
            drop(error);
            None
        }
        Err(error) => panic!("I30: what was written is not read back: {error}"),
    }
}

fn restore(core: &mut Core, record: Record<'_>) -> Result<(), String> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|error| error.to_string());
    let mut task = |id, frame: &[u8], line: Option<&[u8]>| {
        let frame = Frame::read(frame.to_vec().into()).map_err(|error| error.to_string())?;
        let submit = ganger::protocol::parse_submit(&frame).map_err(|refusal| refusal.text)?;
        let line = line.map(StateLine::read).transpose()?;
        core.restore_task(id, &submit, line.as_ref())
    };
    match record {
        Record::Task { id, frame, line } => task(id, frame, line),
        Record::Buried { id, frame, line } => task(id, frame, Some(line)),
        Record::Hold { name, line } => core.restore_hold(text(name)?, text(line)?),
        Record::Queue { name, line } => core.restore_queue(text(name)?, text(line)?),
        Record::Worker { name, line } => core.restore_worker(text(name)?, text(line)?),
        Record::Stats { name, line } => core.restore_stats(text(name)?, text(line)?),
    }
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
        let mono_us = self.origin_us + (net.now_us - self.started_us);
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

    pub(crate) fn on_dialled(&mut self, net: &mut Net, link: usize) {
        let reused = self.sessions.iter().skip(1).position(Option::is_none).map(|at| at + 1);
        let index = reused.unwrap_or(self.sessions.len());
        self.serial += 1;
        let peer = Peer { index: u32::try_from(index).expect("few"), serial: self.serial };
        let session = Session {
            peer,
            link,
            codec: Codec::new(Limits::GREETING),
            buffer: BytesMut::new(),
            out: BytesMut::new(),
            role: None,
            heartbeat_us: None,
            heard_us: net.now_us,
            pinged: false,
        };
        if index == self.sessions.len() {
            self.sessions.push(None);
        }
        self.sessions[index] = Some(session);
        net.link(link).peer = Some(peer);
    }

    fn session(&mut self, peer: Peer) -> Option<&mut Session> {
        let session = self.sessions.get_mut(peer.index as usize)?.as_mut();
        session.filter(|session| session.peer == peer)
    }

    /// Something arrived from a peer.
    pub(crate) fn on_piece(&mut self, net: &mut Net, peer: Peer, piece: Piece) {
        let Some(session) = self.session(peer) else { return };
        let greeted = session.role.is_some();
        match piece {
            Piece::Bytes(bytes) => {
                session.buffer.extend_from_slice(&bytes);
                self.read(net, peer);
            }
            Piece::Eof if greeted => self.inform(net, Event::HalfClosed { peer }),
            Piece::Eof | Piece::Reset => self.on_gone(net, peer),
        }
    }

    /// A connection is over.
    pub(crate) fn on_gone(&mut self, net: &mut Net, peer: Peer) {
        let Some(session) = self.session(peer) else { return };
        let (link, greeted) = (session.link, session.role.is_some());
        self.sessions[peer.index as usize] = None;
        net.link(link).peer = None;
        if greeted {
            self.inform(net, Event::Left { peer });
        }
    }

    fn close(&mut self, net: &mut Net, peer: Peer) {
        if let Some(session) = self.session(peer) {
            let link = session.link;
            net.finish(link, Way::Down, Piece::Eof);
            self.on_gone(net, peer);
        }
    }

    fn read(&mut self, net: &mut Net, peer: Peer) {
        while let Some(session) = self.session(peer) {
            match session.codec.decode(&mut session.buffer) {
                Ok(Some(frame)) => {
                    session.heard_us = net.now_us;
                    session.pinged = false;
                    self.on_frame(net, peer, &frame);
                }
                Ok(None) => return,
                Err(Violation::TooLarge { .. }) => return self.on_oversized(net, peer),
                Err(violation) => panic!("the harness broke the grammar: {violation}"),
            }
        }
    }

    fn on_oversized(&mut self, net: &mut Net, peer: Peer) {
        let Some(session) = self.session(peer) else { return };
        let line = String::from_utf8_lossy(&session.buffer).into_owned();
        let mut words = line.split([' ', '\n']);
        let verb = words.next();
        let id = words.next().and_then(|word| TaskId::parse(word.as_bytes()));
        let attempt = words.next().and_then(|word| word.parse().ok());
        if let (Some("DONE"), Some(id), Some(attempt)) = (verb, id, attempt) {
            net.mark("a result over the limit");
            self.inform(net, Event::Oversized { peer, id, attempt });
        }
        self.close(net, peer);
    }

    fn on_frame(&mut self, net: &mut Net, peer: Peer, frame: &Frame) {
        let session = self.session(peer).expect("it has just been read");
        if session.role.is_some() {
            match parse_request(frame) {
                Parsed::Request(request) => self.inform(net, Event::Request { peer, request }),
                Parsed::Ignore => {}
                Parsed::Refuse(refusal) => panic!("the harness spelled {frame:?}: {refusal:?}"),
            }
            return;
        }
        let (_, hello) = greet(frame).expect("the harness spells HELLO well");
        session.role = Some(hello.role);
        session.codec.set_limits(Limits::session(net.plan.settings.payload_max));
        session.heartbeat_us = hello.heartbeat_ms.map(|ms| ms * 1000);
        if let Some(us) = session.heartbeat_us {
            net.after(us, Happening::Beat { life: self.life, peer });
        }
        let fresh = SessionId(u128::from(net.dice.bits()) << 64 | u128::from(net.dice.bits()));
        let credential =
            hello.token.as_ref().map_or(0, |token| u32::try_from(token.len()).unwrap_or(0));
        let hello = Box::new(hello);
        self.inform(net, Event::Joined { peer, hello, fresh, credential });
    }

    /// Silent for one period, a worker is asked; for two, it is lost.
    pub(crate) fn on_beat(&mut self, net: &mut Net, peer: Peer) {
        let (life, now_us) = (self.life, net.now_us);
        let Some(session) = self.session(peer) else { return };
        let Some(period_us) = session.heartbeat_us else { return };
        let silent_us = now_us - session.heard_us;
        if silent_us >= 2 * period_us {
            net.mark("a worker is lost for its silence");
            note!(net, "{peer:?} is silent");
            return self.close(net, peer);
        }
        let mut next_us = session.heard_us + period_us;
        if silent_us >= period_us {
            next_us = session.heard_us + 2 * period_us;
            if !session.pinged {
                session.pinged = true;
                let mut ping = BytesMut::new();
                put_ping(&mut ping);
                let link = session.link;
                net.send(link, Way::Down, &ping);
            }
        }
        net.at(next_us, Happening::Beat { life, peer });
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
        if self.is_due(now) && net.mutant != Some(Mutant::DeafToTime) {
            audit.due(net.wall_ms());
            self.engine.apply(now, Event::Due);
            self.engine.core().check();
        }
        self.engine.settle(now);
        self.engine.core().check();
        self.engine.core().check_idle();
        self.next_turn(net, audit, disk)
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
            let Some(turn) = self.engine.take_turn() else { break };
            self.turns += 1;
            let early = net.mutant == Some(Mutant::DeliverBeforeCommit);
            if !turn.is_idle() && !early {
                self.hand_over(net, audit, disk, turn);
                break;
            }
            audit.handed(turn.batch());
            if early {
                let batch = turn.batch().clone();
                let fate = self.deliver(net, audit, turn);
                disk.commit(&batch).expect("this store has no errors to tell");
                audit.acknowledged();
                if fate != Fate::Lives {
                    return fate;
                }
            } else {
                audit.acknowledged();
                let fate = self.deliver(net, audit, turn);
                if fate != Fate::Lives {
                    return fate;
                }
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
            before.sweep(disk.wall_ms);
            disk.rows.sweep(disk.wall_ms);
            let again = before == disk.rows;
            match &flight.spoilt {
                None => assert!(again, "I29: a batch that is applied twice changes something"),
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
        let Some(flight) = flight else { return Fate::Lives };
        audit.acknowledged();
        let late = (flight.applications == 0).then(|| flight.turn.batch().clone());
        let fate = self.deliver(net, audit, flight.turn);
        if let Some(batch) = late {
            if net.dice.per_mille(50) {
                return Fate::Dies;
            }
            disk.commit(&batch).expect("this store has no errors to tell");
        }
        match fate {
            Fate::Lives => self.next_turn(net, audit, disk),
            fate => fate,
        }
    }

    fn set_alarm(&mut self, net: &mut Net) {
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

mod delivery;
