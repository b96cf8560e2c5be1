//! Periodic tasks: entries by name, each with a timer for its next instant, and what they fire.
//!
//! All instants up to `seen` are dealt with, durably, in the same batch as the task that the last of
//! them fired: no instant fires twice, whatever the clock does and whenever the process ends. What
//! falls due is *owed*, and paid as soon as the overlap policy and the bounds of the scheduler allow.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::core::event::Peer;
use crate::core::slots::Slots;
use crate::core::timers::Reason;
use crate::core::view::spelled;
use crate::core::{Core, Effects};
use crate::frame::{Frame, Word, Words, Writer, number};
use crate::message::schedule::{Schedule, TZDATA};
use crate::message::{Code, Cron, CronAdd, Missed, Overlap, Plan, Refusal, Reply, Submit};
use crate::protocol::parse_submit;
use crate::record::Write;
use crate::task::TaskId;

/// An instant counts as missed when the scheduler is so many milliseconds late for it: more than load
/// and a quick restart cost.
const LATE_MS: u64 = 10_000;

/// The most fires that an entry owes under `overlap=queue`.
const OWED_MAX: u32 = 1000;

/// How an entry that fires begins its line, and one that does not.
const WORDS: [&str; 2] = ["active", "paused"];

/// The entries.
#[derive(Debug, Default)]
pub(super) struct Crons {
    entries: Slots<Entry>,
    by_name: BTreeMap<Box<str>, u32>,
    /// The tasks whose ends entries wait for, to pay what they owe.
    awaited: BTreeMap<TaskId, u32>,
    /// Entries whose task has ended in this turn.
    ended: Vec<u32>,
}

/// An entry.
#[derive(Debug)]
struct Entry {
    name: Box<str>,
    plan: Plan,
    /// What each fire submits.
    submit: Box<Submit>,
    /// Where intervals are counted from, in Unix milliseconds.
    since_ms: u64,
    /// Instants up to this one are dealt with.
    seen_ms: u64,
    /// The first instant after that.
    next_ms: Option<u64>,
    /// The task of the last fire.
    task: Option<TaskId>,
    /// Fires that fell due and have no task yet.
    owed: u32,
    paused: bool,
    /// What its timers are set for: its next instant; monotonic, another try.
    timer_ms: Option<u64>,
    retry_us: Option<u64>,
}

impl Entry {
    fn next_after(&self, after_ms: u64) -> Option<u64> {
        self.plan.schedule.next_after(self.since_ms, after_ms)
    }

    /// Deals with all instants up to now; whether there were any.
    fn look(&mut self, now_ms: u64) -> bool {
        let Some(due_ms) = self.next_ms.filter(|due_ms| *due_ms <= now_ms) else { return false };
        let wanted = self.plan.missed == Missed::Once || self.is_in_time(due_ms, now_ms);
        let following = self.next_after(due_ms);
        // However many there are, they are passed over at once.
        let several = following.is_some_and(|next_ms| next_ms <= now_ms);
        self.seen_ms = if several { now_ms } else { due_ms };
        self.next_ms = if several { self.next_after(now_ms) } else { following };
        if wanted {
            let most = if self.plan.overlap == Overlap::Queue { OWED_MAX } else { 1 };
            self.owed = (self.owed + 1).min(most);
        }
        true
    }

