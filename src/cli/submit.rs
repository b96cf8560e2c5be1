//! `ganger submit`.

use std::io::Read;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::lines::read_stdin;
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::ranges::{self, Bound, Limit};
use super::submit_lines::submit_lines;
use super::values;
use super::watch::show_end;
use crate::client::{AfterFailure, Client, Submission, Submitted};
use crate::frame::Decimal;
use crate::protocol::submit;
use crate::task::TaskId;

/// Hands in tasks and prints their ids, or with --wait their results.
#[derive(Debug, Args)]
pub(super) struct Submit {
    /// What the tasks are
    #[arg(value_parser = values::name)]
    kind: String,

    /// What to work on; `-` reads it from stdin
    payload: Option<String>,

    /// One task for each line of stdin
    #[arg(long, conflicts_with_all = ["payload", "unique"])]
    lines: bool,

    /// Wait for the ends and print the results, in the order of submission
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    options: Options,

    #[command(flatten)]
    once: Once,

    #[command(flatten)]
    peer: PeerSettings,
}

/// How a task is to be treated.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of the task")]
pub(super) struct Options {
    /// Queue it waits in [default: default]
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    queue: Option<String>,

    /// What it belongs to: queues can route by it
    #[arg(long, value_name = "TEXT", value_parser = values::text)]
    key: Option<String>,

    /// Run those of its key one after another
    #[arg(long, requires = "key", conflicts_with = "priority")]
    serial: bool,

    /// Tags that its worker must have
    #[arg(long, value_name = "TAGS", value_delimiter = ',', value_parser = values::name)]
    needs: Vec<String>,

    /// What it takes up of its worker while it runs: cpu:4,mem:8000
    #[arg(long, value_name = "AMOUNTS", value_delimiter = ',', value_parser = values::amount)]
    res: Vec<(String, u64)>,

    /// Cancel it so long after submission unless it was begun
    #[arg(long, value_name = "DURATION", value_parser = ranges::duration(submit::DURATION_MS))]
    expires: Option<Duration>,

    /// Let an attempt fail after so long without a sign of progress [default: none]
    #[arg(long, value_name = "DURATION", value_parser = ranges::limit(submit::DURATION_MS))]
    timeout: Option<Limit>,

    /// Let an attempt fail after so long [default: none]
    #[arg(long, value_name = "DURATION", value_parser = ranges::limit(submit::DURATION_MS))]
    max_run: Option<Limit>,

    /// So many failures make it dead; or `none` [default: 20]
    #[arg(long, value_name = "N", value_parser = ranges::number_or_none(submit::ATTEMPTS))]
    attempts: Option<Bound>,

    /// Pause after the first failure; it doubles with each [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = ranges::duration(submit::BACKOFF_MS))]
    backoff: Option<Duration>,

    /// Keep the result so long [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = ranges::duration(submit::KEEP_MS))]
    result_ttl: Option<Duration>,

    /// In a queue ordered by priority: the highest comes first
    #[arg(long, value_name = "NUMBER", value_parser = ranges::decimal(submit::PRIORITY_RANGE))]
    #[arg(conflicts_with_all = ["weight", "resource"])]
    priority: Option<Decimal>,

    /// In a queue ordered by priority, without --priority: it is weight * time / resource [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = ranges::decimal(submit::PRIORITY_RANGE))]
    weight: Option<Decimal>,

    /// How long it will take [default: what is measured of its kind]
    #[arg(long, value_name = "DURATION", value_parser = ranges::duration(submit::DURATION_MS))]
    time: Option<Duration>,

    /// See --weight [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = ranges::decimal(submit::RESOURCE_RANGE))]
    resource: Option<Decimal>,

    /// Text for tracing, handed on to the worker
    #[arg(long, value_name = "TEXT", value_parser = values::text)]
    trace: Option<String>,
}

/// What only a task that is handed in once can have.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of the task")]
struct Once {
    /// Tasks that must be done before
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    after: Vec<TaskId>,

    /// If one of --after is dead or cancelled: wait for its retry, cancel, or run [default: wait]
    #[arg(long, value_name = "WHAT", value_parser = after_failure, requires = "after")]
    after_failure: Option<AfterFailure>,

