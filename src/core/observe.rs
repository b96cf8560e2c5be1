//! What happens to tasks and who comes and goes, told to those who observe: EVENT, and the figures at an
//! interval.
//!
//! Every event has a number, whether anybody observes or not; its text, or what that is made of, is
//! kept only while somebody does, and for a minute after.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use crate::core::event::Peer;
use crate::core::timers::Reason;
use crate::core::{Core, Effects, Send, What};
use crate::frame::Writer;
use crate::message::Reply;
use crate::message::observe::{EventFilter, HAPPENINGS};
use crate::task::{Attempt, TaskId};

/// Observers at most: each event is told to each of them.
const OBSERVERS_MAX: usize = 64;

/// How long events are recorded after the last observer has gone, in microseconds: one that comes back
/// has missed nothing.
const LINGER_US: u64 = 60_000_000;

/// How often the figures are published where events are, in microseconds.
const PUBLISH_US: u64 = 10_000_000;

/// Rows of figures at most in those that are told at an interval: a page of STATS.
const SNAPSHOT: u32 = 1000;

/// The most of a PROGRESS note that is told, in bytes.
const NOTE_MAX: usize = 1024;

/// Numbers of events of a start begin at its Unix time in these parts of a millisecond, so that they
/// go on rising over a restart.
const PER_MS: u64 = 1000;

/// Stands behind the figure of a run that was far longer than its kind's.
pub(super) const STRAGGLED: (&str, u64) = ("straggler", 1);

/// Something that happened to a task or to a worker's session. [`Happening::put`] spells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    /// Its number: one more than that of the one before it.
    pub seq: u64,
    what: &'static str,
    at_ms: u64,
    task: Option<Subject>,
    /// The name itself: what happened is told even when nobody has it any more.
    worker: Option<Arc<str>>,
    figure: Option<(&'static str, u64)>,
    straggled: bool,
    reason: &'static str,
    note: Option<Bytes>,
}

/// The task that something happened to.
#[derive(Debug, Clone, PartialEq)]
struct Subject {
    id: TaskId,
    attempt: Attempt,
    /// The names themselves, as with the worker's.
    queue: Arc<str>,
    kind: Arc<str>,
}

/// Who observes, and the number of the last event.
#[derive(Debug, Default)]
pub(super) struct Observing {
    pub(super) seq: u64,
    /// Whether events are recorded.
    live: bool,
    /// With the interval of snapshots and when the next one is due, in monotonic microseconds.
    pub(super) observers: BTreeMap<Peer, Option<(u64, u64)>>,
    /// Until when events are recorded for nobody, in monotonic microseconds.
    linger_until_us: u64,
}

impl Observing {
    pub(super) fn new(started_ms: u64) -> Self {
        let mut observing = Self::default();
        observing.start(started_ms);
        observing
    }

    /// Numbers jump ahead of all that another scheduler may have given until then.
    pub(super) fn start(&mut self, started_ms: u64) {
        self.seq = self.seq.max(started_ms.saturating_mul(PER_MS));
    }
}

impl Core {
    pub(super) fn on_events(
        &mut self,
        peer: Peer,
        filter: Option<Box<EventFilter>>,
        fx: &mut Effects,
    ) {
        let known = self.observing.observers.contains_key(&peer);
        if filter.is_some() && !known && self.observing.observers.len() >= OBSERVERS_MAX {
            return fx.refuse_busy(peer, 10_000, "too many observers");
        }
        self.end_observing(peer);
        if let Some(filter) = &filter {
            let every_us = filter.stats_ms.map(|ms| ms.saturating_mul(1000));
            let snapshots = every_us.map(|us| (us, self.now.mono_us.saturating_add(us)));
            self.observing.observers.insert(peer, snapshots);
            self.observing.live = true;
            if let Some((_, due_us)) = snapshots {
                self.timers.at_mono(due_us, Reason::Snapshot(peer));
            }
        }
        let next = self.observing.seq.saturating_add(1);
        fx.sends.push(Send { to: peer, what: What::Observe { filter, next } });
    }

    /// Whether a connection observes.
    pub fn is_observing(&self, peer: Peer) -> bool {
        self.observing.observers.contains_key(&peer)
    }

    /// A connection observes no longer.
    pub(super) fn end_observing(&mut self, peer: Peer) {
        let Some(snapshots) = self.observing.observers.remove(&peer) else { return };
        if let Some((_, due_us)) = snapshots {
            self.timers.off_mono(due_us, Reason::Snapshot(peer));
        }
        self.observing.linger_until_us = self.now.mono_us.saturating_add(LINGER_US);
    }

    pub(super) fn on_snapshot(&mut self, peer: Peer, fx: &mut Effects) {
        let snapshots = self.observing.observers.get_mut(&peer);
        let Some((every_us, due_us)) = snapshots.and_then(Option::as_mut) else { return };
        // One that is late by more than an interval is not made up for.
        *due_us = due_us.saturating_add(*every_us).max(self.now.mono_us);
        self.timers.at_mono(*due_us, Reason::Snapshot(peer));
        fx.send(peer, Reply::Snapshot(self.view_stats(0, SNAPSHOT)));
    }

    pub(super) fn arm_publish(&mut self) {
        if self.settings.events {
            self.timers.at_mono(self.now.mono_us.saturating_add(PUBLISH_US), Reason::Publish);
        }
    }

    /// The figures, published beside the events.
    pub(super) fn on_publish(&mut self, fx: &mut Effects) {
        let figures = self.view_stats(0, SNAPSHOT);
        Writer::verb(&mut fx.batch.events, "STATS").payload(&figures);
        self.arm_publish();
    }

