//! `ganger get`.

use clap::Args;
use serde_json::{Map, Value};

use super::exit::{Exit, Failure, Outcome};
use super::output::{Output, json_bytes};
use super::peer::{PeerSettings, block_on};
use super::picture::state;
use super::table::{Cell, Table, visible};
use super::values::{spoken_ms, utc};
use crate::client::Status;
use crate::task::{State, TaskId};

/// Shows what is known of tasks: where they stand, their history, their results.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// The tasks
    #[arg(required = true, value_name = "TASK")]
    ids: Vec<TaskId>,

    #[command(flatten)]
    peer: PeerSettings,
}

impl Get {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let client = self.peer.client().await?;
            for (place, id) in self.ids.iter().enumerate() {
                let status = client.get(*id).await.map_err(|error| {
                    let failure = Failure::from(error);
                    Failure { text: format!("{id}: {}", failure.text), ..failure }
                })?;
                if output.is_json() {
                    output.json(&json(&status))?;
                    continue;
                }
                if place > 0 {
                    output.line("")?;
                }
                show(&status, output)?;
            }
            Ok(Exit::Done)
        })
    }
}

fn show(status: &Status, output: &Output) -> Result<(), Failure> {
    let mut table = Table::new(&["TASK", ""]);
    table.row([Cell::from("id"), status.id.to_string().into()]);
    table.row([Cell::from("state"), state(status.state.word())]);
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.row([Cell::from(name), value.into()]);
        }
    };
    row("kind", status.kind.clone());
    row("queue", status.queue.clone());
    row("attempt", Some(status.attempt.to_string()));
    row("used", (status.state != State::Done).then(|| status.used.to_string()));
    row("due", status.due_ms.map(utc));
    row("worker", status.worker.clone());
    row("progress", status.percent.map(|percent| format!("{percent} %")));
    row("reason", status.reason.clone());
    row("history", status.history.clone());
    row("took", status.ms.map(|ms| spoken_ms(ms as f64)));
    row("ended", status.ended_ms.map(utc));
    row("kept until", status.until_ms.map(utc));
    output.table(&table, "")?;
    let payload = String::from_utf8_lossy(&status.payload);
    if payload.is_empty() {
        return Ok(());
    }
    output.line(if status.state == State::Done { "\nresult:" } else { "\nlast error:" })?;
    payload.lines().try_for_each(|line| output.line(&format!("  {}", visible(line))))
}

fn json(status: &Status) -> Value {
    let mut object = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    set("id", Some(status.id.to_string().into()));
    set("state", Some(status.state.word().into()));
    set("kind", status.kind.clone().map(Value::from));
    set("queue", status.queue.clone().map(Value::from));
    set("attempt", Some(status.attempt.into()));
    set("used", (status.state != State::Done).then(|| status.used.into()));
    set("due_ms", status.due_ms.map(Value::from));
    set("worker", status.worker.clone().map(Value::from));
    set("percent", status.percent.map(Value::from));
    set("reason", status.reason.clone().map(Value::from));
    set("history", status.history.clone().map(Value::from));
    set("ms", status.ms.map(Value::from));
    set("ended_ms", status.ended_ms.map(Value::from));
    set("until_ms", status.until_ms.map(Value::from));
    if status.state == State::Done {
        json_bytes("result", &status.payload, &mut object);
    } else if !status.payload.is_empty() {
        json_bytes("error", &status.payload, &mut object);
    }
    Value::Object(object)
}
