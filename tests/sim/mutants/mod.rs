//! Faulty harnesses. A check that nothing ever trips is no check: each mutant breaks one promise
//! between the core and the outside, in the storage, in the deliveries or in what the core is told,
//! and the auditor must call it by its name. The sources of the scheduler are not touched.

mod caught;

use bytes::BytesMut;
use ganger::core::Event;
use ganger::message::{Fail, Request};
use ganger::record::{Batch, Write};

use crate::net::{Net, note};
use crate::store::Rows;

/// A way in which the harness is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The store answers before it applies, and the process may die in between.
    AckBeforeApply,
    /// Frames leave before their batch is durable.
    DeliverBeforeCommit,
    /// Now and then the last write of a batch is not applied.
    TornBatch,
    /// Now and then a submitted task is not written.
    LostTask,
    /// Results are forgotten at once.
    LostResults,
    /// A result is recorded a second time.
    SecondResult,
    /// A result is recorded that its worker did not send.
    ForgedResult,
    /// A task is recorded that nobody submitted.
    InventedTask,
    /// A lease counts two attempts.
    SkippedAttempt,
    /// An ended task gets a state line.
    Resurrection,
    /// A task vanishes by a committed write.
    Vanishing,
    /// The core believes that workers have more slots than they said.
    MoreSlots,
    /// The core believes that workers can do every kind.
    AnyKind,
    /// The core does not hear of `unique=`.
    TwoHolders,
    /// The core does not hear of `attempts=`.
    EndlessAttempts,
    /// The core takes an answer for one to the next lease.
    MisheardAttempt,
    /// The core takes FAIL for DONE.
    FailTakenForDone,
    /// The core takes CANCEL for GET.
    CancelTakenForGet,
    /// The core's wall clock is an hour ahead.
    HastyClock,
    /// The core's monotonic clock goes twice as fast.
    FastClock,
    /// State lines are not read back.
    ForgottenLines,
    /// Runs whose leases have ended are not read back.
    ForgottenRuns,
    /// The core is never told that time has passed.
    DeafToTime,
    /// TASK names another attempt than the lease.
    ForgedTask,
    /// Payloads change on their way to the worker.
    SpoiltPayload,
    /// TASK pushes arrive twice.
    TwofoldTasks,
    /// RESULT pushes arrive twice.
    TwofoldResults,
    /// RESULT pushes get lost.
    LostPushes,
    /// GET tells that ready tasks are leased.
    WrongState,
    /// Stale answers are acknowledged.
    KindReplies,
    /// Two replies change places.
    SwappedReplies,
    /// What a periodic task fires is written without the line that has dealt with its instant.
    ForgottenInstant,
    /// Entries of the inbox stay although their tasks are stored.
    StayingEntry,
    /// Entries of the inbox go when they are read.
    HastyEntries,
}

/// What the store does to a batch.
pub(crate) fn spoil_commit(mutant: Mutant, rows: &mut Rows, batch: &Batch) {
    let writes = batch.writes.len();
    let now_and_then = batch.last.bits() % 7 == 3 || batch.wall_ms % 7 == 3;
    match mutant {
        Mutant::TornBatch if writes > 1 && now_and_then => rows.apply(batch, writes - 1),
        Mutant::LostTask if now_and_then => {
            let mut less = batch.clone();
            less.writes.retain(|write| !matches!(write, Write::Submit { .. }));
            rows.apply(&less, usize::MAX);
        }
        Mutant::LostResults => {
            rows.apply(batch, usize::MAX);
            rows.results.clear();
        }
        _ => rows.apply(batch, usize::MAX),
    }
}

/// The batch that takes a turn's place; `None` leaves it alone.
pub(crate) fn spoil_batch(net: &mut Net, rows: &Rows, batch: &Batch) -> Option<Batch> {
    let mutant = net.mutant?;
    let mut spoilt = batch.clone();
    let add = |spoilt: &mut Batch, text: &[u8]| spoilt.put(|out| out.extend_from_slice(text));
    match mutant {
        Mutant::SecondResult => {
            let (id, (until_ms, frame)) = rows.results.first_key_value()?;
            let frame = add(&mut spoilt, frame);
            spoilt.writes.push(Write::End { id: *id, frame, until_ms: *until_ms });
        }
        Mutant::ForgedResult => {
            let end = batch.writes.iter().position(|write| matches!(write, Write::End { .. }))?;
            let Write::End { id, frame, until_ms } = batch.writes[end] else { return None };
            let forged =
                String::from_utf8_lossy(batch.slice(frame)).replace("result of", "RESULT OF");
            let frame = add(&mut spoilt, forged.as_bytes());
            spoilt.writes[end] = Write::End { id, frame, until_ms };
        }
        Mutant::InventedTask => {
            let last = batch.last.max(rows.last);
            let id = ganger::task::TaskId::next(last, batch.wall_ms, 0);
            let frame = add(&mut spoilt, b"SUBMIT resize #0\n\n");
            spoilt.writes.push(Write::Submit { id, frame });
        }
        Mutant::SkippedAttempt => {
            let at = batch.writes.iter().position(|write| is_lease(batch, *write))?;
            let Write::State { id, line } = batch.writes[at] else { return None };
            let line = String::from_utf8_lossy(batch.slice(line)).replace("attempt=", "attempt=1");
            let line = add(&mut spoilt, line.as_bytes());
            spoilt.writes[at] = Write::State { id, line };
        }
        Mutant::Resurrection => {
            let id = *rows.buried.keys().chain(rows.results.keys()).next()?;
            let line = add(&mut spoilt, b"ready at=0 attempt=1 used=0");
            spoilt.writes.push(Write::State { id, line });
        }
        Mutant::ForgottenInstant => {
            let count = spoilt.writes.len();
            spoilt.writes.retain(|write| !is_of_fire(batch, *write));
            return (spoilt.writes.len() < count).then_some(spoilt);
        }
        Mutant::Vanishing => {
            let id = *rows.tasks.keys().next()?;
            spoilt.writes.push(Write::Drop { id });
        }
        _ => return None,
    }
    net.dice.per_mille(50).then(|| {
        note!(net, "the batch is spoilt");
        spoilt
    })
}

