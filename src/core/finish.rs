//! The ends of leases: answers of workers, and what follows for the task.

use bytes::Bytes;

use crate::core::event::Peer;
use crate::core::inbox::keep_ms;
use crate::core::observe::STRAGGLED;
use crate::core::tasks::Phase;
use crate::core::timers::Reason;
use crate::core::{Ask, Core, Effects};
use crate::message::{Code, Fail, Reply, Retry, Submit};
use crate::record::{self, Write};
use crate::task::{Attempt, State, TaskId};

/// What a DONE, FAIL or RELEASE is about.
pub(super) enum Answered {
    /// The current lease of that worker, which holds the task in that slot.
    Lease { slot: u32, worker: u32 },
    /// Something that is settled already, one way or the other; the peer has its reply.
    Settled,
}

/// How a lease ended if its worker gave the task up: FAIL and RELEASE may be said again.
pub(super) const GIVEN_UP: [&str; 2] = ["failed", "released"];

/// Losses in a row that look like crashes, after which a task is dead.
const POISON: u8 = 3;

impl Core {
    pub(super) fn on_done(
        &mut self,
        peer: Peer,
        id: TaskId,
        attempt: Attempt,
        result: &[u8],
        fx: &mut Effects,
    ) {
        // OK says that the result is recorded, which no other end of the lease makes true.
        let answered = self.answered(peer, id, attempt, &[], fx);
        let Answered::Lease { slot, worker } = answered else { return };
        fx.send(peer, Reply::OkTask(id));
        let us = self.end_lease(slot, worker);
        let task = self.tasks.at(slot);
        let (class, ttl_ms) = (task.class, task.result_ttl_ms());
        let until_ms = if ttl_ms == 0 { 0 } else { self.now.wall_ms.saturating_add(ttl_ms) };
        let name = self.worker_names.name(self.workers.sessions.at(worker).name);
        let ended_ms = self.now.wall_ms;
        let frame = fx.batch.put(|out| {
            let ms = us / 1000;
            record::put_result_done(out, id, attempt, &name, ms, ended_ms, until_ms, result);
        });
        fx.write(Write::End { id, frame, until_ms });
        let kind = self.queues.class(class).kind;
        let pair = self.pair(worker, kind);
        // Before this run is part of what is usual.
        let straggled = self.is_recording() && self.is_straggler(&self.kinds.name(kind), us);
        self.costs.succeeded(pair, self.now.wall_ms, us);
        self.note_slowness(worker, pair);
        self.workers.reload_namesake(worker);
        self.close_breaker(worker, kind);
        let figures = [("us", us), STRAGGLED];
        let figures = figures.get(..if straggled { 2 } else { 1 }).unwrap_or_default();
        self.event(fx, "done", id, attempt, class, Some(worker), figures);
        self.move_count(class, State::Leased, State::Done);
        self.release_unique(slot, fx);
        let turn = self.turn_of(slot);
        if let Some((queue, key)) = &turn {
            self.leave_turns(slot, *queue, key);
        }
        self.queues.class_mut(class).tasks -= 1;
        self.note_cron_end(id);
        if let Some(task) = self.tasks.remove(slot) {
            if let Some(reply) = task.reply() {
                fx.tell(reply, frame, keep_ms(ttl_ms));
            }
            for watcher in task.watchers() {
                self.push_result(watcher, Reply::Result(frame), fx);
            }
            self.records.keep(task.record);
        }
        if let Some((queue, key)) = turn {
            self.next_turn(queue, &key, fx);
        }
        if !self.after.dependents.is_empty() {
            self.note_after(id);
            self.tell_dependents(fx);
        }
        self.feed(worker, fx);
    }

    pub(super) fn on_fail(&mut self, peer: Peer, fail: &Fail, fx: &mut Effects) {
        let answered = self.answered(peer, fail.id, fail.attempt, &GIVEN_UP, fx);
        let Answered::Lease { slot, worker } = answered else { return };
        fx.send(peer, Reply::OkTask(fail.id));
        self.tasks.at(slot).note_error(&fail.error);
        self.fail_lease(slot, worker, "failed", fail.retry, fx);
        self.feed(worker, fx);
    }

    /// A worker announced a result over the limit: the lease has failed for good.
    pub(super) fn on_oversized(
        &mut self,
        peer: Peer,
        id: TaskId,
        attempt: Attempt,
        fx: &mut Effects,
    ) {
        let Some((slot, worker)) = self.lease_of(peer, id, attempt) else { return };
        let limit = self.settings.payload_max;
        let text = format!("result-too-large: the limit is {limit} bytes");
        self.tasks.at(slot).note_error(text.as_bytes());
        self.fail_lease(slot, worker, "result-too-large", Retry::No, fx);
        self.feed(worker, fx);
    }

    pub(super) fn on_progress(
        &mut self,
        peer: Peer,
        id: TaskId,
        attempt: Attempt,
        percent: u8,
        note: &Bytes,
        fx: &mut Effects,
    ) {
        let now_us = self.now.mono_us;
        if let Some((slot, worker)) = self.lease_of(peer, id, attempt) {
            let more = self.tasks.at(slot).more();
            more.progress_us = now_us;
            more.percent = Some(percent);
            self.event_progress(slot, worker, note, fx);
        }
    }

