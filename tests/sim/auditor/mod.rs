//! A second, smaller model of the scheduler. It is driven by what the scheduler was told, by the
//! batches that the store acknowledged and by what the scheduler said, and it knows which of that is
//! allowed. It never looks into the core, except to compare pictures.
//!
//! Each check names the invariant that it proves:
//!
//! - I01 what was acknowledged is there; I02 an OK follows its commit; I03 nothing is invented;
//!   I04 a `unique=` has one holder.
//! - I05 rows and core agree; I06 slots; I07 abilities; I08 TASK follows its commit; I09 attempts
//!   rise by one; I10 a result is recorded once; I11, I12 by the current lease of its session;
//!   I13 as the worker sent it; I14 an OK to DONE sticks.
//! - I18 an end is an end; I19 bounds on attempts and crashes; I20 not before it is due; I21 nothing
//!   is leased after its CANCEL; I22 payloads arrive as they were submitted.
//! - I29 after a crash the store holds a prefix of the batches that ends with the last acknowledged
//!   or the one in flight; I30 memory is a function of the store; I31 counts add up.
//! - D01, D10, D11 of periodic tasks: no instant comes back, no two of their tasks run at once, and a
//!   fire is one batch with the line that has dealt with its instant.
//! - E01, E02: each entry of the inbox goes once, with its task; lists are told what is durable.
//! - W: a lease ends for a reason that happened. R: replies match requests, in order.
//! - Q01 to Q05 at the end: everything drained, nothing stuck, everybody answered, nothing left over.
//!
//! A `task` is what the batches have made of it; `tasks` follows them, to the `ends` of leases and
//! tasks, `crons` the lines of periodic ones, `inbox` the entries of the inbox, `due` knows the clocks, `facts` what the scheduler was told, `answers` what it says, and
//! `picture` compares the core with the rows.

mod answers;
mod crons;
mod due;
mod ends;
mod facts;
mod inbox;
pub(crate) mod picture;
mod task;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ganger::core::{Peer, Settings};
use ganger::record::Batch;
use ganger::task::{Attempt, SessionId, State, TaskId};

use crate::net::Net;
use crate::store::{Inbox, Rows};
use crons::Crons;
use facts::{Conn, Said, Session};
use inbox::Pushed;
use task::{Row, Task};

/// An invariant does not hold.
macro_rules! violated {
    ($id:literal, $($text:tt)*) => { panic!("{}: {}", $id, format_args!($($text)*)) };
}
pub(crate) use violated;

/// Holds unless a condition does.
macro_rules! require {
    ($id:literal, $holds:expr, $($text:tt)*) => {
        if !$holds {
            $crate::auditor::violated!($id, $($text)*);
        }
    };
}
pub(crate) use require;

/// The second model.
pub(crate) struct Auditor {
    settings: Settings,
    /// What the store must hold: every acknowledged batch.
    pub(crate) rows: Rows,
    /// The batch that was handed to the store and not acknowledged.
    inflight: Option<(Batch, Window)>,
    window: Option<Window>,
    tasks: BTreeMap<TaskId, Task>,
    sessions: BTreeMap<SessionId, Session>,
    conns: BTreeMap<Peer, Conn>,
    /// Sessions that a HELLO of this life asked for or was offered.
    greeted: BTreeSet<SessionId>,
    /// How many connections have said HELLO.
    joins: u64,
    /// SUBMIT frames that the scheduler received and has not turned into tasks.
    received: BTreeMap<Bytes, u32>,
    /// What workers answered, by lease.
    said: BTreeMap<(TaskId, Attempt), Vec<Said>>,
    cancels: BTreeSet<TaskId>,
    retries: BTreeSet<TaskId>,
    /// Tasks that a client was told of.
    acked: BTreeSet<TaskId>,
    life: u32,
    life_us: u64,
    /// The latest that its wall clock showed, by simulated microseconds, in this life.
    readings: BTreeMap<u64, u64>,
    /// It may say busy.
    may_be_busy: bool,
    /// Results were forgotten up to this wall time, at the latest.
    latest_ms: u64,
    crons: Crons,
    pushed: Pushed,
}

/// The times between which a turn was applied: simulated microseconds and Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) from_us: u64,
    pub(super) to_us: u64,
    pub(super) wall_low: u64,
    pub(super) wall_high: u64,
}

