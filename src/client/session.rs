//! A worker at work: one loop over its connection, its runs and its orders.
//!
//! Handlers never wait for the connection, nor the connection for handlers. Answers are spelled as
//! they come and leave in one write per wake-up. Without a connection they pile up in [`Leases`],
//! no more than the worker has slots, and are sent again, oldest first, when there is one.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::error::Error;
use super::failure::{Failure, Next};
use super::handler::Finished;
use super::leases::{Leases, unrun};
use super::link::{Address, Event, Link};
use super::task::{Notice, Task};
use super::worker::{Handlers, Stopped, Stopper};
use crate::message::{Code, Fail, Request, Retry};
use crate::protocol::answer::{self, Welcome};
use crate::protocol::submit::BACKOFF_MAX_MS;
use crate::protocol::{Answer, put_done, put_request};

/// Signs of progress that wait for the loop; more make their handlers wait.
const NOTICES_MAX: usize = 256;

/// Bytes that the socket has not taken; signs of progress wait while there are as many.
const UNSENT_MAX: usize = 256 << 10;

/// The longest error text that is sent, in bytes.
const ERROR_MAX: usize = 4096;

/// How long the scheduler may take to answer BYE once the limit of a stop is over.
const BYE_LIMIT: Duration = Duration::from_secs(1);

/// A request that was sent, until its reply is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The oldest answer that was not asked about before.
    Answer,
    Slots,
    Bye,
}

/// On its way out.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    why: Stopped,
    /// When runs are not waited for any more.
    limit: Option<Instant>,
}

/// See the module.
pub(super) struct Session {
    link: Link,
    handlers: Handlers,
    leases: Leases,
    runs: JoinSet<Finished>,
    notices: mpsc::Receiver<Notice>,
    noticed: mpsc::Sender<Notice>,
    /// Holds the channel of orders open.
    _stopper: Stopper,
    orders: watch::Receiver<Option<Duration>>,
    slots: usize,
    /// The largest payload that the scheduler takes, in bytes.
    payload_max: u64,
    asked: VecDeque<Asked>,
    leaving: Option<Leaving>,
    /// Nothing is left to be done.
    over: bool,
}

impl Session {
    pub(super) fn new(
        address: Address,
        handlers: Handlers,
        stopper: Stopper,
        orders: watch::Receiver<Option<Duration>>,
    ) -> Self {
        let (noticed, notices) = mpsc::channel(NOTICES_MAX);
        Self {
            slots: address.hello.slots as usize,
            link: Link::dial(address),
            handlers,
            leases: Leases::default(),
            runs: JoinSet::new(),
            notices,
            noticed,
            _stopper: stopper,
            orders,
            payload_max: 0,
            asked: VecDeque::new(),
            leaving: None,
            over: false,
        }
    }

    pub(super) async fn run(mut self) -> Result<Stopped, Error> {
        loop {
            let limit = self.leaving.and_then(|leaving| leaving.limit);
            let until = limit.unwrap_or_else(Instant::now);
            select! {
                biased;
                Some(run) = self.runs.join_next() => self.on_runs(run),
                event = self.link.next() => self.on_event(event)?,
                Ok(()) = self.orders.changed() => self.on_order(),
                () = tokio::time::sleep_until(until), if limit.is_some() => self.on_limit(),
                Some(notice) = self.notices.recv(), if self.link.unsent() < UNSENT_MAX => {
                    self.on_notice(notice);
                }
            }
            self.start_runs();
            if let Some(stopped) = self.leave() {
                return Ok(stopped);
            }
            self.link.push();
        }
    }

    /// A run has ended, and perhaps others with it: their answers leave together.
    fn on_runs(&mut self, first: Result<Finished, JoinError>) {
        let mut next = Some(first);
        while let Some(run) = next {
            // One that was stopped has no answer.
            if let Ok(finished) = run
                && self.leases.finish(finished)
            {
                self.put_last_answer();
            }
            next = self.runs.try_join_next();
        }
    }

    /// Answers a lease that has no run.
    fn answer(&mut self, finished: Finished) {
        self.leases.answer(finished);
        self.put_last_answer();
    }

