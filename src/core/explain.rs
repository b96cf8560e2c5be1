//! Why a task stands where it stands, in words and figures. It changes nothing, but that a task which has
//! expired ends; whatever it walks, it gives up after a bounded number of steps and says so.

mod able;
mod ready;

use std::time::Duration;

use serde_json::{Value, json};

use crate::core::event::Peer;
use crate::core::tasks::{How, Phase, Task};
use crate::core::view::{set, spelled};
use crate::core::{Ask, Core, Effects};
use crate::cost::Habit;
use crate::frame::Frame;
use crate::message::{Code, Reply, Why};
use crate::record::ResultFrame;
use crate::task::TaskId;

/// What is looked at of any crowd: workers, places in a line, leases.
const LOOK: usize = 10_000;

/// What is named of any crowd.
const NAMED: usize = 10;

impl Core {
    pub(super) fn on_explain(&mut self, peer: Peer, id: TaskId, fx: &mut Effects) {
        if let Some(slot) = self.find_or_ask(peer, id, Ask::Explain, fx) {
            // Nothing would be true of a task that only waits for its end.
            if self.is_expired(slot) {
                self.expire(slot, fx);
            }
            // The one thing that is computed rather than looked up.
            let key = self.order_key(slot);
            let picture = self.explain(slot, key);
            fx.send(peer, Reply::Json(picture));
        }
    }

    fn explain(&self, slot: u32, key: u64) -> Vec<u8> {
        let Some(task) = self.tasks.get(slot) else { return Vec::new() };
        let reasons = match task.phase {
            Phase::Scheduled { due_ms, over_us } => vec![self.why_scheduled(task, due_ms, over_us)],
            Phase::Blocked => self.why_blocked(slot, task),
            Phase::Ready { .. } => self.why_ready(slot, task, key),
            Phase::Leased { since_us, worker, how, .. } => {
                self.why_leased(slot, task, worker, since_us, how)
            }
            Phase::Dead { .. } | Phase::Cancelled { .. } => self.why_ended(slot, task),
        };
        let mut value = serde_json::to_value(self.task_row(task)).unwrap_or_default();
        if let Some(at_ms) = task.expires_at_ms() {
            set(&mut value, "expires_ms", json!(at_ms));
        }
        set(&mut value, "reasons", Value::Array(reasons));
        spelled(&value)
    }

    fn why_scheduled(&self, task: &Task, due_ms: u64, over_us: u64) -> Value {
        let in_ms = match over_us {
            0 => due_ms.saturating_sub(self.now.wall_ms),
            _ => self.left_ms(over_us),
        };
        let (after, history) = (spoken(in_ms), task.more.as_ref().map(|more| &*more.history));
        let last = history.and_then(|history| history.rsplit(',').next());
        let mut last = last.into_iter().flat_map(|end| end.splitn(3, ':'));
        let (Some(attempt), Some(end), Some(worker)) = (last.next(), last.next(), last.next())
        else {
            let at = task.options().any(|(name, _)| name == "at");
            let (why, name) = if at { (Why::At, "at=") } else { (Why::Delay, "delay=") };
            let text = format!("it is not due before {after} from now, as its {name} says");
            return reason(why, text, json!({ "in_ms": in_ms }));
        };
        let attempts = (task.attempts > 0).then_some(task.attempts);
        let figures = json!({
            "in_ms": in_ms,
            "after_attempt": attempt.parse::<u32>().ok(),
            "end": end,
            "worker": worker,
            "used": task.used,
            "attempts": attempts,
        });
        if end == "released" {
            let text = format!("{worker} gave it back, for nobody to have it before {after}");
            return reason(Why::Released, text + " from now", figures);
        }
        let most = attempts.map_or("no bound".to_owned(), |most| most.to_string());
        let text = format!(
            "attempt {attempt} on {worker} ended ({end}); it is tried again in {after} (used up: {} \
             of {most})",
            task.used
        );
        reason(Why::Backoff, text, figures)
    }

    /// Which tasks it waits for.
    fn why_blocked(&self, slot: u32, task: &Task) -> Vec<Value> {
        let mut reasons = Vec::new();
        if let Some(waiting) = self.after.waiting.get(&task.id) {
            let parents = waiting.parents.iter().take(NAMED);
            let (named, told): (Vec<_>, Vec<_>) = parents.map(|id| self.parent(*id)).unzip();
            let count = waiting.parents.len();
            let are = if count == 1 { "is" } else { "are" };
            let text = format!("{count} of the tasks that it comes after {are} not done: ");
            let figures = json!({ "count": count, "tasks": told });
            reasons.push(reason(Why::After, text + &named.join(", "), figures));
        } else if let Some((queue, key)) = self.turn_of(slot) {
            let turns = self.queues.queue(queue).turns.get(&key);
            let current = turns.and_then(|turns| turns.current).and_then(|its| self.tasks.get(its));
            let current = current.map(|task| task.id.to_string());
            let before = turns.map_or(0, |turns| {
                turns.waiting.iter().take(LOOK).take_while(|(id, _)| *id < task.id).count()
            });
            let whose = match &current {
                Some(current) => format!("it is the turn of task {current} of its key"),
                None => "a run of its key goes on whose lease has ended".to_owned(),
            };
            let text = format!("{whose}, and {}", before_it(before));
            let figures = json!({ "key": key, "current": current, "before": before });
            reasons.push(reason(Why::Serial, text, figures));
        }
        reasons
    }