    /// The slot and the worker of a lease, if it is that peer's.
    fn lease_of(&mut self, peer: Peer, id: TaskId, attempt: Attempt) -> Option<(u32, u32)> {
        let worker = self.workers.of(peer)?;
        let slot = self.tasks.find(id)?;
        let task = self.tasks.at(slot);
        let its = matches!(task.phase, Phase::Leased { worker: its, .. } if its == worker);
        (its && task.attempt == attempt).then_some((slot, worker))
    }

    /// Finds the lease that an answer is about. Where that has ended as one of `ends`, the answer is
    /// taken for the same once more. DONE, which has none of them, has ended the task, so that the
    /// store knows whether it is the same once more.
    pub(super) fn answered(
        &mut self,
        peer: Peer,
        id: TaskId,
        attempt: Attempt,
        ends: &[&str],
        fx: &mut Effects,
    ) -> Answered {
        if let Some((slot, worker)) = self.lease_of(peer, id, attempt) {
            return Answered::Lease { slot, worker };
        }
        let worker = self.workers.of(peer);
        if let Some(worker) = worker
            && let Some(run) =
                self.workers.sessions.at_mut(worker).unanswered.remove(&(id, attempt))
        {
            fx.send(peer, Reply::OkTask(id));
            self.settle_run(id, attempt, worker, &run, fx);
            self.feed(worker, fx);
            return Answered::Settled;
        }
        match self.tasks.find(id) {
            Some(slot) => match self.tasks.at(slot).end_of(attempt) {
                Some(end) if ends.contains(&end) => fx.send(peer, Reply::OkTask(id)),
                _ => fx.refuse(peer, Code::Stale, stale(id, attempt)),
            },
            None if ends.is_empty() && id <= self.last && id.shard() == self.settings.shard => {
                fx.look_up(peer, id, Ask::Done(attempt));
            }
            None => fx.refuse(peer, Code::Stale, stale(id, attempt)),
        }
        Answered::Settled
    }

    /// Takes a lease off its worker's list; how long it lasted in microseconds, at least 1.
    pub(super) fn end_lease(&mut self, slot: u32, worker: u32) -> u64 {
        self.disarm_limit(slot);
        let task = self.tasks.at(slot);
        let Phase::Leased { since_us, place, .. } = task.phase else { unreachable!("a lease") };
        let (id, attempt) = (task.id, task.attempt);
        let queue = self.queues.class(task.class).queue;
        if let Some(more) = task.more.as_mut() {
            (more.progress_us, more.percent) = (0, None);
        }
        let session = self.workers.sessions.at_mut(worker);
        session.leases.swap_remove(place as usize);
        if let Some(&moved) = session.leases.get(place as usize)
            && let Phase::Leased { place: its, .. } = &mut self.tasks.at(moved).phase
        {
            *its = place;
        }
        let goes_on = session.unanswered.contains_key(&(id, attempt));
        self.workers.reload(worker);
        if !goes_on {
            let amounts = self.amounts_of(slot);
            self.release_amounts(worker, amounts.as_ref());
            let task = self.tasks.at(slot);
            let limited = self.queues.queue(queue).policy.key_limit.is_some();
            let key = if limited { task.key_text() } else { None };
            self.end_run(queue, key.as_deref());
        }
        self.end_isolation(id, worker);
        (self.now.mono_us - since_us).max(1)
    }

    pub(super) fn note_end(&mut self, slot: u32, attempt: Attempt, end: &str, worker: u32) {
        let name = self.worker_names.name(self.workers.sessions.at(worker).name);
        self.tasks.at(slot).note_end(attempt, end, &name);
    }

    /// A lease ended without a result: by FAIL, by a limit.
    pub(super) fn fail_lease(
        &mut self,
        slot: u32,
        worker: u32,
        end: &'static str,
        retry: Retry,
        fx: &mut Effects,
    ) {
        let us = self.end_lease(slot, worker);
        let task = self.tasks.at(slot);
        task.suspected = 0;
        let (id, attempt, class) = (task.id, task.attempt, task.class);
        self.note_end(slot, attempt, end, worker);
        let kind = self.queues.class(class).kind;
        let pair = self.pair(worker, kind);
        self.costs.failed(pair, us);
        if end != "result-too-large" {
            self.strain_breaker(worker, kind);
        }
        self.event(fx, end, id, attempt, class, Some(worker), &[("us", us)]);
        let reason = if end == "result-too-large" { end } else { "no-retry" };
        match retry {
            Retry::No => {
                self.tasks.at(slot).used += 1;
                self.bury(slot, State::Dead, reason, fx);
            }
            Retry::Backoff => self.try_again(slot, None, fx),
            Retry::After(ms) => self.try_again(slot, Some(ms), fx),
        }
    }

