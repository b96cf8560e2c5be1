//! The scheduler: events in, effects out.
//!
//! [`Core`] is a value. It does no I/O, reads no clock, draws no random number but from the seed it
//! was given, and never walks a hash map: the same events at the same times have the same effects,
//! byte for byte. Whoever drives it makes the writes durable before anything else leaves.
//!
//! Nouns own state: [`names`], [`tasks`] with their [`records`], [`queues`] with their [`line`]s,
//! [`order`], [`limits`], [`rate`] and [`demand`], [`workers`] with their [`stock`], their [`standing`]
//! in routes and the [`shares`] of queues in them, [`members`], [`spill`], [`holds`], [`turns`],
//! [`after`], [`cron`], [`timers`]. Verbs are handlers: [`submit`], [`inbox`], [`dispatch`], [`pick`],
//! [`heads`], [`opened`], [`keyed`], [`finish`], [`release`], [`isolate`], [`breaker`], [`expire`], [`join`],
//! [`control`], [`purge`]. Beside them [`restore`] rebuilds a core from records, [`view`] draws
//! pictures for people, [`explain`] tells why, [`observe`] what happens, and [`check`] proves the
//! invariants.
//!
//! Invariants, each re-derived by [`Core::check`]:
//!
//! 1. A task is in one state, and every index and count agrees with it.
//! 2. A lease is listed by exactly one worker's session, whose slots are not exceeded unless they
//!    were lowered while it was busy.
//! 3. A task waits in a line of its class, or alone for a worker of its own, or not at all.
//! 4. No worker is free that could be given a waiting task (after the policy's own waiting rules).
//! 5. A `unique=` is held by at most one task of its queue.
//! 6. Of the serial tasks of a key in a queue at most one is ready or leased; no other waits for its
//!    turn while none has it.
//! 7. A task that comes after others waits for exactly those of them that are not done.
//! 8. A name has exactly the users that it counts, and goes with the last of them.

mod after;
mod breaker;
mod check;
mod control;
mod cron;
mod demand;
mod dispatch;
mod effects;
mod entry;
mod event;
mod expire;
mod explain;
mod finish;
mod heads;
mod holds;
mod inbox;
mod isolate;
mod join;
mod keyed;
mod limits;
mod line;
mod members;
mod names;
mod observe;
mod opened;
mod order;
mod pick;
mod purge;
mod queues;
mod rate;
mod records;
mod release;
mod restore;
mod shares;
mod slots;
mod spill;
mod standing;
mod stock;
mod submit;
mod tasks;
mod timers;
mod turns;
mod unanswered;
mod view;
mod workers;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::core::after::After;
use crate::core::breaker::Odds;
use crate::core::cron::Crons;
use crate::core::demand::Demands;
use crate::core::holds::Holds;
use crate::core::isolate::Isolation;
use crate::core::limits::Returning;
use crate::core::members::Members;
use crate::core::names::Names;
use crate::core::observe::Observing;
use crate::core::queues::{Counts, Queues};
use crate::core::records::Records;
use crate::core::release::Apart;
use crate::core::slots::Slots;
use crate::core::tasks::Tasks;
use crate::core::timers::Timers;
use crate::core::unanswered::FoundRun;
use crate::core::workers::Workers;
use crate::cost::Costs;
use crate::message::{Code, Reply, Request};
use crate::route::Digests;
use crate::task::TaskId;

pub use effects::{Ask, Effects, Send, What};
pub use event::{Event, Now, Peer};
pub use explain::explain_end;
pub use observe::Happening;

/// What bounds a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The shard that identifiers name.
    pub shard: u8,
    /// Tasks that may be held at once; beyond, SUBMIT is told to come back.
    pub tasks_max: usize,
    /// Queues that may exist at once.
    pub queues_max: usize,
    /// Pairs of queue and kind that may exist at once.
    pub classes_max: usize,
    /// Periodic tasks that may exist at once.
    pub crons_max: usize,
    /// How long a worker with heartbeats may be without a connection, in milliseconds.
    pub grace_ms: u64,
    /// How long sessions found in the store may take to come back after a start, in milliseconds.
    pub restart_grace_ms: u64,
    /// The largest payload that is taken and sent, in bytes.
    pub payload_max: u64,
    /// Whether batches carry the text of events.
    pub events: bool,
    /// How many events are kept for observers who come late or are slow.
    pub events_kept: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shard: 0,
            tasks_max: 10_000_000,
            queues_max: 10_000,
            classes_max: 100_000,
            crons_max: 100_000,
            grace_ms: 5_000,
            restart_grace_ms: 15_000,
            payload_max: 1 << 20,
            events: false,
            events_kept: 10_000,
        }
    }
}

