//! `ganger tasks`.

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};

use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::picture::{list, ms, state, text};
use super::table::{Cell, Table, Tone};
use super::{ranges, values};
use crate::client::{Client, TaskFilter};
use crate::protocol::parse::PAGE_MAX;
use crate::task::State;

/// Lists the tasks that the scheduler holds: all but the done ones.
#[derive(Debug, Args)]
pub(super) struct Tasks {
    /// Only tasks in this state
    #[arg(long, value_parser = PossibleValuesParser::new(State::ALL.map(listed)).try_map(held))]
    state: Option<State>,

    /// Only tasks of this queue
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    queue: Option<String>,

    /// Only tasks of this kind
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    kind: Option<String>,

    /// Only tasks that this worker holds
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    worker: Option<String>,

    /// At most so many
    #[arg(long, value_name = "N", default_value = "100")]
    #[arg(value_parser = ranges::number::<usize>(ranges::POSITIVE))]
    limit: usize,

    #[command(flatten)]
    peer: PeerSettings,
}

/// A state as the help lists it.
fn listed(state: State) -> PossibleValue {
    PossibleValue::new(state.word()).hide(state == State::Done)
}

/// A state in which tasks are held.
fn held(word: String) -> Result<State, String> {
    State::parse(&word).filter(|state| *state != State::Done).ok_or_else(|| {
        "done tasks are not held, only their results: `ganger get TASK` shows one, `ganger watch TASK` \
         prints its result, and `ganger stats` counts them"
            .to_owned()
    })
}

impl Tasks {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let client = self.peer.client().await?;
            let (tasks, more) = self.collect(&client).await?;
            if output.is_json() {
                output.json(&json!({ "tasks": tasks, "more": more }))?;
                return Ok(Exit::Done);
            }
            output.table(&table(&tasks), "there are no such tasks")?;
            if more {
                output.say(&format!("there may be more than {}: raise --limit", tasks.len()));
            }
            Ok(Exit::Done)
        })
    }

    /// Follows the pages up to the limit; true if there may be more.
    async fn collect(&self, client: &Client) -> Result<(Vec<Value>, bool), Failure> {
        let mut filter = TaskFilter {
            state: self.state,
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            worker: self.worker.clone(),
            ..TaskFilter::default()
        };
        let mut tasks = Vec::new();
        loop {
            let left = self.limit.saturating_sub(tasks.len());
            if left == 0 {
                return Ok((tasks, true));
            }
            filter.limit = u32::try_from(PAGE_MAX.min(left as u64)).unwrap_or_default();
            let page = client.tasks(&filter).await?;
            tasks.extend_from_slice(list(&page, "tasks"));
            match page.get("next").and_then(Value::as_u64) {
                Some(next) => filter.cursor = next,
                None => return Ok((tasks, false)),
            }
        }
    }
}

fn table(tasks: &[Value]) -> Table {
    let head = ["TASK", "STATE", "KIND", "QUEUE", ">ATTEMPT", ">USED", ">AGE", "WORKER", "REMARK"];
    let mut table = Table::new(&head);
    for task in tasks {
        table.row([
            text(task, "id"),
            state(&text(task, "state").0),
            text(task, "kind"),
            text(task, "queue"),
            text(task, "attempt"),
            text(task, "used"),
            ms(task, "age_ms"),
            text(task, "worker"),
            remark(task),
        ]);
    }
    table
}

/// What is to be known of a task beside its state, in a few words.
fn remark(task: &Value) -> Cell {
    let known = |name| task.get(name).is_some();
    let Cell(reason, _) = text(task, "reason");
    if known("running_ms") {
        let Cell(running, _) = ms(task, "running_ms");
        let percent = task.get("percent").map(|percent| format!(", {percent} %"));
        let straggles = task.get("straggler").and_then(Value::as_bool).unwrap_or_default();
        let text = format!("running for {running}{}", percent.unwrap_or_default());
        return match straggles {
            true => Cell(format!("{text}, far longer than usual"), Tone::Bad),
            false => text.into(),
        };
    }
    if known("waiting_ms") {
        return format!("waiting for {}", ms(task, "waiting_ms").0).into();
    }
    if known("due_ms") {
        let due = task.get("due_ms").and_then(Value::as_u64).unwrap_or_default();
        return format!("due at {}", values::utc(due)).into();
    }
    reason.into()
}
