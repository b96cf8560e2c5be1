//! Rebuilds a core from what a store hands back: first every record, then [`Core::restored`].

use crate::core::entry::{Entry, Stored};
use crate::core::holds::Hold;
use crate::core::rate::Beat;
use crate::core::tasks::{How, Phase, Task};
use crate::core::timers::Reason;
use crate::core::workers::Worker;
use crate::core::{Core, Effects, Now};
use crate::cost::Figures;
use crate::frame::{Word, Words, number};
use crate::message::Submit;
use crate::protocol::submit::BACKOFF_MAX_MS;
use crate::record::{self, StateLine};
use crate::task::{SessionId, State, TaskId};

impl Core {
    /// Takes an unfinished or buried task.
    ///
    /// # Errors
    ///
    /// A text that names what cannot be.
    pub fn restore_task(
        &mut self,
        id: TaskId,
        submit: &Submit,
        line: Option<&StateLine>,
    ) -> Result<(), String> {
        if id.shard() != self.settings.shard {
            return Err(format!("task {id} is of shard {}", id.shard()));
        }
        let class =
            self.class_of(submit).ok_or("too many queues, kinds, or sets of needs or amounts")?;
        let record = self.records.of(submit.frame.bytes());
        let mut task = Task::new(id, class, submit, record, self.now);
        // Nobody is connected yet, so nobody watches; what the frame says of that was for then.
        if let Some(line) = line {
            self.restore_line(&mut task, line)?;
        }
        task.after &= task.attempt == 0 && !task.state().is_end();
        if let Some(unique) = submit.unique_value()
            && !task.state().is_end()
        {
            let name = (self.queues.class(class).queue, Box::from(unique));
            self.holds.set(name, Hold { id, until_ms: None });
        }
        self.last = self.last.max(id);
        self.queues.class_mut(class).tasks += 1;
        self.tasks.insert(task);
        Ok(())
    }

    fn restore_line(&mut self, task: &mut Task, line: &StateLine) -> Result<(), String> {
        task.attempt = line.attempt;
        task.used = line.used;
        task.suspected = u8::try_from(line.suspected).unwrap_or(u8::MAX);
        task.retried = line.retried;
        if let Some(history) = &line.history {
            task.more().history.clone_from(history);
        }
        if let Some(error) = &line.error {
            task.more().error.clone_from(error);
        }
        let reason = line.reason.as_deref().map(reason_word).transpose()?;
        if let Some(reason) = reason {
            task.more().reason = reason;
        }
        task.phase = match line.state {
            State::Scheduled => Phase::wait(line.at_ms, BACKOFF_MAX_MS, self.now),
            State::Ready => Phase::DUE,
            State::Dead => Phase::Dead { at_ms: line.at_ms },
            State::Cancelled => Phase::Cancelled { at_ms: line.at_ms },
            State::Leased => self.restore_lease(line)?,
            State::Done | State::Blocked => {
                return Err(format!("task {} is {} in its record", task.id, line.state));
            }
        };
        Ok(())
    }

    fn restore_lease(&mut self, line: &StateLine) -> Result<Phase, String> {
        let session = line.session.ok_or("a lease without a session")?;
        let name = line.worker.as_deref().ok_or("a lease without a worker")?;
        let worker = self.restored_session(session, name);
        let ran_ms = self.now.wall_ms.saturating_sub(line.at_ms);
        let since_us = self.now.mono_us.saturating_sub(ran_ms.saturating_mul(1000));
        Ok(Phase::Leased { since_us, worker, place: 0, how: How::Before })
    }

    /// The session that a record names.
    pub(super) fn restored_session(&mut self, session: SessionId, name: &str) -> u32 {
        self.workers.by_session(session).unwrap_or_else(|| {
            let number = self.worker_names.take(name);
            let mut worker =
                Worker::new(session, number, self.worker_names.name(number), Entry::unknown());
            // Its entry, if there is one, has yet to come; until then nothing new goes to it.
            (worker.draining, worker.superseded, worker.restored) = (true, true, true);
            self.workers.insert(worker)
        })
    }

    /// The records come. Whatever was waited for until now, for a store or for another scheduler's end,
    /// is left out: what they tell of times is measured from here. Before the first of them.
    pub fn start(&mut self, now: Now) {
        self.advance(now);
        self.started = self.now;
        self.observing.start(now.wall_ms);
    }

    /// Takes a worker's entry.
    ///
    /// # Errors
    ///
    /// A text that names what cannot be.
    pub fn restore_worker(&mut self, name: &str, line: &str) -> Result<(), String> {
        let stored = Stored::read(line)?;
        let number = self.worker_names.take(name);
        let mut worker =
            Worker::new(stored.session, number, self.worker_names.name(number), stored.entry);
        (worker.credential, worker.draining) = (stored.credential, stored.draining);
        worker.restored = true;
        if let Some(known) = self.workers.by_session(stored.session) {
            let before = self.workers.complete(known, worker);
            self.give_up_worker_name(before.name);
        } else {
            self.workers.insert(worker);
        }
        Ok(())
    }

    /// Takes the policies of a queue.
    ///
    /// # Errors
    ///
    /// A text that names what cannot be.
    pub fn restore_queue(&mut self, name: &str, line: &str) -> Result<(), String> {
        let queue = self.queue_by_name(name).ok_or("too many queues")?;
        let mut policy = self.queues.queue(queue).policy;
        for word in Words::of(line) {
            if let Word::Option(name, value) = word {
                policy.set(name, value).map_err(|refusal| refusal.text)?;
            }
        }
        // A run may have begun just before the start.
        self.queues.queue_mut(queue).runs.last = Beat::at(self.now.mono_us);
        self.set_policy(queue, policy);
        Ok(())
    }