/// What the core adds to the monotonic clock, in microseconds. That may begin at zero, and leases of
/// before the start began before it.
const MONO_BASE_US: u64 = 1 << 56;

/// The earliest deadlines: when to call again with [`Event::Due`] at the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline {
    /// On the monotonic clock, in microseconds.
    pub mono_us: Option<u64>,
    /// On the wall clock, in Unix milliseconds.
    pub wall_ms: Option<u64>,
}

/// The scheduler's whole state.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    now: Now,
    started: Now,
    last: TaskId,
    rng: SmallRng,
    tasks: Tasks,
    queues: Queues,
    workers: Workers,
    timers: Timers,
    costs: Costs,
    kinds: Names,
    queue_names: Names,
    worker_names: Names,
    demands: Demands,
    members: Slots<Members>,
    digests: Digests,
    records: Records,
    /// Names whose membership may have changed, to be looked at at the end of the turn.
    changed_members: BTreeSet<u32>,
    /// Monotonic microseconds before which changes of members are gathered.
    members_at_us: u64,
    /// Members that are not complete yet.
    unready: BTreeSet<u32>,
    /// Members that have changed, whose classes have yet to be sorted anew, and when that is done at
    /// the latest, in monotonic microseconds.
    moved: BTreeSet<u32>,
    round_us: u64,
    /// Classes whose lines are to be sorted anew.
    displaced: BTreeSet<u32>,
    /// Keyed classes whose pools have changed; their members are chosen then.
    repooled: BTreeSet<u32>,
    /// Queues that may have opened in this turn.
    opened: BTreeSet<u32>,
    /// How many tasks were set aside in this turn.
    put_aside: usize,
    /// How many entries of those who no longer wait for their owners were dropped in this turn.
    dropped: usize,
    /// Classes at whose line the look for a task whose key has room was broken off.
    half_looked: BTreeSet<u32>,
    /// Workers whose look for a task was broken off, or that wait for what becomes of a queue that opens.
    half_fed: BTreeSet<u32>,
    /// Tasks that have expired, to be ended with the next look at deadlines.
    lapsed: VecDeque<TaskId>,
    /// Tasks that were set aside for their keys and come back at the end of this turn.
    returning: Vec<Returning>,
    /// Queues with tasks that a changed `key-limit=` has released, to come back a slice a turn.
    released: BTreeSet<u32>,
    /// Classes with lines to be sorted anew, a slice a turn.
    unsorted: BTreeSet<u32>,
    /// Classes for which a session is saved.
    saved: BTreeSet<u32>,
    /// Classes with a line of a worker, by the worker's name.
    owned: BTreeMap<u32, BTreeSet<u32>>,
    /// Released tasks that wait for others than those who released them, by class.
    apart: BTreeMap<u32, Apart>,
    /// Monotonic microseconds before which no queue or class is looked for that can make place.
    crowded_us: u64,
    /// Runs without leases that the store has handed back, until all records are in.
    found_runs: Vec<FoundRun>,
    holds: Holds,
    after: After,
    crons: Crons,
    isolation: Isolation,
    /// How the runs of each kind end, by its number.
    odds: Vec<Odds>,
    observing: Observing,
    /// Ends counted by queues that are gone.
    ended: Counts,
    submitted: u64,
    pressure: bool,
    /// Entries in the store's inbox, when it was last asked.
    inbox: Option<u64>,
    figures_timer: bool,
}