    /// Has the answer noted last sent, now if there is a connection.
    fn put_last_answer(&mut self) {
        if let (Some(outbox), Some(finished)) = (self.link.outbox(), self.leases.last_answer()) {
            put_answer(finished, self.payload_max, outbox);
            self.asked.push_back(Asked::Answer);
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Up(welcome) => self.on_up(&welcome),
            Event::Moved => self.on_moved(),
            Event::Down(error) => {
                tracing::warn!(%error, "the connection to the scheduler is lost");
                self.on_down();
            }
            Event::Unreachable(error) => tracing::warn!(%error, "the scheduler is dialled again"),
            Event::Refused(error) => return Err(error),
        }
        Ok(())
    }

    fn on_up(&mut self, welcome: &Welcome) {
        tracing::info!(session = %welcome.session, resumed = welcome.resumed, "connected");
        self.payload_max = welcome.payload_max;
        self.link.hello().session = Some(welcome.session);
        if !welcome.resumed {
            self.leases.lose();
        }
        if self.leaving.is_some() {
            self.ask(&Request::Slots(0), Asked::Slots);
        }
        let Some(outbox) = self.link.outbox() else { return };
        for finished in self.leases.answers() {
            put_answer(finished, self.payload_max, outbox);
            self.asked.push_back(Asked::Answer);
        }
    }

    /// Runs go on, unless another worker has the name now.
    fn on_down(&mut self) {
        let superseded = |leaving: Leaving| leaving.why == Stopped::Superseded;
        self.over |= self.asked.contains(&Asked::Bye) || self.leaving.is_some_and(superseded);
        self.asked.clear();
    }

    fn on_moved(&mut self) {
        loop {
            let handled = match self.link.answer() {
                Ok(None) => return,
                Ok(Some(answer)) => self.on_answer(answer),
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                tracing::warn!(%error, "the connection to the scheduler is given up");
                self.link.give_up();
                return self.on_down();
            }
        }
    }

    fn on_answer(&mut self, answer: Answer) -> Result<(), Error> {
        match answer {
            Answer::Ok(_) => return self.on_reply(None),
            Answer::Err(rejected) => {
                let error = Error::from(rejected);
                if error.is_of_connection() {
                    tracing::warn!(%error, "the scheduler closes the connection");
                } else {
                    return self.on_reply(Some(error));
                }
            }
            Answer::Task(task) => self.on_task(task),
            Answer::Cancel { id, attempt, reason } => {
                if self.leases.cancel((id, attempt), reason) {
                    self.answer(unrun((id, attempt)));
                }
            }
            Answer::Ping => {
                if let Some(outbox) = self.link.outbox() {
                    put_request(&Request::Pong, outbox)?;
                }
            }
            Answer::Drain { reason } => self.on_drain(&reason),
            // Not for workers, or of a later version.
            // Not for workers, or of a later version.
            Answer::Result(_)
            | Answer::Event(_)
            | Answer::Gap(..)
            | Answer::Stats(_)
            | Answer::Unknown => {}
        }
        Ok(())
    }

    fn on_task(&mut self, task: answer::Task) {
        let lease = (task.id, task.attempt);
        if self.leaving.is_none() || self.leases.holds(lease) {
            self.leases.take(task);
        } else {
            self.answer(unrun(lease));
        }
    }

    /// A reply belongs to the oldest request without one.
    fn on_reply(&mut self, error: Option<Error>) -> Result<(), Error> {
        let asked = self.asked.pop_front();
        let asked = asked.ok_or_else(|| Error::Protocol("a reply without a request".to_owned()))?;
        if let Some(error) = error {
            match error.code() {
                // The lease had ended before the answer came; nothing is to be done about it.
                Some(Code::Stale) => tracing::debug!(%error, "an answer came too late"),
                _ => tracing::warn!(%error, ?asked, "refused by the scheduler"),
            }
        }
        match asked {
            Asked::Answer => self.leases.settle(),
            Asked::Slots => {}
            Asked::Bye => self.over = true,
        }
        Ok(())
    }

    /// `restart` needs nothing: the connection ends, and is dialled again.
    fn on_drain(&mut self, reason: &str) {
        tracing::info!(reason, "DRAIN");
        match reason {
            "restart" => {}
            "superseded" => self.begin_leaving(Stopped::Superseded, None),
            _ => self.begin_leaving(Stopped::Drained, None),
        }
    }

