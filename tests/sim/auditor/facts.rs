//! What the scheduler was told: who is there with which abilities, who asked for what, what workers
//! answered. Taken down when an event is applied, before the core sees it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ganger::core::{Event, Peer};
use ganger::message::{Code, Cron, Hello, Request, Retry, Role, Severity, Submit};
use ganger::task::{Attempt, SessionId, TaskId};

use super::Auditor;
use crate::net::{Net, note};

/// A worker's session.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// What was said of it in HELLO, each time.
    pub(super) hellos: Vec<Hello>,
    /// Slots that were announced.
    pub(super) slots: BTreeSet<u32>,
    /// Its entry as it was last committed.
    pub(super) entry: Option<Entry>,
    /// The life of the scheduler in which it was last seen joining, and when.
    pub(super) life: u32,
    pub(super) back_us: u64,
    /// The connection on which it was welcomed, until that ended.
    pub(super) conn: Option<Peer>,
    /// When that ended.
    pub(super) left_us: Option<u64>,
    /// When a connection left that may have taken it over without having been welcomed yet.
    pub(super) rival_left_us: Option<u64>,
    /// It said BYE.
    pub(super) bye: bool,
    /// A later session has taken its name.
    pub(super) superseded: bool,
    pub(super) leases: BTreeSet<TaskId>,
    /// Runs that go on though their leases have ended.
    pub(super) runs: BTreeSet<(TaskId, Attempt)>,
    /// A suspected task that it runs alone.
    pub(super) alone: Option<TaskId>,
}

/// A worker's entry in the store.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) slots: u32,
    pub(super) weightless: bool,
    pub(super) draining: bool,
    pub(super) kinds: Option<Vec<String>>,
    pub(super) queues: Option<Vec<String>>,
    pub(super) payload_max: u64,
    pub(super) tags: Vec<String>,
    pub(super) res: BTreeMap<String, u64>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) hello: Hello,
    pub(super) fresh: SessionId,
    /// A worker's session, once it was welcomed.
    pub(super) session: Option<SessionId>,
    /// Requests that await their replies.
    pub(super) asked: VecDeque<Asked>,
    /// The number of the last event that it was told.
    pub(super) heard: u64,
    /// Tasks whose RESULT is owed.
    pub(super) watching: BTreeSet<TaskId>,
    /// Tasks whose RESULT may come.
    pub(super) may_get: BTreeSet<TaskId>,
    /// Leases that it was told.
    pub(super) told: BTreeSet<(TaskId, Attempt)>,
    /// It was told to take nothing new.
    pub(super) drained: bool,
    /// Nothing that it says counts any more.
    pub(super) closing: bool,
    /// How many connections had said HELLO before.
    pub(super) order: u64,
    /// Later connections that asked for its session, without it being known whether they got it.
    pub(super) rivals: u32,
}

/// A request that awaits its reply; `from` is how many steps of the task were known when it was
/// applied.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Hello,
    Submit {
        submit: Box<Submit>,
        holder_from: BTreeMap<TaskId, usize>,
    },
    Get {
        id: TaskId,
        from: usize,
    },
    Explain {
        id: TaskId,
        from: usize,
    },
    Watch {
        id: TaskId,
        from: usize,
    },
    Cancel {
        id: TaskId,
        from: usize,
    },
    Retry {
        id: TaskId,
        from: usize,
    },
    Answer {
        id: TaskId,
        attempt: Attempt,
        from: usize,
        is_done: bool,
    },
    Plain,
    Json,
    /// OK, or that there is no such thing.
    Look,
    /// ERR with this code.
    Wrong(Code),
}

/// What a worker answered for a lease.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) session: Option<SessionId>,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Done(Bytes),
    Fail(Retry),
    Release(u64),
    /// At a simulated time.
    Progress(u64),
    Oversized,
}

