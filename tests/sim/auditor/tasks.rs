//! Follows the batches: which writes may follow which.

use std::collections::BTreeMap;

use bytes::Bytes;
use ganger::frame::{Frame, Word, Words};
use ganger::message::amounts::owned_amounts;
use ganger::message::{AfterFailure, Start, Submit};
use ganger::protocol::parse_submit;
use ganger::record::{Batch, StateLine, Write, option};
use ganger::task::{Attempt, SessionId, State, TaskId};

use super::due::Due;
use super::facts::Entry;
use super::task::{BAR_US, Lease, Row, Task, unique_of};
use super::{Auditor, Window, require, violated};

/// The end of a hold as its line in the store has it, in Unix milliseconds.
fn hold_until(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?;
    option(line, "until")?.parse().ok()
}

impl Auditor {
    /// Follows one write of an acknowledged batch.
    pub(super) fn follow(&mut self, batch: &Batch, write: Write, window: Window) {
        let bytes = |text| Bytes::copy_from_slice(batch.slice(text));
        let line = |text| {
            let line = StateLine::read(batch.slice(text));
            line.unwrap_or_else(|error| panic!("I30: no state line: {error}"))
        };
        match write {
            Write::Submit { id, frame } => self.on_submit(id, bytes(frame), window),
            Write::State { id, line: text } => self.on_state(id, &line(text), window),
            Write::End { id, frame, until_ms } => self.on_end(id, bytes(frame), until_ms, window),
            Write::Bury { id, line: text, frame } => {
                self.same_frame(id, &bytes(frame));
                self.on_bury(id, &line(text), window);
            }
            Write::Revive { id, line: text, frame } => {
                self.same_frame(id, &bytes(frame));
                self.on_revive(id, &line(text));
            }
            Write::Drop { id } => self.on_drop(id, window),
            Write::Worker { name, line } => self.on_worker(&bytes(name), &bytes(line), window),
            Write::Run { name, line } => self.on_run(&bytes(name), &bytes(line)),
            Write::RunGone { name } => self.on_run_gone(&bytes(name)),
            Write::Hold { .. }
            | Write::Unhold { .. }
            | Write::Queue { .. }
            | Write::WorkerGone { .. }
            | Write::Stats { .. }
            | Write::StatsGone { .. } => {}
            Write::Cron { name, line } => {
                let name = String::from_utf8_lossy(batch.slice(name)).into_owned();
                self.on_cron(&name, &bytes(line), window);
            }
            Write::CronGone { name } => {
                self.on_cron_gone(&String::from_utf8_lossy(batch.slice(name)));
            }
        }
    }

    fn same_frame(&self, id: TaskId, frame: &Bytes) {
        let task = self.task(id);
        require!("I22", task.submit.frame.bytes() == frame, "the frame of task {id} has changed");
    }

    pub(super) fn task(&self, id: TaskId) -> &Task {
        let task = self.tasks.get(&id);
        task.unwrap_or_else(|| violated!("I03", "task {id} was never submitted"))
    }

    pub(super) fn task_mut(&mut self, id: TaskId) -> &mut Task {
        self.tasks.get_mut(&id).unwrap_or_else(|| panic!("I03: task {id} was never submitted"))
    }

    /// Tasks that bear the same `unique=` in the same queue.
    pub(super) fn unique_tasks(&self, submit: &Submit) -> Vec<TaskId> {
        let Some(unique) = unique_of(submit) else { return Vec::new() };
        let same = |task: &Task| task.unique().as_ref() == Some(&unique);
        self.tasks.iter().filter(|(_, task)| same(task)).map(|(id, _)| *id).collect()
    }

