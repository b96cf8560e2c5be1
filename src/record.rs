//! What survives a crash: the writes of a turn, and the records that a store hands back.
//!
//! A task's record is its SUBMIT frame, written once and deleted once. What changes is a short
//! *state line* beside it, absent for a task that is ready (or scheduled by its own `delay=` or
//! `at=`) and never was leased. A result is a RESULT frame. All of it is text in the format of
//! [`crate::frame`]; [`VERSION`] counts its changes.
//!
//! To change the format: raise `VERSION`, let the reader of the new version read the old one, name
//! both in CHANGELOG.md, and add the old form to the tests as a literal.

use std::sync::Arc;

use crate::frame::{Word, Words, Writer, decode, number, unescape};
use crate::task::{Attempt, SessionId, State, TaskId};

mod inbox;
mod result;

pub use inbox::{Inbox, Taken, Told};
pub use result::{ResultFrame, put_result_cancelled, put_result_dead, put_result_done};

/// The version of the record format.
pub const VERSION: u32 = 1;

/// All durable changes of one turn, and the bytes they speak of.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// The last identifier issued.
    pub last: TaskId,
    /// Wall time of the turn in Unix milliseconds.
    pub wall_ms: u64,
    /// The changes, in order.
    pub writes: Vec<Write>,
    /// The entries of the store's inbox that the changes come from, and who is told through lists.
    pub inbox: Inbox,
    /// What the writes' texts are slices of.
    pub text: Vec<u8>,
    /// EVENT frames of the turn, one after another; for publication after the commit.
    pub events: Vec<u8>,
}

/// A slice of a batch's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Text {
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

/// One durable change. Every one is absolute: applying it twice is applying it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// A new unfinished task: its SUBMIT frame.
    Submit {
        /// The task.
        id: TaskId,
        /// The frame.
        frame: Text,
    },
    /// The state line of an unfinished task.
    State {
        /// The task.
        id: TaskId,
        /// The line.
        line: Text,
    },
    /// The end with a result: record and state line go, the RESULT frame stays until a time.
    End {
        /// The task.
        id: TaskId,
        /// The frame.
        frame: Text,
        /// Unix milliseconds; 0 keeps no frame.
        until_ms: u64,
    },
    /// The end as dead or cancelled: the record moves to the buried ones, with its state line.
    Bury {
        /// The task.
        id: TaskId,
        /// The state line.
        line: Text,
        /// The SUBMIT frame.
        frame: Text,
    },
    /// A buried task is unfinished again.
    Revive {
        /// The task.
        id: TaskId,
        /// The state line.
        line: Text,
        /// The SUBMIT frame.
        frame: Text,
    },
    /// A buried task is forgotten.
    Drop {
        /// The task.
        id: TaskId,
    },
    /// A `unique=` stays held after its task's end: `id=… until=…`.
    Hold {
        /// Queue, space, the encoded value.
        name: Text,
        /// The line.
        line: Text,
    },
    /// That hold is over.
    Unhold {
        /// Queue, space, the encoded value.
        name: Text,
    },
    /// The policies of a queue: `route=hash spill=1000`.
    Queue {
        /// The queue.
        name: Text,
        /// The line.
        line: Text,
    },
    /// A worker's entry: `host=… pid=… slots=… weight=… kinds=… seen=…`.
    Worker {
        /// The worker.
        name: Text,
        /// The line.
        line: Text,
    },
    /// A worker is forgotten.
    WorkerGone {
        /// The worker.
        name: Text,
        /// Its host, encoded as in its entry.
        host: Text,
    },
    /// Figures of a kind (`resize`) or a pair (`resize@img-7`): `succeeded=… mean-us=… at=…`.
    Stats {
        /// The kind or the pair.
        name: Text,
        /// The line.
        line: Text,
    },
    /// Figures that are forgotten.
    StatsGone {
        /// The kind or the pair.
        name: Text,
    },
    /// A periodic task: `active schedule=… since=… seen=…`, a line feed, and the SUBMIT frame of the
    /// tasks that it fires. Written with each of them.
    Cron {
        /// The entry.
        name: Text,
        /// The line and the frame.
        line: Text,
    },
    /// A run goes on though its lease has ended: `timeout session=… worker=… queue=…`.
    Run {
        /// The task and the attempt, with a space between them.
        name: Text,
        /// The line.
        line: Text,
    },
    /// It is over.
    RunGone {
        /// As written.
        name: Text,
    },
    /// A periodic task is forgotten.
    CronGone {
        /// The entry.
        name: Text,
    },
}

