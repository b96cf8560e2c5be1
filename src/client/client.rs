//! The side that hands tasks in and asks for results.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::builder::Builder;
use super::courier::{CALLS_MAX, Call, Courier, Waiting};
use super::cron::Cron;
use super::error::Error;
use super::events::Events;
use super::link::{Address, Link};
use super::outcome::{Outcome, Retried, Status};
use super::patience::Patience;
use super::submission::Submission;
use super::submit::Submit;
use crate::message::{EventFilter, Purge, Request, TaskFilter, cron};
use crate::protocol::answer::{Accepted, Ended};
use crate::protocol::parse::{PAGE, PAGE_MAX};
use crate::protocol::put_request;
use crate::task::{State, TaskId};

/// A connection to a scheduler that hands tasks in and asks for results.
///
/// Clones are cheap and share the connection; any number of calls can be on their way at once, and
/// they are sent together. A lost connection is dialled anew. Calls that only ask (and submissions
/// with [`Submission::unique`]) are then made again unseen; others that were on their way fail with
/// [`Error::Lost`], because nobody can know whether they had their effect. A call that the scheduler
/// is too busy for is made again when the scheduler said, up to [`Builder::patience`].
///
/// ```
/// # use ganger::client::{Client, Failure, Submission, Task, Worker};
/// # use ganger::server::{Config, Server};
/// # let server = Server::start(Config {
/// #     listen: "127.0.0.1:0".parse().unwrap(),
/// #     store: "memory:".into(),
/// #     ..Config::default()
/// # }).unwrap();
/// # let addr = server.addr();
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let worker = Worker::builder(addr)
/// #     .handle("upper", |task: Task| async move {
/// #         Ok::<_, Failure>(task.payload().to_ascii_uppercase())
/// #     })
/// #     .build()?;
/// # tokio::spawn(worker.run());
/// let client = Client::connect(addr).await?;
///
/// // Durable once this returns; its result can be asked for later, by anybody.
/// let submitted = client.submit(Submission::new("upper", "hello")).await?;
/// let outcome = client.watch(submitted.id).await?;
/// assert_eq!(outcome.result()?, "HELLO");
///
/// // Both at once.
/// let outcome = client.submit(Submission::new("upper", "world")).watch().await?;
/// assert_eq!(outcome.result()?, "WORLD");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Client {
    calls: mpsc::Sender<Call>,
    /// The largest payload that the scheduler takes, in bytes.
    payload_max: Arc<AtomicU64>,
    patience: Duration,
    /// For connections beside the one that is shared.
    address: Arc<Address>,
}

impl Client {
    /// Connects to a scheduler at `host:port`, with the settings that [`Builder`] begins with.
    ///
    /// # Errors
    ///
    /// As [`Builder::connect`].
    pub async fn connect(addr: impl fmt::Display) -> Result<Self, Error> {
        Self::builder().connect(addr).await
    }

