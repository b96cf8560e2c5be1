//! `ganger watch`, and showing how a task ended.

use clap::Args;
use serde_json::{Map, Value};

use super::exit::{Exit, Failure, Outcome};
use super::output::{Output, json_bytes};
use super::peer::{PeerSettings, block_on};
use crate::client::{self, NotDone};
use crate::task::TaskId;

/// Waits for tasks to end and prints their results, in the order given.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// The tasks
    #[arg(required = true, value_name = "TASK")]
    ids: Vec<TaskId>,

    #[command(flatten)]
    peer: PeerSettings,
}

impl Watch {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let client = self.peer.client().await?;
            let mut worst = Exit::Done;
            for id in &self.ids {
                let ended = client.watch(*id).await.map_err(|error| {
                    let failure = Failure::from(error);
                    Failure { text: format!("{id}: {}", failure.text), ..failure }
                })?;
                if show_end(ended, self.ids.len() > 1, output)? != Exit::Done {
                    worst = Exit::TaskFailed;
                }
            }
            Ok(worst)
        })
    }
}

/// Prints a result, one of many with a line feed behind it; says so if there is none.
///
/// # Errors
///
/// As [`Output::data`].
pub(super) fn show_end(ended: client::Outcome, of_many: bool, output: &Output) -> Outcome {
    if output.is_json() {
        let exit = exit_of(&ended);
        output.json(&Value::Object(json_end(&ended)))?;
        return Ok(exit);
    }
    match ended.result() {
        Ok(result) => {
            output.result(&result, of_many)?;
            Ok(Exit::Done)
        }
        Err(not_done) => {
            output.say(&text_of(&not_done));
            Ok(Exit::TaskFailed)
        }
    }
}

fn exit_of(ended: &client::Outcome) -> Exit {
    match ended {
        client::Outcome::Done { .. } => Exit::Done,
        _ => Exit::TaskFailed,
    }
}

fn text_of(not_done: &NotDone) -> String {
    super::table::visible(not_done.to_string().trim_end())
}

/// How a task ended, for programs.
pub(super) fn json_end(ended: &client::Outcome) -> Map<String, Value> {
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
    set("id", ended.id().to_string().into());
    match ended {
        client::Outcome::Done { result, attempt, worker, ms, .. } => {
            set("state", "done".into());
            set("attempt", (*attempt).into());
            set("worker", worker.clone().into());
            set("ms", (*ms).into());
            json_bytes("result", result, &mut object);
        }
        client::Outcome::Dead { reason, error, attempt, used, .. } => {
            set("state", "dead".into());
            set("reason", reason.clone().into());
            set("attempt", (*attempt).into());
            set("used", (*used).into());
            json_bytes("error", error, &mut object);
        }
        client::Outcome::Cancelled { reason, .. } => {
            set("state", "cancelled".into());
            set("reason", reason.clone().into());
        }
    }
    object
}
