//! `ganger workers`.

use clap::Args;
use serde_json::Value;

use super::exit::{Exit, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::picture::{list, text};
use super::table::{Cell, Table, Tone};
use super::values;

/// Lists the workers.
#[derive(Debug, Args)]
pub(super) struct Workers {
    #[command(flatten)]
    peer: PeerSettings,
}

impl Workers {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let workers = self.peer.client().await?.workers().await?;
            if output.is_json() {
                output.json(&workers)?;
            } else {
                output.table(&table(list(&workers, "workers")), "there are no workers")?;
            }
            Ok(Exit::Done)
        })
    }
}

fn table(workers: &[Value]) -> Table {
    let head = [
        "WORKER", "STATE", ">LEASED", ">SLOTS", ">WEIGHT", "KINDS", "QUEUES", "TAGS", "HOST",
        ">PID", "SINCE",
    ];
    let mut table = Table::new(&head);
    for worker in workers {
        let since = worker.get("since_ms").and_then(Value::as_u64);
        table.row([
            text(worker, "name"),
            state(worker),
            text(worker, "leased"),
            text(worker, "slots"),
            text(worker, "weight"),
            all_if_null(worker, "kinds"),
            all_if_null(worker, "queues"),
            text(worker, "tags"),
            text(worker, "host"),
            text(worker, "pid"),
            since.map_or_else(|| "-".into(), |ms| values::utc(ms).into()),
        ]);
    }
    table
}

fn state(worker: &Value) -> Cell {
    let Cell(word, _) = text(worker, "state");
    let superseded = worker.get("superseded").and_then(Value::as_bool).unwrap_or_default();
    match &*word {
        _ if superseded => Cell("superseded".into(), Tone::Busy),
        "here" => Cell(word, Tone::Good),
        "grace" | "tripped" => Cell(word, Tone::Bad),
        _ => Cell(word, Tone::Busy),
    }
}

fn all_if_null(worker: &Value, name: &str) -> Cell {
    if worker.get(name).is_some_and(Value::is_null) { "*".into() } else { text(worker, name) }
}
