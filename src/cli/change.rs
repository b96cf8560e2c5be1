//! `ganger cancel` and `ganger retry`: the same request for each of several tasks.

use clap::Args;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use crate::client::Retried;
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

fn tell(id: TaskId, retried: Option<Retried>, output: &Output) -> Result<(), Failure> {
    let shown = id.to_string();
    match retried {
        None if output.is_json() => {
            return output.json(&json!({ "id": shown, "state": "cancelled" }));
        }
        None => output.say(&format!("{id} is cancelled")),
        Some(Retried { was, reason, .. }) if output.is_json() => {
            let was = was.word();
            return output
                .json(&json!({ "id": shown, "state": "ready", "was": was, "reason": reason }));
        }
        Some(Retried { was, reason, .. }) => {
            let why = if reason == was.word() { String::new() } else { format!(" ({reason})") };
            output.say(&format!("{id} is ready again: it was {was}{why}"));
        }
    }
    Ok(())
}

impl Change {
    /// Changes each; what is refused does not keep the others from being changed.
    pub(super) fn run(&self, to: To, output: &Output) -> Outcome {
        block_on(async {
            let client = self.peer.client().await?;
            let mut exit = Exit::Done;
            for id in &self.ids {
                let changed = match to {
                    To::Cancelled => client.cancel(*id).await.map(|()| None),
                    To::Ready => client.retry(*id).await.map(Some),
                };
                match changed.map_err(Failure::from) {
                    Ok(retried) => tell(*id, retried, output)?,
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