    /// Whether an instant from the one that is due up to now is not missed.
    fn is_in_time(&self, due_ms: u64, now_ms: u64) -> bool {
        let from_ms = now_ms.saturating_sub(LATE_MS);
        due_ms >= from_ms
            || self.next_after(from_ms.saturating_sub(1)).is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Its record: what changes, and the frame of its tasks.
    fn put(&self, out: &mut Vec<u8>) {
        let [active, paused] = WORDS;
        let line = Writer::verb(out, if self.paused { paused } else { active });
        let mut line = self
            .plan
            .put(line)
            .option_number("since", self.since_ms)
            .option_number("seen", self.seen_ms);
        if let Some(task) = self.task {
            line = line.option("task", &task.to_string());
        }
        if self.owed > 0 {
            line = line.option_number("owed", self.owed.into());
        }
        line.end();
        out.extend_from_slice(self.submit.frame.bytes());
    }

    fn read(name: &str, record: &[u8]) -> Result<Self, String> {
        let end = memchr::memchr(b'\n', record).ok_or("a periodic task without a frame")?;
        let (line, frame) = record.split_at(end);
        let frame = Bytes::copy_from_slice(frame.get(1..).unwrap_or_default());
        let frame = Frame::read(frame).map_err(|error| error.to_string())?;
        let submit = parse_submit(&frame).map_err(|refusal| refusal.text)?;
        let line = std::str::from_utf8(line).map_err(|_| "a line is not UTF-8")?;
        let mut words = Words::of(line);
        let word = match words.next() {
            Some(Word::Arg(word)) if WORDS.contains(&word) => word,
            _ => return Err(format!("{line:?} is no line of a periodic task")),
        };
        let options = words.filter_map(|word| match word {
            Word::Option(name, value) => Some((name, value)),
            Word::Arg(_) => None,
        });
        let (mut since_ms, mut seen_ms, mut task, mut owed) = (None, None, None, 0);
        let plan = Plan::read(options, |option, value| {
            let number = number(value.as_bytes());
            match option {
                "since" => since_ms = number,
                "seen" => seen_ms = number,
                "owed" => owed = number.and_then(|owed| u32::try_from(owed).ok()).unwrap_or(0),
                "task" => task = TaskId::parse(value.as_bytes()),
                _ => return Err(Refusal::new(Code::BadValue, format!("{option} in {line:?}"))),
            }
            Ok(())
        });
        let plan = plan.map_err(|refusal| refusal.text)?;
        let (Some(since_ms), Some(seen_ms)) = (since_ms, seen_ms) else {
            return Err(format!("no times in {line:?}"));
        };
        let entry = Self::new(name, plan, Box::new(submit), since_ms, seen_ms);
        Ok(Self { task, owed, paused: word == WORDS[1], ..entry })
    }

    fn new(name: &str, plan: Plan, submit: Box<Submit>, since_ms: u64, seen_ms: u64) -> Self {
        Self {
            name: name.into(),
            next_ms: plan.schedule.next_after(since_ms, seen_ms),
            plan,
            submit,
            since_ms,
            seen_ms,
            task: None,
            owed: 0,
            paused: false,
            timer_ms: None,
            retry_us: None,
        }
    }

    fn value(&self) -> Value {
        let (schedule, tz, every_ms) = match &self.plan.schedule {
            Schedule::Every(every_ms) => (None, None, Some(every_ms)),
            Schedule::Calendar(calendar) => (Some(calendar.text()), Some(calendar.zone()), None),
        };
        json!({
            "name": &*self.name,
            "kind": self.submit.kind(),
            "queue": self.submit.queue(),
            "schedule": schedule,
            "tz": tz,
            "every_ms": every_ms,
            "overlap": self.plan.overlap.word(),
            "missed": self.plan.missed.word(),
            "paused": self.paused,
            "next_ms": self.next_ms.filter(|_| !self.paused),
            "last_ms": self.task.map(TaskId::wall_ms),
            "task": self.task.map(|task| task.to_string()),
            "owed": self.owed,
        })
    }
}

impl Core {
    pub(super) fn on_cron_request(&mut self, peer: Peer, cron: Cron, fx: &mut Effects) {
        match cron {
            Cron::Add(add) => self.on_cron_add(peer, *add, fx),
            Cron::List { cursor, limit } => {
                fx.send(peer, Reply::Json(self.view_crons(&cursor, limit)));
            }
            Cron::Remove(name) => self.on_cron_remove(peer, &name, fx),
            Cron::Pause { name, paused } => self.on_cron_pause(peer, &name, paused, fx),
        }
    }

    fn on_cron_add(&mut self, peer: Peer, add: CronAdd, fx: &mut Effects) {
        let known = self.crons.by_name.get(&*add.name).copied();
        if known.is_none() && self.crons.by_name.len() >= self.settings.crons_max {
            return fx.refuse_busy(peer, 60_000, "too many periodic tasks");
        }
        let now_ms = self.now.wall_ms;
        let mut entry = Entry::new(&add.name, add.plan, add.submit, now_ms, now_ms);
        if let Some(before) = known.and_then(|number| self.take_cron(number)) {
            // An interval is not begun anew by saying it again, and no instant comes back.
            let is_same = before.plan.schedule == entry.plan.schedule;
            entry.since_ms = if is_same { before.since_ms } else { now_ms };
            entry.seen_ms = before.seen_ms.max(now_ms);
            entry.next_ms = entry.next_after(entry.seen_ms);
            (entry.task, entry.paused) = (before.task, before.paused);
        }
        let mut value = entry.value();
        if let Some(members) = value.as_object_mut() {
            members.insert("replaced".to_owned(), known.is_some().into());
        }
        let number = self.insert_cron(entry);
        self.write_cron(number, fx);
        fx.send(peer, Reply::Json(spelled(&value)));
    }

