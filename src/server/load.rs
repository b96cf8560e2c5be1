//! From a store's records to a core.

use bytes::Bytes;

use crate::core::{Core, Now};
use crate::frame::Frame;
use crate::protocol::parse_submit;
use crate::record::{Record, StateLine};
use crate::store::{Error, Loaded, Store};
use crate::task::TaskId;

/// Restores everything that a store holds. `clock` tells the time when the first record comes, which may
/// be long after the store was asked for it.
///
/// # Errors
///
/// Those of the store; a record that cannot be read is [`Error::Corrupt`] and names itself.
pub fn load(
    store: &mut dyn Store,
    core: &mut Core,
    clock: &mut dyn FnMut() -> Now,
) -> Result<Loaded, Error> {
    let mut started = false;
    let loaded = store.load(&mut |record| {
        if !std::mem::replace(&mut started, true) {
            core.start(clock());
        }
        restore(core, record)
    })?;
    if !started {
        core.start(clock());
    }
    Ok(loaded)
}

fn restore(core: &mut Core, record: Record<'_>) -> Result<(), String> {
    match record {
        Record::Task { id, frame, line } => task(core, id, frame, line),
        Record::Buried { id, frame, line } => task(core, id, frame, Some(line)),
        Record::Hold { name, line } => core.restore_hold(text(name)?, text(line)?),
        Record::Queue { name, line } => core.restore_queue(text(name)?, text(line)?),
        Record::Worker { name, line } => core.restore_worker(text(name)?, text(line)?),
        Record::Stats { name, line } => core.restore_stats(text(name)?, text(line)?),
        Record::Run { name, line } => core.restore_run(text(name)?, text(line)?),
        Record::Cron { name, line } => core.restore_cron(text(name)?, line),
    }
}

fn task(core: &mut Core, id: TaskId, frame: &[u8], line: Option<&[u8]>) -> Result<(), String> {
    let of = |error: String| format!("task {id}: {error}");
    let frame = Frame::read(Bytes::copy_from_slice(frame)).map_err(|e| of(e.to_string()))?;
    let submit = parse_submit(&frame).map_err(|refusal| of(refusal.text))?;
    let line = line.map(StateLine::read).transpose().map_err(of)?;
    core.restore_task(id, &submit, line.as_ref()).map_err(of)
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| format!("not UTF-8: {bytes:?}"))
}
