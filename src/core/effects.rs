//! What the core wants done after events: durable writes, and frames that leave once they are.

use crate::core::event::Peer;
use crate::core::observe::Happening;
use crate::message::{Code, EventFilter, Refusal, Reply};
use crate::record::{Batch, StateLine, Text, Write};
use crate::task::{Attempt, TaskId};

/// The effects of one turn, in order. Reused between turns.
#[derive(Debug, Default)]
pub struct Effects {
    /// What must be durable before anything of `sends` leaves.
    pub batch: Batch,
    /// What leaves then.
    pub sends: Vec<Send>,
    /// What happened to tasks, for those who observe; it is told then, too.
    pub happenings: Vec<Happening>,
}

/// One thing that leaves after the commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Send {
    /// To whom. A connection that is gone by then gets nothing.
    pub to: Peer,
    /// What.
    pub what: What,
}

/// A frame, or a question to the store whose answer becomes one.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A frame.
    Reply(Reply),
    /// OK to EVENTS, after which the connection is told what the filter says, and no longer what an
    /// earlier one said.
    Observe {
        /// `None`: nothing any more.
        filter: Option<Box<EventFilter>>,
        /// The number of the next event.
        next: u64,
    },
    /// The task is not in the core: the store knows whether it ended.
    Lookup {
        /// The task.
        id: TaskId,
        /// What the peer asked.
        ask: Ask,
    },
}

/// What a peer wants to know of a task that is no longer in the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// GET.
    Get,
    /// EXPLAIN.
    Explain,
    /// WATCH: OK, and RESULT at once.
    Watch,
    /// SUBMIT with `unique=` held by an ended task, and `watch=yes`: RESULT at once, if it is kept.
    Result,
    /// CANCEL or RETRY, which come too late.
    Change,
    /// DONE, FAIL or RELEASE of a lease: fine if the recorded end bears that very attempt.
    Answer(Attempt),
}

impl Effects {
    /// Empties them, keeping their memory.
    pub fn clear(&mut self) {
        self.batch.clear();
        self.sends.clear();
        self.happenings.clear();
    }

    /// Whether there is neither a write nor a frame, nor anything to tell.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
            && self.sends.is_empty()
            && self.batch.events.is_empty()
            && self.happenings.is_empty()
    }

    pub(super) fn send(&mut self, to: Peer, reply: Reply) {
        self.sends.push(Send { to, what: What::Reply(reply) });
    }

    pub(super) fn refuse(&mut self, to: Peer, code: Code, text: impl Into<String>) {
        self.send(to, Reply::Refused(Refusal::new(code, text)));
    }

    pub(super) fn refuse_busy(&mut self, to: Peer, retry_ms: u64, text: impl Into<String>) {
        let refusal = Refusal { retry_ms: Some(retry_ms), ..Refusal::new(Code::Busy, text) };
        self.send(to, Reply::Refused(refusal));
    }

    pub(super) fn look_up(&mut self, to: Peer, id: TaskId, ask: Ask) {
        self.sends.push(Send { to, what: What::Lookup { id, ask } });
    }

    pub(super) fn write(&mut self, write: Write) {
        self.batch.writes.push(write);
    }

    /// Adds a text that is at hand.
    pub(super) fn text(&mut self, text: &[u8]) -> Text {
        self.batch.put(|out| out.extend_from_slice(text))
    }

    /// Writes the state line of an unfinished task.
    pub(super) fn write_state(&mut self, id: TaskId, line: &StateLine) {
        let line = self.batch.put(|out| line.put(out));
        self.write(Write::State { id, line });
    }
}
