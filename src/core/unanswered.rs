//! Runs that go on though their leases have ended: by CANCEL, or by a limit. Their workers have been
//! told; until they answer, or their sessions end, a run keeps its slot, what it takes up of `res=`, its
//! place under the limits of its queue, and the turn of its key. It does so over a restart, too: each
//! has a record from the end of its lease to its own.

use std::borrow::Cow;

use crate::core::stock::Amounts;
use crate::core::{Core, Effects};
use crate::frame::{Writer, decode};
use crate::message::Reply;
use crate::message::amounts::{read_amounts, spell_amounts};
use crate::record::{Write, option};
use crate::task::{Attempt, SessionId, TaskId};

/// A run whose lease was ended without its worker.
#[derive(Debug, Clone)]
pub(super) struct Unanswered {
    /// Why.
    pub(super) reason: &'static str,
    pub(super) queue: u32,
    pub(super) key: Option<Box<str>>,
    /// It keeps the turn of its key.
    pub(super) serial: bool,
    /// What it takes up.
    pub(super) amounts: Option<Amounts>,
}

/// A run as the store has it, its session and its worker's name before it.
pub(super) type FoundRun = (SessionId, String, (TaskId, Attempt), Unanswered);

/// What ends a lease without its worker.
const REASONS: [&str; 3] = ["cancelled", "timeout", "max-run"];

impl Core {
    /// The lease is about to end without its worker: it is told, and keeps the slot until it answers.
    pub(super) fn stop_run(
        &mut self,
        slot: u32,
        worker: u32,
        reason: &'static str,
        fx: &mut Effects,
    ) {
        let task = self.tasks.at(slot);
        let (id, attempt) = (task.id, task.attempt);
        let (class, key, serial) = (task.class, task.key_text(), task.serial);
        let more = task.more();
        more.unanswered = more.unanswered.saturating_add(1);
        let amounts = self.queues.class(class).amounts.clone();
        self.keep_amounts(amounts.as_ref());
        let queue = self.queues.class(class).queue;
        if let Some(key) = key.as_deref().filter(|_| serial) {
            self.hold_turns(queue, key);
        }
        let run = Unanswered { reason, queue, key, serial, amounts };
        self.write_run(id, attempt, worker, &run, fx);
        let session = self.workers.sessions.at_mut(worker);
        session.unanswered.insert((id, attempt), run);
        if let Some(peer) = session.peer {
            fx.send(peer, Reply::Stop { id, attempt, reason });
        }
    }

    /// The run is over: its worker has answered, or is gone.
    pub(super) fn settle_run(
        &mut self,
        id: TaskId,
        attempt: Attempt,
        worker: u32,
        run: &Unanswered,
        fx: &mut Effects,
    ) {
        let name = fx.text(name_of(id, attempt).as_bytes());
        fx.write(Write::RunGone { name });
        if let Some(slot) = self.tasks.find(id)
            && let Some(more) = self.tasks.at(slot).more.as_mut()
        {
            more.unanswered = more.unanswered.saturating_sub(1);
        }
        self.end_isolation(id, worker);
        self.end_run(run.queue, run.key.as_deref());
        self.release_amounts(worker, run.amounts.as_ref());
        self.give_up_amounts(run.amounts.as_ref());
        if let Some(key) = run.key.as_deref().filter(|_| run.serial) {
            self.unhold_turns(run.queue, key, fx);
        }
    }

    fn write_run(
        &mut self,
        id: TaskId,
        attempt: Attempt,
        worker: u32,
        run: &Unanswered,
        fx: &mut Effects,
    ) {
        let session = self.workers.sessions.at(worker);
        let queue = self.queue_names.name(self.queues.queue(run.queue).name);
        let line = fx.batch.put(|out| {
            let mut line = Writer::verb(out, run.reason)
                .option("session", &session.session.to_string())
                .option("worker", &session.title)
                .option("queue", &queue);
            if let Some(key) = &run.key {
                // As it was spelled.
                line = line.words(&format!("key={key}"));
            }
            if run.serial {
                line = line.option("serial", "yes");
            }
            if let Some(amounts) = &run.amounts {
                let named =
                    |&(name, amount): &(u32, u64)| (self.demands.resources.name(name), amount);
                let amounts: Vec<_> = amounts.iter().map(named).collect();
                line = line.option("res", &spell_amounts(&amounts));
            }
            let _ = line;
        });
        let name = fx.text(name_of(id, attempt).as_bytes());
        fx.write(Write::Run { name, line });
    }

    /// Takes a run whose lease had ended and that had not been answered.
    ///
    /// # Errors
    ///
    /// A text that names what cannot be.
    pub fn restore_run(&mut self, name: &str, line: &str) -> Result<(), String> {
        let bad = |what: &str| format!("the run {name}: {what}");
        let run = name.split_once(' ').and_then(|(id, attempt)| {
            Some((TaskId::parse(id.as_bytes())?, attempt.parse::<Attempt>().ok()?))
        });
        let run = run.ok_or_else(|| bad("no such name"))?;
        let word = line.split(' ').next().unwrap_or_default();
        let reason = REASONS.into_iter().find(|reason| *reason == word);
        let reason = reason.ok_or_else(|| bad("no such reason"))?;
        let session = option(line, "session").and_then(SessionId::parse);
        let session = session.ok_or_else(|| bad("no session"))?;
        let worker = text(line, "worker").ok_or_else(|| bad("no worker"))?;
        let queue = text(line, "queue").ok_or_else(|| bad("no queue"))?;
        let queue = self.queue_by_name(&queue).ok_or_else(|| bad("too many queues"))?;
        let amounts = match text(line, "res") {
            Some(res) => {
                let amounts = read_amounts(&res).ok_or_else(|| bad("no such amounts"))?;
                let resources = &mut self.demands.resources;
                let number = |(name, amount): (&str, u64)| (resources.take(name), amount);
                let mut amounts: Vec<(u32, u64)> = amounts.into_iter().map(number).collect();
                amounts.sort_unstable();
                Some(Amounts::from(amounts))
            }
            None => None,
        };
        let key = option(line, "key").map(Box::from);
        let serial = option(line, "serial").is_some();
        let stopped = Unanswered { reason, queue, key, serial, amounts };
        self.found_runs.push((session, worker, run, stopped));
        Ok(())
    }

    /// Every record is in: such runs count again for what they count for.
    pub(super) fn resume_runs(&mut self) {
        for (session, worker, (id, attempt), run) in std::mem::take(&mut self.found_runs) {
            if let Some(slot) = self.tasks.find(id) {
                self.tasks.at(slot).more().unanswered += 1;
            }
            self.count_run_of(run.queue, run.key.as_deref());
            if let Some(key) = run.key.as_deref().filter(|_| run.serial) {
                self.hold_turns(run.queue, key);
            }
            let worker = self.restored_session(session, &worker);
            let session = self.workers.sessions.at_mut(worker);
            if let Some(amounts) = &run.amounts {
                session.stock.hold(amounts);
            }
            session.unanswered.insert((id, attempt), run);
        }
    }
}

fn name_of(id: TaskId, attempt: Attempt) -> String {
    format!("{id} {attempt}")
}

/// The value of an option of a line, decoded.
fn text(line: &str, name: &str) -> Option<String> {
    decode(option(line, name)?).map(Cow::into_owned)
}
