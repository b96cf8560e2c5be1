//! `ganger explain`.

use clap::Args;
use serde_json::Value;

use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::picture::{list, text};
use super::table::{Cell, visible};
use crate::task::TaskId;

/// Tells why tasks wait, the most decisive reason first; or who has them and why; or how they ended.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The tasks
    #[arg(required = true, value_name = "TASK")]
    ids: Vec<TaskId>,

    #[command(flatten)]
    peer: PeerSettings,
}

impl Explain {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let client = self.peer.client().await?;
            for (place, id) in self.ids.iter().enumerate() {
                let explained = client.explain(*id).await.map_err(|error| {
                    let failure = Failure::from(error);
                    Failure { text: format!("{id}: {}", failure.text), ..failure }
                })?;
                if output.is_json() {
                    output.json(&explained)?;
                    continue;
                }
                if place > 0 {
                    output.line("")?;
                }
                show(&explained, output)?;
            }
            Ok(Exit::Done)
        })
    }
}

fn show(explained: &Value, output: &Output) -> Result<(), Failure> {
    let told = |name| text(explained, name).0;
    let whose = match explained.get("kind") {
        Some(_) => format!(", kind {}, queue {}", told("kind"), told("queue")),
        None => String::new(),
    };
    output.line(&visible(&format!("{} is {}{whose}:", told("id"), told("state"))))?;
    for reason in list(explained, "reasons") {
        let Cell(reason, _) = text(reason, "text");
        output.line(&format!("  {}", visible(&reason)))?;
    }
    Ok(())
}