impl Auditor {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            rows: Rows::default(),
            inflight: None,
            window: None,
            tasks: BTreeMap::new(),
            sessions: BTreeMap::new(),
            conns: BTreeMap::new(),
            greeted: BTreeSet::new(),
            joins: 0,
            received: BTreeMap::new(),
            said: BTreeMap::new(),
            cancels: BTreeSet::new(),
            retries: BTreeSet::new(),
            acked: BTreeSet::new(),
            life: 0,
            life_us: 0,
            readings: BTreeMap::new(),
            may_be_busy: settings.tasks_max < 100,
            latest_ms: 0,
            crons: Crons::default(),
            pushed: Pushed::default(),
        }
    }

    /// The scheduler reads its clocks for a turn.
    pub(crate) fn clock(&mut self, now_us: u64, wall_ms: u64) {
        self.latest_ms = self.latest_ms.max(wall_ms);
        self.readings.insert(now_us, wall_ms);
        let window = self.window.get_or_insert(Window {
            from_us: now_us,
            to_us: now_us,
            wall_low: wall_ms,
            wall_high: wall_ms,
        });
        window.to_us = now_us;
        window.wall_low = window.wall_low.min(wall_ms);
        window.wall_high = window.wall_high.max(wall_ms);
    }

    /// Nothing came of what was applied: the next turn begins with what comes next.
    pub(crate) fn nothing_pending(&mut self) {
        self.window = None;
    }

    /// A batch is in the store's hands.
    pub(crate) fn handed(&mut self, batch: &Batch) {
        let window = self.window.take().expect("a turn has a time");
        self.inflight = Some((batch.clone(), window));
    }

    /// The store says that the batch is durable.
    pub(crate) fn acknowledged(&mut self) {
        let (batch, window) = self.inflight.take().expect("a batch was handed over");
        self.commit(&batch, window);
    }

    fn commit(&mut self, batch: &Batch, window: Window) {
        for write in &batch.writes {
            self.follow(batch, *write, window);
        }
        self.all_fires_are_written();
        self.follow_inbox(batch);
        self.rows.apply(batch, usize::MAX);
    }

    /// The store forgets results.
    pub(crate) fn swept(&mut self, wall_ms: u64) {
        self.latest_ms = self.latest_ms.max(wall_ms);
        self.rows.sweep(wall_ms);
    }

    /// A scheduler starts and finds these rows.
    pub(crate) fn found(&mut self, net: &Net, life: u32, found: &Rows, inbox: &Inbox) {
        // A result may be forgotten between its batch and the answer.
        let mut found = found.clone();
        found.sweep(self.latest_ms);
        self.rows.sweep(self.latest_ms);
        if let Some((batch, window)) = self.inflight.take() {
            let mut with = self.rows.clone();
            with.apply(&batch, usize::MAX);
            with.sweep(self.latest_ms);
            // Where the rows do not tell, the inbox does.
            if found == with && (found != self.rows || !self.is_all_there(inbox)) {
                self.commit(&batch, window);
                self.rows.sweep(self.latest_ms);
            }
        }
        require!(
            "I29",
            self.rows == found,
            "the store holds what no prefix of the batches makes: {}",
            difference(&self.rows, &found)
        );
        require!("E01", self.is_all_there(inbox), "the inbox holds {:?}", inbox.waiting);
        for id in &self.acked {
            let there = found.tasks.contains_key(id) || found.buried.contains_key(id);
            let ended = self
                .tasks
                .get(id)
                .is_some_and(|task| matches!(task.row, Row::Done { .. } | Row::Dropped));
            require!("I01", there || ended, "task {id} was acknowledged and is gone");
        }
        (self.life, self.life_us) = (life, net.now_us);
        self.window = None;
        self.conns.clear();
        self.greeted.clear();
        self.received.clear();
        self.readings = [(net.now_us, net.wall_ms())].into();
        self.measure_waits(net.now_us, net.wall_ms());
        for session in self.sessions.values_mut() {
            session.conn = None;
        }
    }

    /// A client reads that its task is accepted.
    pub(crate) fn client_was_told(&mut self, id: TaskId) {
        self.acked.insert(id);
    }

    /// A worker reads TASK: the payload is as it was submitted.
    pub(crate) fn worker_got(&self, id: TaskId, payload: &[u8]) {
        let submitted = self.tasks.get(&id).and_then(|task| task.submit.frame.payload());
        let submitted = submitted.unwrap_or_default();
        require!("I22", submitted == payload, "task {id} reached its worker altered");
    }

    /// Tasks that have neither ended nor wait for a later time than this, or for one that does.
    pub(crate) fn unfinished(&self, net: &Net) -> Vec<TaskId> {
        let is_later = |task: &Task| match task.row {
            Row::Waiting { due } => !self.must_be_due(due, net.now_us, net.wall_ms()),
            _ => false,
        };
        let heads = self.tasks.values().filter(|task| task.attempt > 0 && is_later(task));
        let held: BTreeSet<_> = heads.filter_map(Task::serial_line).collect();
        let (mut later, mut open) = (BTreeSet::new(), Vec::new());
        for (id, task) in self.tasks.iter().filter(|(_, task)| !task.row.is_end()) {
            let waits = matches!(task.row, Row::Waiting { .. });
            let after = task.attempt == 0 && task.submit.after().any(|id| later.contains(&id));
            let behind = || task.serial_line().is_some_and(|line| held.contains(&line));
            if is_later(task) || waits && (after || behind()) {
                later.insert(*id);
            } else {
                open.push(*id);
            }
        }
        open
    }

    /// Everybody who is there has every reply that is due, and every RESULT.
    pub(crate) fn everybody_is_answered(&self) -> bool {
        self.waiting().is_none()
    }

    fn waiting(&self) -> Option<String> {
        for (peer, conn) in self.conns.iter().filter(|(_, conn)| !conn.closing) {
            if let Some(asked) = conn.asked.front() {
                return Some(format!("{peer:?} waits for a reply to {asked:?}"));
            }
            let ended = |id: &&TaskId| self.tasks.get(id).is_some_and(|task| task.row.is_end());
            if let Some(id) = conn.watching.iter().find(ended) {
                return Some(format!("{peer:?} waits for the RESULT of {id}, which has ended"));
            }
        }
        None
    }

    /// Faults were off for a while and healthy workers for everything were there.
    pub(crate) fn settled(&self, net: &Net) {
        if let Some(id) = self.unfinished(net).first() {
            violated!("Q01", "task {id} is stuck: {:?}", self.tasks[id].row);
        }
        for (session, held) in &self.sessions {
            require!("Q02", held.leases.is_empty(), "session {session} still has leases");
        }
        for id in &self.acked {
            require!("Q03", self.tasks.contains_key(id), "task {id} was acknowledged and is lost");
        }
        let unexpected = self.rows.results.keys().find(|id| !self.tasks.contains_key(id));
        require!("Q03", unexpected.is_none(), "a result of {unexpected:?}, which nobody submitted");
        if let Some(waiting) = self.waiting() {
            violated!("Q04", "{waiting}");
        }
        self.inbox_settled();
    }

    /// Everybody has left.
    pub(crate) fn deserted(&self, core: &mut ganger::core::Core, now: ganger::core::Now) {
        let stats = picture::stats(core, now);
        let number = |name: &str| stats[name].as_u64().unwrap_or(u64::MAX);
        require!("Q05", number("connections") == 1, "connections are left over: {stats}");
        require!("Q05", number("workers_here") == 0, "sessions are left over: {stats}");
        require!("Q05", self.rows.workers.is_empty(), "workers' entries are left over");
    }

    /// How many tasks there have been, and how many ended in which way, for the log.
    pub(crate) fn tally(&self) -> String {
        let mut states: BTreeMap<State, u32> = BTreeMap::new();
        let mut dropped = 0;
        for task in self.tasks.values() {
            match task.row.state() {
                Some(state) => *states.entry(state).or_default() += 1,
                None => dropped += 1,
            }
        }
        format!("{} tasks: {states:?}, {dropped} forgotten", self.tasks.len())
    }
}

/// Where two stores' contents differ, in words.
pub(crate) fn difference(expected: &Rows, found: &Rows) -> String {
    fn of<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
        name: &str,
        expected: &BTreeMap<K, V>,
        found: &BTreeMap<K, V>,
    ) -> Option<String> {
        let keys: BTreeSet<&K> = expected.keys().chain(found.keys()).collect();
        let key = keys.into_iter().find(|key| expected.get(key) != found.get(key))?;
        Some(format!("{name} {key:?}: {:?}, not {:?}", found.get(key), expected.get(key)))
    }
    of("task", &expected.tasks, &found.tasks)
        .or_else(|| of("buried", &expected.buried, &found.buried))
        .or_else(|| of("result", &expected.results, &found.results))
        .or_else(|| of("hold", &expected.holds, &found.holds))
        .or_else(|| of("queue", &expected.queues, &found.queues))
        .or_else(|| of("worker", &expected.workers, &found.workers))
        .or_else(|| of("stats", &expected.stats, &found.stats))
        .or_else(|| of("cron", &expected.crons, &found.crons))
        .unwrap_or_else(|| format!("last {:?}, not {:?}", found.last, expected.last))
}
