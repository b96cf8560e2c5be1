//! The ends of leases and of tasks: each for a reason that happened.

use bytes::Bytes;
use ganger::frame::Frame;
use ganger::message::{AfterFailure, Retry, Submit};
use ganger::record::{ResultFrame, StateLine};
use ganger::task::{Attempt, State, TaskId};

use super::facts::{Said, What};
use super::task::{Ending, Release, Row};
use super::{Auditor, Window, require, violated};

impl Auditor {
    /// The current lease of a task ended as the last entry of the line's history says, which must
    /// be one of `allowed`; how.
    pub(super) fn end_lease(
        &mut self,
        id: TaskId,
        line: &StateLine,
        window: Window,
        allowed: &[&str],
    ) -> String {
        let task = self.task(id);
        let Row::Leased { session, worker } = &task.row else {
            violated!("I09", "a lease of task {id} ends, which is {:?}", task.row)
        };
        let (session, attempt) = (*session, task.attempt);
        let history = line.history.as_deref().unwrap_or_default();
        let mut last = history.rsplit(',').next().unwrap_or_default().split(':');
        let number = last.next().and_then(|number| number.parse::<Attempt>().ok());
        let (end, who) = (last.next().unwrap_or_default(), last.next().unwrap_or_default());
        let told = number == Some(attempt) && who == worker;
        require!("W", told, "lease {attempt} of task {id} by {worker} ended as {history}");
        require!("W", allowed.contains(&end), "task {id} is {} because {end}", line.state);
        require!(
            "I09",
            line.attempt == attempt,
            "task {id}: attempt {} after {attempt}",
            line.attempt
        );
        self.has_happened(id, line, window, end);
        let life = self.life;
        let task = self.task_mut(id);
        if end == "released" {
            task.releases.push(Release { session, life, from_us: window.from_us });
        }
        task.used = line.used;
        task.suspected = line.suspected;
        task.history.clone_from(&line.history);
        task.error.clone_from(&line.error);
        task.ends.insert(attempt, end.to_owned());
        let held = self.sessions.entry(session).or_default();
        held.leases.remove(&id);
        if held.alone == Some(id) {
            held.alone = None;
        }
        end.to_owned()
    }

    /// A lease ends in a way that something must have led to, and at the price that this has.
    fn has_happened(&self, id: TaskId, line: &StateLine, window: Window, end: &str) {
        let task = self.task(id);
        let lease = &task.leases[&task.attempt];
        let nothing = Vec::new();
        let said = self.said.get(&(id, task.attempt)).unwrap_or(&nothing);
        let its = |said: &&Said| said.session == Some(lease.session);
        let mut said = said.iter().filter(its).map(|said| &said.what);
        let used = line.used.wrapping_sub(task.used);
        let due_ms = line.at_ms;
        let waits_ms = |ms: u64| {
            due_ms >= window.wall_low.saturating_add(ms)
                && due_ms <= window.wall_high.saturating_add(ms)
        };
        match end {
            "failed" => {
                let fits = |retry: Retry| match retry {
                    Retry::No => line.state == State::Dead,
                    Retry::After(ms) => line.state == State::Dead || waits_ms(ms),
                    Retry::Backoff => line.state == State::Dead || self.backs_off(id, line, window),
                };
                let told = said.any(|what| matches!(what, What::Fail(retry) if fits(*retry)));
                require!("W", told, "no FAIL for task {id} leads to {line:?} in {window:?}");
                require!("I19", used == 1, "a failure of task {id} uses {used}");
            }
            "result-too-large" => {
                let told = said.any(|what| *what == What::Oversized);
                require!("W", told, "no result of task {id} was too large");
                require!("I19", used == 1, "a failure of task {id} uses {used}");
            }
            "released" => {
                let told = said.any(|what| match what {
                    What::Release(0) => line.state == State::Ready,
                    What::Release(ms) => line.state == State::Scheduled && waits_ms(*ms),
                    _ => false,
                });
                require!("W", told, "no RELEASE for task {id} leads to {line:?} in {window:?}");
                require!("I19", used == 0, "a release of task {id} uses {used}");
            }
            "returned" => {
                let bye = self.sessions[&lease.session].bye;
                require!("W", bye, "task {id} was returned by a session without BYE");
                require!("I19", used == 0, "a return of task {id} uses {used}");
            }
            "timeout" | "max-run" => {
                let told = self.time_is_over(id, window, end);
                require!("W", told, "lease {} of task {id} ends early: {end}", task.attempt);
                require!("I19", used == 1, "{end} of task {id} uses {used}");
            }
            "lost" => self.is_lost(id, line, window, used),
            "cancelled" => require!("I19", used == 0, "a cancellation of task {id} uses {used}"),
            _ => violated!("W", "a lease of task {id} ended as {end}"),
        }
        let crashed = end == "lost" && used == 1;
        let suspected = match end {
            "failed" | "timeout" | "max-run" | "result-too-large" => 0,
            _ => task.suspected + u32::from(crashed),
        };
        require!(
            "I19",
            line.suspected == suspected,
            "task {id}: {line:?}, not {suspected} crashes"
        );
    }

