//! `ganger drain`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::picture::list;
use super::values;
use crate::client::Client;

/// How often the list of workers is looked at while one drains.
const LOOK: Duration = Duration::from_millis(100);

/// Gives a worker nothing new; returns when it has finished what it has, and left.
#[derive(Debug, Args)]
pub(super) struct Drain {
    /// The worker's name
    #[arg(value_name = "WORKER", value_parser = values::name)]
    drained: String,

    /// Return at once, while the worker finishes
    #[arg(long)]
    no_wait: bool,

    #[command(flatten)]
    peer: PeerSettings,
}

impl Drain {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let client = self.peer.client().await?;
            // The sessions that leave: another worker may come under the same name meanwhile.
            let sessions = self.sessions(&client).await?;
            client.drain(&self.drained).await?;
            output.say(&format!("{} gets nothing new", self.drained));
            if !self.no_wait {
                self.wait(&client, &sessions).await?;
                output.say(&format!("{} has finished and left", self.drained));
            }
            if output.is_json() {
                output.json(&json!({ "worker": self.drained, "left": !self.no_wait }))?;
            }
            Ok(Exit::Done)
        })
    }

    async fn wait(&self, client: &Client, sessions: &[String]) -> Result<(), Failure> {
        loop {
            let left = self.sessions(client).await?;
            if !left.iter().any(|session| sessions.contains(session)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn sessions(&self, client: &Client) -> Result<Vec<String>, Failure> {
        let workers = client.workers().await?;
        let named = list(&workers, "workers")
            .iter()
            .filter(|worker| worker.get("name").and_then(Value::as_str) == Some(&self.drained));
        let sessions = named.filter_map(|worker| Some(worker.get("session")?.as_str()?.to_owned()));
        Ok(sessions.collect())
    }
}
