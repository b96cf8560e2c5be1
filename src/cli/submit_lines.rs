//! `ganger submit --lines`: one task for each line, pipelined.

use std::collections::VecDeque;

use serde_json::json;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

use super::exit::{Exit, Failure, Outcome};
use super::lines::Line;
use super::output::Output;
use super::watch::show_end;
use crate::client::{self, Client, Submission, Submitted};

/// Lines that are handed in together, if so many are there.
const TOGETHER: usize = 4096;

/// Tasks whose ends are waited for at once.
const WATCHED: usize = 4096;

/// Hands in a task for each line. Prints the ids, or the results, in the order of the lines.
///
/// # Errors
///
/// Those of stdin, of the output, and of the scheduler; a refused line does not keep those that were
/// read with it from being handed in, but ends the rest.
pub(super) async fn submit_lines(
    client: &Client,
    submission: &Submission,
    lines: Receiver<Line>,
    wait: bool,
    output: &Output,
) -> Outcome {
    match wait {
        true => submit_and_wait(client, submission, lines, output).await,
        false => submit(client, submission, lines, output).await,
    }
}

async fn submit(
    client: &Client,
    submission: &Submission,
    mut lines: Receiver<Line>,
    output: &Output,
) -> Outcome {
    let mut read = Vec::with_capacity(TOGETHER);
    let mut number = 0;
    while lines.recv_many(&mut read, TOGETHER).await > 0 {
        let together: Result<Vec<_>, _> = read
            .drain(..)
            .map(|line| line.map(|line| submission.clone().with_payload(line)))
            .collect();
        let together = together.map_err(|error| Failure::machine(error.to_string()))?;
        let mut first_failure = None;
        let mut ids = String::new();
        for submitted in client.submit_many(together).await {
            number += 1;
            match submitted {
                Ok(Submitted { id, .. }) if output.is_json() => {
                    ids.push_str(&json!({ "line": number, "id": id.to_string() }).to_string());
                    ids.push('\n');
                }
                Ok(Submitted { id, .. }) => {
                    ids.push_str(&id.to_string());
                    ids.push('\n');
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    let text = format!("line {number}: {}", failure.text);
                    first_failure.get_or_insert(Failure { text, ..failure });
                }
            }
        }
        output.data(ids.as_bytes())?;
        if let Some(failure) = first_failure {
            let hint =
                format!("of lines 1 to {number}, those whose ids were printed are tasks now");
            return Err(failure.hint(hint));
        }
    }
    Ok(Exit::Done)
}

type End = JoinHandle<Result<client::Outcome, client::Error>>;

async fn submit_and_wait(
    client: &Client,
    submission: &Submission,
    mut lines: Receiver<Line>,
    output: &Output,
) -> Outcome {
    let mut waiting: VecDeque<(usize, End)> = VecDeque::new();
    let mut worst = Exit::Done;
    let (mut number, mut is_over) = (0, false);
    loop {
        let room = waiting.len() < WATCHED;
        tokio::select! {
            biased;
            Some((number, ended)) = next_end(&mut waiting) => {
                let ended = ended.map_err(|error| {
                    let failure = Failure::from(error);
                    Failure { text: format!("line {number}: {}", failure.text), ..failure }
                })?;
                if show_end(ended, true, output)? != Exit::Done {
                    worst = Exit::TaskFailed;
                }
            }
            line = lines.recv(), if room && !is_over => match line {
                Some(line) => {
                    let line = line.map_err(|error| Failure::machine(error.to_string()))?;
                    number += 1;
                    let submit = client.submit(submission.clone().with_payload(line));
                    waiting.push_back((number, tokio::spawn(submit.watch())));
                }
                None => is_over = true,
            },
            else => return Ok(worst),
        }
    }
}

/// The end of the task that was handed in first; none if none is waited for.
async fn next_end(
    waiting: &mut VecDeque<(usize, End)>,
) -> Option<(usize, Result<client::Outcome, client::Error>)> {
    let (number, end) = waiting.front_mut()?;
    let ended = end.await.unwrap_or(Err(client::Error::Lost));
    let number = *number;
    waiting.pop_front();
    Some((number, ended))
}
