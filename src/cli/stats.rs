//! `ganger stats`.

use clap::Args;
use serde_json::Value;

use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::picture::{count, decimals, list, ms, state, text, us};
use super::table::{Cell, Table, Tone};
use crate::task::State;

/// Shows counts, durations, waits, throughput and costs.
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Also show each pair of a kind and a worker
    #[arg(long)]
    pairs: bool,

    #[command(flatten)]
    peer: PeerSettings,
}

impl Stats {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let stats = self.peer.client().await?.stats().await?;
            if output.is_json() {
                output.json(&stats)?;
            } else {
                self.show(&stats, output)?;
            }
            Ok(Exit::Done)
        })
    }

    fn show(&self, stats: &Value, output: &Output) -> Result<(), Failure> {
        output.table(&totals(stats), "")?;
        let mut sections = vec![("kinds", &["KIND"][..]), ("workers", &["WORKER"])];
        if self.pairs {
            sections.push(("pairs", &["KIND", "WORKER"]));
        }
        for (section, names) in sections {
            let rows = list(stats, section);
            if !rows.is_empty() {
                output.line("")?;
                output.table(&figures(names, rows), "")?;
            }
        }
        Ok(())
    }
}

fn totals(stats: &Value) -> Table {
    let mut table = Table::new(&["SCHEDULER", ""]);
    table.row([Cell::from("up"), ms(stats, "up_ms")]);
    table.row([Cell::from("submitted since the start"), text(stats, "submitted")]);
    let tasks = stats.get("tasks").unwrap_or(&Value::Null);
    for word in State::ALL.map(State::word) {
        table.row([state(word), count(tasks, word).to_string().into()]);
    }
    table.row([Cell::from("stragglers"), text(stats, "stragglers")]);
    table.row([Cell::from("workers"), text(stats, "workers_here")]);
    table.row([Cell::from("connections"), text(stats, "connections")]);
    if stats.get("inbox").is_some_and(Value::is_u64) {
        table.row([Cell::from("entries in the inbox"), text(stats, "inbox")]);
    }
    if stats.get("store_pressure").and_then(Value::as_bool).unwrap_or_default() {
        table.row([Cell::from("store"), Cell("nearly full: no submissions".into(), Tone::Bad)]);
    }
    table
}

fn figures(names: &[&'static str], rows: &[Value]) -> Table {
    let figures = [
        ">SUCCEEDED",
        ">FAILED",
        ">LOST",
        ">MEAN",
        ">SD",
        ">MEAN WAIT",
        ">PER SECOND",
        ">COST",
        ">SPEND",
    ];
    let mut table = Table::new(&[names, &figures].concat());
    for row in rows {
        let counted = |name, tone| match count(row, name) {
            0 => Cell::from("0"),
            count => Cell(count.to_string(), tone),
        };
        let variance = row.get("variance").and_then(Value::as_f64).unwrap_or_default();
        let names = names.iter().map(|name| text(row, &name.to_lowercase()));
        let sd = super::values::spoken_ms(variance.max(0.0).sqrt() / 1000.0);
        table.row(names.chain([
            counted("succeeded", Tone::Plain),
            counted("failed", Tone::Bad),
            counted("lost", Tone::Bad),
            us(row, "mean_us"),
            sd.into(),
            us(row, "wait_mean_us"),
            decimals(row, "throughput", 2),
            decimals(row, "cost", 3),
            decimals(row, "spend", 4),
        ]));
    }
    table
}
