//! One phase: its connections, its clock, and what it took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::link::Link;
use super::load::{Board, Phase, Shape, now};
use super::open::{self, Rate};
use super::scheduler::Scheduler;
use super::submitter::{new_histogram, submit};
use super::usage::Cpu;
use super::worker::work;
use crate::message::Role;

/// A stretch of a phase.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stretch {
    /// Seconds.
    pub(super) s: f64,
    /// CPU time in it.
    pub(super) cpu: Cpu,
}

/// What a phase took.
pub(super) struct Taken {
    /// From the first submission until all were acknowledged.
    pub(super) fill: Stretch,
    /// From the workers' dialling to the last result, where they come later.
    pub(super) drain: Stretch,
    /// From the first submission to the last result.
    pub(super) whole: Stretch,
    /// Nanoseconds, where a phase takes them.
    pub(super) latencies: Histogram<u64>,
}

/// Runs a phase to its end, or to the first thing that is wrong. With a rate, it is an open one.
pub(super) async fn run(
    scheduler: &Scheduler,
    shape: &Shape,
    phase: Phase,
    rate: Option<f64>,
    limit: Duration,
) -> Result<Taken> {
    let board = Board::new(phase, shape.clone());
    let addr = scheduler.addr();
    let latencies = new_histogram()?;
    let mut crew = Crew { board: board.clone(), scheduler, tasks: JoinSet::new(), latencies };
    match rate {
        Some(per_s) => {
            let (rate, board) = (Rate { addr, per_s, limit }, board.clone());
            crew.tasks
                .spawn(async move { open::submit(rate, board).await.context("client").map(Some) });
        }
        None => crew.dial_clients(),
    }
    if !phase.staged {
        crew.dial_workers();
    }
    match tokio::time::timeout(limit, crew.measure()).await {
        Ok(taken) => taken,
        Err(_) => bail!("no end within {limit:?}: {}", board.progress()),
    }
}

struct Crew<'a> {
    board: Arc<Board>,
    scheduler: &'a Scheduler,
    tasks: JoinSet<Result<Option<Histogram<u64>>>>,
    latencies: Histogram<u64>,
}

impl Crew<'_> {
    fn dial_clients(&mut self) {
        for index in 0..self.board.phase.clients {
            let (addr, board) = (self.scheduler.addr(), self.board.clone());
            self.tasks.spawn(async move {
                let name = || format!("client {index}");
                let hello = board.shape.hello(Role::Client, index, 1);
                let link = Link::dial(addr, &hello).await.with_context(name)?;
                submit(link, board, index).await.with_context(name).map(Some)
            });
        }
    }

    fn dial_workers(&mut self) {
        for index in 0..self.board.phase.workers {
            let (addr, board) = (self.scheduler.addr(), self.board.clone());
            self.tasks.spawn(async move {
                let name = || format!("worker {index}");
                let hello = board.shape.hello(Role::Worker, index, board.phase.depth);
                let link = Link::dial(addr, &hello).await.with_context(name)?;
                work(link, board).await.with_context(name).map(|()| None)
            });
        }
    }

    async fn measure(&mut self) -> Result<Taken> {
        let (board, pids) = (self.board.clone(), self.scheduler.pids());
        let before = Cpu::now(&pids);
        let began = self.until(board.begin()).await?;
        let mut drain = Stretch::default();
        let mut fill = Stretch::default();
        if board.phase.clients > 0 {
            fill = stretch(began, self.until(board.filled()).await?, before, &pids);
        }
        if board.phase.staged {
            let (before, dialled) = (Cpu::now(&pids), now());
            self.dial_workers();
            drain = stretch(dialled, self.until(board.over()).await?, before, &pids);
        }
        let ended = if board.phase.workers > 0 { self.until(board.over()).await? } else { now() };
        let whole = stretch(began, ended, before, &pids);
        while let Some(ended) = self.tasks.join_next().await {
            self.on_ended(ended??)?;
        }
        Ok(Taken { fill, drain, whole, latencies: self.latencies.clone() })
    }

    /// Waits for a moment, or for the first connection to fail.
    async fn until(&mut self, moment: impl Future<Output = Instant>) -> Result<Instant> {
        tokio::pin!(moment);
        loop {
            tokio::select! {
                biased;
                at = &mut moment => return Ok(at),
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => self.on_ended(ended??)?,
                    None => return Ok(moment.await),
                },
            }
        }
    }

    fn on_ended(&mut self, latencies: Option<Histogram<u64>>) -> Result<()> {
        latencies.map_or(Ok(()), |latencies| Ok(self.latencies.add(latencies)?))
    }
}

fn stretch(from: Instant, to: Instant, before: Cpu, pids: &[u32]) -> Stretch {
    let s = to.saturating_duration_since(from).as_secs_f64().max(1e-9);
    Stretch { s, cpu: Cpu::now(pids) - before }
}
