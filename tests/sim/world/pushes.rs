//! Programs that only have a client of the store.

use bytes::Bytes;

use super::World;
use crate::happening::Happening;
use crate::net::note;
use crate::workload::{KINDS, QUEUES};

impl World {
    pub(super) fn plan_push(&mut self) {
        if let Some(us) = self.net.plan.push_us {
            let us = self.net.dice.within(1..=us * 2);
            self.net.after(us, Happening::Push);
        }
    }

    /// A few entries are pushed, whether a scheduler is there or not.
    pub(super) fn push(&mut self) {
        if self.net.healed {
            return;
        }
        self.plan_push();
        for _ in 0..self.net.dice.within(1..=4) {
            let (entry, record) = self.entry();
            note!(self.net, "pushed: {:?}", &entry[..entry.len().min(60)]);
            self.audit.pushed(entry.clone(), record);
            self.disk.inbox.waiting.push_back(entry);
        }
        self.ring();
    }

    /// The scheduler hears that there may be entries.
    pub(super) fn ring(&mut self) {
        if let Some(scheduler) = &mut self.scheduler
            && !self.disk.inbox.waiting.is_empty()
        {
            let us = self.net.dice.below(2000);
            scheduler.wake(&mut self.net, us);
        }
    }

    /// An entry that no other one is like, and the record of its task, if it can be one.
    fn entry(&mut self) -> (Bytes, Option<Bytes>) {
        let payload = self.talk.payload(&mut self.net);
        let dice = &mut self.net.dice;
        let number = self.talk.count;
        let mut header = format!("SUBMIT {} queue={}", dice.pick(&KINDS), dice.pick(&QUEUES));
        if dice.per_mille(400) {
            header += &format!(" reply=list-{}", dice.below(3));
        }
        if dice.per_mille(100) {
            return (format!("{header} nope={number}").into(), None);
        }
        let whole = format!("{header} #{}\n", payload.len()).into_bytes();
        let record = [&whole[..], &payload, b"\n"].concat();
        let entry = match dice.below(3) {
            0 => [header.as_bytes(), b"\n", &payload].concat(),
            1 => [&whole[..], &payload].concat(),
            _ => record.clone(),
        };
        (entry.into(), Some(record.into()))
    }
}
