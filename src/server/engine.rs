//! The turn: apply events, commit what they wrote, deliver what they said. No socket, no clock, no
//! thread: the tokio server and the fault simulator drive this same value.
//!
//! One turn is in the store's hands at a time. Meanwhile the next is applied, so that everything
//! that arrives during a commit shares the one after it. Deliveries keep the order of the turns, and
//! nothing of a turn leaves before its batch is durable.

use bytes::{Bytes, BytesMut};

use crate::core::{Ask, Core, Deadline, Effects, Event, Now, Peer, What, explain_end};
use crate::frame::Frame;
use crate::message::{Code, Refusal, Reply};
use crate::protocol::{Terms, put_refusal, render, render_stored};
use crate::record::ResultFrame;
use crate::server::observers::{BACKLOG, Observers};
use crate::store::{Error, Store};
use crate::task::{State, TaskId};

/// A turn on its way through the store.
#[derive(Debug, Default)]
pub struct Turn {
    effects: Effects,
    /// What the store holds of the tasks that are asked for, in the order of the questions.
    found: Vec<Option<Bytes>>,
}

impl Turn {
    /// Whether there is nothing for the store to do: such a turn is delivered without it.
    pub fn is_idle(&self) -> bool {
        let asks = |send: &crate::core::Send| matches!(send.what, What::Lookup { .. });
        self.effects.batch.is_empty()
            && self.effects.batch.events.is_empty()
            && !self.effects.sends.iter().any(asks)
    }

    /// What is to be made durable.
    pub fn batch(&self) -> &crate::record::Batch {
        &self.effects.batch
    }

    /// What leaves afterwards.
    pub fn sends(&self) -> &[crate::core::Send] {
        &self.effects.sends
    }