    /// Takes a `unique=` that outlives its task.
    ///
    /// # Errors
    ///
    /// A text that names what cannot be.
    pub fn restore_hold(&mut self, name: &str, line: &str) -> Result<(), String> {
        let (queue, unique) = name.split_once(' ').ok_or(format!("no queue in {name:?}"))?;
        let id = record::option(line, "id").and_then(|id| TaskId::parse(id.as_bytes()));
        let until_ms = record::option(line, "until").and_then(|until| number(until.as_bytes()));
        let (Some(id), Some(until_ms)) = (id, until_ms) else { return Err(format!("{line:?}")) };
        let queue = self.queue_by_name(queue).ok_or("too many queues")?;
        let name = (queue, Box::from(unique));
        // A task that was brought back has the value again, whichever record comes first.
        if self.holds.get(&name).is_none() {
            self.hold_until(name, id, until_ms);
        }
        Ok(())
    }

    /// Takes figures.
    ///
    /// # Errors
    ///
    /// A text that names what cannot be.
    pub fn restore_stats(&mut self, name: &str, line: &str) -> Result<(), String> {
        let words = Words::of(line).filter_map(|word| match word {
            Word::Option(name, value) => Some((name, value)),
            Word::Arg(_) => None,
        });
        let figures = Figures::from_fields(words)?;
        match name.split_once('@') {
            Some((kind, worker)) => self.costs.restore(kind, Some(worker), &figures),
            None => self.costs.restore(name, None, &figures),
        }
        Ok(())
    }

    /// Every record is in: sessions get their grace, tasks go where they stand. `last` is the last
    /// identifier ever issued.
    pub fn restored(&mut self, now: Now, last: TaskId, fx: &mut Effects) {
        self.advance(now);
        self.last = self.last.max(last);
        self.costs.restored();
        self.resume_runs();
        let workers: Vec<u32> = self.workers.sessions.iter().map(|(number, _)| number).collect();
        for worker in workers {
            if !self.workers.sessions.at(worker).superseded {
                self.place(worker);
            }
            self.give_grace(worker, self.settings.restart_grace_ms, fx);
        }
        let doomed = self.restore_after();
        for slot in 0..self.tasks.bound() {
            self.resume_task(slot, fx);
        }
        for slot in self.serial_tasks() {
            self.begin(slot, fx);
        }
        for slot in doomed {
            self.bury(slot, State::Cancelled, "after", fx);
        }
        let queues: Vec<u32> = self.queues.iter().map(|(number, _)| number).collect();
        queues.into_iter().for_each(|number| self.open_or_shut(number));
        self.settle(now, fx);
    }

    fn resume_task(&mut self, slot: u32, fx: &mut Effects) {
        let Some(task) = self.tasks.get(slot) else { return };
        let (id, class, phase) = (task.id, task.class, task.phase);
        match phase {
            Phase::Scheduled { .. } | Phase::Blocked | Phase::Ready { .. } => {
                // Which of a key is first is known when all are there.
                if !task.serial {
                    self.begin(slot, fx);
                } else if task.is_between_attempts() {
                    self.keep_turn(slot);
                }
            }
            Phase::Leased { worker, since_us, .. } => {
                self.keep_turn(slot);
                self.count(class, State::Leased);
                let leases = &mut self.workers.sessions.at_mut(worker).leases;
                let place = u32::try_from(leases.len()).unwrap_or(u32::MAX);
                leases.push(slot);
                self.tasks.at(slot).phase =
                    Phase::Leased { since_us, worker, place, how: How::Before };
                self.count_run(slot);
                self.hold_amounts(slot, worker);
                self.arm_limit(slot);
                self.workers.refresh(worker);
                if self.tasks.at(slot).is_isolated() && self.isolation.current.is_none() {
                    self.reserve(id, worker);
                }
            }
            Phase::Dead { .. } => self.count(class, State::Dead),
            Phase::Cancelled { .. } => {
                self.count(class, State::Cancelled);
                if let Some(at_ms) = self.tasks.at(slot).forget_at_ms() {
                    self.timers.at_wall(at_ms, Reason::Forget(id));
                }
            }
        }
    }

    /// The serial tasks that are neither leased nor ended, in the order in which they join.
    fn serial_tasks(&self) -> Vec<u32> {
        let unleased = |state| matches!(state, State::Scheduled | State::Ready);
        let serial = self.tasks.iter().filter(|(_, task)| task.serial && unleased(task.state()));
        let mut serial: Vec<_> = serial.map(|(slot, task)| (task.id, slot)).collect();
        serial.sort_unstable();
        serial.into_iter().map(|(_, slot)| slot).collect()
    }

    fn count(&mut self, class: u32, state: State) {
        *self.queues.queue_of(class).counts.of(state) += 1;
    }
}

/// The words that a task is dead or cancelled for.
const REASONS: [&str; 8] = [
    "after",
    "attempts",
    "no-retry",
    "poison",
    "result-too-large",
    "cancelled",
    "expired",
    "purged",
];

fn reason_word(reason: &str) -> Result<&'static str, String> {
    let known = REASONS.into_iter().find(|known| *known == reason);
    known.ok_or_else(|| format!("no reason is called {reason:?}"))
}
