//! What `ganger bench` is told.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use clap::{Args, ValueEnum};

use super::load::Shape;
use super::observer::Pace;
use super::payload::{LONGEST, NUMBER};
use crate::cli::{ranges, values};
use crate::message::{Order, Route};
use crate::protocol::parse::SLOTS;
use crate::store;

/// What numbers of connections and threads may be.
const U16: (u64, u64) = (1, 65_535);

/// The highest number of a process.
const PID_MAX: u64 = 4_294_967_295;

/// Measures a scheduler: how many tasks a second, how long one takes, and what it costs.
///
/// Without --connect, one is started for the purpose and ended afterwards. Every result is checked;
/// a wrong, missing or second one ends the benchmark with an error.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Measure the scheduler that listens there
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["store", "program"])]
    #[arg(value_parser = values::socket)]
    pub connect: Option<SocketAddr>,
    /// Count these processes as the scheduler of --connect: itself, its Redis
    #[arg(long, value_name = "PID", value_delimiter = ',', requires = "connect")]
    #[arg(value_parser = ranges::number::<u32>((1, PID_MAX)))]
    pub pid: Vec<u32>,
    /// The token to show
    #[arg(long, env = "GANGER_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// What the started scheduler keeps its tasks in: `memory:`, `file:` (in a temporary directory),
    /// `file:DIRECTORY`, `redis` (one started for the purpose), `redis://…`
    #[arg(long, default_value = "file:")]
    pub store: String,
    /// The program to start, if not this one
    #[arg(long, value_name = "FILE", hide = true)]
    pub program: Option<PathBuf>,
    /// What to measure
    #[arg(long, value_delimiter = ',', default_value = "e2e,submit,drain,serial,open")]
    pub phases: Vec<What>,
    /// Instead: memory of so many waiting tasks, and how long a restart with them takes
    #[arg(long, value_name = "TASKS", default_value_t = 0, conflicts_with = "phases")]
    #[arg(value_parser = ranges::number::<u64>(ranges::ANY))]
    pub queued: u64,
    /// Tasks of a throughput phase
    #[arg(short = 'n', long, default_value_t = 200_000, value_parser = ranges::number::<u64>(ranges::POSITIVE))]
    pub tasks: u64,
    /// Connections that submit
    #[arg(short, long, default_value_t = 4, value_parser = ranges::number::<u16>(U16))]
    pub clients: u16,
    /// Connections that do the tasks
    #[arg(short, long, default_value_t = 8, value_parser = ranges::number::<u16>(U16))]
    pub workers: u16,
    /// Unacknowledged submissions of a client
    #[arg(long, default_value_t = 512, value_parser = ranges::number::<u64>(ranges::POSITIVE))]
    pub window: u64,
    /// Tasks of a client that are not done, beyond which it submits no more; without, as many as there are
    #[arg(long, value_name = "TASKS", value_parser = ranges::number::<u64>(ranges::POSITIVE))]
    pub backlog: Option<u64>,
    /// Tasks that a worker holds at once
    #[arg(long, default_value_t = 64, value_parser = ranges::number::<u32>(SLOTS))]
    pub depth: u32,
    /// Bytes of a payload
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = ranges::number::<usize>(ranges::ANY))]
    pub payload: usize,
    /// Bytes of a result
    #[arg(long, value_name = "BYTES", default_value_t = 32, value_parser = ranges::number::<usize>(ranges::ANY))]
    pub result: usize,
    /// How long results are kept, in milliseconds; an hour unless given
    #[arg(long, value_name = "MS", value_parser = ranges::number::<u64>(ranges::ANY))]
    pub result_ttl: Option<u64>,
    /// In which order tasks are done, in a queue of their own: an order, like sjf, or `all`. Of several
    /// orders or routes, each with each is compared with fcfs and random, by throughput
    #[arg(long, value_name = "ORDER", value_delimiter = ',', value_parser = orders)]
    pub order: Vec<Orders>,
    /// How tasks find their workers, in a queue of their own: a route, like hash or least-loaded, or `all`
    #[arg(long, value_name = "ROUTE", value_delimiter = ',', value_parser = routes)]
    pub route: Vec<Routes>,
    /// Also compare fcfs and random while an observer follows all events
    #[arg(
        long = "observer",
        value_name = "PACE",
        value_delimiter = ',',
        conflicts_with = "connect"
    )]
    pub observers: Vec<Pace>,
    /// Rounds of a comparison
    #[arg(long, default_value_t = 5, value_parser = ranges::number::<u16>((1, 1000)))]
    pub rounds: u16,
    /// Give the tasks so many different keys, for hash and modulo; without, each counts for itself
    #[arg(long, default_value_t = 0, value_parser = ranges::number::<u64>(ranges::ANY))]
    pub keys: u64,
    /// Give each task a `unique=`
    #[arg(long)]
    pub unique: bool,
    /// Tasks of the serial latency phase
    #[arg(long, value_name = "TASKS", default_value_t = 5000)]
    #[arg(value_parser = ranges::number::<u64>(ranges::POSITIVE))]
    pub serial_tasks: u64,
    /// Tasks a second of the open latency phase
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    pub rate: f64,
    /// Tasks of the open latency phase
    #[arg(long, value_name = "TASKS", default_value_t = 10_000)]
    #[arg(value_parser = ranges::number::<u64>(ranges::POSITIVE))]
    pub open_tasks: u64,
    /// Threads of this program's load
    #[arg(long, default_value_t = 1, value_parser = ranges::number::<u16>(U16))]
    pub client_threads: u16,
    /// Seconds that a start and a phase may take
    #[arg(long, value_name = "S", default_value_t = 120)]
    #[arg(value_parser = ranges::number::<u64>(ranges::POSITIVE))]
    pub limit: u64,
}

