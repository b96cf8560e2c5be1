//! `ganger events`.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value, json};

use super::exit::{Exit, Failure, Outcome};
use super::output::{Output, json_bytes};
use super::peer::{PeerSettings, block_on};
use super::picture::{count, list};
use super::ranges;
use super::signals::{Signals, Told};
use super::table::visible;
use super::values;
use crate::client::{Event, EventFilter, Observed};
use crate::message::observe::{HAPPENINGS, STATS_MS};
use crate::task::State;

/// Prints what happens to tasks and which workers come and go, as it happens, until interrupted.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Only tasks of this queue
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    queue: Option<String>,

    /// Only tasks of this kind
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    kind: Option<String>,

    /// Only what this worker does
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    worker: Option<String>,

    /// Only these happenings
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(HAPPENINGS))]
    what: Vec<String>,

    /// From this event on, if it is still kept; else from now on
    #[arg(long, value_name = "SEQ", value_parser = seq)]
    from: Option<u64>,

    /// Also print the figures so often: 1s to 60s
    #[arg(long, value_name = "DURATION", value_parser = ranges::duration(STATS_MS))]
    stats: Option<Duration>,

    #[command(flatten)]
    peer: PeerSettings,
}

fn seq(text: &str) -> Result<u64, String> {
    let rule = "give the number of an event, which stands first in its line";
    text.parse().map_err(|_| rule.to_owned())
}

impl Events {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let mut signals =
                Signals::catch().map_err(|error| Failure::machine(error.to_string()))?;
            let client = self.peer.client().await?;
            let mut events = client.events(&self.filter()).await?;
            loop {
                let observed = tokio::select! {
                    biased;
                    told = signals.next() => return Ok(exit(told)),
                    observed = events.next() => observed?,
                };
                if output.is_json() {
                    output.json(&json_of(&observed))?;
                } else {
                    output.line(&visible(&line(&observed)))?;
                }
            }
        })
    }

    fn filter(&self) -> EventFilter {
        let ms = |interval: Duration| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let mut what = self.what.clone();
        what.sort();
        what.dedup();
        EventFilter {
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            worker: self.worker.clone(),
            what,
            from: self.from,
            stats_ms: self.stats.map(ms),
        }
    }
}

fn exit(told: Told) -> Exit {
    match told {
        Told::Interrupt => Exit::Interrupted,
        Told::Terminate => Exit::Done,
    }
}

/// `SEQ TIME WHAT [TASK ATTEMPT] name=value …`, or what stands for other things.
fn line(observed: &Observed) -> String {
    match observed {
        Observed::Event(event) => {
            let Event { seq, what, id, attempt, at_ms, .. } = event;
            let mut line = format!("{seq} {}.{:03} {what}", time(*at_ms), at_ms % 1000);
            if let Some(id) = id {
                line.push_str(&format!(" {id} {attempt}"));
            }
            for (name, value) in event.options().filter(|(name, _)| *name != "at") {
                line.push_str(&format!(" {name}={value}"));
            }
            let note = event.note();
            if !note.is_empty() {
                line.push_str(&format!(" {}", String::from_utf8_lossy(&note)));
            }
            line
        }
        Observed::Gap(from, to) => format!("{from} to {to} were missed"),
        Observed::Stats(stats) => {
            let tasks = stats.get("tasks").unwrap_or(&Value::Null);
            let throughput: f64 = list(stats, "kinds")
                .iter()
                .filter_map(|kind| kind.get("throughput").and_then(Value::as_f64))
                .sum();
            let counts =
                State::ALL.map(|state| format!("{}={}", state, count(tasks, state.word())));
            format!("stats {} throughput={throughput:.2}", counts.join(" "))
        }
    }
}

fn time(at_ms: u64) -> String {
    values::utc(at_ms).trim_end_matches('Z').to_owned()
}

/// An event as an object of its words; a gap and the figures under names of their own.
fn json_of(observed: &Observed) -> Value {
    match observed {
        Observed::Event(event) => {
            let mut object = Map::new();
            let mut set = |name: &str, value: Value| object.insert(name.replace('-', "_"), value);
            set("seq", event.seq.into());
            set("what", event.what.clone().into());
            if let Some(id) = event.id {
                set("id", id.to_string().into());
                set("attempt", event.attempt.into());
            }
            set("at_ms", event.at_ms.into());
            for (name, value) in event.options().filter(|(name, _)| *name != "at") {
                let is_name = ["queue", "kind", "worker", "reason"].contains(&name);
                let number = value.parse::<u64>().ok().filter(|_| !is_name);
                set(name, number.map_or_else(|| Value::from(&*value), Value::from));
            }
            let note = event.note();
            if !note.is_empty() {
                json_bytes("note", &note, &mut object);
            }
            Value::Object(object)
        }
        Observed::Gap(from, to) => json!({ "gap": { "from": from, "to": to } }),
        Observed::Stats(stats) => json!({ "stats": stats }),
    }
}