    /// The backoff is between half and all of `base × 2^(used − 1)`, at most an hour.
    fn backs_off(&self, id: TaskId, line: &StateLine, window: Window) -> bool {
        let base_ms = self.task(id).submit.backoff_ms;
        let factor = 1_u64.checked_shl(line.used - 1).unwrap_or(u64::MAX);
        let most_ms = base_ms.saturating_mul(factor).min(base_ms.max(Submit::BACKOFF_MAX_MS));
        line.at_ms >= window.wall_low + most_ms / 2 && line.at_ms <= window.wall_high + most_ms
    }

    /// Whether a limit of the current lease may be over. Its clock cannot have begun before the
    /// turn of the lease, nor (`timeout=`) before the last PROGRESS or, after a start of the
    /// scheduler, before the session was back; before that no limit ends a lease at all.
    fn time_is_over(&self, id: TaskId, window: Window, end: &str) -> bool {
        let task = self.task(id);
        let lease = &task.leases[&task.attempt];
        let said = self.said.get(&(id, task.attempt)).into_iter().flatten();
        let its = said.filter(|said| said.session == Some(lease.session));
        let progress = its.filter_map(|said| match said.what {
            What::Progress(at_us) if at_us < window.from_us => Some(at_us),
            _ => None,
        });
        let limit_ms = match end {
            "timeout" => task.submit.timeout_ms,
            _ => task.submit.max_run_ms,
        };
        let Some(limit_ms) = limit_ms else { return false };
        let restarted = lease.from_us < self.life_us;
        let held = &self.sessions[&lease.session];
        if restarted && held.life != self.life && !held.superseded {
            return false;
        }
        let back_us = if restarted { held.back_us.max(self.life_us) } else { 0 };
        let from_us = match end {
            "timeout" => progress.chain([lease.from_us, back_us]).max().unwrap_or(0),
            // Over a restart only the wall clock tells how long a run lasts, and it may be set.
            _ if restarted => return true,
            _ => lease.from_us,
        };
        window.to_us >= from_us + limit_ms * 1000
    }

    /// A session that is here and well loses no lease, nor does one before its grace is over.
    fn is_lost(&self, id: TaskId, line: &StateLine, window: Window, used: u32) {
        let task = self.task(id);
        let session = task.leases[&task.attempt].session;
        let held = &self.sessions[&session];
        require!("W", !self.is_here(held), "task {id} is lost while its session is here");
        require!("I19", used <= 1, "a loss of task {id} uses {used}");
        let here = held.life == self.life;
        if !held.superseded {
            require!("I19", here == (used == 1), "a loss of task {id} uses {used}; here: {here}");
        }
        let heartbeat = held.hellos.iter().any(|hello| hello.heartbeat_ms.is_some());
        let left_us = held.left_us.into_iter().chain(held.rival_left_us).min();
        let grace_us = match left_us.filter(|_| used == 1) {
            Some(left_us) if heartbeat => left_us + self.settings.grace_ms * 1000,
            Some(_) => 0,
            None if used == 0 => self.life_us + self.settings.restart_grace_ms * 1000,
            None => 0,
        };
        require!("W", window.to_us >= grace_us, "task {id} is lost within the grace");
        if line.state != State::Dead && used == 1 {
            let due = self.backs_off(id, line, window);
            require!("I20", due, "task {id} backs off too little or too long: {line:?}");
        }
    }