impl Core {
    /// A core that knows nothing. `seed` decides every random choice.
    pub fn new(settings: Settings, seed: u64, now: Now) -> Self {
        let now = Now { mono_us: now.mono_us.saturating_add(MONO_BASE_US), ..now };
        let mut core = Self {
            settings,
            now,
            started: now,
            last: TaskId::default(),
            rng: SmallRng::seed_from_u64(seed),
            tasks: Tasks::default(),
            queues: Queues::default(),
            workers: Workers::default(),
            timers: Timers::default(),
            costs: Costs::new(),
            kinds: Names::default(),
            queue_names: Names::default(),
            worker_names: Names::default(),
            demands: Demands::default(),
            members: Slots::default(),
            digests: Digests::default(),
            records: Records::default(),
            changed_members: BTreeSet::new(),
            members_at_us: 0,
            unready: BTreeSet::new(),
            moved: BTreeSet::new(),
            round_us: 0,
            displaced: BTreeSet::new(),
            repooled: BTreeSet::new(),
            opened: BTreeSet::new(),
            put_aside: 0,
            dropped: 0,
            half_looked: BTreeSet::new(),
            half_fed: BTreeSet::new(),
            lapsed: VecDeque::new(),
            returning: Vec::new(),
            released: BTreeSet::new(),
            unsorted: BTreeSet::new(),
            saved: BTreeSet::new(),
            owned: BTreeMap::new(),
            apart: BTreeMap::new(),
            crowded_us: 0,
            found_runs: Vec::new(),
            holds: Holds::default(),
            after: After::default(),
            crons: Crons::default(),
            isolation: Isolation::default(),
            odds: Vec::new(),
            observing: Observing::new(now.wall_ms),
            ended: Counts::default(),
            submitted: 0,
            pressure: false,
            inbox: None,
            figures_timer: false,
        };
        core.arm_housekeeping();
        core.arm_publish();
        core
    }

    /// What bounds it.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Handles one event. The only way, with [`Core::settle`], in which a core changes.
    pub fn handle(&mut self, now: Now, event: Event, fx: &mut Effects) {
        self.advance(now);
        match event {
            Event::Request { peer, request } => self.on_request(peer, request, fx),
            Event::Joined { peer, hello, fresh, credential } => {
                self.on_joined(peer, *hello, fresh, credential, fx);
            }
            Event::Left { peer } => self.on_left(peer, fx),
            Event::HalfClosed { peer } => self.on_half_closed(peer, fx),
            Event::Refused { peer, refusal } => self.on_refused(peer, refusal, fx),
            Event::Oversized { peer, id, attempt } => self.on_oversized(peer, id, attempt, fx),
            Event::Entries(entries) => self.on_entries(&entries, fx),
            Event::Pressure(pressure) => self.pressure = pressure,
            Event::Inbox(entries) => self.inbox = entries,
            Event::Stop => self.on_stop(fx),
            Event::Due => self.on_due(fx),
        }
    }

    /// Ends a turn: joins and leaves of the turn move the keys of their arcs, all together, and what
    /// is left of a resorting goes on for one slice.
    pub fn settle(&mut self, now: Now, fx: &mut Effects) {
        self.advance(now);
        self.pay_ended(fx);
        self.apply_member_changes();
        self.tell_dependents(fx);
        self.sort_slice(fx);
        self.serve_opened(fx);
        self.step_all_saved(fx);
        self.arm_figures();
        fx.batch.last = self.last;
        fx.batch.wall_ms = now.wall_ms;
    }

    /// When the core wants to be called again at the latest.
    pub fn next_deadline(&self) -> Deadline {
        let (mono_us, wall_ms) = self.timers.next();
        let members = (!self.changed_members.is_empty()).then_some(self.members_at_us);
        let next_us = mono_us.into_iter().chain(members).min();
        let next_us = next_us.map(|us| us.saturating_sub(MONO_BASE_US));
        Deadline { mono_us: if self.is_busy() { Some(0) } else { next_us }, wall_ms }
    }

    /// Whether every waiting task is where it belongs.
    fn is_settled(&self) -> bool {
        !self.is_busy() && self.changed_members.is_empty()
    }

