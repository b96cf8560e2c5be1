//! What the scheduler says, read: the side of those who dial it.
//!
//! Words that are not known are passed over, so that a peer goes on with a newer scheduler.

use std::borrow::Cow;

use bytes::Bytes;

use crate::frame::{Frame, Word, Words, decode, number};
use crate::message::{Code, Severity, Slice, Submit};
use crate::protocol::words::Cursor;
use crate::record::ResultFrame;
use crate::task::{Attempt, SessionId, State, TaskId};

/// A frame from the scheduler. `Ok` and `Err` are replies, in the order of the requests; the rest
/// comes unasked.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// OK.
    Ok(Accepted),
    /// ERR.
    Err(Rejected),
    /// TASK: run it and answer with its id and attempt.
    Task(Task),
    /// CANCEL: the lease is over; stop if you can, and answer.
    Cancel {
        /// The task.
        id: TaskId,
        /// The lease.
        attempt: Attempt,
        /// `cancelled`, `timeout`, `max-run`, or a later word.
        reason: String,
    },
    /// RESULT: a task that is watched has ended.
    Result(Ended),
    /// PING: to be answered with PONG.
    Ping,
    /// DRAIN: nothing new comes; finish and leave.
    Drain {
        /// `drain`, `restart`, `superseded`, or a later word.
        reason: String,
    },
    /// EVENT: something happened to a task.
    Event(Event),
    /// GAP: events with these numbers, the first and the last, are not told.
    Gap(u64, u64),
    /// STATS: the figures, as JSON.
    Stats(Bytes),
    /// A push of a later version, to be ignored.
    Unknown,
}

/// Reads a frame from the scheduler.
///
/// # Errors
///
/// A text for people, if a frame of a known verb lacks what that verb needs. Which reply belongs to
/// which request is in doubt then, and the connection is to be given up.
pub fn read_frame(frame: &Frame) -> Result<Answer, String> {
    let answer = match frame.verb() {
        "OK" => Some(Answer::Ok(Accepted { frame: frame.clone() })),
        "TASK" => task(frame).map(Answer::Task),
        "RESULT" => return ended(frame).map(Answer::Result),
        "ERR" => rejected(frame.words()).map(Answer::Err),
        "CANCEL" => {
            lease(frame).map(|(id, attempt)| Answer::Cancel { id, attempt, reason: reason(frame) })
        }
        "EVENT" => event(frame).map(Answer::Event),
        "GAP" => gap(frame),
        "STATS" => Some(Answer::Stats(frame.payload().unwrap_or_default())),
        "PING" => Some(Answer::Ping),
        "DRAIN" => Some(Answer::Drain { reason: reason(frame) }),
        _ => Some(Answer::Unknown),
    };
    answer.ok_or_else(|| format!("the scheduler sent what protocol.md does not allow: {frame:?}"))
}

/// OK, with whatever the verb that it answers makes it tell.
#[derive(Clone, PartialEq, Debug)]
pub struct Accepted {
    frame: Frame,
}

impl Accepted {
    /// The task, if the reply names one first.
    pub fn id(&self) -> Option<TaskId> {
        match self.frame.words().next() {
            Some(Word::Arg(id)) => TaskId::parse(id.as_bytes()),
            _ => None,
        }
    }

    /// Whether SUBMIT found its `unique=` taken; the id is that of the task that holds it.
    pub fn is_duplicate(&self) -> bool {
        self.option("duplicate").as_deref() == Some("yes")
    }

    /// What GET tells of the task's state.
    pub fn state(&self) -> Option<State> {
        self.option("state").and_then(|state| State::parse(&state))
    }

    /// An option's value, decoded.
    pub fn option(&self, name: &str) -> Option<Cow<'_, str>> {
        option(&self.frame, name)
    }

    /// An option's value as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.option(name).and_then(|value| number(value.as_bytes()))
    }

    /// The payload, if there is one.
    pub fn payload(&self) -> Option<Bytes> {
        self.frame.payload()
    }

    /// What OK to HELLO tells; `None` if this is none.
    pub fn welcome(&self) -> Option<Welcome> {
        let version = match self.frame.words().next() {
            Some(Word::Arg(version)) => number(version.as_bytes())?,
            _ => return None,
        };
        Some(Welcome {
            version: u32::try_from(version).ok()?,
            session: SessionId::parse(&self.option("session")?)?,
            resumed: self.option("resumed")? == "yes",
            header_max: self.number("max-header")?,
            payload_max: self.number("max-payload")?,
            time_ms: self.number("time")?,
            server: self.option("server").map(Cow::into_owned).unwrap_or_default(),
        })
    }
}

