//! What the scheduler says, spelled.
//!
//! Everything goes through the one writer of frames, or is copied whole from a frame that did.

use bytes::{BufMut, BytesMut};

use crate::frame::{Frame, HEADER_MAX, Word, Writer};
use crate::message::reply::TaskInfo;
use crate::message::{Refusal, Reply};
use crate::task::{Attempt, TaskId};

/// What OK to HELLO tells besides the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The version agreed on.
    pub version: u32,
    /// The largest payload in bytes.
    pub payload_max: u64,
    /// Unix milliseconds.
    pub wall_ms: u64,
}

/// Who serves, as OK to HELLO names it.
pub const SERVER: &str = concat!("ganger/", env!("CARGO_PKG_VERSION"));

/// The longest history that GET tells, in bytes; the oldest attempts go first.
const HISTORY_MAX: usize = 2048;

/// The longest text of an ERR, in bytes.
const TEXT_MAX: usize = 512;

/// Appends a reply or a push as a frame; [`Reply::Close`] appends nothing. `text` is the text of the
/// batch that the reply belongs to.
pub fn render(reply: &Reply, text: &[u8], terms: &Terms, out: &mut BytesMut) {
    match reply {
        Reply::Welcome { session, resumed } => Writer::verb(out, "OK")
            .number(u64::from(terms.version))
            .option("session", &session.to_string())
            .option("resumed", if *resumed { "yes" } else { "no" })
            .option_number("max-header", HEADER_MAX as u64)
            .option_number("max-payload", terms.payload_max)
            .option_number("time", terms.wall_ms)
            .option("server", SERVER)
            .end(),
        Reply::Ok => Writer::verb(out, "OK").end(),
        Reply::OkTask(id) => put_ok(*id, out),
        Reply::Duplicate(id) => {
            Writer::verb(out, "OK").id(*id).option("duplicate", "yes").end();
        }
        Reply::Retried { id, was, reason } => {
            Writer::verb(out, "OK").id(*id).option("was", was.word()).option("reason", reason).end()
        }
        Reply::Refused(refusal) => put_refusal(refusal, out),
        Reply::Observing(next) => Writer::verb(out, "OK").option_number("next", *next).end(),
        Reply::Snapshot(json) => Writer::verb(out, "STATS").payload(json),
        Reply::Json(json) => Writer::verb(out, "OK").payload(json),
        Reply::Task(info) => put_info(info, out),
        Reply::Run { id, attempt, record } => put_task(*id, *attempt, record, out),
        Reply::Stop { id, attempt, reason } => Writer::verb(out, "CANCEL")
            .id(*id)
            .number(u64::from(*attempt))
            .option("reason", reason)
            .end(),
        Reply::Result(place) => {
            let frame = text.get(place.start as usize..place.end as usize);
            out.extend_from_slice(frame.unwrap_or_default());
        }
        Reply::Frame(frame) => out.extend_from_slice(frame),
        Reply::Drain { reason } => Writer::verb(out, "DRAIN").option("reason", reason).end(),
        Reply::Close => {}
    }
}

/// Appends PING, the push that asks for a sign of life.
pub fn put_ping(out: &mut BytesMut) {
    Writer::verb(out, "PING").end();
}

/// Appends ERR. What its text may not hold is replaced, so that no refusal can break the stream.
pub fn put_refusal(refusal: &Refusal, out: &mut impl BufMut) {
    let mut line = Writer::verb(out, "ERR").arg(refusal.code.word());
    if let Some(retry_ms) = refusal.retry_ms {
        line = line.option_number("retry", retry_ms);
    }
    if let Some((min, max)) = refusal.versions {
        line = line.option_number("min", u64::from(min)).option_number("max", u64::from(max));
    }
    let mut left = TEXT_MAX;
    for word in refusal.text.split([' ', '=']) {
        let word = word.trim_start_matches('#');
        left = left.saturating_sub(word.len() + 1);
        if left == 0 {
            break;
        }
        if !word.contains(char::is_control) {
            line = line.words(word);
        }
    }
    line.end();
}