impl Auditor {
    /// The scheduler is about to apply an event.
    pub(crate) fn applying(&mut self, net: &mut Net, event: &Event) {
        match event {
            Event::Joined { peer, hello, fresh, .. } => self.on_joined(net, *peer, hello, *fresh),
            Event::Left { peer } => self.on_left(net, *peer, true),
            Event::HalfClosed { peer } => {
                note!(net, "half-closed: {}.{}", peer.index, peer.serial);
                let worker = self.conns.get(peer).is_some_and(|c| c.hello.role == Role::Worker);
                if worker {
                    self.on_left(net, *peer, false);
                }
            }
            Event::Request { peer, request } => {
                note!(net, "from {}.{}: {}", peer.index, peer.serial, short(request));
                self.on_request(net, *peer, request);
            }
            Event::Refused { peer, refusal } => {
                note!(net, "wrong from {}.{}: {}", peer.index, peer.serial, refusal.text);
                if let Some(conn) = self.conns.get_mut(peer).filter(|conn| !conn.closing) {
                    conn.asked.push_back(Asked::Wrong(refusal.code));
                    if refusal.code.severity() == Severity::Close {
                        self.on_left(net, *peer, false);
                    }
                }
            }
            Event::Oversized { peer, id, attempt } => {
                let session = self.session_of(*peer);
                self.say(*id, *attempt, Said { session, what: What::Oversized });
            }
            Event::Entries(entries) => {
                for entry in entries {
                    note!(net, "entry: {:?}", entry.submit.as_ref().map(|submit| &submit.frame));
                    if let Ok(submit) = &entry.submit {
                        *self.received.entry(submit.frame.bytes().clone()).or_default() += 1;
                    }
                }
            }
            Event::Pressure(pressure) => {
                note!(net, "store pressure: {pressure}");
                self.may_be_busy = true;
            }
            Event::Inbox(_) | Event::Stop | Event::Due => {}
        }
    }

    fn on_joined(&mut self, net: &mut Net, peer: Peer, hello: &Hello, fresh: SessionId) {
        note!(net, "joined {}.{}: {} {}", peer.index, peer.serial, hello.role.word(), hello.name);
        if hello.role == Role::Worker {
            for session in [Some(fresh), hello.session].into_iter().flatten() {
                let session = self.sessions.entry(session).or_default();
                session.hellos.push(hello.clone());
                session.slots.insert(hello.slots);
            }
            for older in self.of_session(hello.session) {
                older.rivals += 1;
            }
        }
        let conn = Conn {
            hello: hello.clone(),
            fresh,
            session: None,
            asked: [Asked::Hello].into(),
            heard: 0,
            watching: BTreeSet::new(),
            may_get: BTreeSet::new(),
            told: BTreeSet::new(),
            drained: false,
            closing: false,
            order: self.joins,
            rivals: 0,
        };
        self.joins += 1;
        self.greeted.extend(conn.hello.session.into_iter().chain([conn.fresh]));
        self.conns.insert(peer, conn);
    }

    /// The connections that have a session, or may get it.
    fn of_session(&mut self, session: Option<SessionId>) -> impl Iterator<Item = &mut Conn> {
        self.conns.values_mut().filter(move |conn| match conn.session {
            None => session.is_some() && [conn.hello.session, Some(conn.fresh)].contains(&session),
            its => its == session,
        })
    }

    /// A connection did not get the session that it asked for: whoever has that still has it.
    pub(super) fn is_no_rival(&mut self, peer: Peer) {
        let conn = self.conns.get(&peer).expect("it is answered");
        let (wanted, order) = (conn.hello.session, conn.order);
        for older in self.of_session(wanted).filter(|older| older.order < order) {
            older.rivals -= 1;
        }
    }

    /// Whether a session has a connection, and none that it may have lost to another.
    pub(super) fn is_here(&self, session: &Session) -> bool {
        let conn = session.conn.and_then(|peer| self.conns.get(&peer));
        conn.is_some_and(|conn| conn.rivals == 0)
    }

    fn on_left(&mut self, net: &mut Net, peer: Peer, gone: bool) {
        note!(net, "left: {}.{}", peer.index, peer.serial);
        let Some(conn) = self.conns.get_mut(&peer) else { return };
        conn.closing = true;
        // A session that is welcomed only by the commit that is under way has left nevertheless.
        for session in [conn.session, Some(conn.fresh), conn.hello.session].into_iter().flatten() {
            let Some(session) = self.sessions.get_mut(&session) else { continue };
            if session.conn.is_none_or(|its| its == peer) {
                session.conn = None;
                session.left_us.get_or_insert(net.now_us);
            } else {
                session.rival_left_us.get_or_insert(net.now_us);
            }
        }
        if gone {
            self.conns.remove(&peer);
        }
    }

    /// The session of a worker's connection: what it was welcomed as or, before that, what it will
    /// be welcomed as if it is known.
    fn session_of(&self, peer: Peer) -> Option<SessionId> {
        self.conns.get(&peer)?.session
    }

