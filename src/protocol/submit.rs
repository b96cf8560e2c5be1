//! SUBMIT, the verb with the most options. Its frame is also the task's record, so whatever is
//! accepted here is read again after a restart.

use crate::frame::{Decimal, Frame};
use crate::message::{AfterFailure, Code, Refusal, Start, Submit};
use crate::protocol::words::{Cursor, Given, Item, bad, narrow};
use crate::task::TaskId;

/// The longest duration that can be given, in milliseconds: ten years.
pub const DURATION_MAX_MS: u64 = 315_360_000_000;
/// The longest delay before a next attempt, in milliseconds: a day.
pub const BACKOFF_MAX_MS: u64 = 86_400_000;
/// The longest time that results and `unique=` are kept, in milliseconds: 30 days.
pub const KEEP_MAX_MS: u64 = 2_592_000_000;
/// The highest priority, weight and resource.
pub const PRIORITY_MAX: Decimal = Decimal::whole(1_000_000_000);
/// The most tasks that a task can come after.
pub const AFTER_MAX: usize = 250;
/// The most tags that a task can need.
pub const NEEDS_MAX: usize = 16;
/// The most attempts that can be bounded.
pub const ATTEMPTS_MAX: u64 = 1000;

/// What `delay` may be, in milliseconds.
pub const DELAY_MS: (u64, u64) = (0, DURATION_MAX_MS);
/// What `expires`, `timeout`, `max-run` and `time` may be, in milliseconds.
pub const DURATION_MS: (u64, u64) = (1, DURATION_MAX_MS);
/// What delays before a next attempt may be, in milliseconds.
pub const BACKOFF_MS: (u64, u64) = (0, BACKOFF_MAX_MS);
/// What `result-ttl` and `unique-for` may be, in milliseconds.
pub const KEEP_MS: (u64, u64) = (0, KEEP_MAX_MS);
/// What `attempts` may be.
pub const ATTEMPTS: (u64, u64) = (1, ATTEMPTS_MAX);
/// What `priority` and `weight` may be.
pub const PRIORITY_RANGE: (Decimal, Decimal) = (Decimal::whole(0), PRIORITY_MAX);
/// What `resource` may be.
pub const RESOURCE_RANGE: (Decimal, Decimal) = (Decimal::from_thousandths(1), PRIORITY_MAX);

/// Reads a SUBMIT frame: one just received, or a task's record.
///
/// # Errors
///
/// The refusal that its sender gets; [`Code::UnknownVerb`] if it is no SUBMIT.
pub fn parse_submit(frame: &Frame) -> Result<Submit, Refusal> {
    let mut words = Cursor::of(frame.line());
    match words.verb() {
        b"SUBMIT" => read_any(frame, words, Source::Record),
        _ => Err(Refusal::new(Code::UnknownVerb, "a SUBMIT is expected")),
    }
}

/// Reads what a peer says.
pub(super) fn read(frame: &Frame, words: Cursor<'_>) -> Result<Submit, Refusal> {
    read_any(frame, words, Source::Peer)
}

/// Reads what a program put into an inbox.
pub(super) fn read_entry(frame: &Frame) -> Result<Submit, Refusal> {
    let mut words = Cursor::of(frame.line());
    match words.verb() {
        b"SUBMIT" => read_any(frame, words, Source::Entry),
        _ => Err(Refusal::new(Code::UnknownVerb, "an entry of the inbox is a SUBMIT")),
    }
}

/// Where a SUBMIT is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Peer,
    Entry,
    Record,
}

fn read_any(frame: &Frame, mut words: Cursor<'_>, source: Source) -> Result<Submit, Refusal> {
    let kind = words.arg("kind")?;
    let mut submit = Submit {
        frame: frame.clone(),
        kind: kind.name_slice("kind")?,
        queue: None,
        key: None,
        unique: None,
        after: None,
        after_failure: AfterFailure::default(),
        serial: false,
        needs: None,
        res: None,
        start: Start::Now,
        expires_ms: None,
        timeout_ms: None,
        max_run_ms: None,
        attempts: Some(Submit::ATTEMPTS),
        backoff_ms: Submit::BACKOFF_MS,
        unique_for_ms: 0,
        result_ttl_ms: Submit::RESULT_TTL_MS,
        watch: false,
        reply: None,
    };
    let mut given = Given::default();
    while let Some(option) = words.option()? {
        // Which periodic task it is of: nobody but the scheduler says that.
        if source == Source::Record && option.name == b"cron" {
            given.once(CRON, option)?;
            option.name("cron")?;
            continue;
        }
        // Who has a connection is told over that.
        if source != Source::Peer && option.name == b"reply" {
            given.once(REPLY, option)?;
            submit.reply = Some(option.name_slice("reply")?);
            continue;
        }
        submit_option(&mut submit, &mut given, option)?;
    }
    if submit.watch && source == Source::Entry {
        let text = "watch is for connections: name a list to be told with reply";
        return Err(Refusal::new(Code::UnknownOption, text));
    }
    if given.has(DELAY) && given.has(AT) {
        return Err(Refusal::new(Code::Conflict, "delay and at exclude each other"));
    }
    if given.has(PRIORITY) && (given.has(WEIGHT) || given.has(RESOURCE)) {
        let text = "priority excludes weight and resource, from which it would follow";
        return Err(Refusal::new(Code::Conflict, text));
    }
    if given.has(UNIQUE_FOR) && submit.unique.is_none() {
        return Err(Refusal::new(Code::Missing, "unique-for needs unique"));
    }
    if given.has(AFTER_FAILURE) && submit.after.is_none() {
        return Err(Refusal::new(Code::Missing, "after-failure needs after"));
    }
    if submit.serial && submit.key.is_none() {
        return Err(Refusal::new(Code::Missing, "serial needs key"));
    }
    if submit.serial && given.has(PRIORITY) {
        let text = "serial and priority exclude each other: tasks of a key run in their order";
        return Err(Refusal::new(Code::Conflict, text));
    }
    Ok(submit)
}