    fn on_order(&mut self) {
        let order = *self.orders.borrow_and_update();
        if let Some(limit) = order {
            let far = Duration::from_secs(u32::MAX.into());
            self.begin_leaving(Stopped::Asked, Some(Instant::now() + limit.min(far)));
        }
    }

    /// Nothing new from now on; what has not begun goes back.
    fn begin_leaving(&mut self, why: Stopped, limit: Option<Instant>) {
        let before = self.leaving;
        let limit = limit.or(before.and_then(|leaving| leaving.limit));
        self.leaving = Some(Leaving { why: before.map_or(why, |leaving| leaving.why), limit });
        if before.is_none() {
            self.ask(&Request::Slots(0), Asked::Slots);
            for lease in self.leases.release_waiting() {
                self.answer(unrun(lease));
            }
        }
    }

    /// What still runs is stopped, and goes back with BYE.
    fn on_limit(&mut self) {
        if self.link.outbox().is_none() || self.asked.contains(&Asked::Bye) {
            self.over = true;
            return;
        }
        self.runs.abort_all();
        self.leases.clear();
        if let Some(leaving) = &mut self.leaving {
            leaving.limit = Some(Instant::now() + BYE_LIMIT);
        }
    }

    /// Whether the worker is through; says BYE once nothing is held.
    fn leave(&mut self) -> Option<Stopped> {
        let leaving = self.leaving?;
        if self.leases.is_empty() && !self.asked.contains(&Asked::Bye) {
            self.over |= self.link.outbox().is_none();
            self.ask(&Request::Bye, Asked::Bye);
        }
        self.over.then_some(leaving.why)
    }

    fn on_notice(&mut self, notice: Notice) {
        let (id, attempt) = notice.lease;
        let fits = notice.note.len() as u64 <= self.payload_max;
        if fits
            && self.leases.is_running(notice.lease)
            && let Some(outbox) = self.link.outbox()
        {
            let Notice { percent, note, .. } = notice;
            // A lease is always spelled.
            drop(put_request(&Request::Progress { id, attempt, percent, note }, outbox));
        }
    }

    /// Begins what has a slot.
    fn start_runs(&mut self) {
        while let Some((task, signal)) = self.leases.start(self.slots) {
            match self.handlers.of(task.kind()) {
                Some(start) => start(Task::new(task, signal, self.noticed.clone()), &mut self.runs),
                None => {
                    let text = format!("{} has no handler here", task.kind());
                    let lease = (task.id, task.attempt);
                    self.answer(Finished { lease, outcome: Err(Failure::new(text)) });
                }
            }
        }
    }

    /// Sends a request, if there is a connection.
    fn ask(&mut self, request: &Request, asked: Asked) {
        if let Some(outbox) = self.link.outbox()
            && put_request(request, outbox).is_ok()
        {
            self.asked.push_back(asked);
        }
    }
}

/// Spells an answer for a scheduler that takes payloads up to a limit.
fn put_answer(finished: &Finished, payload_max: u64, out: &mut BytesMut) {
    let (id, attempt) = finished.lease;
    let fail = |text: &str, retry| {
        let length = text.floor_char_boundary(ERROR_MAX);
        let error = Bytes::copy_from_slice(text.get(..length).unwrap_or_default().as_bytes());
        Request::Fail(Fail { id, attempt, retry, error })
    };
    let request = match &finished.outcome {
        Ok(result) if result.len() as u64 <= payload_max => {
            return put_done(id, attempt, result, out);
        }
        Ok(result) => {
            let length = result.len();
            let text = format!("result-too-large: {length} bytes, and the limit is {payload_max}");
            fail(&text, Retry::No)
        }
        Err(failure) => match failure.next {
            Next::Backoff => fail(&failure.text, Retry::Backoff),
            Next::After(ms) => fail(&failure.text, Retry::After(ms.min(BACKOFF_MAX_MS))),
            Next::Never => fail(&failure.text, Retry::No),
            Next::Released(ms) => {
                Request::Release { id, attempt, delay_ms: ms.min(BACKOFF_MAX_MS) }
            }
        },
    };
    // Answers are always spelled.
    drop(put_request(&request, out));
}
