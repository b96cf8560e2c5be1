//! `ganger cron`.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::exit::{Exit, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::picture::{count, ms, text};
use super::ranges;
use super::submit::{Options, payload};
use super::table::{Cell, Table, Tone};
use super::values;
use crate::client;
use crate::message::{self, schedule::Calendar};

/// Periodic tasks.
#[derive(Debug, Args)]
pub(super) struct Cron {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a periodic task, or replace the one of that name
    Add(Box<Add>),
    /// List periodic tasks
    List(List),
    /// Remove a periodic task; what it has fired stays
    Remove(Named),
    /// Have a periodic task fire nothing, until it is resumed
    Pause(Named),
    /// Let a periodic task fire again; what passed meanwhile does not count
    Resume(Named),
}

/// The zone that an expression is checked in.
const ZONE: &str = message::Plan::ZONE;
/// How far apart fires may be, in milliseconds.
const EVERY_MS: (u64, u64) = message::Plan::EVERY_MS;

/// A task that is handed in again and again.
#[derive(Debug, Args)]
#[group(skip)]
struct Add {
    /// What to call it
    #[arg(value_parser = values::name)]
    name: String,

    /// What the tasks are
    #[arg(value_parser = values::name)]
    kind: String,

    /// What they work on; `-` reads it from stdin
    payload: Option<String>,

    #[command(flatten)]
    plan: Plan,

    #[command(flatten)]
    options: Options,

    #[command(flatten)]
    peer: PeerSettings,
}

/// When it fires.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("when").required(true))]
struct Plan {
    /// Fire as a cron expression says: '30 2 * * 1-5' (minute hour day month weekday), or @hourly,
    /// @daily, @weekly, @monthly, @yearly
    #[arg(long, value_name = "EXPRESSION", value_parser = expression, group = "when")]
    schedule: Option<String>,

    /// Fire every so often, from now on
    #[arg(long, value_name = "DURATION", value_parser = ranges::duration(EVERY_MS))]
    #[arg(group = "when", conflicts_with = "tz")]
    every: Option<Duration>,

    /// Time zone whose clocks --schedule means, like Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,

    /// What becomes of a fire while the task of the last one has not ended
    #[arg(long, default_value = "skip")]
    #[arg(value_parser = PossibleValuesParser::new(["skip", "queue"]))]
    overlap: String,

    /// What becomes of fires that a scheduler that was down has missed: one for all, or none. One that
    /// it is at most 10 seconds late for is not missed, and fires in either case
    #[arg(long, default_value = "once")]
    #[arg(value_parser = PossibleValuesParser::new(["once", "none"]))]
    missed: String,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    peer: PeerSettings,
}

#[derive(Debug, Args)]
struct Named {
    /// What it is called
    #[arg(value_parser = values::name)]
    name: String,

    #[command(flatten)]
    peer: PeerSettings,
}

/// Checks an expression; whether its zone is one, the scheduler knows.
fn expression(text: &str) -> Result<String, String> {
    Calendar::parse(text, ZONE).map(|_| text.to_owned())
}

impl Cron {
    pub(super) fn run(self, output: &Output) -> Outcome {
        match self.command {
            Command::Add(add) => add.run(output),
            Command::List(list) => list.run(output),
            Command::Remove(named) => named.run("removed", output),
            Command::Pause(named) => named.run("paused", output),
            Command::Resume(named) => named.run("resumed", output),
        }
    }
}

impl Add {
    fn run(self, output: &Output) -> Outcome {
        block_on(async {
            let payload = payload(self.payload)?;
            let task = self.options.submission(self.kind).with_payload(payload);
            let cron = self.plan.cron(self.name, task);
            let entry = self.peer.client().await?.add_cron(&cron).await?;
            if output.is_json() {
                output.json(&entry)?;
                return Ok(Exit::Done);
            }
            output.table(&table(std::slice::from_ref(&entry)), "")?;
            if entry.get("replaced").and_then(Value::as_bool).unwrap_or_default() {
                output.say("it takes the place of the one of that name");
            }
            if is_paused(&entry) {
                output.say("it is paused as that was: `ganger cron resume` lets it fire");
            }
            Ok(Exit::Done)
        })
    }
}

impl Plan {
    fn cron(self, name: String, task: client::Submission) -> client::Cron {
        let cron = match (self.every, self.schedule) {
            (Some(interval), _) => client::Cron::every(name, interval, task),
            (None, schedule) => client::Cron::at(name, schedule.unwrap_or_default(), task),
        };
        let cron = match self.tz {
            Some(zone) => cron.tz(zone),
            None => cron,
        };
        let cron = if self.overlap == "queue" { cron.overlap_queue() } else { cron };
        if self.missed == "none" { cron.missed_none() } else { cron }
    }
}

impl List {
    fn run(self, output: &Output) -> Outcome {
        block_on(async {
            let crons = self.peer.client().await?.crons().await?;
            if output.is_json() {
                output.json(&json!({ "crons": crons }))?;
            } else {
                let crons = crons.as_array().map(Vec::as_slice).unwrap_or_default();
                output.table(&table(crons), "there are no periodic tasks")?;
            }
            Ok(Exit::Done)
        })
    }
}

impl Named {
    fn run(self, word: &str, output: &Output) -> Outcome {
        block_on(async {
            let client = self.peer.client().await?;
            match word {
                "removed" => client.remove_cron(&self.name).await?,
                "paused" => client.pause_cron(&self.name).await?,
                _ => client.resume_cron(&self.name).await?,
            }
            if output.is_json() {
                output.json(&json!({ "cron": self.name, "state": word }))?;
            } else {
                output.say(&format!("{} is {word}", self.name));
            }
            Ok(Exit::Done)
        })
    }
}

fn table(crons: &[Value]) -> Table {
    let head = ["CRON", "KIND", "QUEUE", "SCHEDULE", "TZ", "NEXT", "LAST", "TASK", ">OWED"];
    let mut table = Table::new(&head);
    for cron in crons {
        let owed = match count(cron, "owed") {
            0 => Cell::from("0"),
            owed => Cell(owed.to_string(), Tone::Busy),
        };
        table.row([
            text(cron, "name"),
            text(cron, "kind"),
            text(cron, "queue"),
            schedule(cron),
            text(cron, "tz"),
            next(cron),
            time(cron, "last_ms"),
            text(cron, "task"),
            owed,
        ]);
    }
    table
}

fn is_paused(cron: &Value) -> bool {
    cron.get("paused").and_then(Value::as_bool).unwrap_or_default()
}

fn schedule(cron: &Value) -> Cell {
    match cron.get("every_ms").and_then(Value::as_u64) {
        Some(_) => format!("every {}", ms(cron, "every_ms").0).into(),
        None => text(cron, "schedule"),
    }
}

fn next(cron: &Value) -> Cell {
    if is_paused(cron) { Cell("paused".into(), Tone::Bad) } else { time(cron, "next_ms") }
}

fn time(cron: &Value, member: &str) -> Cell {
    match cron.get(member).and_then(Value::as_u64) {
        Some(unix_ms) => values::utc(unix_ms).into(),
        None => "-".into(),
    }
}
