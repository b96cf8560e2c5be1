//! Tasks that come through the store's inbox, and who is told of them through lists there.

use bytes::BytesMut;

use crate::core::event::Peer;
use crate::core::submit::Accepted;
use crate::core::{Core, Effects};
use crate::frame::Writer;
use crate::message::{Entry, Refusal, Submit};
use crate::protocol::put_refusal;
use crate::record::{Taken, Text, Told};
use crate::task::TaskId;

/// How long a list lives at least after what it was told, in milliseconds.
const KEEP_MIN_MS: u64 = 60_000;

/// How long a list lives after a refusal, in milliseconds: there is no `result-ttl=` to go by.
const KEEP_REFUSAL_MS: u64 = Submit::RESULT_TTL_MS;

impl Core {
    /// Whether entries would be taken now; otherwise they wait in the store.
    pub fn has_room(&self) -> bool {
        self.why_busy().is_none()
    }

    /// Takes entries in their order, as far as there is room; each goes with the batch that holds what
    /// became of it.
    pub(super) fn on_entries(&mut self, entries: &[Entry], fx: &mut Effects) {
        for entry in entries {
            if !self.has_room() {
                return;
            }
            self.on_entry(entry, fx);
        }
    }

    fn on_entry(&mut self, entry: &Entry, fx: &mut Effects) {
        let accepted = match &entry.submit {
            Ok(submit) => self.accept(Peer::default(), submit, fx),
            Err(refusal) => Err(refusal.clone()),
        };
        let taken = match accepted {
            Ok(Accepted::New) => Taken::Accepted { entry: fx.text(&entry.bytes) },
            Ok(Accepted::Duplicate(held)) => {
                if let Some(reply) = &entry.reply {
                    fx.tell_ok(reply, held.id, true, KEEP_REFUSAL_MS);
                }
                Taken::Accepted { entry: fx.text(&entry.bytes) }
            }
            Err(refusal) => {
                let line = fx.put_refusal(&refusal);
                if let Some(reply) = &entry.reply {
                    fx.tell(reply, line, KEEP_REFUSAL_MS);
                }
                match entry.beyond {
                    Some(length) => {
                        Taken::TooLarge { length, beginning: fx.text(&entry.bytes), line }
                    }
                    None => Taken::Refused { entry: fx.text(&entry.bytes), line },
                }
            }
        };
        fx.batch.inbox.taken.push(taken);
    }
}

/// How long a list lives that was told of a task.
pub(super) fn keep_ms(result_ttl_ms: u64) -> u64 {
    result_ttl_ms.max(KEEP_MIN_MS)
}

impl Effects {
    /// Tells a list.
    pub(super) fn tell(&mut self, list: &str, frame: Text, keep_ms: u64) {
        let list = self.text(list.as_bytes());
        self.batch.inbox.told.push(Told { list, frame, keep_ms });
    }

    /// Tells a list which task there is.
    pub(super) fn tell_ok(&mut self, list: &str, id: TaskId, duplicate: bool, keep_ms: u64) {
        let frame = self.batch.put(|out| {
            let line = Writer::verb(out, "OK").id(id);
            if duplicate { line.option("duplicate", "yes").end() } else { line.end() }
        });
        self.tell(list, frame, keep_ms);
    }

    fn put_refusal(&mut self, refusal: &Refusal) -> Text {
        let mut line = BytesMut::new();
        put_refusal(refusal, &mut line);
        self.text(&line)
    }
}
