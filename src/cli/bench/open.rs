//! Latency at a fixed rate: tasks are submitted when they are due, whatever comes back, and each
//! one's time runs from when it was due. So a scheduler that stalls is charged for every task that
//! should have come meanwhile, not for the one that was under way (coordinated omission; G. Tene,
//! How NOT to Measure Latency, 2013).
//!
//! One connection and two threads of its own: a timer of the runtime is due to a millisecond only.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::link::{Inbox, spelled_hello};
use super::load::{Board, Shape, now};
use super::payload::{blank_result, read_result};
use super::submitter::new_histogram;
use crate::message::Role;

/// A sleeping thread is woken up to so much late (50 µs of timer slack, and its way to a processor);
/// the rest is waited for without sleep.
const SPIN: Duration = Duration::from_micros(100);

/// Where and how often to submit.
pub(super) struct Rate {
    /// The scheduler.
    pub(super) addr: SocketAddr,
    /// Tasks a second.
    pub(super) per_s: f64,
    /// How long to wait for anything.
    pub(super) limit: Duration,
}

/// Submits all tasks of a phase at the rate; the times from due to result, in nanoseconds.
pub(super) async fn submit(rate: Rate, board: Arc<Board>) -> Result<Histogram<u64>> {
    let (stream, shape) = (dial(&rate, &board.shape)?, board.shape.clone());
    let began = board.begin().await;
    let due = move |number: u64| began + Duration::from_secs_f64(number as f64 / rate.per_s);
    let mut writer = stream.try_clone()?;
    let tasks = board.phase.tasks;
    let pace = tokio::task::spawn_blocking(move || pace(&mut writer, &shape, tasks, due));
    let listening = board.clone();
    let listen = tokio::task::spawn_blocking(move || listen(stream, &listening, due));
    let (paced, heard) = tokio::try_join!(pace, listen)?;
    let latencies = heard?;
    paced?;
    board.add_acked(tasks);
    board.add_done(tasks);
    Ok(latencies)
}

fn dial(rate: &Rate, shape: &Shape) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(rate.addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(rate.limit))?;
    stream.set_write_timeout(Some(rate.limit))?;
    stream.write_all(&spelled_hello(&shape.hello(Role::Client, 0, 1))?)?;
    let mut inbox = Inbox::default();
    loop {
        let count = stream.read(inbox.room())?;
        inbox.filled(count)?;
        if let Some(heard) = inbox.next()? {
            ensure!(heard.is("OK"), "the scheduler says: {}", heard.text());
            return Ok(stream);
        }
    }
}

/// Writes each SUBMIT when it is due.
fn pace(
    stream: &mut TcpStream,
    shape: &Shape,
    tasks: u64,
    due: impl Fn(u64) -> Instant,
) -> Result<()> {
    let mut out = Vec::new();
    for number in 0..tasks {
        out.clear();
        shape.put(number, true, &mut out)?;
        wait_until(due(number));
        stream.write_all(&out).context("submitting")?;
    }
    Ok(())
}

fn wait_until(due: Instant) {
    loop {
        let left = due.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        match left.checked_sub(SPIN) {
            Some(sleep) if !sleep.is_zero() => thread::park_timeout(sleep),
            _ => std::hint::spin_loop(),
        }
    }
}

/// Reads until every task has its result, each of them once.
fn listen(
    mut stream: TcpStream,
    board: &Board,
    due: impl Fn(u64) -> Instant,
) -> Result<Histogram<u64>> {
    let blank = blank_result(board.shape.result);
    let (mut inbox, mut latencies) = (Inbox::default(), new_histogram()?);
    let mut ended = vec![false; usize::try_from(board.phase.tasks)?];
    let (mut acked, mut done) = (0, 0);
    while (acked, done) != (board.phase.tasks, board.phase.tasks) {
        let count = stream.read(inbox.room()).context("waiting for results")?;
        let came = now();
        inbox.filled(count)?;
        while let Some(heard) = inbox.next()? {
            if heard.is("OK") {
                acked += 1;
                continue;
            }
            if heard.after("RESULT").is_none() {
                bail!("the scheduler says: {}", heard.text());
            }
            let number = read_result(heard.payload, &blank);
            let ended = number.and_then(|number| ended.get_mut(usize::try_from(number).ok()?));
            let (Some(number), Some(ended @ false)) = (number, ended) else {
                bail!("a result that is wrong or came twice: {}", heard.text());
            };
            *ended = true;
            done += 1;
            let ns = came.saturating_duration_since(due(number)).as_nanos();
            latencies.saturating_record(u64::try_from(ns).unwrap_or(u64::MAX));
        }
    }
    Ok(latencies)
}