    pub(super) fn on_bury(&mut self, id: TaskId, line: &StateLine, window: Window) {
        let task = self.task(id);
        require!("I18", !task.row.is_end(), "task {id} ends again as {}", line.state);
        let reason = line.reason.clone().unwrap_or_default();
        let at_ms = line.at_ms;
        let told = (window.wall_low..=window.wall_high).contains(&at_ms);
        require!("I20", told, "task {id} ends at {at_ms}, in a turn at {window:?}");
        let row = if line.state == State::Dead {
            self.on_death(id, line, window, &reason);
            Row::Dead { reason: reason.clone(), at_ms }
        } else {
            self.on_cancelled(id, line, window, &reason);
            Row::Cancelled { reason: reason.clone(), at_ms }
        };
        let error = line.error.clone().unwrap_or_default();
        let (state, attempt, used) = (line.state, line.attempt, line.used);
        let ending = Ending::Buried { state, reason, attempt, used, at_ms, error };
        let task = self.task_mut(id);
        task.steps.push((state, attempt));
        task.row = row;
        task.endings.push(ending);
    }

    fn on_death(&mut self, id: TaskId, line: &StateLine, window: Window, reason: &str) {
        let ends = ["failed", "lost", "timeout", "max-run", "result-too-large"];
        let end = self.end_lease(id, line, window, &ends);
        let attempts = self.task(id).submit.attempts;
        let holds = match reason {
            "attempts" => attempts.is_some_and(|attempts| line.used >= attempts),
            "no-retry" => end == "failed",
            "poison" => line.suspected >= 3 && end == "lost",
            "result-too-large" => end == "result-too-large",
            _ => false,
        };
        require!("I19", holds, "task {id} is dead because {reason}: {line:?}");
    }

    fn on_cancelled(&mut self, id: TaskId, line: &StateLine, window: Window, reason: &str) {
        let task = self.task(id);
        if let Row::Leased { .. } = task.row {
            self.end_lease(id, line, window, &["cancelled"]);
        }
        let task = self.task(id);
        let holds = match reason {
            "cancelled" => self.cancels.contains(&id),
            "expired" => {
                let over = task.expires_at_ms(id).is_some_and(|at| at <= window.wall_high);
                over && task.attempt == 0
            }
            "after" => {
                let mut parents = task.submit.after().filter_map(|id| self.tasks.get(&id));
                let failed = |state| matches!(state, State::Dead | State::Cancelled);
                let asked = task.submit.after_failure == AfterFailure::Cancel && task.attempt == 0;
                asked && parents.any(|parent| parent.steps.iter().any(|(state, _)| failed(*state)))
            }
            _ => false,
        };
        require!("W", holds, "task {id} is cancelled because {reason}: {line:?}");
    }

    pub(super) fn on_end(&mut self, id: TaskId, frame: Bytes, until_ms: u64, window: Window) {
        let task = self.task(id);
        let again = matches!(task.row, Row::Done { .. });
        require!("I10", !again, "task {id} has a second result");
        require!("I18", !task.row.is_end(), "task {id} is done after its end");
        let read = Frame::read(frame.clone()).expect("a RESULT is a frame");
        let result = ResultFrame::read(&read).unwrap_or_else(|e| panic!("I13: no RESULT: {e}"));
        let Row::Leased { session, worker } = &task.row else {
            violated!("I11", "task {id} is done, and was {:?}", task.row)
        };
        let (session, attempt) = (*session, task.attempt);
        let current = result.attempt == attempt && result.worker == Some(worker);
        require!(
            "I11",
            current,
            "task {id} is done by {result:?}, leased as {attempt} by {worker}"
        );
        let said = self.said.get(&(id, attempt)).cloned().unwrap_or_default();
        let done = |said: &Said| matches!(said.what, What::Done(_));
        let any = said.iter().any(|said| done(said) && said.session == Some(session));
        require!("I12", any, "task {id} is done, which its session did not say");
        let payload = read.payload().unwrap_or_default();
        let same = |said: &Said| said.what == What::Done(payload.clone());
        require!("I13", said.iter().any(same), "the result of task {id} is nobody's");
        let ttl_ms = task.submit.result_ttl_ms;
        let kept_ms = if ttl_ms == 0 { 0 } else { result.ended_ms + ttl_ms };
        let told = (window.wall_low..=window.wall_high).contains(&result.ended_ms);
        require!("I14", told && kept_ms == until_ms, "task {id} is kept until {until_ms}");
        let held = self.sessions.entry(session).or_default();
        held.leases.remove(&id);
        if held.alone == Some(id) {
            held.alone = None;
        }
        let task = self.task_mut(id);
        task.ends.insert(attempt, "done".to_owned());
        task.endings.push(Ending::Done(frame));
        task.steps.push((State::Done, attempt));
        task.row = Row::Done { until_ms };
    }
}
