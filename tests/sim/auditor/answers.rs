//! What the scheduler says, and whether the acknowledged batches bear it out.

use ganger::core::Peer;
use ganger::frame::Frame;
use ganger::message::{Code, Role, Submit};
use ganger::protocol::answer::{Accepted, Ended, Rejected, Task as Pushed};
use ganger::protocol::{Answer, read_frame};
use ganger::task::{Attempt, State, TaskId};

use super::facts::{Asked, Conn};
use super::task::{Ending, Row, unique_of};
use super::{Auditor, require, violated};
use crate::net::Net;

impl Auditor {
    /// The scheduler lets go of a frame.
    pub(crate) fn sent(&mut self, net: &mut Net, peer: Peer, frame: &Frame) {
        let answer = read_frame(frame).unwrap_or_else(|error| panic!("R: {error}"));
        if !self.conns.contains_key(&peer) {
            violated!("R", "{peer:?} gets {frame:?} before it said HELLO");
        }
        match answer {
            Answer::Ok(accepted) => {
                let asked = self.next_asked(peer, frame);
                self.on_ok(net, peer, &asked, &accepted);
            }
            Answer::Err(rejected) => {
                net.mark(rejected.code.map_or("an ERR without a code", Code::word));
                let asked = self.next_asked(peer, frame);
                self.on_err(net, peer, &asked, &rejected);
            }
            Answer::Task(task) => self.on_task_push(net, peer, &task),
            Answer::Cancel { id, attempt, reason } => {
                net.mark("a CANCEL push");
                self.on_cancel_push(peer, id, attempt, &reason);
            }
            Answer::Result(ended) => self.on_result_push(net, peer, frame, &ended),
            Answer::Drain { reason } => {
                let conn = self.conn(peer);
                conn.drained |= reason != "restart";
            }
            Answer::Event(event) => self.on_event_push(net, peer, &event),
            Answer::Gap(from, to) => {
                net.mark("a gap in the events");
                let told = &mut self.conn(peer).heard;
                require!("R", from <= to && *told < from, "GAP {from} {to} after event {told}");
                *told = to;
            }
            Answer::Stats(_) => net.mark("figures at an interval"),
            Answer::Ping | Answer::Unknown => {}
        }
    }

    fn conn(&mut self, peer: Peer) -> &mut Conn {
        self.conns.get_mut(&peer).expect("a connection that is written to")
    }

    fn next_asked(&mut self, peer: Peer, frame: &Frame) -> Asked {
        let asked = self.conn(peer).asked.pop_front();
        asked.unwrap_or_else(|| violated!("R", "{frame:?} answers nothing that {peer:?} asked"))
    }

    fn on_ok(&mut self, net: &mut Net, peer: Peer, asked: &Asked, accepted: &Accepted) {
        let id = accepted.id();
        match asked {
            Asked::Hello => self.on_welcome(net, peer, accepted),
            Asked::Submit { submit, holder_from } => {
                let id = id.unwrap_or_else(|| panic!("R: OK to SUBMIT names no task"));
                if accepted.is_duplicate() {
                    net.mark("a duplicate is found");
                    let from = holder_from.get(&id).copied().unwrap_or(0);
                    self.on_duplicate(peer, submit, id, from);
                } else {
                    self.on_accepted(peer, submit, id);
                }
            }
            Asked::Get { id: wanted, from } => {
                require!("R", id == Some(*wanted), "GET {wanted} is answered with {id:?}");
                self.on_told(*wanted, *from, accepted);
            }
            Asked::Explain { id: wanted, from } => self.on_explained(*wanted, *from, accepted),
            Asked::Watch { id: wanted, .. } => {
                require!("R", id == Some(*wanted), "WATCH {wanted} is answered with {id:?}");
                self.conn(peer).watching.insert(*wanted);
            }
            Asked::Cancel { id: wanted, from } => {
                require!("R", id == Some(*wanted), "CANCEL {wanted} is answered with {id:?}");
                let cancelled = self.stood(*wanted, *from, |state| state == State::Cancelled);
                require!("I21", cancelled, "task {wanted} is not cancelled, as was said");
            }
            Asked::Retry { id: wanted, from } => {
                require!("R", id == Some(*wanted), "RETRY {wanted} is answered with {id:?}");
                let was = accepted.option("was").and_then(|was| State::parse(&was));
                let ended = was.is_some_and(State::is_end)
                    && self.stood(*wanted, *from, |state| Some(state) == was);
                require!("I18", ended, "task {wanted} was not {was:?}, as was said");
                let ready = self.stood(*wanted, *from, |state| state == State::Ready);
                require!("I18", ready, "task {wanted} has not come back, as was said");
            }
            Asked::Answer { id: wanted, attempt, is_done, .. } => {
                require!("R", id == Some(*wanted), "{wanted} is answered with {id:?}");
                self.on_acknowledged(net, *wanted, *attempt, *is_done);
            }
            Asked::Plain => require!("R", id.is_none(), "a plain OK names {id:?}"),
            Asked::Wrong(code) => violated!("R", "OK to what is {code:?}: {accepted:?}"),
            Asked::Json | Asked::Look => {
                let json = accepted.payload().map(|json| serde_json::from_slice(&json));
                let read = matches!(json, None | Some(Ok(serde_json::Value::Object(_))));
                require!("R", read, "an OK does not hold an object");
            }
        }
    }

