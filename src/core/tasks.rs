//! The table of tasks that have not ended, and of the dead and cancelled ones that RETRY may want.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::core::event::{Now, Peer};
use crate::core::slots::Slots;
use crate::frame::{Word, Words, canonical, decode};
use crate::message::Submit;
use crate::message::request::{Slice, Start};
use crate::record::StateLine;
use crate::task::{Attempt, IdState, SessionId, State, TaskId};

/// A task. A million of them wait in memory, so it is kept small: the texts stay in the record, and
/// what most tasks do not have is in `more`.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: TaskId,
    /// The SUBMIT frame.
    pub(super) record: Arc<[u8]>,
    pub(super) phase: Phase,
    /// Queue and kind.
    pub(super) class: u32,
    /// Leases so far.
    pub(super) attempt: Attempt,
    /// Failures, timeouts and losses that count.
    pub(super) used: u32,
    /// `attempts=`; 0 is unlimited.
    pub(super) attempts: u16,
    /// Losses in a row that look like a crash of the worker.
    pub(super) suspected: u8,
    /// RETRY dropped `delay=`, `at=` and `expires=`.
    pub(super) retried: bool,
    /// `serial=yes`: it has its turn among those of its key.
    pub(super) serial: bool,
    /// It waits for tasks that it comes after.
    pub(super) after: bool,
    /// `key=` in the record's header, still encoded.
    pub(super) key: Option<Slice>,
    /// Who gets RESULT.
    pub(super) watcher: Peer,
    /// What most tasks do not have.
    pub(super) more: Option<Box<More>>,
}

/// What decides the owner of a task under a keyed route.
pub(super) enum RouteKey<'a> {
    /// `key=`, decoded.
    Given(Cow<'a, str>),
    /// The task counts for itself.
    Id([u8; TaskId::LEN]),
}

impl Deref for RouteKey<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Given(key) => key.as_bytes(),
            Self::Id(id) => id,
        }
    }
}

/// Losses in a row that look like crashes, after which a task runs alone.
const SUSPECTED: u8 = 2;

const _: () = assert!(size_of::<Task>() <= 112, "a million tasks wait in memory");

/// Where a task stands, with what belongs to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not before a Unix time in milliseconds. A wait of so long, a delay or a backoff, is over at a
    /// monotonic time, whatever the wall clock is set to; that is 0 where the wall clock decides.
    Scheduled { due_ms: u64, over_us: u64 },
    /// Due, and waits for other tasks.
    Blocked,
    /// Since a monotonic time; in a line (of an owner, under a keyed route) since another.
    Ready { since_us: u64, lined_us: u64, owner: u32 },
    /// By a worker's session since a monotonic time; `place` is where the worker lists it.
    Leased { since_us: u64, worker: u32, place: u32, how: How },
    /// Since a Unix time in milliseconds.
    Dead { at_ms: u64 },
    /// Since a Unix time in milliseconds.
    Cancelled { at_ms: u64 },
}

/// How the worker of a lease was chosen, for those who ask why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// By the route, among those that had room when the task was ready.
    Drawn,
    /// It had room, and the task was the next for it.
    Next,
    /// It owns the task's key.
    Owner,
    /// The owner had its time, or there was none.
    Spilled,
    /// It is another one than those who released the task.
    Apart,
    /// It was emptied for the task.
    Alone,
    /// The lease is from before a start of the scheduler.
    Before,
}

impl Phase {
    /// In no line, and due.
    pub(super) const DUE: Self = Self::Scheduled { due_ms: 0, over_us: 0 };

    /// A wait that ends at a Unix time and is `most_ms` long, of which some may have passed before a
    /// start: only the wall clock tells how much.
    pub(super) fn wait(due_ms: u64, most_ms: u64, now: Now) -> Self {
        let left_ms = due_ms.saturating_sub(now.wall_ms).min(most_ms);
        let over_us = now.mono_us.saturating_add(left_ms.saturating_mul(1000));
        Self::Scheduled { due_ms, over_us }
    }

    /// Scheduled, and the time has come.
    pub(super) fn is_due(self, now: Now) -> bool {
        match self {
            Self::Scheduled { due_ms, over_us: 0 } => due_ms <= now.wall_ms,
            Self::Scheduled { over_us, .. } => over_us <= now.mono_us,
            _ => false,
        }
    }

    pub(super) fn state(self) -> State {
        match self {
            Self::Scheduled { .. } => State::Scheduled,
            Self::Blocked => State::Blocked,
            Self::Ready { .. } => State::Ready,
            Self::Leased { .. } => State::Leased,
            Self::Dead { .. } => State::Dead,
            Self::Cancelled { .. } => State::Cancelled,
        }
    }
}

