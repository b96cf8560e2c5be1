//! What a peer asks for, spelled.
//!
//! Names and texts are checked before a byte is written: whatever a program is fed with, it cannot
//! make the library send a frame that says something else. Ranges of numbers are the scheduler's.

use bytes::BufMut;

use crate::frame::{HEADER_MAX, Writer};
use crate::message::amounts::{read_amounts, spell_amounts};
use crate::message::{Code, Fail, Hello, Purge, Refusal, Request, Retry, Role, Submit, TaskFilter};
use crate::protocol::parse::PAGE_MAX;
use crate::protocol::{TEXT_MAX, cron, events};
use crate::task::{Attempt, TaskId, is_name};

/// Appends a request or a notice.
///
/// # Errors
///
/// The refusal that the scheduler would give, for a name that is none. Nothing is appended then.
pub fn put_request(request: &Request, out: &mut impl BufMut) -> Result<(), Refusal> {
    match request {
        Request::Submit(submit) => put_record(submit, out),
        Request::Get(id) => of_task("GET", *id, out),
        Request::Watch(id) => of_task("WATCH", *id, out),
        Request::Explain(id) => of_task("EXPLAIN", *id, out),
        Request::Cancel(id) => of_task("CANCEL", *id, out),
        Request::Retry(id) => of_task("RETRY", *id, out),
        Request::Done { id, attempt, result } => put_done(*id, *attempt, result, out),
        Request::Fail(fail) => put_fail(fail, out),
        Request::Release { id, attempt, delay_ms } => {
            let line = lease("RELEASE", *id, *attempt, out);
            if *delay_ms > 0 { line.option_number("delay", *delay_ms) } else { line }.end();
        }
        Request::Progress { id, attempt, percent, note } => {
            let line = lease("PROGRESS", *id, *attempt, out).number(u64::from(*percent));
            line.maybe_payload((!note.is_empty()).then_some(&note[..]));
        }
        Request::Slots(slots) => Writer::verb(out, "SLOTS").number(u64::from(*slots)).end(),
        Request::Bye => Writer::verb(out, "BYE").end(),
        Request::Pong => Writer::verb(out, "PONG").end(),
        Request::Queues => Writer::verb(out, "QUEUES").end(),
        Request::Workers => Writer::verb(out, "WORKERS").end(),
        Request::Stats { cursor, limit } => put_stats(*cursor, *limit, out),
        Request::Tasks(filter) => put_tasks(filter, out)?,
        Request::Pause { name, paused } => {
            check_name("queue", name)?;
            Writer::verb(out, if *paused { "PAUSE" } else { "RESUME" }).arg(name).end();
        }
        Request::Purge(Purge { queue, state, cursor }) => {
            check_name("queue", queue)?;
            let line = Writer::verb(out, "PURGE").arg(queue).option("state", state.word());
            line.option_number("cursor", *cursor).end();
        }
        Request::Queue { name, policies } => put_queue(name, policies, out)?,
        Request::Events(filter) => events::put(filter.as_deref(), out)?,
        Request::Drain(worker) => {
            check_name("worker", worker)?;
            Writer::verb(out, "DRAIN").arg(worker).end();
        }
        Request::Cron(cron) => cron::put(cron, out)?,
    }
    Ok(())
}

fn put_record(submit: &Submit, out: &mut impl BufMut) {
    out.put_slice(submit.frame.bytes());
}

fn of_task(verb: &str, id: TaskId, out: &mut impl BufMut) {
    Writer::verb(out, verb).id(id).end();
}

fn lease<'a, B: BufMut>(verb: &str, id: TaskId, attempt: Attempt, out: &'a mut B) -> Writer<'a, B> {
    Writer::verb(out, verb).id(id).number(u64::from(attempt))
}

/// Appends DONE: a lease ended with a result.
pub fn put_done(id: TaskId, attempt: Attempt, result: &[u8], out: &mut impl BufMut) {
    lease("DONE", id, attempt, out).payload(result);
}

fn put_fail(fail: &Fail, out: &mut impl BufMut) {
    let line = lease("FAIL", fail.id, fail.attempt, out);
    let line = match fail.retry {
        Retry::Backoff => line,
        Retry::After(ms) => line.option_number("retry", ms),
        Retry::No => line.option("retry", "no"),
    };
    line.payload(&fail.error);
}

fn put_stats(cursor: u64, limit: u32, out: &mut impl BufMut) {
    let mut line = Writer::verb(out, "STATS");
    if cursor > 0 {
        line = line.option_number("cursor", cursor);
    }
    if u64::from(limit) != PAGE_MAX {
        line = line.option_number("limit", limit.into());
    }
    line.end();
}

