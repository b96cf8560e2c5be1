//! RESULT frames: how a task's end is told and stored.

use crate::frame::{Frame, Word, Writer, number};
use crate::task::{Attempt, State, TaskId};

/// Appends the RESULT frame of a task that ended with a result.
///
/// `worker` is a name; `ms` is how long its run took; `ended_ms` and `until_ms` are Unix milliseconds.
/// An `until_ms` of 0 is a result that is not kept, and is not written.
#[expect(clippy::too_many_arguments, reason = "the words of the frame, in their order")]
pub fn put_result_done(
    out: &mut Vec<u8>,
    id: TaskId,
    attempt: Attempt,
    worker: &str,
    ms: u64,
    ended_ms: u64,
    until_ms: u64,
    payload: &[u8],
) {
    let mut line = Writer::verb(out, "RESULT")
        .id(id)
        .arg(State::Done.word())
        .option_number("attempt", u64::from(attempt))
        .option("worker", worker)
        .option_number("ms", ms)
        .option_number("ended", ended_ms);
    if until_ms > 0 {
        line = line.option_number("until", until_ms);
    }
    line.payload(payload);
}

/// Appends the RESULT frame of a task that is dead; `reason` is a word of protocol.md, the payload
/// the last error text, which may be empty.
pub fn put_result_dead(
    out: &mut Vec<u8>,
    id: TaskId,
    reason: &str,
    attempt: Attempt,
    used: u32,
    ended_ms: u64,
    payload: &[u8],
) {
    Writer::verb(out, "RESULT")
        .id(id)
        .arg(State::Dead.word())
        .option("reason", reason)
        .option_number("attempt", u64::from(attempt))
        .option_number("used", u64::from(used))
        .option_number("ended", ended_ms)
        .payload(payload);
}

/// Appends the RESULT frame of a task that was cancelled; `reason` is a word of protocol.md.
pub fn put_result_cancelled(out: &mut Vec<u8>, id: TaskId, reason: &str, ended_ms: u64) {
    Writer::verb(out, "RESULT")
        .id(id)
        .arg(State::Cancelled.word())
        .option("reason", reason)
        .option_number("ended", ended_ms)
        .end();
}

/// What a RESULT frame says; its payload stays with the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultFrame<'a> {
    /// The task.
    pub id: TaskId,
    /// Done, dead or cancelled.
    pub state: State,
    /// The last lease; 0 for a cancelled task.
    pub attempt: Attempt,
    /// Done: who did it.
    pub worker: Option<&'a str>,
    /// Done: milliseconds from TASK to DONE.
    pub ms: Option<u64>,
    /// Dead: failures, timeouts and losses that counted.
    pub used: Option<u32>,
    /// Dead or cancelled: why.
    pub reason: Option<&'a str>,
    /// When it ended, in Unix milliseconds.
    pub ended_ms: u64,
    /// Until when the result is kept, in Unix milliseconds; `None`: not at all.
    pub until_ms: Option<u64>,
}

impl<'a> ResultFrame<'a> {
    /// Reads a frame. Options that are not known are passed over.
    ///
    /// # Errors
    ///
    /// A text that names what is missing or cannot be.
    pub fn read(frame: &'a Frame) -> Result<Self, String> {
        let mut words = frame.words();
        let (id, state) = match (frame.verb(), words.next(), words.next()) {
            ("RESULT", Some(Word::Arg(id)), Some(Word::Arg(state))) => {
                (TaskId::parse(id.as_bytes()), State::parse(state))
            }
            _ => (None, None),
        };
        let (Some(id), Some(state)) = (id, state.filter(|state| state.is_end())) else {
            return Err(format!("no RESULT with an id and an end: {frame:?}"));
        };
        let mut read = Self {
            id,
            state,
            attempt: 0,
            worker: None,
            ms: None,
            used: None,
            reason: None,
            ended_ms: 0,
            until_ms: None,
        };
        for word in words {
            if let Word::Option(name, value) = word {
                read.set(name, value).ok_or_else(|| format!("{name} in {frame:?}"))?;
            }
        }
        Ok(read)
    }

    fn set(&mut self, name: &str, value: &'a str) -> Option<()> {
        let large = || number(value.as_bytes());
        let small = || large().and_then(|number| u32::try_from(number).ok());
        match name {
            "attempt" => self.attempt = small()?,
            "worker" => self.worker = Some(value),
            "ms" => self.ms = Some(large()?),
            "used" => self.used = Some(small()?),
            "reason" => self.reason = Some(value),
            "ended" => self.ended_ms = large()?,
            "until" => self.until_ms = Some(large()?),
            _ => {}
        }
        Some(())
    }
}