/// Whether a write is the line of an entry that fires a task in the same batch.
fn is_of_fire(batch: &Batch, write: Write) -> bool {
    let Write::Cron { line, .. } = write else { return false };
    let line = String::from_utf8_lossy(batch.slice(line));
    batch.writes.iter().any(|write| match write {
        Write::Submit { id, .. } => line.contains(&format!(" task={id}")),
        _ => false,
    })
}

fn is_lease(batch: &Batch, write: Write) -> bool {
    matches!(write, Write::State { line, .. } if batch.slice(line).starts_with(b"leased"))
}

/// What the core is told.
pub(crate) fn spoil_event(mutant: Option<Mutant>, mut event: Event) -> Event {
    match &mut event {
        Event::Joined { hello, .. } => match mutant {
            Some(Mutant::MoreSlots) => hello.slots += 3,
            Some(Mutant::AnyKind) => hello.kinds = None,
            _ => {}
        },
        Event::Request { request, .. } => spoil_request(mutant, request),
        _ => {}
    }
    event
}

fn spoil_request(mutant: Option<Mutant>, request: &mut Request) {
    match (mutant, &mut *request) {
        (Some(Mutant::TwoHolders), Request::Submit(submit)) => submit.unique = None,
        (Some(Mutant::EndlessAttempts), Request::Submit(submit)) => submit.attempts = None,
        (Some(Mutant::MisheardAttempt), Request::Done { attempt, .. }) => *attempt += 1,
        (Some(Mutant::FailTakenForDone), Request::Fail(Fail { id, attempt, error, .. })) => {
            *request = Request::Done { id: *id, attempt: *attempt, result: error.clone() };
        }
        (Some(Mutant::CancelTakenForGet), Request::Cancel(id)) => *request = Request::Get(*id),
        _ => {}
    }
}

/// What leaves for a connection in one turn.
pub(crate) fn spoil_bytes(net: &mut Net, bytes: BytesMut) -> BytesMut {
    let Some(mutant) = net.mutant else { return bytes };
    let Ok(text) = String::from_utf8(bytes.to_vec()) else { return bytes };
    let spoilt = match mutant {
        Mutant::ForgedTask => replace_word(&text, "TASK", 2, "9"),
        Mutant::SpoiltPayload => text.replacen("payload 1", "payload X", 1),
        Mutant::TwofoldTasks if is_push(&text, "TASK") => text.repeat(2),
        Mutant::TwofoldResults if is_push(&text, "RESULT") => text.repeat(2),
        Mutant::LostPushes if is_push(&text, "RESULT") => String::new(),
        Mutant::WrongState => text.replace("state=ready", "state=leased"),
        Mutant::KindReplies => acknowledge_stale(&text),
        Mutant::SwappedReplies => swap_lines(&text),
        _ => text,
    };
    BytesMut::from(spoilt.as_bytes())
}

/// Replaces a word of every line that begins with a verb.
fn replace_word(text: &str, verb: &str, place: usize, by: &str) -> String {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let mut words: Vec<&str> = line.split(' ').collect();
        if words[0] == verb && words.len() > place {
            words[place] = by;
        }
        lines.push(words.join(" "));
    }
    lines.join("\n")
}

/// Nothing but pushes, of which the first is of a verb.
fn is_push(text: &str, verb: &str) -> bool {
    let reply = |line: &str| line.starts_with("OK") || line.starts_with("ERR");
    text.starts_with(verb) && !text.split('\n').any(reply)
}

/// Makes `ERR stale lease N of task ID …` an OK.
fn acknowledge_stale(text: &str) -> String {
    let kind = |line: &str| match line.strip_prefix("ERR stale lease ") {
        Some(rest) => format!("OK {}", rest.split(' ').nth(3).unwrap_or_default()),
        None => line.to_owned(),
    };
    text.split('\n').map(kind).collect::<Vec<_>>().join("\n")
}

/// Swaps the first two lines if both are plain replies.
fn swap_lines(text: &str) -> String {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let plain = |line: &str| line.starts_with("OK 0") && !line.contains('#');
    if lines.len() > 2 && plain(lines[0]) && plain(lines[1]) {
        lines.swap(0, 1);
    }
    lines.join("\n")
}