fn put_tasks(filter: &TaskFilter, out: &mut impl BufMut) -> Result<(), Refusal> {
    let names = [("queue", &filter.queue), ("kind", &filter.kind), ("worker", &filter.worker)];
    for (what, name) in names {
        name.as_ref().map_or(Ok(()), |name| check_name(what, name))?;
    }
    let mut line = Writer::verb(out, "TASKS");
    if let Some(state) = filter.state {
        line = line.option("state", state.word());
    }
    for (what, name) in names {
        if let Some(name) = name {
            line = line.option(what, name);
        }
    }
    if filter.cursor > 0 {
        line = line.option_number("cursor", filter.cursor);
    }
    line.option_number("limit", u64::from(filter.limit)).end();
    Ok(())
}

fn put_queue(
    name: &str,
    policies: &[(String, String)],
    out: &mut impl BufMut,
) -> Result<(), Refusal> {
    check_name("queue", name)?;
    for (policy, value) in policies {
        check_name("policy", policy)?;
        check_text(policy, value)?;
    }
    let mut line = Writer::verb(out, "QUEUE").arg(name);
    for (policy, value) in policies {
        line = line.option(policy, value);
    }
    line.end();
    Ok(())
}

/// Appends HELLO, offering the versions from `low` to `high`. What is at its default is left out.
///
/// # Errors
///
/// The refusal that the scheduler would give, for a name that is none, a text that is none, or more
/// names than a header holds. Nothing is appended then.
pub fn put_hello(
    (low, high): (u32, u32),
    hello: &Hello,
    out: &mut impl BufMut,
) -> Result<(), Refusal> {
    let mut frame = Vec::with_capacity(256);
    check_hello(hello)?;
    let versions = if low == high { low.to_string() } else { format!("{low}-{high}") };
    let mut line = Writer::verb(&mut frame, "HELLO").arg(&versions).arg(hello.role.word());
    if !hello.name.is_empty() {
        line = line.option("name", &hello.name);
    }
    if !hello.host.is_empty() {
        line = line.option("host", &hello.host);
    }
    if hello.pid > 0 {
        line = line.option_number("pid", hello.pid);
    }
    if hello.role == Role::Worker {
        line = line
            .option_number("slots", u64::from(hello.slots))
            .option("weight", &hello.weight.to_string())
            .option("kinds", &list(hello.kinds.as_deref()));
        if hello.queues.is_some() {
            line = line.option("queues", &list(hello.queues.as_deref()));
        }
        if !hello.tags.is_empty() {
            line = line.option("tags", &hello.tags.join(","));
        }
        if !hello.res.is_empty() {
            line = line.option("res", &spell_amounts(&hello.res));
        }
        if hello.price > 0.0 {
            line = line.option("price", &price(hello.price));
        }
    }
    for (name, number) in [("heartbeat", hello.heartbeat_ms), ("max-payload", hello.payload_max)] {
        if let Some(number) = number {
            line = line.option_number(name, number);
        }
    }
    if let Some(session) = hello.session {
        line = line.option("session", &session.to_string());
    }
    if let Some(token) = &hello.token {
        line = line.option("token", token);
    }
    line.end();
    if frame.len() > HEADER_MAX {
        return Err(Refusal::new(Code::BadHello, "more names than a header holds"));
    }
    out.put_slice(&frame);
    Ok(())
}

fn check_hello(hello: &Hello) -> Result<(), Refusal> {
    if !hello.name.is_empty() || hello.role == Role::Worker {
        check_name("name", &hello.name)?;
    }
    let lists = [
        ("kind", hello.kinds.as_deref()),
        ("queue", hello.queues.as_deref()),
        ("tag", Some(&hello.tags[..])),
    ];
    for (what, names) in lists {
        names.unwrap_or_default().iter().try_for_each(|name| check_name(what, name))?;
    }
    check_amounts(&hello.res)?;
    if !hello.host.is_empty() {
        check_text("host", &hello.host)?;
    }
    hello.token.as_ref().map_or(Ok(()), |token| check_text("token", token))
}

fn list(names: Option<&[String]>) -> String {
    names.map_or_else(|| "*".to_owned(), |names| names.join(","))
}

/// A price with at most six decimals and no needless ones.
fn price(price: f64) -> String {
    let text = format!("{price:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn check_amounts<N: AsRef<str>>(amounts: &[(N, u64)]) -> Result<(), Refusal> {
    let fits = amounts.is_empty() || read_amounts(&spell_amounts(amounts)).is_some();
    fits.then_some(()).ok_or_else(|| {
        let rule = "res has 1 to 8 names, each once, with amounts from 1 to 10^12";
        Refusal::new(Code::BadValue, rule)
    })
}

pub(super) fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    is_name(name).then_some(()).ok_or_else(|| {
        let rule = "is a name: 1 to 128 characters of A-Z a-z 0-9 . _ / -";
        Refusal::new(Code::BadValue, format!("the {what} {rule}"))
    })
}

pub(super) fn check_text(what: &str, text: &str) -> Result<(), Refusal> {
    let fits = (1..=TEXT_MAX).contains(&text.len()) && !text.contains(char::is_control);
    fits.then_some(()).ok_or_else(|| {
        let rule = "has 1 to 256 bytes and no control characters";
        Refusal::new(Code::BadValue, format!("{what} {rule}"))
    })
}
