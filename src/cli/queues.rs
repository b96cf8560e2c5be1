//! `ganger queues`.

use clap::Args;
use serde_json::Value;

use super::exit::{Exit, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::picture::{count, list, text};
use super::table::{Cell, Table, Tone};

/// Lists the queues.
#[derive(Debug, Args)]
pub(super) struct Queues {
    #[command(flatten)]
    peer: PeerSettings,
}

impl Queues {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let queues = self.peer.client().await?.queues().await?;
            if output.is_json() {
                output.json(&queues)?;
            } else {
                output.table(&table(list(&queues, "queues")), "there are no queues")?;
            }
            Ok(Exit::Done)
        })
    }
}

/// Queues as QUEUE shows them, a row each.
pub(super) fn table(queues: &[Value]) -> Table {
    let head = [
        "QUEUE",
        "ORDER",
        "ROUTE",
        ">SPILL",
        "BOUNDS",
        ">READY",
        ">SCHEDULED",
        ">BLOCKED",
        ">LEASED",
        ">DEAD",
        ">CANCELLED",
        "KINDS",
    ];
    let mut table = Table::new(&head);
    for queue in queues {
        let tasks = queue.get("tasks").unwrap_or(&Value::Null);
        let counted = |state, tone| match count(tasks, state) {
            0 => Cell::from("0"),
            count => Cell(count.to_string(), tone),
        };
        // Tasks that no worker can do are the first thing to be looked at.
        let unroutable = queue.get("unroutable").and_then(Value::as_bool).unwrap_or_default();
        let waiting = if unroutable { Tone::Bad } else { Tone::Plain };
        table.row([
            text(queue, "name"),
            text(queue, "order"),
            text(queue, "route"),
            spill(queue),
            bounds(queue),
            counted("ready", waiting),
            counted("scheduled", Tone::Plain),
            counted("blocked", Tone::Plain),
            counted("leased", Tone::Busy),
            counted("dead", Tone::Bad),
            counted("cancelled", Tone::Plain),
            kinds(queue, unroutable),
        ]);
    }
    table
}

fn spill(queue: &Value) -> Cell {
    match (queue.get("spill_ms").and_then(Value::as_u64), queue.get("route")) {
        (Some(ms), _) => format!("{ms}ms").into(),
        (None, Some(route)) if route == "hash" => "none".into(),
        (None, _) => "-".into(),
    }
}

/// What keeps tasks from being begun though workers are free.
fn bounds(queue: &Value) -> Cell {
    if queue.get("paused").and_then(Value::as_bool).unwrap_or_default() {
        return Cell("paused".into(), Tone::Bad);
    }
    let bounds = [("limit", "limit"), ("key_limit", "key-limit"), ("rate", "rate")];
    let given = bounds.iter().filter_map(|(member, name)| {
        let bound = queue.get(member).filter(|bound| !bound.is_null())?;
        Some(format!("{name}={bound}"))
    });
    let given: Vec<String> = given.collect();
    if given.is_empty() { "-".into() } else { given.join(" ").into() }
}

fn kinds(queue: &Value, unroutable: bool) -> Cell {
    let Cell(kinds, _) = text(queue, "kinds");
    match unroutable {
        true => Cell(format!("{kinds} (no worker for some)"), Tone::Bad),
        false => kinds.into(),
    }
}