    /// Tells an event of a task to those who observe:
    /// `EVENT seq what id attempt at=… queue=… kind=… [worker=…] [reason=…] [name=number]
    /// [straggler=yes]`.
    #[expect(clippy::too_many_arguments, reason = "one line of text, spelled in one place")]
    pub(super) fn event(
        &mut self,
        fx: &mut Effects,
        what: &'static str,
        id: TaskId,
        attempt: Attempt,
        class: u32,
        worker: Option<u32>,
        figures: &[(&'static str, u64)],
    ) {
        self.observing.seq += 1;
        if !self.is_recording() {
            return;
        }
        debug_assert!(HAPPENINGS.contains(&what), "{what} is no word of EVENT");
        let ended = matches!(what, "dead" | "cancelled");
        let more = self.tasks.find(id).filter(|_| ended).and_then(|slot| self.tasks.get(slot));
        let reason = more.and_then(|task| task.more.as_ref()).map_or("", |more| more.reason);
        let class = self.queues.class(class);
        let worker = worker.and_then(|worker| self.workers.sessions.get(worker));
        let happening = Happening {
            seq: self.observing.seq,
            what,
            at_ms: self.now.wall_ms,
            task: Some(Subject {
                id,
                attempt,
                queue: self.queue_names.name(self.queues.queue(class.queue).name),
                kind: self.kinds.name(class.kind),
            }),
            worker: worker.map(|worker| worker.title.clone()),
            figure: figures.first().copied(),
            straggled: figures.contains(&STRAGGLED),
            reason,
            note: None,
        };
        self.record(happening, fx);
    }

    /// Tells that a worker's session has come or gone: `EVENT seq what at=… worker=… reason=…
    /// [slots=N]`.
    pub(super) fn event_worker(
        &mut self,
        fx: &mut Effects,
        what: &'static str,
        worker: u32,
        reason: &'static str,
    ) {
        self.observing.seq += 1;
        if !self.is_recording() {
            return;
        }
        debug_assert!(HAPPENINGS.contains(&what), "{what} is no word of EVENT");
        let session = self.workers.sessions.at(worker);
        let slots = ("slots", u64::from(session.entry.slots));
        let happening = Happening {
            seq: self.observing.seq,
            what,
            at_ms: self.now.wall_ms,
            task: None,
            worker: Some(session.title.clone()),
            figure: (what == "worker-joined").then_some(slots),
            straggled: false,
            reason,
            note: None,
        };
        self.record(happening, fx);
    }

    /// Whether what happens is recorded at all.
    pub(super) fn is_recording(&self) -> bool {
        self.settings.events || self.observing.live
    }

    /// PROGRESS as an event, with the note.
    pub(super) fn event_progress(
        &mut self,
        slot: u32,
        worker: u32,
        note: &Bytes,
        fx: &mut Effects,
    ) {
        let Some(task) = self.tasks.get(slot) else { return };
        let percent = task.more.as_ref().and_then(|more| more.percent).unwrap_or_default();
        let (id, attempt, class) = (task.id, task.attempt, task.class);
        let before = fx.happenings.len();
        let figure = ("percent", u64::from(percent));
        let note = (!note.is_empty()).then(|| note.slice(..note.len().min(NOTE_MAX)));
        let published = fx.batch.events.len();
        self.event(fx, "progress", id, attempt, class, Some(worker), &[figure]);
        if let Some(happening) = fx.happenings.get_mut(before) {
            // A slice of the note would keep all that was read with it.
            happening.note = note.map(|note| Bytes::copy_from_slice(&note));
            if self.settings.events {
                fx.batch.events.truncate(published);
                happening.put(&mut fx.batch.events);
            }
        }
    }

    fn record(&mut self, happening: Happening, fx: &mut Effects) {
        if self.settings.events {
            happening.put(&mut fx.batch.events);
        }
        let observing = &mut self.observing;
        let lingers = observing.linger_until_us > self.now.mono_us;
        observing.live = !observing.observers.is_empty() || lingers;
        fx.happenings.push(happening);
    }
}

impl Happening {
    /// Appends its EVENT frame.
    pub fn put(&self, out: &mut impl BufMut) {
        let mut frame = Writer::verb(out, "EVENT").number(self.seq).arg(self.what);
        if let Some(task) = &self.task {
            frame = frame.id(task.id).number(task.attempt.into());
        }
        frame = frame.option_number("at", self.at_ms);
        if let Some(task) = &self.task {
            frame = frame.option("queue", &task.queue).option("kind", &task.kind);
        }
        if let Some(worker) = &self.worker {
            frame = frame.option("worker", worker);
        }
        if !self.reason.is_empty() {
            frame = frame.option("reason", self.reason);
        }
        if let Some((name, number)) = self.figure {
            frame = frame.option_number(name, number);
        }
        if self.straggled {
            frame = frame.option("straggler", "yes");
        }
        frame.maybe_payload(self.note.as_deref());
    }

    /// Whether an observer wants to be told of it.
    pub fn is_wanted(&self, filter: &EventFilter) -> bool {
        let is = |wanted: &Option<String>, name: Option<&Arc<str>>| {
            wanted.as_ref().is_none_or(|wanted| name.is_some_and(|name| **wanted == **name))
        };
        let task = self.task.as_ref();
        (filter.what.is_empty() || filter.what.iter().any(|what| what == self.what))
            && is(&filter.worker, self.worker.as_ref())
            && is(&filter.queue, task.map(|task| &task.queue))
            && is(&filter.kind, task.map(|task| &task.kind))
    }
}
