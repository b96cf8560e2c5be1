//! Pictures of a core, taken through the questions that operators ask, and what the rows make of
//! them.

use std::collections::BTreeMap;

use ganger::core::{Core, Effects, Event, Now, Peer, What};
use ganger::message::{Hello, Reply, Request, Role, TaskFilter};
use ganger::route::Weight;
use ganger::task::{SessionId, State, TaskId};
use serde_json::Value;

use super::due::Due;
use super::task::{Row, Task};
use super::{Auditor, require};
use crate::net::Net;

/// The auditor's own connection.
const AUDITOR: Peer = Peer { index: 0, serial: 1 };

fn ask(core: &mut Core, now: Now, request: Request) -> Value {
    let mut effects = Effects::default();
    let joined =
        Event::Joined { peer: AUDITOR, hello: hello(), fresh: SessionId(1), credential: 0 };
    core.handle(now, joined, &mut effects);
    effects.clear();
    core.handle(now, Event::Request { peer: AUDITOR, request }, &mut effects);
    assert!(effects.batch.is_empty(), "a question writes nothing");
    match effects.sends.pop().map(|send| send.what) {
        Some(What::Reply(Reply::Json(json))) => serde_json::from_slice(&json).expect("JSON"),
        other => panic!("R: {other:?} is no picture"),
    }
}

fn hello() -> Box<Hello> {
    Box::new(Hello {
        role: Role::Operator,
        name: "auditor".to_owned(),
        host: String::new(),
        pid: 0,
        slots: 1,
        weight: Weight::default(),
        kinds: None,
        queues: None,
        tags: Vec::new(),
        res: Vec::new(),
        heartbeat_ms: None,
        price: 0.0,
        payload_max: None,
        session: None,
        token: None,
    })
}

/// STATS of a core.
pub(super) fn stats(core: &mut Core, now: Now) -> Value {
    ask(core, now, Request::Stats { cursor: 0, limit: 1000 })
}

/// Every task that a core holds: what of it must survive a restart, in words.
pub(crate) fn tasks(core: &mut Core, now: Now) -> BTreeMap<TaskId, String> {
    let mut tasks = BTreeMap::new();
    let mut cursor = 0;
    loop {
        let filter = TaskFilter { cursor, limit: 1000, ..TaskFilter::default() };
        let page = ask(core, now, Request::Tasks(filter));
        for task in page["tasks"].as_array().expect("a list") {
            let id = task["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
            let before = tasks.insert(id, words(task));
            require!("I05", before.is_none(), "task {id} is there twice");
        }
        match page["next"].as_u64() {
            Some(next) => cursor = next,
            None => return tasks,
        }
    }
}

fn words(task: &Value) -> String {
    let text = |name: &str| task[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| task[name].as_u64().unwrap_or_default();
    format!(
        "{} {} in {} attempt={} used={} due={} worker={} ended={} reason={} history={} error={}",
        text("state"),
        text("kind"),
        text("queue"),
        number("attempt"),
        number("used"),
        number("due_ms"),
        text("worker"),
        number("ended_ms"),
        text("reason"),
        text("history"),
        text("error"),
    )
}

impl Auditor {
    /// Memory says what the rows say: between two turns, when nothing is under way.
    pub(crate) fn compare(&self, net: &Net, core: &mut Core, now: Now, what: &str) {
        let mut held = tasks(core, now);
        for (id, task) in &self.tasks {
            let found = held.remove(id);
            let blocked = found.as_ref().is_some_and(|found| found.starts_with("blocked "));
            let may_block = task.submit.serial || task.submit.after.is_some();
            require!("I30", !blocked || may_block, "{what}: task {id} is blocked for nothing");
            let found = found.map(|found| found.replacen("blocked ", "ready ", 1));
            let ready = found.as_ref().is_some_and(|found| found.starts_with("ready "));
            let expected = match task.row {
                Row::Waiting { due } if ready && self.may_be_due(due, net.now_us) => {
                    Self::picture(task, Due::Now)
                }
                Row::Waiting { due } => Self::picture(task, due),
                _ => Self::picture(task, Due::Now),
            };
            let equal = expected == found;
            require!("I30", equal, "{what}: task {id} is {found:?}, and {expected:?} in the rows");
        }
        require!("I31", held.is_empty(), "{what}: tasks that no row bears out: {held:?}");
        self.compare_counts(core, now, what);
    }

    /// What the picture of a task must be, if it waits for a time; `None` for one that has ended and
    /// is not held.
    fn picture(task: &Task, waits: Due) -> Option<String> {
        let (mut due, mut ended, mut holder, mut why) = (0, 0, "", "");
        let mut state = task.row.state()?;
        match &task.row {
            Row::Waiting { .. } if waits != Due::Now => {
                (state, due) = (State::Scheduled, waits.row_ms());
            }
            Row::Waiting { .. } => {}
            Row::Leased { worker, .. } => holder = worker,
            Row::Done { .. } | Row::Dropped => return None,
            Row::Dead { reason, at_ms } | Row::Cancelled { reason, at_ms } => {
                (ended, why) = (*at_ms, reason);
            }
        }
        let submit = &task.submit;
        Some(format!(
            "{state} {} in {} attempt={} used={} due={due} worker={holder} ended={ended} \
             reason={why} history={} error={}",
            submit.kind(),
            submit.queue(),
            task.attempt,
            task.used,
            task.history.as_deref().unwrap_or_default(),
            task.error.as_deref().unwrap_or_default(),
        ))
    }

    fn compare_counts(&self, core: &mut Core, now: Now, what: &str) {
        let mut counts: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
        for task in self.tasks.values() {
            let place = match task.row {
                Row::Waiting { .. } => 0,
                Row::Leased { .. } => 1,
                Row::Dead { .. } => 2,
                Row::Cancelled { .. } => 3,
                Row::Done { .. } | Row::Dropped => continue,
            };
            counts.entry(task.submit.queue()).or_default()[place] += 1;
        }
        let queues = ask(core, now, Request::Queues);
        for queue in queues["queues"].as_array().expect("a list") {
            let name = queue["name"].as_str().expect("a name");
            let count = |state: &str| queue["tasks"][state].as_u64().unwrap_or_default();
            let waiting = count("scheduled") + count("blocked") + count("ready");
            let found = [waiting, count("leased"), count("dead"), count("cancelled")];
            let expected = counts.remove(name).unwrap_or_default();
            require!("I31", found == expected, "{what}: queue {name} is {found:?}: {expected:?}");
        }
        require!("I31", counts.is_empty(), "{what}: queues that are not there: {counts:?}");
    }
}

/// Who is there and what waits, for the log of a run that does not drain.
pub(crate) fn who_waits(core: &mut Core, now: Now) -> String {
    let queues = ask(core, now, Request::Queues);
    format!("{queues}\n{}", ask(core, now, Request::Workers))
}