    fn say(&mut self, id: TaskId, attempt: Attempt, said: Said) {
        self.said.entry((id, attempt)).or_default().push(said);
    }

    fn steps(&self, id: TaskId) -> usize {
        self.tasks.get(&id).map_or(0, |task| task.steps.len())
    }

    fn on_request(&mut self, net: &mut Net, peer: Peer, request: &Request) {
        if self.conns.get(&peer).is_none_or(|conn| conn.closing) {
            return;
        }
        let session = self.session_of(peer);
        let mut answer = |id: TaskId, attempt: Attempt, what: What| {
            let is_done = matches!(what, What::Done(_));
            self.say(id, attempt, Said { session, what });
            Some(Asked::Answer { id, attempt, from: self.steps(id), is_done })
        };
        let asked = match request {
            Request::Submit(submit) => {
                *self.received.entry(submit.frame.bytes().clone()).or_default() += 1;
                let holders = self.unique_tasks(submit);
                let holder_from = holders.into_iter().map(|id| (id, self.steps(id))).collect();
                Some(Asked::Submit { submit: Box::new(submit.clone()), holder_from })
            }
            Request::Done { id, attempt, result } => {
                answer(*id, *attempt, What::Done(result.clone()))
            }
            Request::Fail(fail) => answer(fail.id, fail.attempt, What::Fail(fail.retry)),
            Request::Release { id, attempt, delay_ms } => {
                answer(*id, *attempt, What::Release(*delay_ms))
            }
            Request::Progress { id, attempt, .. } => {
                self.say(*id, *attempt, Said { session, what: What::Progress(net.now_us) });
                None
            }
            Request::Slots(slots) => {
                for session in self.sessions_of(peer) {
                    self.sessions.entry(session).or_default().slots.insert(*slots);
                }
                Some(Asked::Plain)
            }
            Request::Bye => {
                self.on_bye(net, peer);
                Some(Asked::Plain)
            }
            Request::Pong => None,
            Request::Get(id) => Some(Asked::Get { id: *id, from: self.steps(*id) }),
            Request::Explain(id) => Some(Asked::Explain { id: *id, from: self.steps(*id) }),
            Request::Watch(id) => Some(Asked::Watch { id: *id, from: self.steps(*id) }),
            Request::Cancel(id) => {
                self.cancels.insert(*id);
                Some(Asked::Cancel { id: *id, from: self.steps(*id) })
            }
            Request::Retry(id) => {
                self.retries.insert(*id);
                Some(Asked::Retry { id: *id, from: self.steps(*id) })
            }
            Request::Queues | Request::Workers | Request::Tasks(_) | Request::Stats { .. } => {
                Some(Asked::Json)
            }
            Request::Purge(_) | Request::Events(_) => Some(Asked::Json),
            Request::Cron(Cron::Add(_) | Cron::List { .. }) => Some(Asked::Json),
            Request::Cron(_) => Some(Asked::Look),
            Request::Queue { policies, .. } if !policies.is_empty() => Some(Asked::Json),
            Request::Queue { .. } | Request::Pause { .. } | Request::Drain(_) => Some(Asked::Look),
        };
        let conn = self.conns.get_mut(&peer).expect("it was there above");
        conn.asked.extend(asked);
    }

    /// The sessions that a connection may stand for.
    fn sessions_of(&self, peer: Peer) -> Vec<SessionId> {
        let Some(conn) = self.conns.get(&peer) else { return Vec::new() };
        match conn.session {
            Some(session) => vec![session],
            None => [Some(conn.fresh), conn.hello.session].into_iter().flatten().collect(),
        }
    }

    fn on_bye(&mut self, net: &Net, peer: Peer) {
        for session in self.sessions_of(peer) {
            if let Some(session) = self.sessions.get_mut(&session) {
                session.bye = true;
                session.conn = None;
                session.left_us.get_or_insert(net.now_us);
            }
        }
        if let Some(conn) = self.conns.get_mut(&peer) {
            conn.closing = true;
        }
    }
}

/// A request in a line, payloads by their length.
fn short(request: &Request) -> String {
    match request {
        Request::Submit(submit) => format!("{:?}", submit.frame),
        Request::Done { id, attempt, result } => format!("DONE {id} {attempt} #{}", result.len()),
        Request::Fail(fail) => format!("FAIL {} {} {:?}", fail.id, fail.attempt, fail.retry),
        other => format!("{other:?}"),
    }
}
