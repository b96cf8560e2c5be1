//! `ganger cancel` and `ganger retry`: the same request for each of several tasks.

use clap::Args;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use crate::task::TaskId;

/// The tasks to be changed.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// The tasks
    #[arg(required = true, value_name = "TASK")]
    ids: Vec<TaskId>,

    #[command(flatten)]
    peer: PeerSettings,
}

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// An end, at once and for good.
    Cancelled,
    /// Ready again, with all attempts before them.
    Ready,
}

impl Change {
    /// Changes each; what is refused does not keep the others from being changed.
    pub(super) fn run(&self, to: To, output: &Output) -> Outcome {
        block_on(async {
            let client = self.peer.client().await?;
            let mut exit = Exit::Done;
            for id in &self.ids {
                let changed = match to {
                    To::Cancelled => client.cancel(*id).await,
                    To::Ready => client.retry(*id).await,
                };
                let word = if to == To::Cancelled { "cancelled" } else { "ready" };
                match changed.map_err(Failure::from) {
                    Ok(()) if output.is_json() => {
                        output.json(&json!({ "id": id.to_string(), "state": word }))?;
                    }
                    Ok(()) => output.say(&format!("{id} is {word}")),
                    Err(failure) if failure.exit == Exit::Refused => {
                        let text = format!("{id}: {}", failure.text);
                        output.fail(&Failure { text, ..failure });
                        exit = Exit::Refused;
                    }
                    Err(failure) => return Err(failure),
                }
            }
            Ok(exit)
        })
    }
}
