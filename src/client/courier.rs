//! Carries the requests of all clones of a client over one connection, and the answers back.
//!
//! It owns the connection, and nobody else touches it: calls come in through a bounded channel, are
//! spelled already, and leave in one write per wake-up. Replies come in the order of the requests, so
//! a queue pairs them. What was on its way when a connection is lost is told [`Error::Lost`]; whether
//! to ask again is the caller's to know, not the courier's.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::select;
use tokio::sync::{mpsc, oneshot};

use super::error::Error;
use super::link::{Event, Link};
use super::outcome::Submitted;
use crate::message::Request;
use crate::protocol::answer::{Accepted, Ended};
use crate::protocol::{Answer, put_request};
use crate::task::TaskId;

/// Calls that wait for their turn; more make their callers wait.
pub(super) const CALLS_MAX: usize = 1024;

/// Requests without a reply yet; more are not sent.
const IN_FLIGHT_MAX: usize = 1 << 16;

/// Bytes that the socket has not taken; no more is spelled while there are as many.
const UNSENT_MAX: usize = 256 << 10;

/// Requests, and who waits for what becomes of them.
#[derive(Debug)]
pub(super) struct Call {
    /// The frames, spelled.
    pub(super) frames: Bytes,
    pub(super) waiting: Waiting,
}

pub(super) type Reply = oneshot::Sender<Result<Accepted, Error>>;
pub(super) type End = oneshot::Sender<Result<Ended, Error>>;
pub(super) type Replies = oneshot::Sender<Vec<Result<Submitted, Error>>>;

/// Who waits for what. That a sender is dropped says [`Error::Lost`].
#[derive(Debug)]
pub(super) enum Waiting {
    /// For the reply to one request.
    Reply(Reply),
    /// For the reply to a SUBMIT with `watch=yes`, and for the task's end.
    Submit(Reply, End),
    /// For the end of a task: WATCH, which is left out if the task is being watched.
    Watch(TaskId, End),
    /// For the replies to so many SUBMITs.
    Many(usize, Replies),
}

/// A request that was sent, until its reply is there.
#[derive(Debug)]
enum Pending {
    Reply(Reply),
    Submit(Reply, End),
    Watch(TaskId),
    Many { left: usize, got: Vec<Result<Submitted, Error>>, replies: Replies },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Courier {
    link: Link,
    calls: mpsc::Receiver<Call>,
    /// How long calls wait for a connection.
    patience: Duration,
    /// The largest payload that the scheduler takes; told to the clients.
    payload_max: Arc<AtomicU64>,
    /// Why calls are not to wait for the connection to come back.
    hopeless: Option<Error>,
    /// Why the last attempt to dial failed.
    unreachable: Option<Error>,
    waiting: VecDeque<Call>,
    received: Vec<Call>,
    pending: VecDeque<Pending>,
    /// Tasks that this connection watches: WATCH was sent, or the OK to `watch=yes` was read.
    watches: HashMap<TaskId, Vec<End>>,
}

impl Courier {
    pub(super) fn new(
        link: Link,
        calls: mpsc::Receiver<Call>,
        patience: Duration,
        payload_max: Arc<AtomicU64>,
    ) -> Self {
        Self {
            link,
            calls,
            patience,
            payload_max,
            hopeless: None,
            unreachable: None,
            waiting: VecDeque::new(),
            received: Vec::new(),
            pending: VecDeque::new(),
            watches: HashMap::new(),
        }
    }

    /// Goes on until nobody is left who could ask.
    pub(super) async fn run(mut self) {
        loop {
            let room = CALLS_MAX.saturating_sub(self.waiting.len());
            let down_for = self.link.down_for().filter(|_| self.hopeless.is_none());
            let left = self.patience.saturating_sub(down_for.unwrap_or_default());
            select! {
                biased;
                event = self.link.next() => self.on_event(event),
                count = self.calls.recv_many(&mut self.received, room), if room > 0 => {
                    if count == 0 {
                        return;
                    }
                    self.waiting.extend(self.received.drain(..));
                }
                () = tokio::time::sleep(left), if down_for.is_some() => {
                    let gone = || Error::from(io::Error::from(io::ErrorKind::NotConnected));
                    self.hopeless = Some(self.unreachable.take().unwrap_or_else(gone));
                }
            }
            self.send();
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Up(welcome) => {
                (self.hopeless, self.unreachable) = (None, None);
                self.payload_max.store(welcome.payload_max, Ordering::Relaxed);
            }
            Event::Moved => self.on_moved(),
            Event::Down(error) => {
                tracing::info!(%error, "the connection to the scheduler is lost");
                self.lose();
            }
            Event::Unreachable(error) => self.unreachable = Some(error),
            Event::Refused(error) => self.hopeless = Some(error),
        }
    }

