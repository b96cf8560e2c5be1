//! A frame's meaning: what a peer asks for after HELLO.
//!
//! One pass over the words of the header, on bytes, without allocating for the verbs of the hot path
//! beyond the box of a SUBMIT: texts stay slices of the frame.

use crate::frame::Frame;
use crate::message::{Code, Fail, Policy, Purge, Refusal, Request, Retry, TaskFilter};
use crate::protocol::cron;
use crate::protocol::events;
use crate::protocol::submit::{self, BACKOFF_MS};
use crate::protocol::words::{Cursor, Given, bad, narrow};
use crate::task::{Attempt, State, TaskId, is_name};

/// The most slots of a worker.
pub const SLOTS_MAX: u64 = 65_535;
/// What the slots of a worker that comes may be.
pub const SLOTS: (u64, u64) = (1, SLOTS_MAX);
/// The most tasks on a page of TASKS.
pub const PAGE_MAX: u64 = 1000;
/// Tasks on a page of TASKS by default.
pub const PAGE: u32 = 100;

/// What becomes of a frame.
#[derive(Clone, PartialEq, Debug)]
pub enum Parsed {
    /// Something is asked for.
    Request(Request),
    /// A notice without meaning. Notices get no reply, so neither do wrong ones.
    Ignore,
    /// To be answered with ERR, in turn; the code tells whether the connection goes on.
    Refuse(Refusal),
}

/// Reads any frame that comes after HELLO.
pub fn parse_request(frame: &Frame) -> Parsed {
    let mut words = Cursor::of(frame.line());
    let verb = words.verb();
    let request = match verb {
        b"DONE" => done(frame, words),
        b"SUBMIT" => submit::read(frame, words).map(Request::Submit),
        b"PROGRESS" => match progress(frame, words) {
            Ok(request) => Ok(request),
            Err(_) => return Parsed::Ignore,
        },
        b"PONG" => match bare(frame, words, Request::Pong) {
            Ok(request) => Ok(request),
            Err(_) => return Parsed::Ignore,
        },
        b"FAIL" => fail(frame, words),
        b"RELEASE" => release(frame, words),
        b"GET" => of_task(frame, words, Request::Get),
        b"WATCH" => of_task(frame, words, Request::Watch),
        b"EXPLAIN" => of_task(frame, words, Request::Explain),
        b"CANCEL" => of_task(frame, words, Request::Cancel),
        b"RETRY" => of_task(frame, words, Request::Retry),
        b"SLOTS" => slots(frame, words),
        b"BYE" => bare(frame, words, Request::Bye),
        b"QUEUES" => bare(frame, words, Request::Queues),
        b"WORKERS" => bare(frame, words, Request::Workers),
        b"TASKS" => tasks(frame, words),
        b"STATS" => stats(frame, words),
        b"QUEUE" => queue(frame, words),
        b"PAUSE" => pause(frame, words, true),
        b"RESUME" => pause(frame, words, false),
        b"PURGE" => purge(frame, words),
        b"DRAIN" => drain(frame, words),
        b"CRON" => cron::read(frame, words),
        b"EVENTS" => events::read(frame, words),
        b"HELLO" => Err(Refusal::new(Code::Unexpected, "HELLO comes once, as the first frame")),
        b"OK" | b"ERR" | b"TASK" | b"RESULT" | b"PING" | b"EVENT" | b"GAP" => {
            Err(Refusal::new(Code::Unexpected, "only the scheduler says that"))
        }
        _ => Err(Refusal::new(Code::UnknownVerb, "no such verb; verbs are in upper case")),
    };
    request.map_or_else(Parsed::Refuse, Parsed::Request)
}

/// The lease whose result is announced by a DONE at the start of these bytes, its header at least.
///
/// For a result over the limit: its frame never gets whole, and its task must not run again.
pub fn announced_result(bytes: &[u8]) -> Option<(TaskId, Attempt)> {
    let end = memchr::memchr(b'\n', bytes)?;
    let mut words = Cursor::of(bytes.get(..end)?);
    match words.verb() {
        b"DONE" => Some((words.id().ok()?, words.attempt().ok()?)),
        _ => None,
    }
}

fn done(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let (id, attempt) = (words.id()?, words.attempt()?);
    words.end()?;
    Ok(Request::Done { id, attempt, result: frame.payload().unwrap_or_default() })
}

fn fail(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let (id, attempt) = (words.id()?, words.attempt()?);
    let mut retry = Retry::Backoff;
    let mut given = Given::default();
    while let Some(item) = words.option()? {
        match item.name {
            b"retry" => {
                given.once(0, item)?;
                retry = match item.value {
                    b"no" => Retry::No,
                    _ => Retry::After(
                        item.ms("retry", BACKOFF_MS)
                            .map_err(|refusal| bad(format!("{}, or no", refusal.text)))?,
                    ),
                };
            }
            _ => return Err(item.unknown()),
        }
    }
    Ok(Request::Fail(Fail { id, attempt, retry, error: frame.payload().unwrap_or_default() }))
}

fn release(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let (id, attempt) = (words.id()?, words.attempt()?);
    let mut delay_ms = 0;
    let mut given = Given::default();
    while let Some(item) = words.option()? {
        match item.name {
            b"delay" => {
                given.once(0, item)?;
                delay_ms = item.ms("delay", BACKOFF_MS)?;
            }
            _ => return Err(item.unknown()),
        }
    }
    no_payload(frame)?;
    Ok(Request::Release { id, attempt, delay_ms })
}