    /// A lease ended with its session. `crash`: that looks like the task's own doing; else it costs
    /// the task nothing.
    pub(super) fn lose_lease(&mut self, slot: u32, worker: u32, crash: bool, fx: &mut Effects) {
        self.end_lease(slot, worker);
        let task = self.tasks.at(slot);
        let (id, attempt, class) = (task.id, task.attempt, task.class);
        self.note_end(slot, attempt, "lost", worker);
        let kind = self.queues.class(class).kind;
        let pair = self.pair(worker, kind);
        self.costs.lost(pair);
        self.event(fx, "lost", id, attempt, class, Some(worker), &[]);
        if !crash {
            return self.back_to_ready(slot, fx);
        }
        let task = self.tasks.at(slot);
        task.suspected = task.suspected.saturating_add(1);
        if task.suspected >= POISON {
            task.used += 1;
            return self.bury(slot, State::Dead, "poison", fx);
        }
        self.try_again(slot, None, fx);
    }

    /// A lease ended and nobody is to blame: the task is ready as it was.
    pub(super) fn back_to_ready(&mut self, slot: u32, fx: &mut Effects) {
        let task = self.tasks.at(slot);
        let (id, mut line) = (task.id, task.line());
        line.state = State::Ready;
        fx.write_state(id, &line);
        self.make_ready(slot, fx);
    }

    /// One more of the task's attempts is used: it is scheduled again, or dead.
    fn try_again(&mut self, slot: u32, delay_ms: Option<u64>, fx: &mut Effects) {
        let task = self.tasks.at(slot);
        task.used += 1;
        if task.attempts != 0 && task.used >= u32::from(task.attempts) {
            return self.bury(slot, State::Dead, "attempts", fx);
        }
        let (used, base_ms) = (task.used, task.backoff_ms());
        let delay_ms = delay_ms.unwrap_or_else(|| self.backoff_ms(base_ms, used));
        self.schedule(slot, delay_ms, fx);
    }

    /// Exponential backoff with jitter: `base × 2^(used − 1)`, at most an hour (or the base, if that
    /// is longer), of which between half and all is waited, so that what failed together does not
    /// come back together.
    fn backoff_ms(&mut self, base_ms: u64, used: u32) -> u64 {
        let factor = 1_u64.checked_shl(used.saturating_sub(1)).unwrap_or(u64::MAX);
        let most_ms = base_ms.saturating_mul(factor).min(base_ms.max(Submit::BACKOFF_MAX_MS));
        most_ms - most_ms / 2 + self.draw(most_ms / 2 + 1)
    }

    /// Has a task wait for so many milliseconds.
    pub(super) fn schedule(&mut self, slot: u32, delay_ms: u64, fx: &mut Effects) {
        let now = self.now;
        let task = self.tasks.at(slot);
        let (id, class, from) = (task.id, task.class, task.state());
        task.phase = Phase::wait(now.wall_ms.saturating_add(delay_ms), delay_ms, now);
        let line = task.line();
        self.move_count(class, from, State::Scheduled);
        fx.write_state(id, &line);
        if delay_ms == 0 {
            self.make_ready(slot, fx);
        } else {
            self.arm_due(slot);
        }
    }

    /// Ends a task that is in no line and held by nobody as dead or cancelled.
    pub(super) fn bury(&mut self, slot: u32, state: State, reason: &'static str, fx: &mut Effects) {
        let at_ms = self.now.wall_ms;
        let task = self.tasks.at(slot);
        let (id, class, from) = (task.id, task.class, task.state());
        if let Some(at_ms) = task.expires_at_ms() {
            self.timers.off_wall(at_ms, Reason::Expiry(id));
        }
        self.disarm_due(slot);
        let task = self.tasks.at(slot);
        task.phase = match state {
            State::Dead => Phase::Dead { at_ms },
            _ => Phase::Cancelled { at_ms },
        };
        task.more().reason = reason;
        let (line, record, forget_ms) = (task.line(), task.record.clone(), task.forget_at_ms());
        let line = fx.batch.put(|out| line.put(out));
        let frame = fx.text(&record);
        fx.write(Write::Bury { id, line, frame });
        self.move_count(class, from, state);
        let attempt = self.tasks.at(slot).attempt;
        self.event(fx, state.word(), id, attempt, class, None, &[]);
        let task = self.tasks.at(slot);
        let watchers: Vec<Peer> = task.watchers().collect();
        task.watcher = Peer::default();
        task.more().watchers.clear();
        for watcher in watchers {
            self.push_end(watcher, slot, fx);
        }
        self.tell_list(slot, fx);
        self.release_unique(slot, fx);
        self.note_cron_end(id);
        if let Some(at_ms) = forget_ms {
            self.timers.at_wall(at_ms, Reason::Forget(id));
        }
        if let Some((queue, key)) = self.turn_of(slot) {
            self.leave_turns(slot, queue, &key);
            self.next_turn(queue, &key, fx);
        }
        self.note_after(id);
    }
}

fn stale(id: TaskId, attempt: Attempt) -> String {
    format!("lease {attempt} of task {id} is not, or no longer, this session's")
}