    fn on_welcome(&mut self, net: &mut Net, peer: Peer, accepted: &Accepted) {
        let welcome = accepted.welcome().unwrap_or_else(|| panic!("R: no welcome: {accepted:?}"));
        let conn = self.conn(peer);
        let expected = if welcome.resumed { conn.hello.session } else { Some(conn.fresh) };
        let session = welcome.session;
        require!("R", expected == Some(session), "a session nobody asked for: {session}");
        if conn.hello.role != Role::Worker {
            return;
        }
        net.mark(if welcome.resumed { "a session is resumed" } else { "a session begins" });
        if !welcome.resumed {
            self.is_no_rival(peer);
        }
        let conn = self.conn(peer);
        let closing = conn.closing;
        conn.session = Some(session);
        let held = self.sessions.entry(session).or_default();
        let older = held.conn.take();
        if !closing {
            (held.conn, held.left_us, held.rival_left_us) = (Some(peer), None, None);
        }
        if let Some(older) = older.and_then(|older| self.conns.get_mut(&older)) {
            older.closing = true;
        }
    }

    fn on_accepted(&mut self, peer: Peer, submit: &Submit, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else {
            violated!("I02", "OK {id} leaves before the task is durable")
        };
        let same = task.submit.frame == submit.frame;
        require!("I02", same, "OK {id} is for another task: {:?}", task.submit.frame);
        require!("I04", !task.answered, "two SUBMITs became task {id}");
        task.answered = true;
        if submit.watch {
            self.conn(peer).watching.insert(id);
        }
    }

    fn on_duplicate(&mut self, peer: Peer, submit: &Submit, id: TaskId, from: usize) {
        let Some(task) = self.tasks.get(&id) else {
            violated!("I02", "OK {id} leaves before the task is durable")
        };
        let unique = submit.unique.map(|unique| submit.text(unique).to_owned());
        let its = task.unique().map(|(_, unique)| unique);
        require!("I04", unique == its, "task {id} does not hold {unique:?}");
        let same_queue = task.submit.queue() == submit.queue();
        require!("I04", same_queue, "task {id} holds {unique:?} in another queue");
        let open = self.stood(id, from, |state| !state.is_end());
        let held = open || task.submit.unique_for_ms > 0;
        require!("I04", held, "task {id} had ended when a SUBMIT was its duplicate");
        if submit.watch {
            let ended = self.stood(id, from, State::is_end);
            let conn = self.conn(peer);
            if ended {
                conn.may_get.insert(id);
            } else {
                conn.watching.insert(id);
            }
        }
    }

    /// Whether a task stood so at any time since a request was applied.
    fn stood(&self, id: TaskId, from: usize, so: impl Fn(State) -> bool) -> bool {
        let steps = &self.task(id).steps;
        steps.iter().skip(from.saturating_sub(1)).any(|(state, _)| so(*state))
    }

