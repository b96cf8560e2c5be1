//! Pieces of the core, and properties of all of it, beside the golden scripts of `tests/scripts/core`.
//!
//! - `after`: crowds and chains of dependents.
//! - `crons`: many periodic tasks at one instant.
//! - `drift`: workers and kinds that become slow, and workers that fail everything.
//! - `jumps`: how long a step takes when much has expired at once.
//! - `lines`: the order within a queue, also with retries, and the turns between queues.
//! - `names`: that of names nothing stays but what somebody uses.
//! - `opened`: queues that open at the end of a turn, and what else waits for that.
//! - `picks`: who gets a task under the routes that choose among the free.
//! - `routes`: who gets a task by key, and how little a join or a leave moves.
//! - `shares`: who gets a task by weight.
//! - `stalls`: how long anybody waits while much is to be done.
//! - `stock`: tasks that take up amounts.
//! - `times`: backoff and expiry.
//! - `weight`: what waiting tasks cost in memory and time, and that nothing stays behind.
//! - `whims`: anything at all, in any order.

mod after;
mod bounds;
mod crons;
mod drift;
mod jumps;
mod lines;
mod names;
mod opened;
mod picks;
mod routes;
mod shares;
mod stalls;
mod stock;
mod times;
mod weight;
mod whims;

use bytes::Bytes;

use crate::core::{Core, Effects, Event, Now, Peer, Settings, What};
use crate::frame::Frame;
use crate::message::Reply;
use crate::protocol::{Parsed, greet, parse_request};
use crate::task::{Attempt, SessionId, TaskId};

/// Where the clocks of these tests begin: the monotonic one in microseconds, the other in Unix
/// milliseconds.
const START: Now = Now { mono_us: 1_000_000_000_000, wall_ms: 1_790_000_000_000 };

/// A core with somebody who drives it, in frames.
struct Driver {
    core: Core,
    fx: Effects,
    now: Now,
    serial: u32,
}

/// A lease that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    to: Peer,
    id: TaskId,
    attempt: Attempt,
}

impl Driver {
    fn new(seed: u64) -> Self {
        let core = Core::new(Settings::default(), seed, START);
        Self { core, fx: Effects::default(), now: START, serial: 0 }
    }

    /// A peer says HELLO.
    fn join(&mut self, hello: &str) -> Peer {
        let (_, hello) = greet(&frame(&format!("HELLO 1 {hello}\n"))).expect("a HELLO");
        let peer = Peer { index: self.serial, serial: self.serial + 1 };
        self.serial += 1;
        let (fresh, hello) = (SessionId(peer.serial.into()), Box::new(hello));
        self.apply(Event::Joined { peer, hello, fresh, credential: 0 });
        peer
    }

    /// A peer asks for something; what is pushed to workers after that.
    fn ask(&mut self, peer: Peer, text: &str) -> Vec<Run> {
        let Parsed::Request(request) = parse_request(&frame(text)) else { panic!("{text:?}") };
        self.apply(Event::Request { peer, request });
        self.take_runs()
    }

    /// Hands a task in that must be leased at once.
    fn submit(&mut self, client: Peer, submit: &str) -> Run {
        let runs = self.ask(client, submit);
        assert_eq!(runs.len(), 1, "{submit:?}");
        runs[0]
    }

    /// A lease ends with an empty result.
    fn done(&mut self, run: Run) -> Vec<Run> {
        self.ask(run.to, &format!("DONE {} {}\n", run.id, run.attempt))
    }

    fn apply(&mut self, event: Event) {
        self.core.handle(self.now, event, &mut self.fx);
    }

    /// Ends the turn; what is pushed to workers by that.
    fn settle(&mut self) -> Vec<Run> {
        self.core.settle(self.now, &mut self.fx);
        self.take_runs()
    }

    /// Lets milliseconds pass, in one step; what is pushed to workers after that.
    fn pass(&mut self, ms: u64) -> Vec<Run> {
        self.now.mono_us += ms * 1000;
        self.now.wall_ms += ms;
        self.apply(Event::Due);
        self.take_runs()
    }

    fn take_runs(&mut self) -> Vec<Run> {
        let runs = self.fx.sends.iter().filter_map(|send| match &send.what {
            What::Reply(Reply::Run { id, attempt, .. }) => {
                Some(Run { to: send.to, id: *id, attempt: *attempt })
            }
            _ => None,
        });
        let runs = runs.collect();
        self.fx.clear();
        runs
    }
}

fn frame(text: &str) -> Frame {
    Frame::read(Bytes::copy_from_slice(text.as_bytes())).expect("a frame")
}

/// The chi-square statistic of counts against the shares that they should have.
fn chi_square(counts: &[u64], shares: &[f64]) -> f64 {
    let (total, whole) = (counts.iter().sum::<u64>() as f64, shares.iter().sum::<f64>());
    let terms = counts.iter().zip(shares).map(|(count, share)| {
        let expected = total * share / whole;
        (*count as f64 - expected).powi(2) / expected
    });
    terms.sum()
}