/// What most tasks do not have.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct More {
    /// Unix milliseconds.
    pub(super) expires_at_ms: Option<u64>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) max_run_ms: Option<u64>,
    pub(super) backoff_ms: u64,
    pub(super) result_ttl_ms: u64,
    pub(super) unique: Option<Box<str>>,
    pub(super) unique_for_ms: u64,
    /// Its record names a list that is told how it ends.
    pub(super) replies: bool,
    /// Further watchers.
    pub(super) watchers: Vec<Peer>,
    /// Monotonic time of the last PROGRESS of the lease, or 0.
    pub(super) progress_us: u64,
    /// Monotonic time for which the timer of its lease is set, or of its waiting apart; or 0.
    pub(super) timer_us: u64,
    pub(super) percent: Option<u8>,
    /// Why it is dead or cancelled.
    pub(super) reason: &'static str,
    /// How attempts ended, oldest first: `attempt:end:worker`, separated by commas.
    pub(super) history: String,
    /// The last error, cut.
    pub(super) error: String,
    /// Runs whose end was decided without their worker, and which it has not answered.
    pub(super) unanswered: u16,
    /// The sessions that released it and are not offered it, each until a monotonic time, ascending.
    pub(super) bars: Vec<(SessionId, u64)>,
}

impl Default for More {
    fn default() -> Self {
        Self {
            expires_at_ms: None,
            timeout_ms: None,
            max_run_ms: None,
            backoff_ms: Submit::BACKOFF_MS,
            result_ttl_ms: Submit::RESULT_TTL_MS,
            unique: None,
            unique_for_ms: 0,
            replies: false,
            watchers: Vec::new(),
            progress_us: 0,
            timer_us: 0,
            percent: None,
            reason: "",
            history: String::new(),
            error: String::new(),
            unanswered: 0,
            bars: Vec::new(),
        }
    }
}

impl More {
    fn of(id: TaskId, submit: &Submit) -> Option<Box<Self>> {
        let more = Self {
            expires_at_ms: submit.expires_ms.map(|ms| id.wall_ms().saturating_add(ms)),
            timeout_ms: submit.timeout_ms,
            max_run_ms: submit.max_run_ms,
            backoff_ms: submit.backoff_ms,
            result_ttl_ms: submit.result_ttl_ms,
            unique: submit.unique_value().map(Box::from),
            unique_for_ms: submit.unique_for_ms,
            replies: submit.reply.is_some(),
            ..Self::default()
        };
        (more != Self::default()).then(|| Box::new(more))
    }
}

impl Task {
    /// A task of a submission, with a copy of its frame as its record.
    pub(super) fn new(
        id: TaskId,
        class: u32,
        submit: &Submit,
        record: Arc<[u8]>,
        now: Now,
    ) -> Self {
        let phase = match submit.start {
            Start::Now => Phase::DUE,
            // The identifier may be ahead of the clock, which does not make the wait longer.
            Start::Delay(ms) => Phase::wait(id.wall_ms().saturating_add(ms), ms, now),
            Start::At(due_ms) => Phase::Scheduled { due_ms, over_us: 0 },
        };
        Self {
            id,
            record,
            phase,
            class,
            attempt: 0,
            used: 0,
            attempts: submit.attempts.map_or(0, |most| u16::try_from(most).unwrap_or(u16::MAX)),
            suspected: 0,
            retried: false,
            serial: submit.serial,
            after: submit.after.is_some(),
            key: submit.key,
            watcher: Peer::default(),
            more: More::of(id, submit),
        }
    }

    pub(super) fn state(&self) -> State {
        self.phase.state()
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(super) fn result_ttl_ms(&self) -> u64 {
        self.more.as_ref().map_or(Submit::RESULT_TTL_MS, |more| more.result_ttl_ms)
    }

    pub(super) fn backoff_ms(&self) -> u64 {
        self.more.as_ref().map_or(Submit::BACKOFF_MS, |more| more.backoff_ms)
    }

    /// Whether it runs alone, on a worker emptied for it.
    pub(super) fn is_isolated(&self) -> bool {
        self.suspected >= SUSPECTED
    }

    /// The sessions that are not offered it, each until a monotonic time in microseconds.
    pub(super) fn bars(&self) -> &[(SessionId, u64)] {
        self.more.as_ref().map_or(&[], |more| more.bars.as_slice())
    }

    /// The sessions that are not offered it.
    pub(super) fn barred(&self) -> Vec<SessionId> {
        self.bars().iter().map(|(session, _)| *session).collect()
    }

    /// Offers it again to those whose time is over.
    pub(super) fn lift_bars(&mut self, now_us: u64) {
        if let Some(more) = self.more.as_mut() {
            more.bars.retain(|(_, until_us)| *until_us > now_us);
        }
    }

    /// When it is cancelled unless it is leased before, in Unix milliseconds.
    pub(super) fn expires_at_ms(&self) -> Option<u64> {
        let may = self.attempt == 0 && !self.retried && !self.state().is_end();
        self.more.as_ref().and_then(|more| more.expires_at_ms).filter(|_| may)
    }

    /// When a cancelled task is forgotten, in Unix milliseconds.
    pub(super) fn forget_at_ms(&self) -> Option<u64> {
        let Phase::Cancelled { at_ms } = self.phase else { return None };
        Some(at_ms.saturating_add(self.result_ttl_ms()))
    }

    /// The list that is told how it ends.
    pub(super) fn reply(&self) -> Option<&str> {
        self.more.as_ref().filter(|more| more.replies)?;
        self.options().find(|(name, _)| *name == "reply").map(|(_, list)| list)
    }

    /// Its key, spelled in the one way that makes equal keys equal.
    pub(super) fn key_text(&self) -> Option<Box<str>> {
        Some(canonical(std::str::from_utf8(self.encoded_key()?).ok()?).into())
    }

    /// The options of the record's header, still encoded.
    pub(super) fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        let header = std::str::from_utf8(self.header()).unwrap_or_default();
        Words::of(header).filter_map(|word| match word {
            Word::Option(name, value) => Some((name, value)),
            Word::Arg(_) => None,
        })
    }