    /// Whether something goes on in the next turn that was begun in this one.
    fn is_busy(&self) -> bool {
        let over = self.opened.is_empty()
            && self.lapsed.is_empty()
            && self.returning.is_empty()
            && self.half_looked.is_empty()
            && self.half_fed.is_empty()
            && self.released.is_empty()
            && self.unsorted.is_empty()
            && self.after.ended.is_empty()
            && self.repooled.is_empty()
            && self.displaced.is_empty()
            && (self.unready.is_empty() || self.changed_members.is_empty());
        !over
    }

    fn advance(&mut self, now: Now) {
        // A monotonic clock never goes back; a shell that mixes up its readings must not show here.
        let mono_us = self.now.mono_us.max(now.mono_us.saturating_add(MONO_BASE_US));
        self.now = Now { mono_us, wall_ms: now.wall_ms };
    }

    fn on_request(&mut self, peer: Peer, request: Request, fx: &mut Effects) {
        if self.workers.connection(peer).is_none() {
            // What a connection sent before it ended may arrive after that; nobody waits for it.
            return;
        }
        match request {
            Request::Submit(submit) => self.on_submit(peer, &submit, fx),
            Request::Done { id, attempt, result } => self.on_done(peer, id, attempt, &result, fx),
            Request::Fail(fail) => self.on_fail(peer, &fail, fx),
            Request::Release { id, attempt, delay_ms } => {
                self.on_release(peer, id, attempt, delay_ms, fx);
            }
            Request::Progress { id, attempt, percent, note } => {
                self.on_progress(peer, id, attempt, percent, &note, fx);
            }
            Request::Slots(slots) => self.on_slots(peer, slots, fx),
            Request::Bye => self.on_bye(peer, fx),
            Request::Pong => {}
            Request::Get(id) => self.on_get(peer, id, fx),
            Request::Watch(id) => self.on_watch(peer, id, fx),
            Request::Explain(id) => self.on_explain(peer, id, fx),
            Request::Cancel(id) => self.on_cancel(peer, id, fx),
            Request::Retry(id) => self.on_retry(peer, id, fx),
            Request::Queues => fx.send(peer, Reply::Json(self.view_queues())),
            Request::Workers => fx.send(peer, Reply::Json(self.view_workers())),
            Request::Tasks(filter) => fx.send(peer, Reply::Json(self.view_tasks(&filter))),
            Request::Stats { cursor, limit } => {
                fx.send(peer, Reply::Json(self.view_stats(cursor, limit)));
            }
            Request::Queue { name, policies } => self.on_queue(peer, &name, &policies, fx),
            Request::Pause { name, paused } => self.on_pause(peer, &name, paused, fx),
            Request::Purge(purge) => self.on_purge(peer, &purge, fx),
            Request::Events(filter) => self.on_events(peer, filter, fx),
            Request::Drain(name) => self.on_drain(peer, &name, fx),
            Request::Cron(cron) => self.on_cron_request(peer, cron, fx),
        }
    }

    /// The slot of a task in the table, or what to say of one that is not there: refused if it
    /// never was, looked up if it may have ended.
    fn find_or_ask(&self, peer: Peer, id: TaskId, ask: Ask, fx: &mut Effects) -> Option<u32> {
        let found = self.tasks.find(id);
        if found.is_some() {
            return found;
        }
        if id.shard() != self.settings.shard {
            fx.refuse(peer, Code::WrongShard, format!("task {id} is of shard {}", id.shard()));
        } else if id > self.last {
            fx.refuse(peer, Code::UnknownTask, format!("no task {id} was ever submitted"));
        } else {
            fx.look_up(peer, id, ask);
        }
        None
    }

    /// A number below `below`, which is not zero.
    fn draw(&mut self, below: u64) -> u64 {
        self.rng.random_range(0..below)
    }

    /// The figures' account of a kind on a worker.
    fn pair(&mut self, worker: u32, kind: u32) -> crate::cost::Pair {
        let serial = self.kinds.serial(kind);
        let session = self.workers.sessions.at_mut(worker);
        if let Some((its, pair)) = session.pairs.get(&kind)
            && *its == serial
            && self.costs.holds(*pair)
        {
            return *pair;
        }
        let pair = self.costs.pair(self.kinds.text(kind), &session.title);
        session.pairs.insert(kind, (serial, pair));
        pair
    }
}
