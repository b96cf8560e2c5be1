//! `ganger queue`.

use clap::Args;
use serde_json::Value;

use super::exit::{Exit, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::queues;
use super::ranges::{self, Limit};
use super::values;
use crate::message::Policy;

/// Shows a queue, after setting those policies that are given.
#[derive(Debug, Args)]
pub(super) struct Queue {
    /// The queue
    #[arg(value_parser = values::name)]
    queue: String,

    /// Policies to set, for good and at once: order=fcfs|sjf|priority|deadline, aging=, alpha=,
    /// route=weighted-random|random|weighted-round-robin|round-robin|least-loaded|fastest|hash|modulo,
    /// spill=DURATION|none, weight=, limit=N|none, key-limit=N|none, rate=PER-SECOND|none,
    /// paused=yes|no
    #[arg(value_name = "POLICY=VALUE", value_parser = policy)]
    policies: Vec<(String, String)>,

    #[command(flatten)]
    peer: PeerSettings,
}

impl Queue {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        block_on(async {
            let client = self.peer.client().await?;
            let policies = self.policies.iter();
            let policies: Vec<_> = policies.map(|(name, value)| (&**name, &**value)).collect();
            let queue: Value = match policies.is_empty() {
                true => client.queue(&self.queue).await?,
                false => client.set_queue(&self.queue, &policies).await?,
            };
            if output.is_json() {
                output.json(&queue)?;
            } else {
                output.table(&queues::table(std::slice::from_ref(&queue)), "")?;
            }
            Ok(Exit::Done)
        })
    }
}

/// Reads `name=value`; a duration with a unit becomes milliseconds.
fn policy(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| format!("{text:?} is no policy: give NAME=VALUE, like route=hash"))?;
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit());
    let value = match name {
        "spill" if !is_plain => match ranges::limit(Policy::SPILL_MS)(value)? {
            Limit(Some(duration)) => duration.as_millis().to_string(),
            Limit(None) => value.to_owned(),
        },
        _ => value.to_owned(),
    };
    Policy::default().set(name, &value).map_err(|refusal| refusal.text)?;
    Ok((name.to_owned(), value))
}