    /// The record's header, without its line feed.
    pub(super) fn header(&self) -> &[u8] {
        let end = memchr::memchr(b'\n', &self.record).unwrap_or(self.record.len());
        self.record.get(..end).unwrap_or_default()
    }

    /// What the route hashes: the decoded key, or the identifier.
    pub(super) fn route_key(&self) -> RouteKey<'_> {
        let encoded = self.encoded_key().and_then(|key| std::str::from_utf8(key).ok());
        encoded.and_then(decode).map_or_else(|| RouteKey::Id(self.id.text()), RouteKey::Given)
    }

    /// Its key as it was spelled.
    pub(super) fn encoded_key(&self) -> Option<&[u8]> {
        let key = self.key?;
        self.record.get(usize::from(key.start)..usize::from(key.end))
    }

    /// Remembers how an attempt ended; the last ten are kept.
    pub(super) fn note_end(&mut self, attempt: Attempt, end: &str, worker: &str) {
        let history = &mut self.more().history;
        if history.split(',').count() >= 10 {
            let rest = history.split_once(',').map_or(String::new(), |(_, rest)| rest.to_owned());
            *history = rest;
        }
        let comma = if history.is_empty() { "" } else { "," };
        history.push_str(&format!("{comma}{attempt}:{end}:{worker}"));
    }

    /// How an attempt ended, if that is remembered.
    pub(super) fn end_of(&self, attempt: Attempt) -> Option<&str> {
        let history = &self.more.as_ref()?.history;
        history.split(',').rev().find_map(|entry| {
            let (number, rest) = entry.split_once(':')?;
            let (end, _) = rest.split_once(':')?;
            (number.parse() == Ok(attempt)).then_some(end)
        })
    }

    /// Remembers an error text: the first KiB, without control characters.
    pub(super) fn note_error(&mut self, error: &[u8]) {
        let cut = error.get(..error.len().min(1024)).unwrap_or_default();
        let text = String::from_utf8_lossy(cut);
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        self.more().error = text.trim_end().chars().map(clean).collect();
    }

    /// The state line that says where the task stands now, all but who holds it.
    pub(super) fn line(&self) -> StateLine {
        let mut line = StateLine::new(self.state(), self.attempt, self.used);
        line.at_ms = match self.phase {
            Phase::Scheduled { due_ms, .. } => due_ms,
            Phase::Dead { at_ms } | Phase::Cancelled { at_ms } => at_ms,
            Phase::Blocked | Phase::Ready { .. } | Phase::Leased { .. } => 0,
        };
        line.suspected = self.suspected.into();
        line.retried = self.retried;
        if let Some(more) = &self.more {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            line.reason = some(more.reason);
            line.history = some(&more.history);
            line.error = some(&more.error);
        }
        line
    }

    pub(super) fn watchers(&self) -> impl Iterator<Item = Peer> + '_ {
        let further = self.more.iter().flat_map(|more| more.watchers.iter().copied());
        std::iter::once(self.watcher).chain(further).filter(|peer| peer.is_some())
    }

    /// Adds a watcher; false if it is one already.
    pub(super) fn watch(&mut self, peer: Peer) -> bool {
        if self.watchers().any(|watcher| watcher == peer) {
            return false;
        }
        if self.watcher.is_some() {
            self.more().watchers.push(peer);
        } else {
            self.watcher = peer;
        }
        true
    }
}

/// The tasks, by slot and by identifier.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    slots: Slots<Task>,
    by_id: HashMap<TaskId, u32, IdState>,
}

impl Tasks {
    pub(super) fn insert(&mut self, task: Task) -> u32 {
        let id = task.id;
        let slot = self.slots.insert(task);
        self.by_id.insert(id, slot);
        slot
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Task> {
        let task = self.slots.remove(slot)?;
        self.by_id.remove(&task.id);
        Some(task)
    }

    pub(super) fn find(&self, id: TaskId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Task> {
        self.slots.get(slot)
    }

    /// The task in a slot that is known to be taken.
    pub(super) fn at(&mut self, slot: u32) -> &mut Task {
        self.slots.at_mut(slot)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Slots are below this one; the bound of a walk over them.
    pub(super) fn bound(&self) -> u32 {
        self.slots.bound()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Task)> {
        self.slots.iter()
    }
}