    /// Does the store's part: commits the batch, then looks up what is asked for. The order makes a
    /// question see everything that came before it.
    ///
    /// # Errors
    ///
    /// Those of the store; the turn is not delivered then.
    pub fn commit(&mut self, store: &mut dyn Store) -> Result<(), Error> {
        if !self.effects.batch.is_empty() || !self.effects.batch.events.is_empty() {
            store.commit(&self.effects.batch)?;
        }
        self.found.clear();
        for send in &self.effects.sends {
            if let What::Lookup { id, .. } = send.what {
                self.found.push(store.result(id)?);
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.effects.clear();
        self.found.clear();
    }
}

/// Where the frames of a turn go.
pub trait Outboxes {
    /// The buffer of a connection, if it is still there.
    fn buffer(&mut self, peer: Peer) -> Option<&mut BytesMut>;

    /// Bytes that wait for a connection's socket, and for this delivery.
    fn backlog(&mut self, _peer: Peer) -> usize {
        0
    }

    /// Ends a connection after what is in its buffer.
    fn close(&mut self, peer: Peer);
}

/// The core with its turns.
#[derive(Debug)]
pub struct Engine {
    core: Core,
    payload_max: u64,
    observers: Observers,
    /// The turn that is being applied.
    pending: Turn,
    /// An empty turn, kept for its memory.
    spare: Option<Turn>,
    committing: bool,
}

/// Bytes of a pending batch beyond which no further event is taken until the store is free.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Frames of a pending turn beyond which no further event is taken until the store is free.
const SENDS_MAX: usize = 1 << 14;

/// Events of a pending turn beyond which no further event is taken until the store is free: notices
/// have no other effect.
const HAPPENINGS_MAX: usize = 1 << 16;

impl Engine {
    /// An engine around a core, with the limit that it tells peers.
    pub fn new(core: Core, payload_max: u64) -> Self {
        let observers = Observers::new(core.settings().events_kept);
        Self {
            core,
            payload_max,
            observers,
            pending: Turn::default(),
            spare: Some(Turn::default()),
            committing: false,
        }
    }

    /// The core, to look at.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The core, to restore records into before the first event.
    pub fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    /// All records are restored.
    pub fn restored(&mut self, now: Now, last: TaskId) {
        self.core.restored(now, last, &mut self.pending.effects);
    }

    /// Whether events are to be kept back: the store is behind by a whole turn's worth.
    pub fn is_full(&self) -> bool {
        let effects = &self.pending.effects;
        effects.batch.text.len() > BATCH_BYTES_MAX
            || effects.sends.len() > SENDS_MAX
            || effects.happenings.len() > HAPPENINGS_MAX
    }

    /// Applies an event to the turn at hand.
    pub fn apply(&mut self, now: Now, event: Event) {
        self.core.handle(now, event, &mut self.pending.effects);
    }

    /// Whether the turn at hand takes entries of the store's inbox.
    pub fn takes_entries(&self) -> bool {
        !self.pending.effects.batch.inbox.taken.is_empty()
    }

    /// Ends the application of what arrived together.
    pub fn settle(&mut self, now: Now) {
        self.core.settle(now, &mut self.pending.effects);
    }

    /// When to call [`Engine::apply`] with [`Event::Due`] at the latest.
    pub fn next_deadline(&self) -> Deadline {
        self.core.next_deadline()
    }

    /// The turn for the store, if it is free and there is one.
    pub fn take_turn(&mut self) -> Option<Turn> {
        if self.committing || (self.pending.effects.is_empty()) {
            return None;
        }
        self.committing = true;
        Some(std::mem::replace(&mut self.pending, self.spare.take().unwrap_or_default()))
    }

    /// Whether a turn is in the store's hands.
    pub fn is_committing(&self) -> bool {
        self.committing
    }

    /// Hands the frames of a turn over, now that its batch is durable.
    pub fn deliver(&mut self, mut turn: Turn, now: Now, out: &mut dyn Outboxes) {
        self.committing = false;
        let terms = Terms { version: 1, payload_max: self.payload_max, wall_ms: now.wall_ms };
        let text = &turn.effects.batch.text;
        turn.effects.happenings.drain(..).for_each(|happening| self.observers.record(happening));
        let mut found = turn.found.drain(..);
        for send in turn.effects.sends.drain(..) {
            match send.what {
                What::Reply(Reply::Close) => out.close(send.to),
                What::Observe { filter, next } => {
                    if let Some(buffer) = out.buffer(send.to) {
                        render(&Reply::Observing(next), text, &terms, buffer);
                        self.observers.set(send.to, filter, next);
                    }
                }
                // An observer that does not keep up does without.
                What::Reply(Reply::Snapshot(_)) if out.backlog(send.to) >= BACKLOG => {}
                What::Reply(reply) => {
                    if let Some(buffer) = out.buffer(send.to) {
                        render(&reply, text, &terms, buffer);
                    }
                }
                What::Lookup { id, ask } => {
                    let frame = found.next().flatten();
                    if let Some(buffer) = out.buffer(send.to) {
                        answer(id, ask, frame, buffer);
                    }
                }
            }
        }
        drop(found);
        turn.clear();
        self.spare = Some(turn);
        self.tell_observers(out);
    }

    /// Whether an observer has room to come for what it was not told.
    pub fn are_observers_behind(&self) -> bool {
        self.observers.are_behind()
    }

    /// Tells observers what they have room for.
    pub fn tell_observers(&mut self, out: &mut dyn Outboxes) {
        self.observers.tell(&self.core, out);
    }
}

/// Answers a question about a task that is no longer in the core from what the store holds of it.
fn answer(id: TaskId, ask: Ask, stored: Option<Bytes>, out: &mut BytesMut) {
    let frame = stored.and_then(|bytes| Frame::read(bytes).ok());
    let attempt = frame.as_ref().and_then(|frame| ResultFrame::read(frame).ok()).map(|r| r.attempt);
    let refuse = |code: Code, text: String, out: &mut BytesMut| {
        put_refusal(&Refusal::new(code, text), out);
    };
    match (ask, frame) {
        (Ask::Get, Some(frame)) => render_stored(id, &frame, out),
        (Ask::Explain, Some(frame)) => {
            render(&Reply::Json(explain_end(id, &frame)), &[], &NO_TERMS, out);
        }
        (Ask::Watch, Some(frame)) => {
            render(&Reply::OkTask(id), &[], &NO_TERMS, out);
            out.extend_from_slice(frame.bytes());
        }
        (Ask::Duplicate, Some(frame)) => {
            render(&Reply::Duplicate(id), &[], &NO_TERMS, out);
            out.extend_from_slice(frame.bytes());
        }
        (Ask::Duplicate, None) => {
            let text = format!(
                "task {id} holds this unique value, has ended, and its result is no longer kept"
            );
            refuse(Code::Expired, text, out);
        }
        (Ask::Change, Some(_)) => {
            refuse(Code::Ended, format!("task {id} is {} already", State::Done), out);
        }
        (Ask::Done(asked), Some(_)) if attempt == Some(asked) => {
            render(&Reply::OkTask(id), &[], &NO_TERMS, out);
        }
        (Ask::Done(asked), _) => {
            let text = format!("lease {asked} of task {id} is not, or no longer, this session's");
            refuse(Code::Stale, text, out);
        }
        (Ask::Get | Ask::Explain | Ask::Watch | Ask::Change, None) => {
            refuse(
                Code::Expired,
                format!("nothing is kept of task {id}: it has ended, or never was"),
                out,
            );
        }
    }
}

/// For replies that tell no terms.
const NO_TERMS: Terms = Terms { version: 1, payload_max: 0, wall_ms: 0 };