    fn on_cron_remove(&mut self, peer: Peer, name: &str, fx: &mut Effects) {
        let Some(number) = self.find_cron(peer, name, fx) else { return };
        self.take_cron(number);
        let name = fx.text(name.as_bytes());
        fx.write(Write::CronGone { name });
        fx.send(peer, Reply::Ok);
    }

    fn on_cron_pause(&mut self, peer: Peer, name: &str, paused: bool, fx: &mut Effects) {
        let Some(number) = self.find_cron(peer, name, fx) else { return };
        fx.send(peer, Reply::Ok);
        let now_ms = self.now.wall_ms;
        let entry = self.crons.entries.at_mut(number);
        if entry.paused == paused {
            return;
        }
        entry.paused = paused;
        if !paused {
            // What passed meanwhile was not missed: nobody wanted it.
            entry.seen_ms = entry.seen_ms.max(now_ms);
            entry.next_ms = entry.next_after(entry.seen_ms);
        }
        self.pay(number, true, fx);
    }

    fn find_cron(&self, peer: Peer, name: &str, fx: &mut Effects) -> Option<u32> {
        let found = self.crons.by_name.get(name).copied();
        if found.is_none() {
            fx.refuse(peer, Code::UnknownCron, format!("there is no periodic task {name}"));
        }
        found
    }

    fn view_crons(&self, cursor: &str, limit: u32) -> Vec<u8> {
        let behind = if cursor.is_empty() { Bound::Unbounded } else { Bound::Excluded(cursor) };
        let mut names = self.crons.by_name.range::<str, _>((behind, Bound::Unbounded));
        let page = names.by_ref().take(limit as usize);
        let page: Vec<&Entry> = page.map(|(_, number)| self.crons.entries.at(*number)).collect();
        let next = names.next().and_then(|_| page.last()).map(|entry| &*entry.name);
        let crons: Vec<Value> = page.iter().map(|entry| entry.value()).collect();
        spelled(&json!({ "crons": crons, "next": next, "tzdata": TZDATA }))
    }

    /// Takes an entry.
    ///
    /// # Errors
    ///
    /// A text that names what cannot be.
    pub fn restore_cron(&mut self, name: &str, record: &[u8]) -> Result<(), String> {
        let entry = Entry::read(name, record).map_err(|error| format!("cron {name}: {error}"))?;
        let owes = entry.owed > 0;
        let number = self.insert_cron(entry);
        if owes {
            // Not before all tasks are back: whether its own has ended is known then, and what is
            // restored is what was stored. A paused entry pays when it is resumed.
            self.arm_retry(number, self.now.mono_us);
        }
        Ok(())
    }

    fn insert_cron(&mut self, entry: Entry) -> u32 {
        let name = entry.name.clone();
        let number = self.crons.entries.insert(entry);
        self.crons.by_name.insert(name, number);
        self.arm_cron(number, false);
        number
    }

    /// Takes an entry out, with its timers.
    fn take_cron(&mut self, number: u32) -> Option<Entry> {
        self.disarm_cron(number);
        let entry = self.crons.entries.remove(number)?;
        self.crons.by_name.remove(&entry.name);
        if let Some(task) = entry.task {
            self.crons.awaited.remove(&task);
        }
        Some(entry)
    }

    /// The next instant of an entry may have come, or the time to try again.
    pub(super) fn on_cron(&mut self, number: u32, is_retry: bool, fx: &mut Effects) {
        let now_ms = self.now.wall_ms;
        let Some(entry) = self.crons.entries.get_mut(number) else { return };
        match is_retry {
            true => entry.retry_us = None,
            false => entry.timer_ms = None,
        }
        let changed = entry.look(now_ms);
        self.pay(number, changed, fx);
    }

    /// A task has ended: an entry may have waited for that.
    pub(super) fn note_cron_end(&mut self, id: TaskId) {
        if !self.crons.awaited.is_empty()
            && let Some(number) = self.crons.awaited.remove(&id)
        {
            self.crons.ended.push(number);
        }
    }

    /// At the end of a turn, when whatever waited for the workers of ended tasks was before them.
    pub(super) fn pay_ended(&mut self, fx: &mut Effects) {
        for number in std::mem::take(&mut self.crons.ended) {
            self.pay(number, false, fx);
        }
    }

