//! What a phase asks for, and what its connections tell each other.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::sync::{Barrier, Notify};

use super::payload;
use crate::frame::Decimal;
use crate::message::{Hello, Order, Role};
use crate::protocol::Submission;
use crate::route::Weight;

/// What all tasks of a run have in common.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Their kind; the names of workers and clients begin with it.
    pub(super) kind: String,
    /// Their queue, if it is not the default one.
    pub(super) queue: Option<String>,
    /// The orders in which they are done: they have what these go by.
    pub(super) orders: Vec<Order>,
    /// How many of a client's may be undone at once.
    pub(super) backlog: Option<u64>,
    /// How many different keys they have; 0 for none.
    pub(super) keys: u64,
    /// Whether each has a `unique=`.
    pub(super) unique: bool,
    /// How long results are kept, in milliseconds, if not as long as usual.
    pub(super) result_ttl_ms: Option<u64>,
    /// Bytes of a payload.
    pub(super) payload: usize,
    /// Bytes of a result.
    pub(super) result: usize,
    /// What peers show the scheduler.
    pub(super) token: Option<String>,
}

const HOUR_MS: u64 = 3_600_000;

impl Shape {
    /// Appends the SUBMIT of a task.
    pub(super) fn put(&self, number: u64, watch: bool, out: &mut Vec<u8>) -> Result<()> {
        let mut payload = Vec::with_capacity(self.payload);
        payload::put_payload(number, self.payload, &mut payload);
        let key = (self.keys > 0).then(|| format!("k{}", number % self.keys.max(1)));
        let unique = self.unique.then(|| format!("u{number}"));
        let by = |order: Order| self.orders.contains(&order);
        let submission = Submission {
            queue: self.queue.as_deref(),
            priority: by(Order::Priority).then(|| Decimal::whole(number % 10)),
            time_ms: by(Order::Sjf).then_some(1 + number % 100),
            expires_ms: by(Order::Deadline).then_some(HOUR_MS + number % 1000),
            key: key.as_deref(),
            unique: unique.as_deref(),
            result_ttl_ms: self.result_ttl_ms,
            watch,
            ..Submission::new(&self.kind, &payload)
        };
        submission.put(out).map_err(|refusal| anyhow::anyhow!(refusal.text))
    }

    /// The part of a SUBMIT before its payload, if it is the same for all.
    pub(super) fn head(&self, watch: bool) -> Result<Option<Vec<u8>>> {
        if self.keys > 0 || self.unique || self.orders.iter().any(|order| *order != Order::Fcfs) {
            return Ok(None);
        }
        let mut frame = Vec::new();
        self.put(0, watch, &mut frame)?;
        let end = memchr::memchr(b'\n', &frame).context("a frame has a header")?;
        frame.truncate(end + 1);
        Ok(Some(frame))
    }

    /// How a peer introduces itself. Workers do the tasks of this run only.
    pub(super) fn hello(&self, role: Role, index: usize, slots: u32) -> Hello {
        let kinds = (role == Role::Worker).then(|| vec![self.kind.clone()]);
        Hello {
            role,
            name: format!("{}-{}-{index}", self.kind, role.word()),
            host: String::new(),
            pid: u64::from(std::process::id()),
            slots,
            weight: Weight::default(),
            kinds,
            queues: None,
            tags: Vec::new(),
            res: Vec::new(),
            heartbeat_ms: None,
            price: 0.0,
            payload_max: None,
            session: None,
            token: self.token.clone(),
        }
    }
}

/// When a client submits its next task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// While fewer than so many of its own are unacknowledged.
    Window(u64),
    /// When the one before has its result.
    Serial,
}

/// What one phase asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    pub(super) tasks: u64,
    /// Connections that submit; 0 if the tasks are there already.
    pub(super) clients: usize,
    /// Connections that do the tasks; 0 if they only wait.
    pub(super) workers: usize,
    /// Workers come when all is acknowledged.
    pub(super) staged: bool,
    pub(super) pace: Pace,
    /// Tasks that a worker holds at once.
    pub(super) depth: u32,
    /// Whether the clients wait for the results.
    pub(super) watch: bool,
}

/// What all connections of a phase share.
pub(super) struct Board {
    pub(super) phase: Phase,
    pub(super) shape: Shape,
    gate: Barrier,
    acked: AtomicU64,
    done: AtomicU64,
    /// Which tasks a worker has had.
    had: Bits,
    began: Mark,
    filled: Mark,
    over: Mark,
}

impl Board {
    pub(super) fn new(phase: Phase, shape: Shape) -> Arc<Self> {
        let first = if phase.staged { 0 } else { phase.workers };
        Arc::new(Self {
            phase,
            shape,
            // All who are there from the beginning, and who measures.
            gate: Barrier::new(phase.clients + first + 1),
            acked: AtomicU64::new(0),
            done: AtomicU64::new(0),
            had: Bits::new(phase.tasks),
            began: Mark::default(),
            filled: Mark::default(),
            over: Mark::default(),
        })
    }

    /// Waits until all who are there from the beginning are connected.
    pub(super) async fn begin(&self) -> Instant {
        self.gate.wait().await;
        self.began.set();
        self.began.wait().await
    }

    /// So many more submissions are acknowledged.
    pub(super) fn add_acked(&self, count: u64) {
        if count > 0 && self.acked.fetch_add(count, Relaxed) + count >= self.phase.tasks {
            self.filled.set();
        }
    }

    /// So many more tasks are known to be done.
    pub(super) fn add_done(&self, count: u64) {
        if count > 0 && self.done.fetch_add(count, Relaxed) + count >= self.phase.tasks {
            self.over.set();
        }
    }

    /// A worker has got a task; false if one had it before, or there is none of that number.
    pub(super) fn take(&self, number: u64) -> bool {
        self.had.set(number)
    }

    /// When every submission was acknowledged.
    pub(super) async fn filled(&self) -> Instant {
        self.filled.wait().await
    }

    /// When every task was done.
    pub(super) async fn over(&self) -> Instant {
        self.over.wait().await
    }

    /// How far it is, for a phase that does not end.
    pub(super) fn progress(&self) -> String {
        let (acked, done) = (self.acked.load(Relaxed), self.done.load(Relaxed));
        format!("{} tasks, {acked} acknowledged, {done} done", self.phase.tasks)
    }
}

/// A moment to wait for.
#[derive(Default)]
struct Mark {
    at: OnceLock<Instant>,
    reached: Notify,
}

impl Mark {
    fn set(&self) {
        self.at.get_or_init(now);
        self.reached.notify_waiters();
    }

    async fn wait(&self) -> Instant {
        loop {
            let reached = self.reached.notified();
            if let Some(at) = self.at.get() {
                return *at;
            }
            reached.await;
        }
    }
}

/// A set of numbers below a bound, to which several add.
pub(super) struct Bits {
    words: Vec<AtomicU64>,
    bound: u64,
}

impl Bits {
    pub(super) fn new(bound: u64) -> Self {
        Self { words: (0..bound.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(), bound }
    }

    /// Adds a number; false if it is in the set already or not below the bound.
    pub(super) fn set(&self, number: u64) -> bool {
        let place = usize::try_from(number / 64).ok().filter(|_| number < self.bound);
        let bit = 1 << (number % 64);
        let word = place.and_then(|place| self.words.get(place));
        word.is_some_and(|word| word.fetch_or(bit, Relaxed) & bit == 0)
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_set_once() {
        let bits = Bits::new(65);
        assert!(bits.set(0) && bits.set(64) && !bits.set(64) && !bits.set(65) && bits.set(1));
    }
}