    /// A task that another one comes after, with its state.
    fn parent(&self, id: TaskId) -> (String, Value) {
        let task = self.tasks.find(id).and_then(|slot| self.tasks.get(slot));
        let state = task.map_or("done", |task| task.state().word());
        (format!("{id} ({state})"), json!({ "id": id.to_string(), "state": state }))
    }

    fn why_leased(
        &self,
        slot: u32,
        task: &Task,
        worker: u32,
        since_us: u64,
        how: How,
    ) -> Vec<Value> {
        let name = self.name_of(worker);
        let ran_us = self.now.mono_us.saturating_sub(since_us);
        let ran = spoken(ran_us / 1000);
        let percent = task.more.as_ref().and_then(|more| more.percent);
        let stands =
            percent.map_or(String::new(), |percent| format!(", and stands at {percent} %"));
        let text = format!("{name} has run attempt {} for {ran}{stands}", task.attempt);
        let mut reasons = vec![reason(Why::Running, text, self.worker_figures(worker))];
        let session = self.workers.sessions.at(worker);
        if session.peer.is_none() {
            let in_ms = self.left_ms(session.grace_until_us);
            let since = if session.restored { "the scheduler started" } else { "its connection" };
            let verb = if session.restored { "has not come since" } else { "has lost" };
            let text =
                format!("{name} {verb} {since}; the run is lost in {} unless", spoken(in_ms));
            let text = text + " it is back by then";
            reasons.push(reason(Why::Away, text, json!({ "worker": &*name, "in_ms": in_ms })));
        }
        let kind = self.kinds.name(self.queues.class(task.class).kind);
        if self.is_straggler(&kind, ran_us)
            && let Some(Habit { mean_us, sd_us }) = self.costs.habit(&kind)
        {
            let mean = Duration::try_from_secs_f64(mean_us / 1e6).unwrap_or_default();
            let mean_ms = u64::try_from(mean.as_millis()).unwrap_or(u64::MAX);
            let text =
                format!("it runs far longer than {kind} does: {} on average", spoken(mean_ms));
            let figures = json!({ "mean_us": mean_us.round(), "sd_us": sd_us.round() });
            reasons.push(reason(Why::Straggler, text, figures));
        }
        let limits = self.lease_limits(slot).into_iter().flatten().flatten();
        reasons.extend(limits.map(|(at_us, limit)| {
            let in_ms = self.left_ms(at_us);
            let sooner = if limit == "timeout" { ", unless PROGRESS comes" } else { "" };
            let text = format!("its {limit}= ends the run in {}{sooner}", spoken(in_ms));
            reason(Why::TimeLimit, text, json!({ "limit": limit, "in_ms": in_ms }))
        }));
        reasons.push(self.why_there(slot, task, &name, how));
        reasons
    }

    /// How the worker of a lease was chosen, and what there is to choose from now: what there was then
    /// is not kept.
    fn why_there(&self, slot: u32, task: &Task, name: &str, how: How) -> Value {
        let class = self.queues.class(task.class);
        let policy = &self.queues.queue(class.queue).policy;
        let text = match how {
            How::Drawn => format!("the route chose {name} among those with a free slot"),
            How::Next => format!("{name} had a free slot, and it was the next task for it"),
            How::Owner => format!("{name} was the owner of its key"),
            How::Spilled => {
                format!("its owner had its time, or there was none, and {name} had a free slot")
            }
            How::Apart => format!("another one had released it, and {name} had a free slot"),
            How::Alone => format!("it may crash its worker, and {name} was emptied for it"),
            How::Before => {
                format!("it had {name} before the scheduler started, and why is not kept")
            }
        };
        let able = self.able(task.class);
        let owner = Some(self.owner_of(slot)).filter(|_| class.keyed);
        let owner = owner.and_then(|owner| self.name_if_any(owner));
        let kind = self.kinds.name(class.kind);
        let candidates = able.first();
        let candidates =
            candidates.iter().map(|worker| self.candidate(*worker, &kind, policy.route));
        let candidates: Vec<Value> = candidates.collect();
        let figures = json!({
            "how": how.word(),
            "route_now": policy.route.word(),
            "owner_now": owner.as_deref(),
            "able_now": able.count(),
            "more": able.more,
            "candidates_now": candidates,
        });
        let more = if able.more { "more than " } else { "" };
        let text = format!("{text}; workers that are able now: {more}{}", able.count());
        reason(Why::Route, text, figures)
    }