    fn on_told(&self, id: TaskId, from: usize, accepted: &Accepted) {
        let Some(state) = accepted.state() else { violated!("R", "GET {id} tells no state") };
        let waits = matches!(state, State::Scheduled | State::Blocked);
        let state = if waits { State::Ready } else { state };
        let attempt = accepted.number("attempt");
        let task = self.task(id);
        let mut steps = task.steps.iter().skip(from.saturating_sub(1));
        let stood = steps.any(|(its, count)| {
            // RESULT tells no attempt of a cancelled task; GET does.
            *its == state && attempt == Some(u64::from(*count))
        });
        require!("I05", stood, "GET {id} tells {accepted:?}, it stood as {:?}", task.steps);
        if state == State::Done {
            let payload = accepted.payload();
            let told = task.endings.iter().any(|ending| match ending {
                Ending::Done(frame) => {
                    Frame::read(frame.clone()).is_ok_and(|frame| frame.payload() == payload)
                }
                Ending::Buried { .. } => false,
            });
            require!("I14", told, "GET {id} tells another result");
        }
    }

    /// Events come in order, and tell nothing that is not durable.
    fn on_event_push(
        &mut self,
        net: &mut Net,
        peer: Peer,
        event: &ganger::protocol::answer::Event,
    ) {
        net.mark("an event is told");
        let conn = self.conn(peer);
        let told = std::mem::replace(&mut conn.heard, event.seq);
        require!("R", told < event.seq, "event {} after {told}: {event:?}", event.seq);
        let Some(id) = event.id else { return self.on_worker_event(event) };
        require!(
            "I02",
            self.tasks.contains_key(&id),
            "an event of a task that is not durable: {id}"
        );
        let state = match &*event.what {
            "leased" => State::Leased,
            what => State::parse(what).unwrap_or(State::Ready),
        };
        if state != State::Ready {
            require!("I02", self.stood(id, 0, |its| its == state), "{event:?} is not durable");
        }
    }

    /// What is told of a worker is of one whose entry is, or was, durable.
    fn on_worker_event(&self, event: &ganger::protocol::answer::Event) {
        let known = ["worker-joined", "worker-left"].contains(&&*event.what);
        let named = event.option("worker").is_some() && event.option("reason").is_some();
        require!("R", known && named && event.attempt == 0, "{event:?} is of nothing");
    }

