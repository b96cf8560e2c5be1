//! Entries of the inbox: each goes in the batch that holds its task, or refuses it, and once; those
//! that have not gone are there, in their order. Lists are told what is durable, once.

use std::collections::BTreeMap;

use bytes::Bytes;
use ganger::frame::Frame;
use ganger::record::{Batch, Taken, Write};
use ganger::task::TaskId;

use super::{Auditor, require, violated};
use crate::store::Inbox;

/// What programs pushed, and what became of it.
#[derive(Default)]
pub(super) struct Pushed {
    /// In their order.
    entries: Vec<Bytes>,
    by_entry: BTreeMap<Bytes, Entry>,
    /// The entry that a record comes from.
    by_record: BTreeMap<Bytes, Bytes>,
    /// How often OK and RESULT were told of a task.
    told: BTreeMap<TaskId, (u32, u32)>,
}

struct Entry {
    /// What its task's record is to be; `None` for one that cannot be taken.
    record: Option<Bytes>,
    gone: bool,
}

impl Auditor {
    /// A program pushes an entry, no two of which are alike.
    pub(crate) fn pushed(&mut self, entry: Bytes, record: Option<Bytes>) {
        if let Some(record) = &record {
            self.pushed.by_record.insert(record.clone(), entry.clone());
        }
        self.pushed.entries.push(entry.clone());
        self.pushed.by_entry.insert(entry, Entry { record, gone: false });
    }

    /// Follows what an acknowledged batch does to the inbox, after its writes.
    pub(super) fn follow_inbox(&mut self, batch: &Batch) {
        let mut records: Vec<Bytes> = Vec::new();
        for write in &batch.writes {
            if let Write::Submit { frame, .. } = *write {
                records.push(Bytes::copy_from_slice(batch.slice(frame)));
            }
        }
        records.retain(|record| self.pushed.by_record.contains_key(record));
        for taken in &batch.inbox.taken {
            let (text, is_refused) = match *taken {
                Taken::Accepted { entry } => (entry, false),
                Taken::Refused { entry, .. } => (entry, true),
                Taken::TooLarge { .. } => violated!("E01", "no entry is too large"),
            };
            let entry = batch.slice(text);
            let Some(its) = self.pushed.by_entry.get_mut(entry) else {
                violated!("E01", "an entry goes that nobody pushed: {text:?}")
            };
            require!("E01", !its.gone, "an entry goes twice: {entry:?}");
            its.gone = true;
            require!("E01", its.record.is_none() == is_refused, "wrongly refused: {entry:?}");
            if let Some(record) = &its.record {
                let place = records.iter().position(|its| its == record);
                let place = place.unwrap_or_else(|| {
                    violated!("E01", "an entry goes without its task: {entry:?}")
                });
                records.swap_remove(place);
            }
        }
        let stays = records.first();
        require!("E01", stays.is_none(), "a task is stored whose entry stays: {stays:?}");
        self.follow_told(batch);
    }

    fn follow_told(&mut self, batch: &Batch) {
        for told in &batch.inbox.told {
            let frame = Frame::read(Bytes::copy_from_slice(batch.slice(told.frame)));
            let frame = frame.expect("whole frames are told");
            let id = frame.header().split(' ').nth(1).and_then(|id| id.parse::<TaskId>().ok());
            let Some(id) = id.filter(|_| frame.verb() != "ERR") else { continue };
            let list = self.task(id).submit.reply().map(str::as_bytes);
            require!("E02", list == Some(batch.slice(told.list)), "task {id} named another list");
            let has_ended = self.task(id).row.is_end();
            let counts = self.pushed.told.entry(id).or_default();
            if frame.verb() == "OK" {
                counts.0 += 1;
                require!("E02", *counts == (1, 0), "OK {id} is told twice, or late");
            } else {
                counts.1 += 1;
                require!("E02", has_ended && counts.0 == 1, "RESULT {id} is told too early");
            }
        }
    }

    /// Whether the inbox holds exactly what has not gone, in its order.
    pub(super) fn is_all_there(&self, inbox: &Inbox) -> bool {
        let left = self.pushed.entries.iter().filter(|entry| !self.pushed.by_entry[*entry].gone);
        left.eq(&inbox.waiting)
    }

    /// Everything has drained: every entry has gone, and every list was told.
    pub(super) fn inbox_settled(&self) {
        let left = self.pushed.by_entry.iter().find(|(_, its)| !its.gone);
        require!("E01", left.is_none(), "an entry is left: {:?}", left.map(|(entry, _)| entry));
        for (id, task) in self.tasks.iter().filter(|(_, task)| task.submit.reply.is_some()) {
            let (oks, results) = self.pushed.told.get(id).copied().unwrap_or_default();
            let missing = task.row.is_end() && results == 0;
            require!("E02", oks == 1 && !missing, "task {id} was told {oks} OK, {results} RESULT");
        }
    }
}
