//! The loop's side of a store's inbox: a bite at a time, none while there is no room.
//!
//! A bite is looked for when the bell rings, when the one before it is durable, and once a second: the
//! bell may be deaf, and there may be room again. Entries that a turn does not take are forgotten here
//! and found again later.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use crate::message::Entry;
use crate::protocol::{entry_max, entry_too_large, read_entry};
use crate::store::inbox::{Bell, Bite, Found, Ring};

/// Entries of one turn at most.
const ENTRIES: usize = 1000;

/// Bytes of entries of one turn at most, or else a single one.
const BYTES: usize = 1 << 20;

/// What is known of the inbox.
#[derive(Debug)]
pub(super) struct Intake {
    stage: Stage,
    /// The bell has rung since the last look.
    rung: bool,
    payload_max: u64,
    bell: Arc<Notify>,
}

/// What becomes of the bite at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Idle,
    /// The store looks.
    Asked,
    /// It was taken by a turn that is not durable yet.
    Taken,
}

impl Intake {
    /// Nothing is known yet.
    pub(super) fn new(payload_max: u64) -> Self {
        let bell = Arc::new(Notify::new());
        Self { stage: Stage::Idle, rung: true, payload_max, bell }
    }

    /// Has the bell heard on a thread of its own, which ends soon after this value.
    ///
    /// # Errors
    ///
    /// Those of starting a thread.
    pub(super) fn hear(&self, bell: Box<dyn Bell>) -> std::io::Result<()> {
        let notify = Arc::downgrade(&self.bell);
        let hear = move || hear(bell, &notify);
        std::thread::Builder::new().name("ganger-bell".into()).spawn(hear).map(drop)
    }

    /// The bell, to wait for.
    pub(super) fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    /// There may be entries.
    pub(super) fn ring(&mut self) {
        self.rung = true;
    }

    /// What to ask the store for next, if it is time to ask.
    pub(super) fn next(&mut self, has_room: bool) -> Option<Bite> {
        if self.stage != Stage::Idle || !self.rung || !has_room {
            return None;
        }
        (self.stage, self.rung) = (Stage::Asked, false);
        let entry_max = entry_max(self.payload_max);
        Some(Bite { entries: ENTRIES, bytes: BYTES, entry_max })
    }

    /// What the store found, read.
    pub(super) fn read(&mut self, found: Vec<Found>) -> Vec<Entry> {
        self.stage = Stage::Idle;
        let limit = self.payload_max;
        let read = found.into_iter().map(|found| match found {
            Found::Whole(bytes) => read_entry(bytes, limit),
            Found::TooLarge { length, beginning } => entry_too_large(beginning, length, limit),
        });
        read.collect()
    }

    /// A turn takes entries.
    pub(super) fn taken(&mut self) {
        self.stage = Stage::Taken;
    }

    /// That turn is durable: there may be more.
    pub(super) fn stored(&mut self) {
        (self.stage, self.rung) = (Stage::Idle, true);
    }
}

fn hear(mut bell: Box<dyn Bell>, notify: &Weak<Notify>) {
    loop {
        let ring = bell.wait();
        match (ring, notify.upgrade()) {
            (Ring::Rung, Some(notify)) => notify.notify_one(),
            (Ring::Quiet, Some(_)) => {}
            (Ring::Deaf, _) | (_, None) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bite_is_under_way_at_a_time() {
        let mut intake = Intake::new(1000);
        assert_eq!(intake.next(false), None);
        assert!(intake.next(true).is_some_and(|bite| bite.entry_max == 4096 + 1001));
        intake.ring();
        assert_eq!(intake.next(true), None, "the store looks");
        assert_eq!(intake.read(vec![Found::Whole("SUBMIT a".into())]).len(), 1);
        intake.taken();
        assert_eq!(intake.next(true), None, "a turn has entries");
        intake.stored();
        assert!(intake.next(true).is_some());
        assert!(intake.read(Vec::new()).is_empty());
        assert_eq!(intake.next(true), None, "nothing is new");
        intake.ring();
        assert!(intake.next(true).is_some());
    }
}