    /// EXPLAIN tells a state in which the task stood, and at least one reason.
    fn on_explained(&self, id: TaskId, from: usize, accepted: &Accepted) {
        let json: serde_json::Value =
            serde_json::from_slice(&accepted.payload().expect("a payload"))
                .unwrap_or_else(|error| violated!("R", "EXPLAIN {id} is no JSON: {error}"));
        let state = json["state"].as_str().and_then(State::parse);
        let Some(state) = state else { violated!("R", "EXPLAIN {id} tells no state: {json}") };
        let waits = matches!(state, State::Scheduled | State::Blocked);
        let state = if waits { State::Ready } else { state };
        require!("I05", self.stood(id, from, |its| its == state), "EXPLAIN {id}: {json}");
        let told = json["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty());
        require!("R", told && json["id"] == *id.to_string(), "EXPLAIN {id} tells nothing: {json}");
    }

    /// OK to DONE, FAIL or RELEASE: the lease has ended, and not by being lost.
    fn on_acknowledged(&self, net: &mut Net, id: TaskId, attempt: Attempt, is_done: bool) {
        let Some(end) = self.tasks.get(&id).and_then(|task| task.ends.get(&attempt)) else {
            violated!("I14", "OK to an answer for lease {attempt} of task {id}, which goes on")
        };
        net.mark(match end.as_str() {
            "done" if is_done => "a result is acknowledged",
            "failed" => "a failure is acknowledged",
            "released" => "a release is acknowledged",
            "cancelled" | "timeout" | "max-run" => "an answer to a cancelled lease is acknowledged",
            end => violated!("I14", "OK to an answer for lease {attempt} of {id}, which is {end}"),
        });
    }

    fn on_err(&mut self, net: &Net, peer: Peer, asked: &Asked, rejected: &Rejected) {
        let code = rejected.code.unwrap_or_else(|| panic!("R: {rejected:?}"));
        match (asked, code) {
            (Asked::Hello, Code::Denied) => {
                self.is_no_rival(peer);
                self.conn(peer).closing = true;
            }
            (Asked::Submit { .. }, Code::Busy) => {
                require!("R", self.may_be_busy, "busy without a reason: {rejected:?}");
                require!("R", rejected.retry_ms.is_some(), "busy does not say when");
            }
            (Asked::Submit { submit, .. }, Code::Expired) => {
                self.has_holder_expired(net, submit);
            }
            (Asked::Get { id, from } | Asked::Watch { id, from }, Code::Expired) => {
                self.has_expired(net, *id, *from);
            }
            (Asked::Explain { id, from }, Code::Expired) => self.has_expired(net, *id, *from),
            (Asked::Cancel { id, from } | Asked::Retry { id, from }, Code::Expired) => {
                self.has_expired(net, *id, *from);
            }
            (Asked::Cancel { id, from }, Code::Ended) => {
                let ended = self.stood(*id, *from, State::is_end);
                require!("I21", ended, "CANCEL {id} is refused, which had not ended");
            }
            (Asked::Retry { id, from }, Code::Ended) => {
                let done = self.stood(*id, *from, |state| state == State::Done);
                require!("I18", done, "RETRY {id} is refused, which was not done");
            }
            (Asked::Retry { id, from }, Code::Running) => {
                let task = self.task(*id);
                let stopped = |end: &String| ["cancelled", "timeout", "max-run"].contains(&&**end);
                let unanswered = task.ends.values().any(stopped);
                let open = self.stood(*id, *from, |state| !state.is_end());
                require!("I18", open || unanswered, "RETRY {id} is refused, which had ended");
            }
            (Asked::Retry { id, .. }, Code::Conflict) => {
                let task = self.task(*id);
                let after = task.submit.after.is_some() && task.attempt == 0;
                require!("I04", after || task.unique().is_some(), "RETRY {id} conflicts");
            }
            (Asked::Answer { id, attempt, from, is_done }, Code::Stale) => {
                self.on_stale(net, peer, (*id, *attempt), *from, *is_done);
            }
            (Asked::Look, Code::UnknownQueue | Code::UnknownWorker | Code::UnknownCron) => {}
            (Asked::Wrong(expected), code) if *expected == code => {}
            (Asked::Plain, Code::Forbidden) => {
                let role = self.conn(peer).hello.role;
                require!("R", role != Role::Worker, "a worker is refused: {rejected:?}");
            }
            (asked, code) => match asked {
                Asked::Get { id, .. }
                | Asked::Explain { id, .. }
                | Asked::Watch { id, .. }
                | Asked::Cancel { id, .. }
                    if code == Code::UnknownTask && !self.tasks.contains_key(id) => {}
                asked => violated!("R", "{asked:?} is refused with {rejected:?}"),
            },
        }
    }

    /// What a SUBMIT would have watched is not kept any more: rightly so? The refusal names the task
    /// in words only.
    fn has_holder_expired(&self, net: &Net, submit: &Submit) {
        let unique = unique_of(submit).filter(|_| submit.watch);
        require!("I04", unique.is_some(), "a SUBMIT that watches no other task is expired");
        let latest_ms = self.latest_ms.max(net.wall_ms());
        let mut tasks = self.tasks.values().filter(|task| task.unique() == unique);
        let gone = tasks.any(|task| task.submit.unique_for_ms > 0 && task.is_forgotten(latest_ms));
        require!("I04", gone, "no ended task that is not kept holds {unique:?}");
    }

    /// A task is not kept any more: rightly so?
    fn has_expired(&self, net: &Net, id: TaskId, from: usize) {
        let Some(task) = self.tasks.get(&id) else {
            // An identifier that was never issued, below the last.
            return;
        };
        let latest_ms = self.latest_ms.max(net.wall_ms());
        let over = task.is_forgotten(latest_ms);
        require!("I14", over, "task {id} is said to be expired: {:?} since {from}", task.row);
    }

    /// An answer is stale: when it came, its session did not hold the lease, nor, if it is DONE, did a
    /// result bear the attempt. A lease that is given afterwards, to an answer that was a guess, is another matter.
    fn on_stale(
        &mut self,
        net: &Net,
        peer: Peer,
        lease: (TaskId, Attempt),
        from: usize,
        is_done: bool,
    ) {
        let session = self.conn(peer).session;
        let (id, attempt) = lease;
        let Some(task) = self.tasks.get(&id) else { return };
        if let Row::Leased { session: holder, .. } = task.row {
            let was = from.checked_sub(1).and_then(|last| task.steps.get(last));
            let held = was == Some(&(State::Leased, attempt));
            let holds = held && session == Some(holder) && task.attempt == attempt;
            require!("I11", !holds, "lease {attempt} of task {id} is its, and called stale");
        }
        if is_done && let Row::Done { until_ms } = task.row {
            let was = from.checked_sub(1).and_then(|last| task.steps.get(last));
            let done = was.is_some_and(|(state, _)| *state == State::Done);
            let kept = until_ms > self.latest_ms.max(net.wall_ms());
            let its = done && kept && task.attempt == attempt;
            require!("I14", !its, "the result of lease {attempt} of task {id} is called stale");
        }
    }

    fn on_task_push(&mut self, net: &mut Net, peer: Peer, pushed: &Pushed) {
        let (id, attempt) = (pushed.id, pushed.attempt);
        let conn = &self.conns[&peer];
        let Some(task) = self.tasks.get(&id) else {
            violated!("I08", "TASK {id} leaves before the task is durable")
        };
        let lease = task.leases.get(&attempt);
        let its = lease.is_some_and(|lease| Some(lease.session) == conn.session);
        require!("I08", its, "TASK {id} {attempt} leaves, its lease is {lease:?}");
        let same = pushed.kind() == task.submit.kind() && pushed.queue() == task.submit.queue();
        require!("I22", same, "TASK {id} is {} in {}", pushed.kind(), pushed.queue());
        let payload = task.submit.frame.payload().unwrap_or_default();
        require!("I22", payload == pushed.payload(), "TASK {id} has another payload");
        let resumed = conn.hello.session == conn.session;
        require!("W", !conn.drained || resumed, "TASK {id} goes to a drained worker");
        if resumed {
            net.mark("a lease is told again");
        }
        let first = self.conn(peer).told.insert((id, attempt));
        require!("I09", first, "TASK {id} {attempt} is told twice on one connection");
    }

    fn on_cancel_push(&mut self, peer: Peer, id: TaskId, attempt: Attempt, reason: &str) {
        let conn = &self.conns[&peer];
        let task = self.task(id);
        let lease = task.leases.get(&attempt);
        let its = lease.is_some_and(|lease| Some(lease.session) == conn.session);
        require!("I08", its, "CANCEL {id} {attempt} goes to another session");
        let end = task.ends.get(&attempt).map(String::as_str);
        let told = end == Some(reason)
            || (reason == "cancelled" && matches!(end, Some("timeout" | "max-run")));
        require!("I08", told, "CANCEL {id} {attempt} says {reason}, the lease is {end:?}");
    }

    fn on_result_push(&mut self, net: &mut Net, peer: Peer, frame: &Frame, ended: &Ended) {
        let id = ended.id;
        net.mark(ended.reason.as_deref().map_or("RESULT done", |reason| match reason {
            "attempts" => "RESULT dead after its attempts",
            "no-retry" => "RESULT dead without a retry",
            "poison" => "RESULT dead as poison",
            "result-too-large" => "RESULT dead for its size",
            "expired" => "RESULT expired",
            _ => "RESULT cancelled",
        }));
        let conn = self.conn(peer);
        let asked = conn.watching.remove(&id) || conn.may_get.remove(&id);
        require!("R", asked, "{peer:?} gets a RESULT of {id}, which it does not watch");
        let Some(task) = self.tasks.get(&id) else {
            violated!("I02", "RESULT {id} of a task that is not durable")
        };
        let told = task.endings.iter().any(|ending| match ending {
            Ending::Done(stored) => stored == frame.bytes(),
            Ending::Buried { state, reason, attempt, used, at_ms, error } => {
                let dead = *state == State::Dead;
                ended.state == *state
                    && ended.reason.as_ref() == Some(reason)
                    && ended.ended_ms == *at_ms
                    && (!dead || (ended.attempt == *attempt && ended.used == Some(*used)))
                    && (!dead || ended.payload == error.as_bytes())
            }
        });
        require!("I10", told, "RESULT {frame:?} is none of {:?}", task.endings);
    }
}
