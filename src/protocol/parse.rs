//! A frame's meaning: what a peer asks for after HELLO.
//!
//! One pass over the words of the header, on bytes, without allocating for the verbs of the hot path
//! beyond the box of a SUBMIT: texts stay slices of the frame.

use crate::frame::{Frame, decode, number};
use crate::message::{Code, Fail, Refusal, Request, Retry, Slice, Start, Submit, TaskFilter};
use crate::task::{Attempt, State, TaskId, is_name};

/// The longest duration that can be given, in milliseconds: ten years.
pub const DURATION_MAX_MS: u64 = 315_360_000_000;
/// The longest delay before a next attempt, in milliseconds: a day.
pub const BACKOFF_MAX_MS: u64 = 86_400_000;
/// The longest time that results and `unique=` are kept, in milliseconds: 30 days.
pub const KEEP_MAX_MS: u64 = 2_592_000_000;
/// The most attempts that can be bounded.
pub const ATTEMPTS_MAX: u64 = 1000;
/// The longest free text of an option in bytes, decoded.
pub const TEXT_MAX: usize = 256;
/// The most slots of a worker.
pub const SLOTS_MAX: u64 = 65_535;
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
        b"SUBMIT" => submit(frame, words).map(|submit| Request::Submit(Box::new(submit))),
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
        b"CANCEL" => of_task(frame, words, Request::Cancel),
        b"RETRY" => of_task(frame, words, Request::Retry),
        b"SLOTS" => slots(frame, words),
        b"BYE" => bare(frame, words, Request::Bye),
        b"QUEUES" => bare(frame, words, Request::Queues),
        b"WORKERS" => bare(frame, words, Request::Workers),
        b"TASKS" => tasks(frame, words),
        b"STATS" => bare(frame, words, Request::Stats),
        b"QUEUE" => queue(frame, words),
        b"DRAIN" => drain(frame, words),
        b"HELLO" => Err(Refusal::new(Code::Unexpected, "HELLO comes once, as the first frame")),
        b"OK" | b"ERR" | b"TASK" | b"RESULT" | b"PING" | b"EVENT" => {
            Err(Refusal::new(Code::Unexpected, "only the scheduler says that"))
        }
        _ => Err(Refusal::new(Code::UnknownVerb, "no such verb; verbs are in upper case")),
    };
    request.map_or_else(Parsed::Refuse, Parsed::Request)
}

/// Reads a SUBMIT frame: one just received, or a task's record.
///
/// # Errors
///
/// The refusal that its sender gets; [`Code::UnknownVerb`] if it is no SUBMIT.
pub fn parse_submit(frame: &Frame) -> Result<Submit, Refusal> {
    let mut words = Cursor::of(frame.line());
    match words.verb() {
        b"SUBMIT" => submit(frame, words),
        _ => Err(Refusal::new(Code::UnknownVerb, "a SUBMIT is expected")),
    }
}

fn submit(frame: &Frame, mut words: Cursor<'_>) -> Result<Submit, Refusal> {
    let kind = words.arg("kind")?;
    let mut submit = Submit {
        frame: frame.clone(),
        kind: name_slice(kind, "kind")?,
        queue: None,
        key: None,
        unique: None,
        start: Start::Now,
        expires_ms: None,
        timeout_ms: None,
        max_run_ms: None,
        attempts: Some(Submit::ATTEMPTS),
        backoff_ms: Submit::BACKOFF_MS,
        unique_for_ms: 0,
        result_ttl_ms: Submit::RESULT_TTL_MS,
        watch: false,
    };
    let mut given = Given::default();
    while let Some(option) = words.option()? {
        submit_option(&mut submit, &mut given, option)?;
    }
    if given.has(DELAY) && given.has(AT) {
        return Err(Refusal::new(Code::Conflict, "delay and at exclude each other"));
    }
    if given.has(UNIQUE_FOR) && submit.unique.is_none() {
        return Err(Refusal::new(Code::Missing, "unique-for needs unique"));
    }
    Ok(submit)
}

/// Places of the options that others depend on.
const DELAY: u32 = 2;
const AT: u32 = 3;
const UNIQUE_FOR: u32 = 10;