fn progress(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let (id, attempt) = (words.id()?, words.attempt()?);
    let percent = words.arg("percent")?.number("percent", 0, 100)?;
    words.end()?;
    let percent = u8::try_from(percent).unwrap_or(100);
    Ok(Request::Progress { id, attempt, percent, note: frame.payload().unwrap_or_default() })
}

fn of_task(
    frame: &Frame,
    mut words: Cursor<'_>,
    request: fn(TaskId) -> Request,
) -> Result<Request, Refusal> {
    let id = words.id()?;
    words.end()?;
    no_payload(frame)?;
    Ok(request(id))
}

fn bare(frame: &Frame, mut words: Cursor<'_>, request: Request) -> Result<Request, Refusal> {
    words.end()?;
    no_payload(frame)?;
    Ok(request)
}

fn slots(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let slots = words.arg("number of slots")?.number("number of slots", 0, SLOTS_MAX)?;
    words.end()?;
    no_payload(frame)?;
    Ok(Request::Slots(narrow(slots)))
}

fn drain(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let worker = words.arg("worker")?.name("worker")?.to_owned();
    words.end()?;
    no_payload(frame)?;
    Ok(Request::Drain(worker))
}

fn pause(frame: &Frame, mut words: Cursor<'_>, paused: bool) -> Result<Request, Refusal> {
    let name = words.arg("queue")?.name("queue")?.to_owned();
    words.end()?;
    no_payload(frame)?;
    Ok(Request::Pause { name, paused })
}

/// The states of tasks that PURGE may clear.
const PURGED: [State; 5] =
    [State::Dead, State::Cancelled, State::Scheduled, State::Blocked, State::Ready];

fn purge(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let queue = words.arg("queue")?.name("queue")?.to_owned();
    let mut purge = Purge { queue, state: State::Dead, cursor: 0 };
    let mut given = Given::default();
    while let Some(item) = words.option()? {
        match item.name {
            b"state" => {
                given.once(0, item)?;
                let state = item.text().and_then(State::parse).filter(|s| PURGED.contains(s));
                purge.state = state
                    .ok_or_else(|| bad("state is dead, cancelled, scheduled, blocked or ready"))?;
            }
            b"cursor" => {
                given.once(1, item)?;
                purge.cursor = item.number("cursor", 0, u64::MAX)?;
            }
            _ => return Err(item.unknown()),
        }
    }
    no_payload(frame)?;
    Ok(Request::Purge(purge))
}

fn stats(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let (mut cursor, mut limit) = (0, PAGE_MAX);
    let mut given = Given::default();
    while let Some(item) = words.option()? {
        match item.name {
            b"cursor" => {
                given.once(0, item)?;
                cursor = item.number("cursor", 0, u64::MAX)?;
            }
            b"limit" => {
                given.once(1, item)?;
                limit = item.number("limit", 1, PAGE_MAX)?;
            }
            _ => return Err(item.unknown()),
        }
    }
    no_payload(frame)?;
    Ok(Request::Stats { cursor, limit: narrow(limit) })
}

fn tasks(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let mut filter = TaskFilter { limit: PAGE, ..TaskFilter::default() };
    let mut given = Given::default();
    while let Some(item) = words.option()? {
        match item.name {
            b"state" => {
                given.once(0, item)?;
                let state = item.text().and_then(State::parse);
                filter.state = Some(state.ok_or_else(|| {
                    bad("state is scheduled, blocked, ready, leased, done, dead or cancelled")
                })?);
            }
            b"queue" => {
                given.once(1, item)?;
                filter.queue = Some(item.name("queue")?.to_owned());
            }
            b"kind" => {
                given.once(2, item)?;
                filter.kind = Some(item.name("kind")?.to_owned());
            }
            b"worker" => {
                given.once(3, item)?;
                filter.worker = Some(item.name("worker")?.to_owned());
            }
            b"cursor" => {
                given.once(4, item)?;
                filter.cursor = item.number("cursor", 0, u64::MAX)?;
            }
            b"limit" => {
                given.once(5, item)?;
                filter.limit = narrow(item.number("limit", 1, PAGE_MAX)?);
            }
            _ => return Err(item.unknown()),
        }
    }
    no_payload(frame)?;
    Ok(Request::Tasks(filter))
}

fn queue(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let name = words.arg("queue")?.name("queue")?.to_owned();
    let mut policies: Vec<(String, String)> = Vec::new();
    let mut checked = Policy::default();
    while let Some(item) = words.option()? {
        let (Some(option), Some(value)) = (item.name_text().filter(|n| is_name(n)), item.text())
        else {
            return Err(item.unknown());
        };
        if policies.iter().any(|(given, _)| given == option) {
            let text = format!("{option} is given twice");
            return Err(Refusal::new(Code::UnknownOption, text));
        }
        checked.set(option, value)?;
        policies.push((option.to_owned(), value.to_owned()));
    }
    no_payload(frame)?;
    Ok(Request::Queue { name, policies })
}

pub(super) fn no_payload(frame: &Frame) -> Result<(), Refusal> {
    match frame.payload_at() {
        None => Ok(()),
        Some(_) => Err(Refusal::new(Code::UnknownOption, "this verb takes no payload")),
    }
}
