//! How a process reads what is kept, and how that can be interrupted.

use ganger::core::{Core, Now};
use ganger::frame::Frame;
use ganger::protocol::parse_submit;
use ganger::record::{Record, StateLine};
use ganger::server::engine::Engine;
use ganger::store::{Error, Store};

use crate::net::Net;
use crate::store::Disk;

/// Reads all that is kept into a core.
pub(crate) fn restore_all(engine: &mut Engine, disk: &mut Disk, now: Now) -> Result<(), Error> {
    let loaded = disk.load(&mut |record| restore(engine.core_mut(), record))?;
    engine.restored(now, loaded.last);
    Ok(())
}

/// Reads what is kept into a core, up to so many records; `None` if it was interrupted there.
pub(crate) fn recover(
    net: &Net,
    disk: &mut Disk,
    now: Now,
    seed: u64,
    records: usize,
) -> Option<Engine> {
    let core = Core::new(net.plan.settings, seed, now);
    let mut engine = Engine::new(core, net.plan.settings.payload_max);
    let mut seen = 0;
    let loaded = disk.load(&mut |record| {
        seen += 1;
        if seen > records {
            return Err("interrupted".into());
        }
        restore(engine.core_mut(), record)
    });
    match loaded {
        Ok(loaded) => {
            engine.restored(now, loaded.last);
            Some(engine)
        }
        Err(error) if seen > records => {
            drop(error);
            None
        }
        Err(error) => panic!("I30: what was written is not read back: {error}"),
    }
}

fn restore(core: &mut Core, record: Record<'_>) -> Result<(), String> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|error| error.to_string());
    let mut task = |id, frame: &[u8], line: Option<&[u8]>| {
        let frame = Frame::read(frame.to_vec().into()).map_err(|error| error.to_string())?;
        let submit = parse_submit(&frame).map_err(|refusal| refusal.text)?;
        let line = line.map(StateLine::read).transpose()?;
        core.restore_task(id, &submit, line.as_ref())
    };
    match record {
        Record::Task { id, frame, line } => task(id, frame, line),
        Record::Buried { id, frame, line } => task(id, frame, Some(line)),
        Record::Hold { name, line } => core.restore_hold(text(name)?, text(line)?),
        Record::Queue { name, line } => core.restore_queue(text(name)?, text(line)?),
        Record::Worker { name, line } => core.restore_worker(text(name)?, text(line)?),
        Record::Stats { name, line } => core.restore_stats(text(name)?, text(line)?),
    }
}