fn submit_option(submit: &mut Submit, given: &mut Given, item: Item<'_>) -> Result<(), Refusal> {
    match item.name {
        b"queue" => {
            given.once(0, item)?;
            submit.queue = Some(name_slice(item, "queue")?);
        }
        b"key" => {
            given.once(1, item)?;
            submit.key = Some(text_slice(item, "key")?);
        }
        b"delay" => {
            given.once(DELAY, item)?;
            submit.start = Start::Delay(item.number("delay", 0, DURATION_MAX_MS)?);
        }
        b"at" => {
            given.once(AT, item)?;
            submit.start = Start::At(item.number("at", 0, at_max_ms())?);
        }
        b"expires" => {
            given.once(4, item)?;
            submit.expires_ms = Some(item.number("expires", 1, DURATION_MAX_MS)?);
        }
        b"timeout" => {
            given.once(5, item)?;
            submit.timeout_ms = item.number_or_none("timeout", 1, DURATION_MAX_MS)?;
        }
        b"max-run" => {
            given.once(6, item)?;
            submit.max_run_ms = item.number_or_none("max-run", 1, DURATION_MAX_MS)?;
        }
        b"attempts" => {
            given.once(7, item)?;
            submit.attempts = item.number_or_none("attempts", 1, ATTEMPTS_MAX)?.map(narrow);
        }
        b"backoff" => {
            given.once(8, item)?;
            submit.backoff_ms = item.number("backoff", 0, BACKOFF_MAX_MS)?;
        }
        b"unique" => {
            given.once(9, item)?;
            submit.unique = Some(text_slice(item, "unique")?);
        }
        b"unique-for" => {
            given.once(UNIQUE_FOR, item)?;
            submit.unique_for_ms = item.number("unique-for", 0, KEEP_MAX_MS)?;
        }
        b"result-ttl" => {
            given.once(11, item)?;
            submit.result_ttl_ms = item.number("result-ttl", 0, KEEP_MAX_MS)?;
        }
        b"watch" => {
            given.once(12, item)?;
            submit.watch = item.yes_or_no("watch")?;
        }
        // Not needed here: it travels to the worker inside the record.
        b"trace" => {
            given.once(13, item)?;
            text_slice(item, "trace")?;
        }
        _ => return Err(item.unknown()),
    }
    Ok(())
}