/// Appends the answer to GET of a task that has ended: a stored RESULT frame, told as an OK.
///
/// The identifier is the one asked for; the frame's words after its own follow as they are.
pub fn render_stored(id: TaskId, frame: &Frame, out: &mut BytesMut) {
    let mut words = frame.words();
    let state = match (words.next(), words.next()) {
        (Some(_), Some(Word::Arg(state))) => state,
        _ => "done",
    };
    Writer::verb(out, "OK")
        .id(id)
        .option("state", state)
        .words(words.rest())
        .maybe_payload(frame.payload().as_deref());
}

fn put_info(info: &TaskInfo, out: &mut BytesMut) {
    let mut line = Writer::verb(out, "OK")
        .id(info.id)
        .option("state", info.state.word())
        .option("kind", &info.kind)
        .option("queue", &info.queue)
        .option_number("attempt", u64::from(info.attempt))
        .option_number("used", u64::from(info.used));
    if let Some(due_ms) = info.due_ms {
        line = line.option_number("due", due_ms);
    }
    if let Some(worker) = &info.worker {
        line = line.option("worker", worker);
    }
    if let Some(percent) = info.percent {
        line = line.option_number("percent", u64::from(percent));
    }
    if let Some(reason) = &info.reason {
        line = line.option("reason", reason);
    }
    if let Some(cron) = &info.cron {
        line = line.option("cron", cron);
    }
    if let Some(history) = &info.history {
        line = line.option("history", newest(history));
    }
    line.maybe_payload(info.error.as_deref());
}

/// The end of a history that fits into a header, cut between two attempts.
fn newest(history: &str) -> &str {
    let Some(surplus) = history.len().checked_sub(HISTORY_MAX) else { return history };
    let comma = history.bytes().skip(surplus).position(|byte| byte == b',');
    comma.and_then(|comma| history.get(surplus + comma + 1..)).unwrap_or_default()
}

/// OK with an identifier: half of all frames, so put at once.
fn put_ok(id: TaskId, out: &mut BytesMut) {
    let mut line = *b"OK 0123456789abc\n";
    if let Some(place) = line.get_mut(3..3 + TaskId::LEN) {
        place.copy_from_slice(&id.text());
    }
    out.extend_from_slice(&line);
}

/// TASK: the words of the record that a worker needs, and its payload, copied as they stand.
fn put_task(id: TaskId, attempt: Attempt, record: &[u8], out: &mut BytesMut) {
    let end = memchr::memchr(b'\n', record).unwrap_or(record.len());
    let line = record.get(..end).unwrap_or_default();
    out.reserve(record.len() + 32);
    out.put_slice(b"TASK ");
    out.put_slice(&id.text());
    out.put_u8(b' ');
    crate::frame::put_number(out, u64::from(attempt));
    // Every word is copied with the space before it.
    let mut at = memchr::memchr(b' ', line).unwrap_or(end);
    let mut is_kind = true;
    while at < end {
        let rest = line.get(at..).unwrap_or_default();
        let length = rest.iter().skip(1).position(|&byte| byte == b' ');
        let word = rest.get(..length.map_or(rest.len(), |length| length + 1)).unwrap_or_default();
        if word.starts_with(b" #") {
            // The length is the last word: all that is left is copied with it.
            out.put_slice(record.get(at..).unwrap_or_default());
            return;
        }
        if is_kind || is_task_option(word) {
            out.put_slice(word);
        }
        is_kind = false;
        at += word.len();
    }
    out.put_slice(b" #0\n\n");
}

/// Whether a word, with the space before it, is an option that a worker gets to see.
fn is_task_option(word: &[u8]) -> bool {
    let name = word.split(|&byte| byte == b'=').next().unwrap_or_default();
    matches!(name, b" queue" | b" key" | b" timeout" | b" max-run" | b" trace")
}
