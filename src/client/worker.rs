//! The side that executes tasks.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::builder::{CONNECT_TIMEOUT, hello};
use super::error::Error;
use super::failure::Failure;
use super::handler::{Start, start, start_blocking};
use super::link::Address;
use super::session::Session;
use super::submission::ms;
use super::task::Task;
use crate::message::{Code, Refusal, Role};
use crate::protocol::{VERSIONS, put_hello};
use crate::route::Weight;

/// The announced period of life signs by default, in milliseconds.
const HEARTBEAT_MS: u64 = 15_000;

/// Executes tasks: connects to a scheduler, is pushed tasks, and answers with what the handlers of
/// their kinds make of them.
///
/// Handlers run as async tasks of their own, as many at once as the worker has slots; those that
/// block or compute for long are registered with [`WorkerBuilder::handle_blocking`], so that the
/// runtime's threads stay free and the worker shows that it is alive. A handler's panic is a failure
/// of its task.
///
/// A lost connection is dialled anew for as long as it takes, or as [`WorkerBuilder::patience`] says.
/// Runs go on meanwhile, and their answers
/// are kept until the scheduler has acknowledged them; a run is not begun again as long as the
/// scheduler keeps the worker's session.
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
/// let worker = Worker::builder(addr)
///     .name("adder-1")
///     .slots(8)
///     .handle("add", |task: Task| async move {
///         let payload = task.payload();
///         let numbers = std::str::from_utf8(&payload)?.split(' ');
///         let sum: u64 = numbers.map(str::parse::<u64>).sum::<Result<_, _>>()?;
///         Ok::<_, Failure>(sum.to_string())
///     })
///     .build()?;
/// let stopper = worker.stopper();
/// let running = tokio::spawn(worker.run());
///
/// let client = Client::connect(addr).await?;
/// let outcome = client.submit(Submission::new("add", "1 2 39")).watch().await?;
/// assert_eq!(outcome.result()?, "42");
///
/// stopper.stop(std::time::Duration::from_secs(10));
/// running.await??;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a worker does nothing until it is run"]
pub struct Worker {
    address: Address,
    patience: Duration,
    handlers: Handlers,
    stopper: Stopper,
}

impl Worker {
    /// For a worker of the scheduler at `host:port`.
    pub fn builder(addr: impl fmt::Display) -> WorkerBuilder {
        WorkerBuilder::new(addr.to_string())
    }

    /// What ends the worker in good order; to be taken before [`Worker::run`].
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Works until it is stopped, drained or superseded. A scheduler that is not there is waited for.
    ///
    /// Dropping the future stops the async handlers where they await; the scheduler then gives their
    /// tasks to others after a grace period.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the scheduler does not want this worker: its token, its name, its
    /// settings or its version of the protocol. [`Error::Io`] if there was no connection for longer
    /// than its patience.
    pub async fn run(self) -> Result<Stopped, Error> {
        let mut orders = self.stopper.orders.subscribe();
        // One that was given before counts, too.
        orders.mark_changed();
        // The session holds a stopper too, so that orders can always come.
        let Self { address, patience, handlers, stopper } = self;
        Session::new(address, patience, handlers, stopper, orders).run().await
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.address.hello.name).finish_non_exhaustive()
    }
}

/// Why a worker's run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// [`Stopper::stop`] was called.
    Asked,
    /// An operator drained the worker.
    Drained,
    /// Another worker has come under the same name.
    Superseded,
}

/// Ends a worker in good order; clones end the same one.
#[derive(Clone, Debug)]
pub struct Stopper {
    orders: watch::Sender<Option<Duration>>,
}

impl Stopper {
    /// Has the worker take nothing new, finish what it runs, say BYE and return from
    /// [`Worker::run`]. What has not finished within the limit is stopped where it awaits, and its
    /// tasks go back to the scheduler at once, without using up an attempt.
    pub fn stop(&self, limit: Duration) {
        self.orders.send_replace(Some(limit));
    }
}

/// What a worker does for which kind.
#[derive(Default)]
pub(super) struct Handlers {
    by_kind: HashMap<String, Start>,
    any: Option<Start>,
}

impl Handlers {
    pub(super) fn of(&self, kind: &str) -> Option<&Start> {
        self.by_kind.get(kind).or(self.any.as_ref())
    }
}

/// Settings of a [`Worker`]; made by [`Worker::builder`].
#[must_use = "nothing happens before `build` and `run`"]
pub struct WorkerBuilder {
    address: Address,
    patience: Duration,
    kinds: BTreeSet<String>,
    handlers: Handlers,
}

impl WorkerBuilder {
    fn new(addr: String) -> Self {
        let mut hello = hello(Role::Worker);
        hello.heartbeat_ms = Some(HEARTBEAT_MS);
        hello.name = default_name(&hello.host, hello.pid);
        let address = Address { addr, hello, connect_timeout: CONNECT_TIMEOUT };
        let (kinds, handlers) = (BTreeSet::new(), Handlers::default());
        Self { address, patience: Duration::MAX, kinds, handlers }
    }