impl Batch {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.writes.clear();
        self.inbox.clear();
        self.text.clear();
        self.events.clear();
    }

    /// Whether there is nothing to make durable.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.inbox.is_empty()
    }

    /// The bytes of a slice.
    pub fn slice(&self, text: Text) -> &[u8] {
        let range = text.start as usize..text.end as usize;
        self.text.get(range).unwrap_or_default()
    }

    /// Appends text and tells where it is.
    ///
    /// # Panics
    ///
    /// If a batch grows beyond 4 GiB, which the engine's turn limit forbids.
    pub fn put(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Text {
        let at = |text: &Vec<u8>| u32::try_from(text.len()).expect("a turn is bounded");
        let start = at(&self.text);
        put(&mut self.text);
        Text { start, end: at(&self.text) }
    }
}

/// One thing that a store hands back at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// An unfinished task.
    Task {
        /// The task.
        id: TaskId,
        /// Its SUBMIT frame.
        frame: &'a [u8],
        /// Its state line, if it has one.
        line: Option<&'a [u8]>,
    },
    /// A dead or cancelled task.
    Buried {
        /// The task.
        id: TaskId,
        /// Its SUBMIT frame.
        frame: &'a [u8],
        /// Its state line.
        line: &'a [u8],
    },
    /// A held `unique=`.
    Hold {
        /// As written.
        name: &'a [u8],
        /// As written.
        line: &'a [u8],
    },
    /// The policies of a queue.
    Queue {
        /// As written.
        name: &'a [u8],
        /// As written.
        line: &'a [u8],
    },
    /// A worker's entry.
    Worker {
        /// As written.
        name: &'a [u8],
        /// As written.
        line: &'a [u8],
    },
    /// Figures.
    Stats {
        /// As written.
        name: &'a [u8],
        /// As written.
        line: &'a [u8],
    },
    /// A run whose lease had ended.
    Run {
        /// As written.
        name: &'a [u8],
        /// As written.
        line: &'a [u8],
    },
    /// A periodic task.
    Cron {
        /// As written.
        name: &'a [u8],
        /// As written.
        line: &'a [u8],
    },
}

/// What a state line says.
///
/// `scheduled due=1790000000000 attempt=1 used=1 suspected=0 history=1:failed:img-7`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateLine {
    /// Scheduled, ready, leased, dead or cancelled.
    pub state: State,
    /// Leases so far.
    pub attempt: Attempt,
    /// Failures, timeouts and losses that count against `attempts=`.
    pub used: u32,
    /// Losses in a row that look like a crash of the worker.
    pub suspected: u32,
    /// Scheduled: not before, Unix milliseconds. Dead or cancelled: when, Unix milliseconds.
    /// Leased: since, Unix milliseconds.
    pub at_ms: u64,
    /// Leased: the session.
    pub session: Option<SessionId>,
    /// Leased: the worker's name.
    pub worker: Option<Arc<str>>,
    /// Why it is dead or cancelled.
    pub reason: Option<String>,
    /// How the last attempts ended, oldest first: `attempt:end:worker`, separated by commas.
    pub history: Option<String>,
    /// The last error text, cut.
    pub error: Option<String>,
    /// RETRY dropped `delay=`, `at=` and `expires=`.
    pub retried: bool,
}

impl StateLine {
    /// A line with a state and counts, and nothing more.
    pub fn new(state: State, attempt: Attempt, used: u32) -> Self {
        Self {
            state,
            attempt,
            used,
            suspected: 0,
            at_ms: 0,
            session: None,
            worker: None,
            reason: None,
            history: None,
            error: None,
            retried: false,
        }
    }