/// OK to HELLO.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The version to speak.
    pub version: u32,
    /// The session; `session=` of a later HELLO takes it up again.
    pub session: SessionId,
    /// Whether it is an earlier one, whose leases follow as TASK.
    pub resumed: bool,
    /// The longest header line in bytes.
    pub header_max: u64,
    /// The largest payload in bytes.
    pub payload_max: u64,
    /// The scheduler's time in Unix milliseconds.
    pub time_ms: u64,
    /// Program and version.
    pub server: String,
}

/// ERR.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// The word after ERR.
    pub word: String,
    /// Its meaning; `None` for a word of a later version.
    pub code: Option<Code>,
    /// Try again after so many milliseconds.
    pub retry_ms: Option<u64>,
    /// The versions that the scheduler speaks, if that was the point.
    pub versions: Option<(u32, u32)>,
    /// For people.
    pub text: String,
}

impl Rejected {
    /// Whether the scheduler closes the connection now.
    pub fn closes(&self) -> bool {
        self.code.is_some_and(|code| code.severity() == Severity::Close)
    }
}

fn rejected(mut words: Words<'_>) -> Option<Rejected> {
    let Some(Word::Arg(word)) = words.next() else { return None };
    let mut rejected = Rejected {
        word: word.to_owned(),
        code: Code::parse(word),
        retry_ms: None,
        versions: None,
        text: String::new(),
    };
    let (mut min, mut max) = (None, None);
    let mut text = words.clone();
    while let Some(Word::Option(name, value)) = words.next() {
        let value = number(value.as_bytes());
        let small = value.and_then(|value| u32::try_from(value).ok());
        match name {
            "retry" => rejected.retry_ms = value,
            "min" => min = small,
            "max" => max = small,
            _ => {}
        }
        text = words.clone();
    }
    rejected.versions = min.zip(max);
    text.rest().clone_into(&mut rejected.text);
    Some(rejected)
}

/// TASK: a lease. The texts stay in the frame.
#[derive(Clone, PartialEq, Debug)]
pub struct Task {
    frame: Frame,
    /// The task.
    pub id: TaskId,
    /// The lease.
    pub attempt: Attempt,
    kind: Slice,
    queue: Option<Slice>,
    key: Option<Slice>,
    trace: Option<Slice>,
    /// Milliseconds without a sign of progress after which the lease ends.
    pub timeout_ms: Option<u64>,
    /// Milliseconds after which the lease ends in any case.
    pub max_run_ms: Option<u64>,
}

impl Task {
    /// What it is.
    pub fn kind(&self) -> &str {
        self.kind.of(&self.frame)
    }

    /// Where it waited.
    pub fn queue(&self) -> &str {
        self.queue.map_or(Submit::QUEUE, |queue| queue.of(&self.frame))
    }

    /// What it belongs to, decoded.
    pub fn key(&self) -> Option<Cow<'_, str>> {
        self.key.and_then(|key| decode(key.of(&self.frame)))
    }

    /// The submitter's text for tracing, decoded.
    pub fn trace(&self) -> Option<Cow<'_, str>> {
        self.trace.and_then(|trace| decode(trace.of(&self.frame)))
    }

    /// What to work on.
    pub fn payload(&self) -> Bytes {
        self.frame.payload().unwrap_or_default()
    }
}

fn task(frame: &Frame) -> Option<Task> {
    let mut words = Cursor::of(frame.line());
    words.verb();
    let mut task = Task {
        frame: frame.clone(),
        id: words.id().ok()?,
        attempt: words.attempt().ok()?,
        kind: words.arg("kind").ok()?.name_slice("kind").ok()?,
        queue: None,
        key: None,
        trace: None,
        timeout_ms: None,
        max_run_ms: None,
    };
    while let Some(item) = words.next() {
        match item.name {
            b"queue" => task.queue = Some(item.name_slice("queue").ok()?),
            b"key" => task.key = Some(item.decodable()?),
            b"trace" => task.trace = Some(item.decodable()?),
            b"timeout" => task.timeout_ms = item.number_or_none("timeout", (0, u64::MAX)).ok()?,
            b"max-run" => task.max_run_ms = item.number_or_none("max-run", (0, u64::MAX)).ok()?,
            _ => {}
        }
    }
    Some(task)
}

