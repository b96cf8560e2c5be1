//! `ganger pause`, `ganger resume` and `ganger purge`.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::exit::{Exit, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::values::{self, counted};
use crate::task::State;

/// Whether tasks of a queue may begin.
#[derive(Debug, Args)]
pub(super) struct Pause {
    /// The queue
    #[arg(value_parser = values::name)]
    queue: String,

    #[command(flatten)]
    peer: PeerSettings,
}

impl Pause {
    pub(super) fn run(&self, paused: bool, output: &Output) -> Outcome {
        block_on(async {
            let client = self.peer.client().await?;
            match paused {
                true => client.pause(&self.queue).await?,
                false => client.resume(&self.queue).await?,
            }
            if output.is_json() {
                output.json(&json!({ "queue": self.queue, "paused": paused }))?;
            } else {
                let word = if paused { "paused: what runs goes on" } else { "resumed" };
                output.say(&format!("{} is {word}", self.queue));
            }
            Ok(Exit::Done)
        })
    }
}

/// Forgets the dead tasks of a queue, or clears it of others.
#[derive(Debug, Args)]
pub(super) struct Purge {
    /// The queue
    #[arg(value_parser = values::name)]
    queue: String,

    /// Which: dead and cancelled tasks are forgotten, the others cancelled
    #[arg(long, default_value = "dead")]
    #[arg(value_parser = PossibleValuesParser::new(["dead", "cancelled", "scheduled", "blocked", "ready"]))]
    state: String,

    #[command(flatten)]
    peer: PeerSettings,
}

impl Purge {
    fn told(&self, purged: u64, state: State) -> String {
        let Self { queue, state: word, .. } = self;
        let done = if state.is_end() { "forgotten" } else { "cancelled" };
        let tasks = counted(purged, &format!("{word} task"));
        match purged {
            0 => format!("{queue} has no {word} tasks"),
            1 => format!("{tasks} of {queue} is {done}"),
            _ => format!("{tasks} of {queue} are {done}"),
        }
    }

    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let state = State::parse(&self.state).unwrap_or(State::Dead);
            let purged = self.peer.client().await?.purge(&self.queue, state).await?;
            if output.is_json() {
                output
                    .json(&json!({ "queue": self.queue, "state": self.state, "purged": purged }))?;
            } else {
                output.say(&self.told(purged, state));
            }
            Ok(Exit::Done)
        })
    }
}