    /// For a client with a name, a token, other limits.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(super) async fn open(address: Address, patience: Duration) -> Result<Self, Error> {
        let (connection, welcome) = address.open().await?;
        let (calls, called) = mpsc::channel(CALLS_MAX);
        let payload_max = Arc::new(AtomicU64::new(welcome.payload_max));
        let link = Link::over(address.clone(), connection);
        tokio::spawn(Courier::new(link, called, patience, payload_max.clone()).run());
        Ok(Self { calls, payload_max, patience, address: Arc::new(address) })
    }

    /// Hands a task in. Await it for the task's id, once it is durable; or [`Submit::watch`] it for
    /// the task's end. Nothing happens before.
    pub fn submit(&self, submission: Submission) -> Submit {
        Submit::new(self.clone(), submission)
    }

    /// Waits for the end of a task, across lost connections and restarts of the scheduler.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `unknown-task` or `expired` if there is no such task, or no record of
    /// it any more.
    pub async fn watch(&self, id: TaskId) -> Result<Outcome, Error> {
        let frame = spelled(&Request::Watch(id))?;
        let mut patience = Patience::new(self.patience);
        loop {
            let (end, ended) = oneshot::channel();
            let error = match self.send(frame.clone(), Waiting::Watch(id, end)).await {
                Ok(()) => match end_of(ended).await {
                    Ok(ended) => return Ok(ended.into()),
                    // It was watched for who knows how long: patience begins anew.
                    Err(Error::Lost) => {
                        patience = Patience::new(self.patience);
                        Error::Lost
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            patience.bear(error, true).await?;
        }
    }

    /// What is known of a task: where it stands, and its result if it is done.
    ///
    /// # Errors
    ///
    /// As [`Client::watch`].
    pub async fn get(&self, id: TaskId) -> Result<Status, Error> {
        let accepted = self.ask(&Request::Get(id), true).await?;
        Status::read(&accepted)
    }

    /// Why a task stands where it stands, as JSON: what keeps it waiting, the most decisive first; or who
    /// has it and why that one; or how it ended. See EXPLAIN in protocol.md.
    ///
    /// # Errors
    ///
    /// As [`Client::watch`].
    pub async fn explain(&self, id: TaskId) -> Result<Value, Error> {
        self.list(&Request::Explain(id)).await
    }

    /// Ends a task that has not ended. Who watches it is told; a worker that runs it is told too, and
    /// whatever it answers is discarded.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `ended` if it has ended.
    pub async fn cancel(&self, id: TaskId) -> Result<(), Error> {
        self.ask(&Request::Cancel(id), false).await.map(drop)
    }

    /// Makes a dead or cancelled task ready again, with all its attempts before it, and returns what it
    /// was.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `running` if it has not ended, or its last run has not answered.
    pub async fn retry(&self, id: TaskId) -> Result<Retried, Error> {
        Retried::read(&self.ask(&Request::Retry(id), false).await?)
    }

    /// The queues, with their policies and counts, as JSON.
    ///
    /// # Errors
    ///
    /// As every call: refused, or no connection within the client's patience.
    pub async fn queues(&self) -> Result<Value, Error> {
        self.list(&Request::Queues).await
    }

    /// The workers, as JSON.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn workers(&self) -> Result<Value, Error> {
        self.list(&Request::Workers).await
    }

    /// A page of tasks, as JSON; `next` in it is the cursor of the next page, if there is one. A
    /// limit of 0 is the usual one.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<Value, Error> {
        let limit = if filter.limit == 0 { PAGE } else { filter.limit };
        self.list(&Request::Tasks(TaskFilter { limit, ..filter.clone() })).await
    }

    /// Counts, durations and costs, as JSON: all pages of them, each as of when it was asked for.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn stats(&self) -> Result<Value, Error> {
        let mut stats = self.stats_from(0).await?;
        while let Some(cursor) = stats.get("next").and_then(Value::as_u64) {
            let mut page = self.stats_from(cursor).await?;
            for section in ["kinds", "workers", "pairs"] {
                let rows = page.get_mut(section).and_then(Value::as_array_mut).map(std::mem::take);
                let all = stats.get_mut(section).and_then(Value::as_array_mut);
                if let (Some(all), Some(rows)) = (all, rows) {
                    all.extend(rows);
                }
            }
            if let Some(next) = stats.get_mut("next") {
                *next = page.get("next").cloned().unwrap_or_default();
            }
        }
        Ok(stats)
    }

    async fn stats_from(&self, cursor: u64) -> Result<Value, Error> {
        let limit = u32::try_from(PAGE_MAX).unwrap_or(u32::MAX);
        self.list(&Request::Stats { cursor, limit }).await
    }

    /// A queue's policies and counts, as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `unknown-queue`.
    pub async fn queue(&self, name: &str) -> Result<Value, Error> {
        self.list(&Request::Queue { name: name.to_owned(), policies: Vec::new() }).await
    }

    /// Sets policies of a queue, live and for good, and returns the queue as JSON:
    /// `&[("route", "hash"), ("spill", "500")]`. What policies there are, and their values, stands in
    /// protocol.md under QUEUE.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `bad-value` or `unknown-option`.
    pub async fn set_queue(&self, name: &str, policies: &[(&str, &str)]) -> Result<Value, Error> {
        let owned = |(policy, value): &(&str, &str)| ((*policy).to_owned(), (*value).to_owned());
        let policies = policies.iter().map(owned).collect();
        let accepted = self.ask(&Request::Queue { name: name.to_owned(), policies }, false).await?;
        json(&accepted)
    }

    /// Has no run of a queue begin until [`Client::resume`]; what runs goes on.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `unknown-queue`.
    pub async fn pause(&self, queue: &str) -> Result<(), Error> {
        let request = Request::Pause { name: queue.to_owned(), paused: true };
        self.ask(&request, true).await.map(drop)
    }

    /// Lets runs of a queue begin again.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `unknown-queue`.
    pub async fn resume(&self, queue: &str) -> Result<(), Error> {
        let request = Request::Pause { name: queue.to_owned(), paused: false };
        self.ask(&request, true).await.map(drop)
    }

    /// Clears a queue of its tasks in a state: dead and cancelled ones are forgotten, scheduled and
    /// ready ones cancelled. Returns how many there were.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `unknown-queue`, or `bad-value` for another state.
    pub async fn purge(&self, queue: &str, state: State) -> Result<u64, Error> {
        let (mut purged, mut cursor) = (0, 0);
        loop {
            let request = Request::Purge(Purge { queue: queue.to_owned(), state, cursor });
            let page = self.list(&request).await?;
            purged += page.get("purged").and_then(Value::as_u64).unwrap_or_default();
            match page.get("next").and_then(Value::as_u64) {
                Some(next) => cursor = next,
                None => return Ok(purged),
            }
        }
    }

    /// Gives a worker no further tasks; it finishes what it has and leaves.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `unknown-worker`.
    pub async fn drain(&self, worker: &str) -> Result<(), Error> {
        self.ask(&Request::Drain(worker.to_owned()), false).await.map(drop)
    }

    /// Adds a periodic task, or puts it in the place of the one of that name, and returns it as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `bad-value` for a schedule that is none or a zone that is unknown.
    pub async fn add_cron(&self, cron: &Cron) -> Result<Value, Error> {
        let mut frame = Vec::new();
        cron.put(self.payload_max(), &mut frame)?;
        json(&self.ask_spelled(frame.into(), true).await?)
    }

    /// All periodic tasks by name, as a JSON array.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn crons(&self) -> Result<Value, Error> {
        let (mut crons, mut cursor) = (Vec::new(), String::new());
        loop {
            let limit = u32::try_from(PAGE_MAX).unwrap_or(PAGE);
            let list = cron::Cron::List { cursor: std::mem::take(&mut cursor), limit };
            let mut page = self.list(&Request::Cron(list)).await?;
            if let Some(Value::Array(more)) = page.get_mut("crons").map(Value::take) {
                crons.extend(more);
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) => next.clone_into(&mut cursor),
                None => return Ok(crons.into()),
            }
        }
    }

    /// Removes a periodic task; tasks that it has fired stay.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `unknown-cron`.
    pub async fn remove_cron(&self, name: &str) -> Result<(), Error> {
        let request = Request::Cron(cron::Cron::Remove(name.to_owned()));
        self.ask(&request, false).await.map(drop)
    }

    /// Has a periodic task fire nothing until [`Client::resume_cron`].
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `unknown-cron`.
    pub async fn pause_cron(&self, name: &str) -> Result<(), Error> {
        let request = cron::Cron::Pause { name: name.to_owned(), paused: true };
        self.ask(&Request::Cron(request), true).await.map(drop)
    }

    /// Lets a periodic task fire again; what passed meanwhile does not count.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with `unknown-cron`.
    pub async fn resume_cron(&self, name: &str) -> Result<(), Error> {
        let request = cron::Cron::Pause { name: name.to_owned(), paused: false };
        self.ask(&Request::Cron(request), true).await.map(drop)
    }

    /// What happens to tasks, as it happens, over a connection of its own.
    ///
    /// # Errors
    ///
    /// As every call.
    pub async fn events(&self, filter: &EventFilter) -> Result<Events, Error> {
        Events::open((*self.address).clone(), filter.clone(), self.patience).await
    }

    async fn list(&self, request: &Request) -> Result<Value, Error> {
        json(&self.ask(request, true).await?)
    }

    async fn ask(&self, request: &Request, is_repeatable: bool) -> Result<Accepted, Error> {
        self.ask_spelled(spelled(request)?, is_repeatable).await
    }

    /// Sends one request until there is an answer to return.
    pub(super) async fn ask_spelled(
        &self,
        frame: Bytes,
        is_repeatable: bool,
    ) -> Result<Accepted, Error> {
        let mut patience = self.patience();
        loop {
            let (reply, replied) = oneshot::channel();
            self.send(frame.clone(), Waiting::Reply(reply)).await?;
            match replied.await.unwrap_or(Err(Error::Lost)) {
                Ok(accepted) => return Ok(accepted),
                Err(error) => patience.bear(error, is_repeatable).await?,
            }
        }
    }

    /// Hands requests to the courier; waits while it has too many.
    pub(super) async fn send(&self, frames: Bytes, waiting: Waiting) -> Result<(), Error> {
        // The courier goes after the last client, or with its runtime.
        self.calls.send(Call { frames, waiting }).await.map_err(|_| Error::Lost)
    }

    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.patience)
    }

    pub(super) fn payload_max(&self) -> u64 {
        self.payload_max.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Waits for a RESULT.
pub(super) async fn end_of(ended: oneshot::Receiver<Result<Ended, Error>>) -> Result<Ended, Error> {
    ended.await.unwrap_or(Err(Error::Lost))
}

fn spelled(request: &Request) -> Result<Bytes, Error> {
    let mut frame = Vec::with_capacity(64);
    put_request(request, &mut frame)?;
    Ok(frame.into())
}

fn json(accepted: &Accepted) -> Result<Value, Error> {
    let payload = accepted.payload().unwrap_or_default();
    serde_json::from_slice(&payload)
        .map_err(|error| Error::Protocol(format!("the list is no JSON: {error}")))
}
