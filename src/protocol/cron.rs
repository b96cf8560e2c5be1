//! CRON: the words of periodic tasks. What follows their own are those of the SUBMIT that each fire is.

use bytes::{BufMut, Bytes};

use crate::frame::{Frame, Word, Writer};
use crate::message::{Cron, CronAdd, Plan, Refusal, Request};
use crate::protocol::Submission;
use crate::protocol::ask::{check_name, check_text};
use crate::protocol::parse::{PAGE, PAGE_MAX, no_payload};
use crate::protocol::submit::parse_submit;
use crate::protocol::words::{Cursor, Given, Item, bad, narrow, unknown_option};

/// The options of SUBMIT that an entry takes for its tasks: not those that say when to begin, nor what
/// only one task or one connection can have.
const OF_TASKS: [&str; 16] = [
    "queue",
    "key",
    "expires",
    "timeout",
    "max-run",
    "attempts",
    "backoff",
    "result-ttl",
    "trace",
    "priority",
    "weight",
    "time",
    "resource",
    "serial",
    "needs",
    "res",
];

/// The option of a record that names the entry that fired it.
const NAME: &str = "cron";

pub(super) fn read(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let action = words.arg("action")?;
    let cron = match action.value {
        b"ADD" => return add(frame, words),
        b"LIST" => list(&mut words)?,
        b"REMOVE" => Cron::Remove(name(&mut words)?),
        b"PAUSE" => Cron::Pause { name: name(&mut words)?, paused: true },
        b"RESUME" => Cron::Pause { name: name(&mut words)?, paused: false },
        _ => return Err(bad("CRON is said with ADD, LIST, REMOVE, PAUSE or RESUME")),
    };
    words.end()?;
    no_payload(frame)?;
    Ok(Request::Cron(cron))
}

fn name(words: &mut Cursor<'_>) -> Result<String, Refusal> {
    Ok(words.arg("name")?.name("name")?.to_owned())
}

fn list(words: &mut Cursor<'_>) -> Result<Cron, Refusal> {
    let (mut cursor, mut limit) = (String::new(), PAGE);
    let mut given = Given::default();
    while let Some(item) = words.option()? {
        match item.name {
            b"cursor" => {
                given.once(0, item)?;
                cursor = item.name("cursor")?.to_owned();
            }
            b"limit" => {
                given.once(1, item)?;
                limit = narrow(item.number("limit", 1, PAGE_MAX)?);
            }
            _ => return Err(item.unknown()),
        }
    }
    Ok(Cron::List { cursor, limit })
}

fn add(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    let name = name(&mut words)?;
    let kind = words.arg("kind")?.name("kind")?;
    let mut options = Vec::new();
    while let Some(item) = words.option()? {
        let (option, value) = texts(item).ok_or_else(|| item.unknown())?;
        if ["schedule", "tz"].contains(&option) {
            item.text_slice(option)?;
        }
        options.push((option, value));
    }
    let mut spelled = Vec::with_capacity(frame.bytes().len());
    let mut line = Some(Writer::verb(&mut spelled, "SUBMIT").arg(kind));
    let plan = Plan::read(options, |option, value| {
        if !OF_TASKS.contains(&option) {
            return Err(unknown_option(option));
        }
        line = line.take().map(|line| line.words(&format!("{option}={value}")));
        Ok(())
    })?;
    if let Some(line) = line {
        line.option(NAME, &name).maybe_payload(frame.payload().as_deref());
    }
    let frame = Frame::read(Bytes::from(spelled)).map_err(|error| bad(error.to_string()))?;
    let submit = Box::new(parse_submit(&frame)?);
    Ok(Request::Cron(Cron::Add(Box::new(CronAdd { name, plan, submit }))))
}

fn texts(item: Item<'_>) -> Option<(&str, &str)> {
    Some((item.name_text()?, item.text()?))
}

/// Appends what is asked about periodic tasks.
///
/// # Errors
///
/// The refusal that the scheduler would give, for a name that is none. Nothing is appended then.
pub(super) fn put(cron: &Cron, out: &mut impl BufMut) -> Result<(), Refusal> {
    match cron {
        Cron::Add(add) => put_add(add, Writer::verb(out, "CRON").arg("ADD")),
        Cron::List { cursor, limit } => {
            if !cursor.is_empty() {
                check_name("cursor", cursor)?;
            }
            let line = Writer::verb(out, "CRON").arg("LIST");
            let line = if cursor.is_empty() { line } else { line.option("cursor", cursor) };
            line.option_number("limit", u64::from(*limit)).end();
        }
        Cron::Remove(name) => {
            check_name("name", name)?;
            Writer::verb(out, "CRON").arg("REMOVE").arg(name).end();
        }
        Cron::Pause { name, paused } => {
            check_name("name", name)?;
            let action = if *paused { "PAUSE" } else { "RESUME" };
            Writer::verb(out, "CRON").arg(action).arg(name).end();
        }
    }
    Ok(())
}

/// Appends CRON ADD: an entry, its plan as the options that say it, and the task that it fires.
///
/// # Errors
///
/// The refusal that the scheduler would give, for a name that is none and a text that is none.
/// Nothing is appended then.
pub fn put_cron_add(
    name: &str,
    plan: &[(&str, &str)],
    task: &Submission<'_>,
    out: &mut impl BufMut,
) -> Result<(), Refusal> {
    check_name("name", name)?;
    plan.iter().try_for_each(|(option, value)| check_text(option, value))?;
    let mut submit = Vec::new();
    task.put(&mut submit)?;
    // `SUBMIT kind`, and whatever follows: the length at least.
    let rest = submit.split_off("SUBMIT ".len() + task.kind.len());
    let line = Writer::verb(out, "CRON").arg("ADD").arg(name).arg(task.kind);
    let line = plan.iter().fold(line, |line, (option, value)| line.option(option, value));
    line.rest(&rest);
    Ok(())
}

fn put_add(add: &CronAdd, line: Writer<'_, impl BufMut>) {
    let mut line = add.plan.put(line.arg(&add.name).arg(add.submit.kind()));
    for word in add.submit.frame.words() {
        if let Word::Option(option, value) = word
            && option != NAME
        {
            line = line.words(&format!("{option}={value}"));
        }
    }
    line.maybe_payload(add.submit.frame.payload().as_deref());
}

/// The entry that a task's record names, if one fired it.
pub fn cron_of<'a>(mut options: impl Iterator<Item = (&'a str, &'a str)>) -> Option<&'a str> {
    options.find_map(|(option, value)| (option == NAME).then_some(value))
}
