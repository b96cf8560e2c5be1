//! `ganger bench`: how many tasks a second a scheduler does, how long one takes, what it costs.
//!
//! The load is made of raw connections that speak the protocol with as little work as possible, so
//! that the figures are those of the scheduler: clients that keep a window of unacknowledged
//! submissions open, and workers with many slots whose tasks are done at once. A task is done when
//! its RESULT is back at the client that submitted it.
//!
//! Nothing is believed: each payload must reach a worker whole and once, each result must be that of
//! the task with the identifier that was acknowledged for it, and come once. What is not so ends the
//! run with an error, as does a phase that does not end in time.
//!
//! | figure | meaning |
//! |---|---|
//! | `e2e_tps` | tasks a second, from the first submission to the last result |
//! | `submit_tps` | the same tasks, acknowledged while no worker is there |
//! | `drain_tps` | those tasks, from when workers dial until the last result |
//! | `serial_us` | from submission to result, one task at a time, workers idle |
//! | `open_us` | from when a task was due to its result, at a fixed rate |
//! | `server_cpu_s_per_100k` | CPU time of the scheduler and its Redis in `e2e` |
//! | `server_cores`, `client_cores` | CPU time by time, of the scheduler and of the load, in `e2e` |
//! | `peak_rss_mb` | the most memory that the scheduler had in `e2e` |
//! | `foreign_cores` | what other programs had of the machine: noise |
//! | `rss_per_task`, `disk_per_task` | growth from the drained to the filled scheduler |
//! | `policies` | of each order and route: its `e2e_tps`, and what share that and its CPU time are of those of `fcfs` + `random` |
//! | `restart_s` | from the start after a kill until STATS counts every task |
//!
//! - `options`: what it is told. `report`: what it prints.
//! - `scheduler`, `process`, `scratch`: what is measured. `usage`: its CPU time and memory.
//! - `phases`, `queued`, `compare`: what is done in which order. `run`: one phase.
//! - `load`: what connections share; `submitter`, `open`, `worker`, `observer`: connections; `link`: their
//!   bytes.
//! - `payload`: how a result tells whose it is.

mod compare;
mod link;
mod load;
mod observer;
mod open;
mod options;
mod payload;
mod phases;
mod process;
mod queued;
mod report;
mod run;
mod scheduler;
mod scratch;
mod submitter;
mod usage;
mod worker;

use std::io::{Write, stdout};

use anyhow::{Context, Result, bail};
use tokio::runtime::Builder;

pub use self::observer::Pace;
pub use self::options::{Options, Orders, Routes, What};
pub use self::report::Report;

use self::compare::compare;
use self::link::{Refused, Unreachable};
use self::phases::Bench;
use self::scheduler::Scheduler;
use super::exit::Exit;
use super::signals::{Signals, Told};
use crate::message::{Order, Route};

/// Measures, and prints the figures: a table, or one line of JSON.
///
/// # Errors
///
/// As [`measure`], and those of stdout.
pub fn run(options: &Options, json: bool) -> Result<()> {
    let report = measure(options)?;
    let text = if json { format!("{}\n", report.json()) } else { report.text() };
    Ok(stdout().lock().write_all(text.as_bytes())?)
}

/// The code to end with after an error.
pub(super) fn exit_of(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<Unreachable>().is_some() {
        Exit::Unreachable
    } else if error.downcast_ref::<Refused>().is_some() {
        Exit::Refused
    } else {
        Exit::Machine
    }
}

/// Measures.
///
/// # Errors
///
/// What kept the scheduler from starting, or what was wrong with its answers.
pub fn measure(options: &Options) -> Result<Report> {
    options.check()?;
    let mut builder = match options.client_threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(usize::from(options.client_threads)).enable_all();
    let runtime = builder.build().context("starting the runtime")?;
    runtime.block_on(async {
        // Whatever ends the run, what was started for it is ended, too: signals are caught before.
        let mut signals = Signals::catch()?;
        tokio::select! {
            report = all(options) => report,
            told = signals.next() => match told {
                Told::Interrupt => bail!("interrupted"),
                Told::Terminate => bail!("told to end"),
            },
        }
    })
}

async fn all(options: &Options) -> Result<Report> {
    let scheduler = Scheduler::start(options).await?;
    let mut bench = Bench { scheduler, options, shape: options.shape() };
    let mut report = Report::default();
    describe(options, &mut report);
    if options.compares() {
        compare(&bench, &mut report).await?;
        return Ok(report);
    }
    let policy = (options.orders().first().copied(), options.routes().first().copied());
    if policy != (None, None) {
        bench.scheduler.set_policy(&bench.shape, policy).await?;
    }
    if options.queued > 0 {
        bench.queued(&mut report).await?;
    } else {
        bench.phases(&mut report).await?;
    }
    Ok(report)
}

/// What the figures were taken with.
fn describe(options: &Options, report: &mut Report) {
    let store = options.connect.map_or(options.store.clone(), |addr| addr.to_string());
    let kind = match options {
        _ if options.compares() => "policies",
        _ if options.queued > 0 => "queued",
        _ => "phases",
    };
    report.set("kind", kind);
    report.set("version", env!("CARGO_PKG_VERSION"));
    report.set("store", store);
    report.set("tasks", if options.queued > 0 { options.queued } else { options.tasks });
    report.set("clients", options.clients);
    report.set("workers", options.workers);
    report.set("window", options.window);
    report.set("backlog", options.backlog);
    report.set("depth", options.depth);
    report.set("payload", options.payload);
    report.set("result", options.result);
    report.set("client_threads", options.client_threads);
    let orders: Vec<&str> = options.orders().into_iter().map(Order::word).collect();
    let routes: Vec<&str> = options.routes().into_iter().map(Route::word).collect();
    report.set("order", Some(orders.join(",")).filter(|words| !words.is_empty()));
    report.set("route", Some(routes.join(",")).filter(|words| !words.is_empty()));
    report.set("keys", options.keys);
    report.set("unique", options.unique);
}
