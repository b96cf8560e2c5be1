//! How a process reads what is kept, and how that can be interrupted.

use bytes::Bytes;
use ganger::core::{Core, Now, Settings};
use ganger::record::{Batch, Record};
use ganger::server::engine::Engine;
use ganger::server::load::load;
use ganger::store::{Error, Loaded, Status, Store};
use ganger::task::TaskId;

use crate::store::Disk;

/// Reads all that is kept into a core, as the server does.
///
/// # Errors
///
/// If something that was written is not read back.
pub(crate) fn recover(
    settings: Settings,
    disk: &mut dyn Store,
    now: Now,
    seed: u64,
) -> Result<Engine, Error> {
    let mut engine = Engine::new(Core::new(settings, seed, now), settings.payload_max);
    let loaded = load(disk, engine.core_mut(), &mut || now)?;
    engine.restored(now, loaded.last);
    Ok(engine)
}

/// A store that is read by a process which dies after so many records.
pub(crate) struct Interrupted<'a> {
    pub(crate) disk: &'a mut Disk,
    pub(crate) records: usize,
}

impl Store for Interrupted<'_> {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Loaded, Error> {
        let Self { disk, records } = self;
        disk.load(&mut |record| {
            *records = records.checked_sub(1).ok_or("interrupted")?;
            each(record)
        })
    }

    fn commit(&mut self, _: &Batch) -> Result<(), Error> {
        unreachable!("nothing is written before all is read")
    }

    fn result(&mut self, _: TaskId) -> Result<Option<Bytes>, Error> {
        unreachable!("nothing is asked for before all is read")
    }

    fn sweep(&mut self, _: u64) -> Result<bool, Error> {
        unreachable!("nothing is swept before all is read")
    }

    fn status(&mut self) -> Result<Status, Error> {
        self.disk.status()
    }

    fn close(&mut self) -> Result<(), Error> {
        self.disk.close()
    }
}