    /// Start no sooner than so long after submission
    #[arg(long, value_name = "DURATION", value_parser = ranges::duration(submit::DELAY_MS))]
    #[arg(conflicts_with = "at")]
    delay: Option<Duration>,

    /// Start no sooner than at a time: 2031-05-09T08:30:00Z, or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = ranges::time)]
    at: Option<u64>,

    /// At most one unended task of the queue bears this text
    #[arg(long, value_name = "TEXT", value_parser = values::text)]
    unique: Option<String>,

    /// Hold --unique so long after the end [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = ranges::duration(submit::KEEP_MS))]
    #[arg(requires = "unique")]
    unique_for: Option<Duration>,
}

fn after_failure(text: &str) -> Result<AfterFailure, String> {
    AfterFailure::parse(text).ok_or_else(|| "give wait, cancel or run".to_owned())
}

impl Submit {
    pub(super) fn run(self, output: &Output) -> Outcome {
        block_on(async {
            let submission = self.once.submission(self.options.submission(self.kind));
            if self.lines {
                let client = self.peer.client().await?;
                return submit_lines(&client, &submission, read_stdin(b'\n'), self.wait, output)
                    .await;
            }
            let payload = payload(self.payload)?;
            let client = self.peer.client().await?;
            submit_one(&client, submission.with_payload(payload), self.wait, output).await
        })
    }
}

async fn submit_one(
    client: &Client,
    submission: Submission,
    wait: bool,
    output: &Output,
) -> Outcome {
    if wait {
        let ended = client.submit(submission).watch().await?;
        return show_end(ended, false, output);
    }
    let Submitted { id, duplicate } = client.submit(submission).await?;
    if output.is_json() {
        output.json(&json!({ "id": id.to_string(), "duplicate": duplicate }))?;
    } else {
        output.line(&id.to_string())?;
        if duplicate {
            output.say("a task with this --unique was there already; this is its id");
        }
    }
    Ok(Exit::Done)
}

/// What is given, or all of stdin.
///
/// # Errors
///
/// [`Exit::Machine`] if stdin cannot be read.
pub(super) fn payload(given: Option<String>) -> Result<Bytes, Failure> {
    match given {
        Some(text) if text == "-" => {
            let mut payload = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut payload);
            read.map_err(|error| Failure::machine(format!("stdin cannot be read: {error}")))?;
            Ok(payload.into())
        }
        Some(text) => Ok(text.into()),
        None => Ok(Bytes::new()),
    }
}

impl Options {
    /// The submission without its payload.
    pub(super) fn submission(self, kind: String) -> Submission {
        let some = Submission::new(kind, Bytes::new());
        let some = set(some, self.queue, Submission::queue);
        let some = set(some, self.key, Submission::key);
        let some = if self.serial { some.serial() } else { some };
        let some = some.needs(self.needs).res(self.res);
        let some = set(some, self.expires, Submission::expires);
        // None is what the scheduler takes when nothing is said.
        let some = set(some, self.timeout.and_then(|limit| limit.0), Submission::timeout);
        let some = set(some, self.max_run.and_then(|limit| limit.0), Submission::max_run);
        let some = match self.attempts {
            None => some,
            Some(Bound(Some(bound))) => some.attempts(bound),
            Some(Bound(None)) => some.attempts_unlimited(),
        };
        let some = set(some, self.backoff, Submission::backoff);
        let some = set(some, self.result_ttl, Submission::result_ttl);
        let some = set(some, self.priority, Submission::priority);
        let some = set(some, self.weight, Submission::weight);
        let some = set(some, self.time, Submission::time);
        let some = set(some, self.resource, Submission::resource);
        set(some, self.trace, Submission::trace)
    }
}

impl Once {
    fn submission(self, some: Submission) -> Submission {
        let some = some.after(self.after);
        let some = set(some, self.after_failure, Submission::after_failure);
        let some = set(some, self.delay, Submission::delay);
        let at = self.at.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        let some = set(some, at, Submission::at);
        let some = set(some, self.unique, Submission::unique);
        set(some, self.unique_for, Submission::unique_for)
    }
}

/// Sets an option that is given.
fn set<T>(some: Submission, value: Option<T>, set: fn(Submission, T) -> Submission) -> Submission {
    match value {
        Some(value) => set(some, value),
        None => some,
    }
}