/// Places of the options that others depend on.
const DELAY: u32 = 2;
const AT: u32 = 3;
const UNIQUE_FOR: u32 = 10;
const PRIORITY: u32 = 14;
const WEIGHT: u32 = 15;
const RESOURCE: u32 = 17;
const AFTER_FAILURE: u32 = 21;
/// Of entries of an inbox, and of records.
const REPLY: u32 = 23;
/// Of records only.
const CRON: u32 = 31;

fn submit_option(submit: &mut Submit, given: &mut Given, item: Item<'_>) -> Result<(), Refusal> {
    match item.name {
        b"queue" => {
            given.once(0, item)?;
            submit.queue = Some(item.name_slice("queue")?);
        }
        b"key" => {
            given.once(1, item)?;
            submit.key = Some(item.text_slice("key")?);
        }
        b"delay" => {
            given.once(DELAY, item)?;
            submit.start = Start::Delay(item.ms("delay", DELAY_MS)?);
        }
        b"at" => {
            given.once(AT, item)?;
            submit.start = Start::At(item.ms("at", (0, at_max_ms()))?);
        }
        b"expires" => {
            given.once(4, item)?;
            submit.expires_ms = Some(item.ms("expires", DURATION_MS)?);
        }
        b"timeout" => {
            given.once(5, item)?;
            submit.timeout_ms = item.ms_or_none("timeout", DURATION_MS)?;
        }
        b"max-run" => {
            given.once(6, item)?;
            submit.max_run_ms = item.ms_or_none("max-run", DURATION_MS)?;
        }
        b"attempts" => {
            given.once(7, item)?;
            submit.attempts = item.number_or_none("attempts", ATTEMPTS)?.map(narrow);
        }
        b"backoff" => {
            given.once(8, item)?;
            submit.backoff_ms = item.ms("backoff", BACKOFF_MS)?;
        }
        b"unique" => {
            given.once(9, item)?;
            submit.unique = Some(item.text_slice("unique")?);
        }
        b"unique-for" => {
            given.once(UNIQUE_FOR, item)?;
            submit.unique_for_ms = item.ms("unique-for", KEEP_MS)?;
        }
        b"result-ttl" => {
            given.once(11, item)?;
            submit.result_ttl_ms = item.ms("result-ttl", KEEP_MS)?;
        }
        b"watch" => {
            given.once(12, item)?;
            submit.watch = item.yes_or_no("watch")?;
        }
        // Not needed here: it travels to the worker inside the record.
        b"trace" => {
            given.once(13, item)?;
            item.text_slice("trace")?;
        }
        // The order of its queue may ask the record for these.
        b"priority" => {
            given.once(PRIORITY, item)?;
            item.decimal("priority", PRIORITY_RANGE)?;
        }
        b"weight" => {
            given.once(WEIGHT, item)?;
            item.decimal("weight", PRIORITY_RANGE)?;
        }
        b"time" => {
            given.once(16, item)?;
            item.ms("time", DURATION_MS)?;
        }
        b"resource" => {
            given.once(RESOURCE, item)?;
            item.decimal("resource", RESOURCE_RANGE)?;
        }
        b"after" => {
            given.once(20, item)?;
            submit.after = Some(item.ids_slice("after", AFTER_MAX)?);
        }
        b"after-failure" => {
            given.once(AFTER_FAILURE, item)?;
            submit.after_failure = item
                .text()
                .and_then(AfterFailure::parse)
                .ok_or_else(|| bad("after-failure is wait, cancel or run"))?;
        }
        b"serial" => {
            given.once(19, item)?;
            submit.serial = item.yes_or_no("serial")?;
        }
        b"res" => {
            given.once(22, item)?;
            submit.res = Some(item.amounts_slice("res")?);
        }
        b"needs" => {
            given.once(18, item)?;
            submit.needs = Some(item.names_slice("needs", NEEDS_MAX)?);
        }
        _ => return Err(item.unknown()),
    }
    Ok(())
}

/// The latest time that a task identifier can express, in Unix milliseconds.
pub fn at_max_ms() -> u64 {
    TaskId::from_bits(u64::MAX).wall_ms()
}