    fn on_moved(&mut self) {
        loop {
            match self.link.answer().and_then(|answer| self.on_answer(answer)) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "the connection to the scheduler is given up");
                    self.link.give_up();
                    return self.lose();
                }
            }
        }
    }

    /// Whether there was an answer.
    fn on_answer(&mut self, answer: Option<Answer>) -> Result<bool, Error> {
        match answer {
            None => return Ok(false),
            Some(Answer::Ok(accepted)) => self.on_reply(Ok(accepted))?,
            Some(Answer::Err(rejected)) => {
                let error = Error::from(rejected);
                if error.is_of_connection() {
                    tracing::warn!(%error, "the scheduler closes the connection");
                } else {
                    self.on_reply(Err(error))?;
                }
            }
            Some(Answer::Result(ended)) => self.on_end(ended),
            Some(Answer::Ping) => {
                if let Some(outbox) = self.link.outbox() {
                    put_request(&Request::Pong, outbox)?;
                }
            }
            // Not for clients, or of a later version.
            Some(_) => {}
        }
        Ok(true)
    }

    /// A reply belongs to the oldest request without one.
    fn on_reply(&mut self, reply: Result<Accepted, Error>) -> Result<(), Error> {
        if let Some(Pending::Many { left, got, .. }) = self.pending.front_mut() {
            got.push(reply.and_then(|accepted| submitted(&accepted)));
            *left -= 1;
            if *left == 0
                && let Some(Pending::Many { got, replies, .. }) = self.pending.pop_front()
            {
                drop(replies.send(got));
            }
            return Ok(());
        }
        // That a caller waits no more is no error.
        match self.pending.pop_front() {
            Some(Pending::Reply(caller)) => drop(caller.send(reply)),
            Some(Pending::Submit(caller, end)) => {
                if let Some(id) = reply.as_ref().ok().and_then(Accepted::id) {
                    self.watches.entry(id).or_default().push(end);
                }
                drop(caller.send(reply));
            }
            Some(Pending::Watch(id)) => {
                if let Err(error) = reply {
                    for end in self.watches.remove(&id).unwrap_or_default() {
                        drop(end.send(Err(error.clone())));
                    }
                }
            }
            Some(Pending::Many { .. }) | None => {
                return Err(Error::Protocol("a reply without a request".to_owned()));
            }
        }
        Ok(())
    }

    fn on_end(&mut self, ended: Ended) {
        for end in self.watches.remove(&ended.id).unwrap_or_default() {
            drop(end.send(Ok(ended.clone())));
        }
    }

    /// Hands to the socket what it takes; without hope of one, answers.
    fn send(&mut self) {
        if let Some(error) = &self.hopeless {
            for call in self.waiting.drain(..) {
                refuse(call.waiting, error);
            }
            return;
        }
        while self.pending.len() < IN_FLIGHT_MAX && self.link.unsent() < UNSENT_MAX {
            let Some(outbox) = self.link.outbox() else { return };
            let Some(call) = self.waiting.pop_front() else { break };
            let pending = match call.waiting {
                Waiting::Reply(reply) => Pending::Reply(reply),
                Waiting::Submit(reply, end) => Pending::Submit(reply, end),
                Waiting::Many(left, replies) => {
                    Pending::Many { left, got: Vec::with_capacity(left), replies }
                }
                Waiting::Watch(id, end) => {
                    let ends = self.watches.entry(id).or_default();
                    let is_watched = !ends.is_empty();
                    // Those who wait no more are not to pile up.
                    ends.retain(|end| !end.is_closed());
                    ends.push(end);
                    if is_watched {
                        continue;
                    }
                    Pending::Watch(id)
                }
            };
            outbox.extend_from_slice(&call.frames);
            self.pending.push_back(pending);
        }
        self.link.push();
    }

    /// Nothing that was asked over the connection will be answered any more.
    fn lose(&mut self) {
        self.watches.clear();
        for pending in self.pending.drain(..) {
            if let Pending::Many { left, mut got, replies } = pending {
                got.extend(std::iter::repeat_n(Err(Error::Lost), left));
                drop(replies.send(got));
            }
        }
    }
}

/// The OK to SUBMIT.
pub(super) fn submitted(accepted: &Accepted) -> Result<Submitted, Error> {
    let id =
        accepted.id().ok_or_else(|| Error::Protocol("the OK to SUBMIT has no id".to_owned()))?;
    Ok(Submitted { id, duplicate: accepted.is_duplicate() })
}

/// Answers a call that was never sent.
fn refuse(waiting: Waiting, error: &Error) {
    match waiting {
        Waiting::Reply(reply) | Waiting::Submit(reply, _) => drop(reply.send(Err(error.clone()))),
        Waiting::Watch(_, end) => drop(end.send(Err(error.clone()))),
        Waiting::Many(count, replies) => drop(replies.send(vec![Err(error.clone()); count])),
    }
}