/// RESULT: how a task ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The task.
    pub id: TaskId,
    /// Done, dead or cancelled.
    pub state: State,
    /// The last lease; 0 for a cancelled task.
    pub attempt: Attempt,
    /// Done: who did it.
    pub worker: Option<String>,
    /// Done: milliseconds from TASK to DONE.
    pub ms: Option<u64>,
    /// Dead: failures, timeouts and losses that counted.
    pub used: Option<u32>,
    /// Dead or cancelled: why.
    pub reason: Option<String>,
    /// When it ended, in Unix milliseconds.
    pub ended_ms: u64,
    /// Until when the result is kept, in Unix milliseconds; `None`: not at all.
    pub until_ms: Option<u64>,
    /// Done: the result. Dead: the last error text. Otherwise empty.
    pub payload: Bytes,
}

fn ended(frame: &Frame) -> Result<Ended, String> {
    let read = ResultFrame::read(frame)?;
    Ok(Ended {
        id: read.id,
        state: read.state,
        attempt: read.attempt,
        worker: read.worker.map(str::to_owned),
        ms: read.ms,
        used: read.used,
        reason: read.reason.map(str::to_owned),
        ended_ms: read.ended_ms,
        until_ms: read.until_ms,
        payload: frame.payload().unwrap_or_default(),
    })
}

/// EVENT: something happened to a task.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    frame: Frame,
    /// Its number.
    pub seq: u64,
    /// What happened, a word of protocol.md or of a later version.
    pub what: String,
    /// The task; none where it happened to a worker's session.
    pub id: Option<TaskId>,
    /// The lease, or the last one; 0 if there was none yet, or is no task.
    pub attempt: Attempt,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
}

impl Event {
    /// Another option, decoded: of a task `queue` and `kind`, and as the event has it `worker`, `reason`,
    /// `us`, `wait-us`, `percent`, `slots`.
    pub fn option(&self, name: &str) -> Option<Cow<'_, str>> {
        option(&self.frame, name)
    }

    /// All options with their values, decoded.
    pub fn options(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.frame.words().filter_map(|word| match word {
            Word::Option(name, value) => Some((name, decode(value)?)),
            Word::Arg(_) => None,
        })
    }

    /// The beginning of the note of PROGRESS; empty for everything else.
    pub fn note(&self) -> Bytes {
        self.frame.payload().unwrap_or_default()
    }
}

fn event(frame: &Frame) -> Option<Event> {
    let mut words = Cursor::of(frame.line());
    words.verb();
    let seq = words.arg("number").ok()?.number("number", 0, u64::MAX).ok()?;
    let what = words.arg("what").ok()?.text()?.to_owned();
    // What has no further arguments is of no task.
    let mut rest = words;
    let (mut id, mut attempt) = (None, 0);
    if rest.arg("task").is_ok() {
        id = Some(words.id().ok()?);
        attempt = words.arg("attempt").ok()?.number("attempt", 0, u64::from(u32::MAX)).ok()?;
    }
    let at_ms = option(frame, "at").and_then(|at| number(at.as_bytes()))?;
    let attempt = Attempt::try_from(attempt).ok()?;
    Some(Event { frame: frame.clone(), seq, what, id, attempt, at_ms })
}

fn gap(frame: &Frame) -> Option<Answer> {
    let mut words = Cursor::of(frame.line());
    words.verb();
    let mut number = || words.arg("number").ok()?.number("number", 0, u64::MAX).ok();
    Some(Answer::Gap(number()?, number()?))
}

fn lease(frame: &Frame) -> Option<(TaskId, Attempt)> {
    let mut words = Cursor::of(frame.line());
    words.verb();
    Some((words.id().ok()?, words.attempt().ok()?))
}

fn reason(frame: &Frame) -> String {
    option(frame, "reason").map(Cow::into_owned).unwrap_or_default()
}

/// The first option of that name, decoded.
fn option<'a>(frame: &'a Frame, name: &str) -> Option<Cow<'a, str>> {
    frame.words().find_map(|word| match word {
        Word::Option(found, value) if found == name => decode(value),
        _ => None,
    })
}