    fn on_submit(&mut self, id: TaskId, frame: Bytes, window: Window) {
        let record = frame.clone();
        let last = self.tasks.last_key_value().map_or(self.rows.last, |(last, _)| *last);
        require!("I03", id > last, "task {id} comes after {last}");
        let frame = Frame::read(frame).expect("it was read before");
        let submit = parse_submit(&frame).expect("it was read before");
        if let Some(name) = submit.cron() {
            self.on_fire(name, id, record);
        } else if let Some(left) = self.received.get_mut(&record).filter(|left| **left > 0) {
            *left -= 1;
        } else {
            violated!("I03", "task {id} was never received");
        }
        for other in self.unique_tasks(&submit) {
            let ended = self.tasks[&other].row.is_end();
            require!("I04", ended, "task {id} has the same unique value as task {other}");
        }
        if let Some((queue, unique)) = unique_of(&submit) {
            let hold = self.rows.holds.get(format!("{queue} {unique}").as_bytes());
            let held =
                hold.and_then(|hold| hold_until(hold)).is_some_and(|ms| ms > window.wall_high);
            require!("I04", !held, "task {id} has a unique value that is still held: {hold:?}");
        }
        let due = match submit.start {
            Start::Now => Due::Now,
            Start::Delay(ms) => Due::after(ms, id.wall_ms().saturating_add(ms), window),
            Start::At(ms) => Due::at(ms, window),
        };
        let mut task = Task {
            submit,
            row: Row::Waiting { due },
            attempt: 0,
            used: 0,
            suspected: 0,
            retried: false,
            history: None,
            error: None,
            steps: Vec::new(),
            leases: BTreeMap::new(),
            releases: Vec::new(),
            ends: BTreeMap::new(),
            endings: Vec::new(),
            answered: false,
        };
        task.stand(Row::Waiting { due });
        self.tasks.insert(id, task);
    }

    fn on_state(&mut self, id: TaskId, line: &StateLine, window: Window) {
        let task = self.task(id);
        require!("I18", !task.row.is_end(), "task {id} has ended and is {}", line.state);
        match line.state {
            State::Leased => {
                let ended = !matches!(task.row, Row::Leased { .. });
                require!("I09", ended, "task {id} is leased while it is {:?}", task.row);
                self.on_lease(id, line, window);
            }
            State::Scheduled | State::Ready => {
                let returned = line.state == State::Ready;
                let ends: &[&str] = if returned {
                    &["returned", "released", "lost"]
                } else {
                    &["failed", "released", "lost", "timeout", "max-run"]
                };
                self.end_lease(id, line, window, ends);
                let task = self.task_mut(id);
                let bound = task.submit.attempts.is_none_or(|attempts| line.used < attempts);
                require!("I19", bound, "task {id} goes on after {} of its attempts", line.used);
                require!("I19", line.suspected < 3, "task {id} goes on after its third crash");
                let due = if returned { Due::Now } else { Due::of(line, window) };
                task.stand(Row::Waiting { due });
            }
            state => violated!("I18", "the state line of task {id} says {state}"),
        }
    }

    fn on_lease(&mut self, id: TaskId, line: &StateLine, window: Window) {
        let task = self.task(id);
        let (attempt, at_ms) = (line.attempt, line.at_ms);
        require!("I09", attempt == task.attempt + 1, "task {id}: {attempt} after {}", task.attempt);
        require!("I19", line.used == task.used, "a lease of task {id} uses something");
        let told = (window.wall_low..=window.wall_high).contains(&at_ms);
        require!("I20", told, "task {id} is leased at {at_ms}, in a turn at {window:?}");
        if let Row::Waiting { due } = task.row {
            let is_due = self.may_be_due(due, window.to_us);
            require!(
                "I20",
                is_due,
                "task {id} is leased in a turn at {window:?}, and is due {due:?}"
            );
        }
        if let Some(expires_ms) = task.expires_at_ms(id).filter(|_| attempt == 1) {
            require!(
                "I20",
                expires_ms > at_ms,
                "task {id} is leased at {at_ms}, expired {expires_ms}"
            );
        }
        self.waits_for_nobody(id);
        let session = line.session.expect("a lease has a session");
        let worker = line.worker.as_deref().unwrap_or_default().to_owned();
        let barred = task.releases.iter().any(|release| {
            let over_us = release.from_us + BAR_US;
            release.session == session && release.life == self.life && window.to_us < over_us
        });
        require!("W", !barred, "task {id} goes back to {worker}, which has just released it");
        let alone = task.suspected >= 2;
        self.is_able(id, session, &worker);
        let held = self.sessions.get_mut(&session).expect("an able session is known");
        held.leases.insert(id);
        if alone {
            require!("I19", held.leases.len() == 1, "suspect {id} does not run alone");
            held.alone = Some(id);
        } else if let Some(suspect) = held.alone {
            violated!("I19", "task {id} runs beside suspect {suspect}");
        }
        let task = self.task_mut(id);
        task.attempt = attempt;
        task.history.clone_from(&line.history);
        task.leases.insert(attempt, Lease { session, from_us: window.from_us });
        task.stand(Row::Leased { session, worker });
    }

