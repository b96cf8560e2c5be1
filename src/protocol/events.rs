//! EVENTS, read and spelled.

use bytes::BufMut;

use crate::frame::{Frame, Writer};
use crate::message::observe::{EventFilter, HAPPENINGS, STATS_MS};
use crate::message::{Refusal, Request};
use crate::protocol::ask::check_name;
use crate::protocol::parse::no_payload;
use crate::protocol::words::{Cursor, Given, Item, bad};

pub(super) fn read(frame: &Frame, mut words: Cursor<'_>) -> Result<Request, Refusal> {
    no_payload(frame)?;
    let mut rest = words;
    if rest.next().is_some_and(|word| word.is_argument(b"off")) {
        rest.end()?;
        return Ok(Request::Events(None));
    }
    let mut filter = EventFilter::default();
    let mut given = Given::default();
    while let Some(item) = words.option()? {
        match item.name {
            b"queue" => {
                given.once(0, item)?;
                filter.queue = Some(item.name("queue")?.to_owned());
            }
            b"kind" => {
                given.once(1, item)?;
                filter.kind = Some(item.name("kind")?.to_owned());
            }
            b"worker" => {
                given.once(2, item)?;
                filter.worker = Some(item.name("worker")?.to_owned());
            }
            b"what" => {
                given.once(3, item)?;
                filter.what = what(item)?;
            }
            b"from" => {
                given.once(4, item)?;
                filter.from = Some(item.number("from", 0, u64::MAX)?);
            }
            b"stats" => {
                given.once(5, item)?;
                filter.stats_ms = Some(item.ms("stats", STATS_MS)?);
            }
            _ => return Err(item.unknown()),
        }
    }
    Ok(Request::Events(Some(Box::new(filter))))
}

fn what(item: Item<'_>) -> Result<Vec<String>, Refusal> {
    let rule = || bad(format!("what lists some of {}", HAPPENINGS.join(", ")));
    let mut what: Vec<String> = Vec::new();
    for word in item.text().ok_or_else(rule)?.split(',') {
        if !HAPPENINGS.contains(&word) || what.iter().any(|given| given == word) {
            return Err(rule());
        }
        what.push(word.to_owned());
    }
    Ok(what)
}

/// Appends EVENTS.
///
/// # Errors
///
/// The refusal that the scheduler would give, for a name that is none. Nothing is appended then.
pub(super) fn put(filter: Option<&EventFilter>, out: &mut impl BufMut) -> Result<(), Refusal> {
    let Some(filter) = filter else {
        Writer::verb(out, "EVENTS").arg("off").end();
        return Ok(());
    };
    let names = [("queue", &filter.queue), ("kind", &filter.kind), ("worker", &filter.worker)];
    for (what, name) in names {
        name.as_ref().map_or(Ok(()), |name| check_name(what, name))?;
    }
    filter.what.iter().try_for_each(|word| check_name("word of what", word))?;
    let mut line = Writer::verb(out, "EVENTS");
    for (what, name) in names {
        if let Some(name) = name {
            line = line.option(what, name);
        }
    }
    if !filter.what.is_empty() {
        line = line.option("what", &filter.what.join(","));
    }
    for (name, number) in [("from", filter.from), ("stats", filter.stats_ms)] {
        if let Some(number) = number {
            line = line.option_number(name, number);
        }
    }
    line.end();
    Ok(())
}