/// The latest time that a task identifier can express, in Unix milliseconds.
fn at_max_ms() -> u64 {
    TaskId::from_bits(u64::MAX).wall_ms()
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
                    _ => Retry::After(item.number("retry", 0, BACKOFF_MAX_MS)?),
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
                delay_ms = item.number("delay", 0, BACKOFF_MAX_MS)?;
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

fn tasks(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let mut filter = TaskFilter { limit: PAGE, ..TaskFilter::default() };
    let mut given = Given::default();
    while let Some(item) = words.option()? {
        match item.name {
            b"state" => {
                given.once(0, item)?;
                let state = item.text().and_then(State::parse);
                filter.state = Some(state.ok_or_else(|| {
                    bad("state is scheduled, ready, leased, done, dead or cancelled")
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
    let mut given = Given::default();
    while let Some(item) = words.option()? {
        match item.name {
            b"order" => {
                given.once(0, item)?;
                item.one_of(&["fcfs"], "order is fcfs")?;
            }
            b"route" => {
                given.once(1, item)?;
                let routes = ["hash", "modulo", "weighted-random"];
                item.one_of(&routes, "route is hash, modulo or weighted-random")?;
            }
            b"spill" => {
                given.once(2, item)?;
                item.number_or_none("spill", 0, DURATION_MAX_MS)?;
            }
            _ => return Err(item.unknown()),
        }
        if let (Some(name), Some(value)) = (item.name_text(), item.text()) {
            policies.push((name.to_owned(), value.to_owned()));
        }
    }
    no_payload(frame)?;
    Ok(Request::Queue { name, policies })
}

fn no_payload(frame: &Frame) -> Result<(), Refusal> {
    match frame.payload_at() {
        None => Ok(()),
        Some(_) => Err(Refusal::new(Code::UnknownOption, "this verb takes no payload")),
    }
}

fn name_slice(item: Item<'_>, what: &str) -> Result<Slice, Refusal> {
    item.name(what)?;
    Ok(item.slice())
}

fn text_slice(item: Item<'_>, what: &str) -> Result<Slice, Refusal> {
    let length = match memchr::memchr3(b'%', b'=', b'#', item.value) {
        None => Some(item.value.len()),
        Some(_) => item.text().and_then(decode).map(|text| text.len()),
    };
    match length {
        Some(1..=TEXT_MAX) => Ok(item.slice()),
        Some(_) => Err(bad(format!("{what} has 1 to {TEXT_MAX} bytes"))),
        None => Err(bad(format!("{what} is not percent-encoded as it must be"))),
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn bad(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::BadValue, text)
}

/// Which options were given, by their places: none may come twice.
#[derive(Clone, Copy, Default)]
struct Given(u32);

impl Given {
    fn once(&mut self, place: u32, item: Item<'_>) -> Result<(), Refusal> {
        if self.has(place) {
            let name = item.name_text().unwrap_or_default();
            return Err(Refusal::new(Code::UnknownOption, format!("{name} is given twice")));
        }
        self.0 |= 1 << place;
        Ok(())
    }

    fn has(self, place: u32) -> bool {
        self.0 >> place & 1 == 1
    }
}

/// Goes through the words of a header once.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

/// A word, cut at its first `=`; the name of an argument is empty and its value is all of it.
#[derive(Clone, Copy)]
struct Item<'a> {
    name: &'a [u8],
    value: &'a [u8],
    is_option: bool,
    /// Where the value begins in the header.
    at: usize,
}

impl<'a> Cursor<'a> {
    fn of(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    fn verb(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b' ', self.line).unwrap_or(self.line.len());
        self.at = end + 1;
        self.line.get(..end).unwrap_or_default()
    }

    fn next(&mut self) -> Option<Item<'a>> {
        let start = self.at;
        let rest = self.line.get(start..).filter(|rest| !rest.is_empty())?;
        let mut equals = None;
        let mut length = rest.len();
        for (place, &byte) in rest.iter().enumerate() {
            if byte == b' ' {
                length = place;
                break;
            }
            if byte == b'=' && equals.is_none() {
                equals = Some(place);
            }
        }
        self.at = start + length + 1;
        let from = equals.map_or(0, |equals| equals + 1);
        Some(Item {
            name: rest.get(..equals.unwrap_or(0)).unwrap_or_default(),
            value: rest.get(from..length).unwrap_or_default(),
            is_option: equals.is_some(),
            at: start + from,
        })
    }

    /// The next word, which must be an argument.
    fn arg(&mut self, what: &str) -> Result<Item<'a>, Refusal> {
        self.next()
            .filter(|item| !item.is_option)
            .ok_or_else(|| Refusal::new(Code::Missing, format!("the {what} is missing")))
    }

    fn id(&mut self) -> Result<TaskId, Refusal> {
        let item = self.arg("task id")?;
        TaskId::parse(item.value)
            .ok_or_else(|| bad("a task id has 13 characters of 0-9 and a-z without i, l, o and u"))
    }

    fn attempt(&mut self) -> Result<Attempt, Refusal> {
        self.arg("attempt")?.number("attempt", 1, u64::from(u32::MAX)).map(narrow)
    }

    /// The next word, which must be an option if there is one.
    fn option(&mut self) -> Result<Option<Item<'a>>, Refusal> {
        match self.next() {
            Some(item) if !item.is_option => Err(Refusal::new(
                Code::UnknownOption,
                "an argument too many, or one behind an option",
            )),
            item => Ok(item),
        }
    }

    /// No word is left.
    fn end(&mut self) -> Result<(), Refusal> {
        self.option()?.map_or(Ok(()), |item| Err(item.unknown()))
    }
}

impl<'a> Item<'a> {
    fn slice(self) -> Slice {
        let narrow = |place: usize| u16::try_from(place).unwrap_or(u16::MAX);
        Slice { start: narrow(self.at), end: narrow(self.at + self.value.len()) }
    }

    fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.value).ok()
    }

    fn name_text(self) -> Option<&'a str> {
        std::str::from_utf8(self.name).ok()
    }

    fn name(self, what: &str) -> Result<&'a str, Refusal> {
        self.text().filter(|text| is_name(text)).ok_or_else(|| {
            bad(format!("the {what} is a name: 1 to 128 characters of A-Z a-z 0-9 . _ / -"))
        })
    }

    fn number(self, what: &str, min: u64, max: u64) -> Result<u64, Refusal> {
        number(self.value)
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| bad(format!("{what} is a plain number from {min} to {max}")))
    }

    fn number_or_none(self, what: &str, min: u64, max: u64) -> Result<Option<u64>, Refusal> {
        if self.value == b"none" {
            return Ok(None);
        }
        self.number(what, min, max)
            .map(Some)
            .map_err(|refusal| bad(format!("{}, or none", refusal.text)))
    }

    fn yes_or_no(self, what: &str) -> Result<bool, Refusal> {
        match self.value {
            b"yes" => Ok(true),
            b"no" => Ok(false),
            _ => Err(bad(format!("{what} is yes or no"))),
        }
    }

    fn one_of(self, words: &[&str], refusal: &'static str) -> Result<(), Refusal> {
        let known = words.iter().any(|word| word.as_bytes() == self.value);
        known.then_some(()).ok_or_else(|| bad(refusal))
    }

    fn unknown(self) -> Refusal {
        // A name of the alphabet is safe to repeat; anything else is not repeated.
        let text = match self.name_text().filter(|name| is_name(name)) {
            Some(name) => format!("{name} is no option of this verb").into(),
            None => std::borrow::Cow::Borrowed("no option of this verb"),
        };
        Refusal::new(Code::UnknownOption, text)
    }
}