    fn why_ended(&self, slot: u32, task: &Task) -> Vec<Value> {
        let word = task.more.as_ref().map_or("", |more| more.reason);
        let text = match word {
            "attempts" => format!("its attempts are used up: {} of {}", task.used, task.attempts),
            "no-retry" => "its worker said that it is not to be tried again".to_owned(),
            "poison" => "three workers in a row were lost with it".to_owned(),
            "result-too-large" => "its result was over the limit".to_owned(),
            "purged" => "it was purged while it waited".to_owned(),
            "expired" => "its expires= was over before a worker had it".to_owned(),
            "after" => "a task that it comes after has failed".to_owned(),
            _ => "somebody cancelled it".to_owned(),
        };
        let mut figures = json!({ "reason": word });
        if let Some(at_ms) = task.forget_at_ms() {
            set(&mut figures, "until_ms", json!(at_ms));
        }
        vec![reason(Why::Ended, text, figures), self.what_retry_does(slot, task)]
    }

    fn what_retry_does(&self, slot: u32, task: &Task) -> Value {
        let refused = match task.more.as_ref() {
            Some(more) if more.unanswered > 0 => {
                Some((Code::Running, "its last run has not been answered"))
            }
            _ if !self.may_take_unique_again(slot) => {
                Some((Code::Conflict, "another task holds its unique="))
            }
            _ if self.failed_parent(slot).is_some() => {
                Some((Code::Conflict, "a task that it comes after has failed"))
            }
            _ => None,
        };
        if let Some((code, text)) = refused {
            let text = format!("RETRY would be refused: {text}");
            return reason(Why::Retry, text, json!({ "refused": code.word() }));
        }
        let text = format!(
            "RETRY would make it ready at once, with no attempt used up and without delay=, at= and \
             expires=; the next attempt would be number {}",
            task.attempt + 1
        );
        reason(Why::Retry, text, json!({ "refused": null, "next_attempt": task.attempt + 1 }))
    }

    /// Milliseconds until a monotonic time, rounded up.
    fn left_ms(&self, at_us: u64) -> u64 {
        at_us.saturating_sub(self.now.mono_us).div_ceil(1000)
    }
}

/// EXPLAIN of a task that has ended and is no longer in the core, from its RESULT frame as it is kept.
pub fn explain_end(id: TaskId, frame: &Frame) -> Vec<u8> {
    let Ok(end) = ResultFrame::read(frame) else { return spelled(&json!({})) };
    let worker = end.worker.unwrap_or_default();
    let took = spoken(end.ms.unwrap_or_default());
    let text = format!("{worker} ended it with a result: attempt {} took {took}", end.attempt);
    spelled(&json!({
        "id": id.to_string(),
        "state": end.state.word(),
        "attempt": end.attempt,
        "worker": worker,
        "ran_ms": end.ms,
        "ended_ms": end.ended_ms,
        "until_ms": end.until_ms,
        "result_bytes": frame.payload().map_or(0, |payload| payload.len()),
        "reasons": [reason(Why::Ended, text, json!({ "reason": end.reason }))],
    }))
}

impl How {
    const fn word(self) -> &'static str {
        match self {
            Self::Drawn => "drawn",
            Self::Next => "next",
            Self::Owner => "owner",
            Self::Spilled => "spilled",
            Self::Apart => "apart",
            Self::Alone => "alone",
            Self::Before => "before",
        }
    }
}

/// A reason: its code, its text, and its figures beside them.
fn reason(why: Why, text: impl Into<String>, figures: Value) -> Value {
    let mut value = json!({ "code": why.word(), "text": text.into() });
    if let Value::Object(figures) = figures {
        figures.into_iter().for_each(|(name, figure)| set(&mut value, &name, figure));
    }
    value
}

/// How many come before something, counted up to [`LOOK`].
fn before_it(count: usize) -> String {
    match count {
        0 => "it is the next after that".to_owned(),
        1 => "1 comes before it".to_owned(),
        LOOK.. => format!("{LOOK} or more come before it"),
        _ => format!("{count} come before it"),
    }
}

/// A duration as people read it.
fn spoken(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        120_000..7_200_000 => format!("{} minutes", ms / 60_000),
        7_200_000..172_800_000 => format!("{} hours", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}