/// All phases.
const WHOLE: &[What] = &[What::E2e, What::Submit, What::Drain, What::Serial, What::Open];

/// An order, or all of them.
#[derive(Clone, Debug)]
pub struct Orders(Vec<Order>);

/// A route, or all of them.
#[derive(Clone, Debug)]
pub struct Routes(Vec<Route>);

fn rate(text: &str) -> Result<f64, String> {
    let read = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    read.ok_or_else(|| "give a number above 0".to_owned())
}

fn orders(text: &str) -> Result<Orders, String> {
    one_or_all(text, &Order::ALL, Order::word).map(Orders)
}

fn routes(text: &str) -> Result<Routes, String> {
    one_or_all(text, &Route::ALL, Route::word).map(Routes)
}

fn one_or_all<T: Copy>(
    text: &str,
    all: &[T],
    word: fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    if text == "all" {
        return Ok(all.to_vec());
    }
    let one = all.iter().copied().find(|one| word(*one) == text);
    let words = || all.iter().map(|one| word(*one)).collect::<Vec<_>>().join(", ");
    one.map(|one| vec![one]).ok_or_else(|| format!("give all, or of {}", words()))
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Tasks a second from the first submission to the last result
    E2e,
    /// Tasks a second acknowledged, without any worker
    Submit,
    /// Tasks a second done of those, from the workers' dialling to the last result
    Drain,
    /// From submission to result, one task at a time
    Serial,
    /// From when a task was due to its result, at a fixed rate
    Open,
}

impl Options {
    /// Checks what clap cannot.
    ///
    /// # Errors
    ///
    /// A text that names the option and what it may be.
    pub fn check(&self) -> Result<()> {
        for (name, bytes) in [("payload", self.payload), ("result", self.result)] {
            let fits = (NUMBER..=LONGEST).contains(&bytes);
            ensure!(fits, "--{name} is {NUMBER} to {LONGEST} bytes: it begins with the number");
        }
        if !["file:", "redis"].contains(&&*self.store) {
            store::check_url(&self.store).map_err(|error| anyhow!("--store: {error}"))?;
        }
        let alone = self.queued == 0 && [WHOLE, &[What::E2e]].contains(&&*self.phases);
        ensure!(
            alone || !self.compares(),
            "several orders, routes or observers are compared by their round trips: \
             no --phases but e2e, and no --queued"
        );
        Ok(())
    }

    /// The orders that were given, each once.
    pub(super) fn orders(&self) -> Vec<Order> {
        let given: Vec<Order> = self.order.iter().flat_map(|orders| orders.0.clone()).collect();
        Order::ALL.into_iter().filter(|order| given.contains(order)).collect()
    }

    /// The routes that were given, each once.
    pub(super) fn routes(&self) -> Vec<Route> {
        let given: Vec<Route> = self.route.iter().flat_map(|routes| routes.0.clone()).collect();
        Route::ALL.into_iter().filter(|route| given.contains(route)).collect()
    }

    /// Whether policies are compared with each other.
    pub(super) fn compares(&self) -> bool {
        self.orders().len() > 1 || self.routes().len() > 1 || !self.observers.is_empty()
    }

    /// Whether something is to be measured.
    pub(super) fn has(&self, what: What) -> bool {
        self.queued == 0 && self.phases.contains(&what)
    }

    /// What the tasks have in common. In a scheduler that others use, too, their kind is that of no
    /// other run, so that nobody does anyone else's tasks.
    pub(super) fn shape(&self) -> Shape {
        let kind = match self.connect {
            None => "bench".to_owned(),
            Some(_) => format!("bench-{}-{}", std::process::id(), crate::server::clock::wall_ms()),
        };
        let orders = self.orders();
        let has_policy = !orders.is_empty() || !self.route.is_empty() || self.compares();
        Shape {
            queue: has_policy.then(|| kind.clone()),
            orders,
            backlog: self.backlog,
            kind,
            keys: self.keys,
            unique: self.unique,
            result_ttl_ms: self.result_ttl,
            payload: self.payload,
            result: self.result,
            token: self.token.clone(),
        }
    }
}