    /// Its name: 1 to 128 characters of `A-Z a-z 0-9 . _ / -`; host and process id by default. Routing
    /// by key goes by names, so a name that outlives the process keeps a worker its keys.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.address.hello.name = name.into();
        self
    }

    /// How many tasks it runs at once: 1 to 65535, 1 by default.
    pub fn slots(mut self, slots: u32) -> Self {
        self.address.hello.slots = slots;
        self
    }

    /// Its share of the tasks under the weighted routes.
    pub fn weight(mut self, weight: Weight) -> Self {
        self.address.hello.weight = weight;
        self
    }

    /// The queues it serves; every queue by default.
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.address.hello.queues = Some(queues.into_iter().map(Q::into).collect());
        self
    }

    /// Its tags.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.address.hello.tags = tags.into_iter().map(T::into).collect();
        self
    }

    /// What it has for tasks that take up amounts of it: 1 to 8 names with amounts from 1 to 10¹².
    pub fn res<N: Into<String>>(mut self, amounts: impl IntoIterator<Item = (N, u64)>) -> Self {
        let amounts = amounts.into_iter().map(|(name, amount)| (name.into(), amount));
        self.address.hello.res = amounts.collect();
        self
    }

    /// What an hour of its time costs, for the scheduler's statistics.
    pub fn price(mut self, price: f64) -> Self {
        self.address.hello.price = price;
        self
    }

    /// The secret that grants what the worker may do.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.address.hello.token = Some(token.into());
        self
    }

    /// How soon the scheduler is to wonder whether a silent worker is alive; 1 to 60 s, 15 s by
    /// default. It takes the worker for lost after twice as long.
    pub fn heartbeat(mut self, period: Duration) -> Self {
        self.address.hello.heartbeat_ms = Some(ms(period));
        self
    }

    /// How long connecting and HELLO may take together; 5 s by default.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.address.connect_timeout = limit;
        self
    }

    /// How long the worker dials a scheduler that is not there, at first or after a lost connection,
    /// before it gives up, and its runs with it; [`Duration::MAX`], for ever, by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What to do with tasks of a kind. The handler gets the [`Task`] and returns the result's bytes,
    /// or an error that becomes a [`Failure`].
    pub fn handle<H, F, R, E>(mut self, kind: impl Into<String>, handler: H) -> Self
    where
        H: Fn(Task) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R, E>> + Send,
        R: Into<Bytes>,
        E: Into<Failure>,
    {
        self.handlers.by_kind.insert(kind.into(), start(handler));
        self
    }

    /// As [`WorkerBuilder::handle`], for handlers that block or compute for long: they run on threads
    /// that are there for it. Such a handler cannot be stopped from outside; it may look at
    /// [`Task::is_cancelled`].
    pub fn handle_blocking<H, R, E>(mut self, kind: impl Into<String>, handler: H) -> Self
    where
        H: Fn(Task) -> Result<R, E> + Send + Sync + 'static,
        R: Into<Bytes>,
        E: Into<Failure>,
    {
        self.handlers.by_kind.insert(kind.into(), start_blocking(handler));
        self
    }

    /// What to do with tasks of all other kinds; of all kinds there are, unless
    /// [`WorkerBuilder::kinds`] are named.
    pub fn handle_any<H, F, R, E>(mut self, handler: H) -> Self
    where
        H: Fn(Task) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R, E>> + Send,
        R: Into<Bytes>,
        E: Into<Failure>,
    {
        self.handlers.any = Some(start(handler));
        self
    }

    /// The kinds that [`WorkerBuilder::handle_any`] is for.
    pub fn kinds<K: Into<String>>(mut self, kinds: impl IntoIterator<Item = K>) -> Self {
        self.kinds = kinds.into_iter().map(K::into).collect();
        self
    }

    /// The worker, ready to run.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it has no handler, or a name or text that no frame can hold. Numbers out
    /// of range are refused by the scheduler.
    pub fn build(mut self) -> Result<Worker, Error> {
        if self.handlers.any.is_none() && self.handlers.by_kind.is_empty() {
            return Err(Refusal::new(Code::BadHello, "a worker without any handler").into());
        }
        let hello = &mut self.address.hello;
        let is_any = self.handlers.any.is_some();
        let kinds = if is_any { self.kinds } else { BTreeSet::new() };
        hello.kinds = match is_any && kinds.is_empty() {
            true => None,
            false => {
                let handled = self.handlers.by_kind.keys().cloned();
                Some(handled.chain(kinds).collect::<BTreeSet<_>>().into_iter().collect())
            }
        };
        put_hello(VERSIONS, hello, &mut Vec::new())?;
        let stopper = Stopper { orders: watch::Sender::new(None) };
        let Self { address, patience, handlers, .. } = self;
        Ok(Worker { address, patience, handlers, stopper })
    }
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.address.hello.name;
        f.debug_struct("WorkerBuilder").field("name", name).finish_non_exhaustive()
    }
}

/// Host and process id, as far as a name can hold them.
fn default_name(host: &str, pid: u64) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._/-".contains(c) { c } else { '-' };
    let host: String = host.chars().map(plain).take(100).collect();
    format!("{host}-{pid}")
}