    /// A task may begin: it is the only one of its key, and done are those that it comes after.
    fn waits_for_nobody(&self, id: TaskId) {
        let task = self.task(id);
        if let Some(its) = task.serial_line() {
            let mut leased =
                self.tasks.iter().filter(|(_, other)| matches!(other.row, Row::Leased { .. }));
            let beside = leased.find(|(_, other)| other.serial_line().as_ref() == Some(&its));
            require!("I07", beside.is_none(), "task {id} runs beside {beside:?}");
        }
        for parent in task.submit.after().filter(|_| task.attempt == 0) {
            let done = self.tasks.get(&parent).is_none_or(|parent| {
                let failed = parent.steps.iter().any(|(state, _)| state.is_end());
                let run = task.submit.after_failure == AfterFailure::Run;
                matches!(parent.row, Row::Done { .. } | Row::Dropped) || run && failed
            });
            require!("I07", done, "task {id} begins before {parent} is done");
        }
    }

    /// A session may be given a task: it has the kinds, the queues, the size and a slot.
    fn is_able(&self, id: TaskId, session: SessionId, worker: &str) {
        let submit = &self.task(id).submit;
        let held = self.sessions.get(&session);
        let Some(held) = held else { violated!("I07", "task {id} is leased to nobody") };
        let Some(entry) = &held.entry else {
            violated!("I07", "task {id} is leased to a session without an entry")
        };
        require!("I07", entry.name == worker, "task {id}: {worker} is {}", entry.name);
        let has = |list: &Option<Vec<String>>, name: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|its| its == name))
        };
        let able = has(&entry.kinds, submit.kind()) && has(&entry.queues, submit.queue());
        require!("I07", able, "task {id} is leased to {worker}, who cannot do it");
        require!("I07", !entry.weightless, "task {id} is leased to {worker}, whose weight is 0");
        require!("I07", !entry.draining, "task {id} is leased to {worker}, which is drained");
        let bytes = submit.frame.payload().map_or(0, |payload| payload.len() as u64);
        let fits = bytes <= entry.payload_max.max(64 << 10);
        require!("I07", fits, "task {id} of {bytes} bytes is more than {worker} takes");
        let tagged = submit.needs().all(|tag| entry.tags.iter().any(|its| its == tag));
        require!("I07", tagged, "task {id} is leased to {worker}, who lacks what it needs");
        for (name, amount) in submit.amounts() {
            let others = held.leases.iter().filter(|its| **its != id);
            let others = others.flat_map(|other| self.task(*other).submit.amounts());
            let runs = held.runs.iter().filter(|(its, _)| *its != id);
            let others = others.chain(runs.flat_map(|(its, _)| self.task(*its).submit.amounts()));
            let others = others.filter(|(its, _)| *its == name).map(|(_, amount)| amount);
            let (taken, has) = (others.sum::<u64>() + amount, entry.res.get(name).copied());
            let fits = Some(taken) <= has;
            require!("I06", fits, "task {id}: {worker} has {has:?} {name}, {taken} are taken up");
        }
        let (count, slots) = (held.leases.len() + held.runs.len(), entry.slots as usize);
        require!("I06", count < slots, "{worker} has {count} runs of {slots} and gets {id}");
        if let Some(line) = self.task(id).serial_line() {
            let mut runs = self.sessions.values().flat_map(|held| &held.runs);
            let runs = runs.find(|(its, _)| self.task(*its).serial_line().as_ref() == Some(&line));
            require!("I23", runs.is_none(), "task {id} is leased while {runs:?} of its key runs");
        }
    }

    /// A run goes on whose lease ends in this batch.
    fn on_run(&mut self, name: &[u8], line: &[u8]) {
        let (id, attempt) = run_name(name);
        let text = String::from_utf8_lossy(line).into_owned();
        let session = option(&text, "session").and_then(SessionId::parse);
        let lease = self.task(id).leases.get(&attempt).map(|lease| lease.session);
        let open = lease.is_some() && lease == session && self.task(id).attempt == attempt;
        require!("I11", open, "a run {id} {attempt} goes on, which was no lease of {session:?}");
        if let Some(session) = session {
            self.sessions.entry(session).or_default().runs.insert((id, attempt));
        }
    }

    fn on_run_gone(&mut self, name: &[u8]) {
        let run = run_name(name);
        let gone = self.sessions.values_mut().any(|held| held.runs.remove(&run));
        require!("I11", gone, "a run {run:?} is over that did not go on");
    }

    fn on_revive(&mut self, id: TaskId, line: &StateLine) {
        let task = self.task(id);
        let buried = matches!(task.row, Row::Dead { .. } | Row::Cancelled { .. });
        require!("I18", buried, "task {id} comes back, which was {:?}", task.row);
        require!("I18", self.retries.contains(&id), "task {id} comes back unasked");
        let fresh = line.used == 0 && line.suspected == 0 && line.attempt == task.attempt;
        require!("I09", fresh, "task {id} comes back with {line:?}");
        for other in self.unique_tasks(&task.submit) {
            let ended = other == id || self.tasks[&other].row.is_end();
            require!(
                "I04",
                ended,
                "task {id} comes back beside {other}, its unique value's holder"
            );
        }
        let task = self.task_mut(id);
        (task.used, task.suspected, task.retried) = (0, 0, true);
        task.stand(Row::Waiting { due: Due::Now });
    }

    fn on_drop(&mut self, id: TaskId, window: Window) {
        let task = self.task(id);
        let Row::Cancelled { at_ms, .. } = task.row else {
            violated!("I01", "task {id} is forgotten, which is {:?}", task.row)
        };
        let until_ms = at_ms.saturating_add(task.submit.result_ttl_ms);
        let over = until_ms <= window.wall_high;
        require!("I14", over, "task {id} is forgotten at {window:?}, before {until_ms}");
        self.task_mut(id).stand(Row::Dropped);
    }

    fn on_worker(&mut self, name: &[u8], line: &[u8], window: Window) {
        let name = String::from_utf8_lossy(name).into_owned();
        let line = String::from_utf8_lossy(line).into_owned();
        let mut entry = Entry {
            name: name.clone(),
            slots: 0,
            weightless: false,
            draining: false,
            kinds: None,
            queues: None,
            payload_max: u64::MAX,
            tags: Vec::new(),
            res: BTreeMap::new(),
        };
        let mut session = None;
        let list = |value: &str| {
            (value != "*").then(|| value.split(',').map(str::to_owned).collect::<Vec<_>>())
        };
        for word in Words::of(&line) {
            let Word::Option(option, value) = word else { continue };
            match option {
                "session" => session = SessionId::parse(value),
                "slots" => entry.slots = value.parse().expect("a number"),
                "weight" => entry.weightless = value == "0",
                "drain" => entry.draining = value == "yes",
                "kinds" => entry.kinds = list(value),
                "queues" => entry.queues = list(value),
                "tags" => entry.tags = list(value).unwrap_or_default(),
                "res" => entry.res = owned_amounts(value).expect("amounts").into_iter().collect(),
                "max-payload" => entry.payload_max = value.parse().expect("a number"),
                _ => {}
            }
        }
        let session = session.expect("an entry names its session");
        let life = self.life;
        for other in self.sessions.values_mut() {
            other.superseded |= other.entry.as_ref().is_some_and(|its| its.name == name);
        }
        let held = self.sessions.entry(session).or_default();
        let mut hellos = held.hellos.iter();
        let known = hellos.any(|hello| {
            hello.name == name && hello.kinds == entry.kinds && hello.queues == entry.queues
        });
        require!("I07", known, "nobody said what the entry of {name} says: {line}");
        let drained = held.entry.as_ref().is_some_and(|before| before.draining);
        require!("I07", entry.draining || !drained, "{name} is drained no more");
        let slots = entry.slots;
        require!("I06", held.slots.contains(&slots), "{name} never announced {slots} slots");
        // DRAIN is written for a session that is away, too.
        if held.life != life && self.greeted.contains(&session) {
            (held.life, held.back_us) = (life, window.from_us);
        }
        (held.superseded, held.entry) = (false, Some(entry));
    }
}

fn run_name(name: &[u8]) -> (TaskId, Attempt) {
    let text = std::str::from_utf8(name).expect("text");
    let (id, attempt) = text.split_once(' ').expect("a task and an attempt");
    (TaskId::parse(id.as_bytes()).expect("a task"), attempt.parse().expect("an attempt"))
}