    /// Fires what an entry owes, as far as it may, and writes what has changed.
    fn pay(&mut self, number: u32, mut changed: bool, fx: &mut Effects) {
        let Some(entry) = self.crons.entries.get_mut(number) else { return };
        let mut retries = false;
        if entry.owed > 0 && !entry.paused {
            let (overlap, task) = (entry.plan.overlap, entry.task);
            let running = task.filter(|task| self.is_unended(*task));
            match (running, overlap) {
                (None, _) => {
                    let fired = self.fire(number, fx);
                    (changed, retries) = (changed || fired, !fired);
                }
                (Some(task), Overlap::Queue) => {
                    self.crons.awaited.insert(task, number);
                }
                (Some(_), Overlap::Skip) => {
                    self.crons.entries.at_mut(number).owed = 0;
                    changed = true;
                }
            }
        }
        if changed {
            self.write_cron(number, fx);
        }
        self.arm_cron(number, retries);
    }

    fn is_unended(&self, id: TaskId) -> bool {
        let task = self.tasks.find(id).and_then(|slot| self.tasks.get(slot));
        task.is_some_and(|task| !task.state().is_end())
    }

    /// Submits the task of an entry; false if there is no room for it now.
    fn fire(&mut self, number: u32, fx: &mut Effects) -> bool {
        if self.why_busy().is_some() {
            return false;
        }
        let submit = self.crons.entries.at(number).submit.clone();
        let Some(class) = self.class_of(&submit) else { return false };
        let id = self.admit(Peer::default(), class, &submit, fx);
        let entry = self.crons.entries.at_mut(number);
        entry.task = Some(id);
        entry.owed -= 1;
        if entry.owed > 0 {
            self.crons.awaited.insert(id, number);
        }
        true
    }

    fn write_cron(&self, number: u32, fx: &mut Effects) {
        let entry = self.crons.entries.at(number);
        let name = fx.text(entry.name.as_bytes());
        let line = fx.batch.put(|out| entry.put(out));
        fx.write(Write::Cron { name, line });
    }

    fn arm_cron(&mut self, number: u32, retries: bool) {
        let jitter_us = if retries { self.draw(1_000_000) } else { 0 };
        self.disarm_cron(number);
        let entry = self.crons.entries.at_mut(number);
        if entry.paused {
            return;
        }
        entry.timer_ms = entry.next_ms;
        entry.timer_ms.into_iter().for_each(|at| self.timers.at_wall(at, Reason::Cron(number)));
        if retries {
            self.arm_retry(number, self.now.mono_us + 1_000_000 + jitter_us);
        }
    }

    /// Has an entry pay what it owes at a monotonic time, if it is not paused then.
    fn arm_retry(&mut self, number: u32, at_us: u64) {
        self.crons.entries.at_mut(number).retry_us = Some(at_us);
        self.timers.at_mono(at_us, Reason::CronRetry(number));
    }

    fn disarm_cron(&mut self, number: u32) {
        let entry = self.crons.entries.at_mut(number);
        let (timer, retry) = (entry.timer_ms.take(), entry.retry_us.take());
        timer.into_iter().for_each(|at| self.timers.off_wall(at, Reason::Cron(number)));
        retry.into_iter().for_each(|at| self.timers.off_mono(at, Reason::CronRetry(number)));
    }

    /// The timers that entries wait for. What an entry owes is looked at again, somehow.
    pub(super) fn check_crons(&self) -> Vec<(Reason, u64)> {
        let mut wanted = Vec::new();
        for (number, entry) in self.crons.entries.iter() {
            assert_eq!(self.crons.by_name.get(&entry.name), Some(&number), "cron {}", entry.name);
            let next_ms = entry.next_ms.filter(|_| !entry.paused);
            assert_eq!(entry.timer_ms, next_ms, "the timer of cron {}", entry.name);
            assert!(entry.next_ms.is_none_or(|at| at > entry.seen_ms), "cron {}", entry.name);
            wanted.extend(entry.timer_ms.map(|at| (Reason::Cron(number), at)));
            wanted.extend(entry.retry_us.map(|at| (Reason::CronRetry(number), at)));
            let awaits = entry.task.and_then(|task| self.crons.awaited.get(&task));
            let looked_at = entry.paused
                || awaits == Some(&number)
                || entry.retry_us.is_some()
                || self.crons.ended.contains(&number);
            assert!(entry.owed == 0 || looked_at, "cron {} owes for ever", entry.name);
        }
        assert_eq!(self.crons.by_name.len(), self.crons.entries.len(), "names of crons");
        for (task, number) in &self.crons.awaited {
            let entry = self.crons.entries.get(*number).expect("an entry waits");
            assert_eq!(entry.task, Some(*task), "the task that cron {} waits for", entry.name);
            assert!(entry.owed > 0 && self.is_unended(*task), "cron {} waits", entry.name);
        }
        wanted
    }
}