    /// Spells the line, without a line feed.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut line = Writer::verb(out, self.state.word())
            .option_number("at", self.at_ms)
            .option_number("attempt", u64::from(self.attempt))
            .option_number("used", u64::from(self.used));
        if self.suspected > 0 {
            line = line.option_number("suspected", u64::from(self.suspected));
        }
        if let Some(session) = self.session {
            line = line.option("session", &session.to_string());
        }
        if let Some(worker) = &self.worker {
            line = line.option("worker", worker);
        }
        for (name, value) in
            [("reason", &self.reason), ("history", &self.history), ("error", &self.error)]
        {
            if let Some(value) = value {
                line = line.option(name, value);
            }
        }
        if self.retried {
            line = line.option("retried", "yes");
        }
        let _ = line;
    }

    /// Reads a line.
    ///
    /// # Errors
    ///
    /// A text that names the word that cannot be.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|_| "a state line is not UTF-8")?;
        let mut words = Words::of(text);
        let state = match words.next() {
            Some(Word::Arg(word)) => State::parse(word),
            _ => None,
        };
        let mut read = Self::new(state.ok_or(format!("no state in {text:?}"))?, 0, 0);
        for word in words {
            let Word::Option(name, value) = word else {
                return Err(format!("{word:?} in {text:?}"));
            };
            read.set(name, value).ok_or_else(|| format!("{name} in {text:?}"))?;
        }
        Ok(read)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let small = || number(value.as_bytes()).and_then(|number| u32::try_from(number).ok());
        let text = || decode(value).map(|value| value.into_owned());
        match name {
            "at" => self.at_ms = number(value.as_bytes())?,
            "attempt" => self.attempt = small()?,
            "used" => self.used = small()?,
            "suspected" => self.suspected = small()?,
            "session" => self.session = Some(SessionId::parse(value)?),
            "worker" => self.worker = Some(Arc::from(text()?)),
            "reason" => self.reason = Some(text()?),
            "history" => self.history = Some(text()?),
            "error" => self.error = Some(unescape(value)?.into_owned()),
            "retried" => self.retried = value == "yes",
            _ => return None,
        }
        Some(())
    }
}

/// The value of an option in a line of options such as [`Write::Queue`] carries.
pub fn option<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    Words::of(line).find_map(|word| match word {
        Word::Option(found, value) if found == name => Some(value),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    fn read_back(line: &StateLine) -> StateLine {
        let mut out = Vec::new();
        line.put(&mut out);
        StateLine::read(&out).unwrap()
    }

    #[test]
    fn a_state_line_is_read_back_whatever_its_error_text_holds() {
        let mut line = StateLine::new(State::Dead, 3, 2);
        line.suspected = 1;
        line.at_ms = 1_790_000_000_000;
        line.session = Some(SessionId(7));
        line.worker = Some(Arc::from("img-7"));
        line.reason = Some("attempts".to_owned());
        line.history = Some("1:failed:img-7,2:lost:img-8".to_owned());
        line.retried = true;
        for error in ["", "plain", "50 % of a=b", "#x", "line 1\n\tline 2\r\n\u{1b}[0m\u{85}", "ä"]
        {
            line.error = Some(error.to_owned());
            assert_eq!(read_back(&line), line);
        }
    }

    #[test]
    fn result_frames_are_read_back() {
        let id = TaskId::from_bits(12345);
        let mut out = Vec::new();
        put_result_done(&mut out, id, 2, "img-7", 12, 1000, 2000, b"small");
        let frame = Frame::read(out.into()).unwrap();
        let read = ResultFrame::read(&frame).unwrap();
        assert_eq!((read.id, read.state, read.attempt), (id, State::Done, 2));
        assert_eq!((read.worker, read.ms), (Some("img-7"), Some(12)));
        assert_eq!((read.ended_ms, read.until_ms), (1000, Some(2000)));
        assert_eq!(frame.payload().unwrap(), "small");

        let mut out = Vec::new();
        put_result_dead(&mut out, id, "poison", 3, 3, 1000, b"");
        let frame = Frame::read(out.into()).unwrap();
        let read = ResultFrame::read(&frame).unwrap();
        assert_eq!((read.state, read.reason, read.used), (State::Dead, Some("poison"), Some(3)));
        assert_eq!(frame.payload().unwrap(), "");

        let mut out = Vec::new();
        put_result_cancelled(&mut out, id, "expired", 1000);
        let frame = Frame::read(out.into()).unwrap();
        let read = ResultFrame::read(&frame).unwrap();
        assert_eq!((read.state, read.reason), (State::Cancelled, Some("expired")));
        assert_eq!((frame.payload(), read.until_ms), (None, None));
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for text in ["OK\n", "RESULT\n", "RESULT 0000000000001 ready\n", "RESULT x done\n"] {
            let frame = Frame::read(text.into()).unwrap();
            assert!(ResultFrame::read(&frame).is_err(), "{text}");
        }
    }
}
