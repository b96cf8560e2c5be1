//! What a session hands the engine at once, and how much that may be.

use tokio::sync::OwnedSemaphorePermit;

use crate::core::Event;
use crate::message::Severity;

/// What the requests of one batch may weigh; the rest of what was read waits for the next one.
pub(super) const BATCH: usize = 1024;

/// What a request weighs whose answer is long, in requests.
const LONG: usize = 64;

/// Bytes of results that the requests of one batch may ask for, or else a single one: less than may
/// wait for a peer, so that one that reads is never taken for one that does not.
const ASKED: u64 = 16 << 20;

/// Batches of one session that may wait for the engine.
pub(super) const BATCHES: usize = 2;

/// What a session hands over at once.
#[derive(Debug)]
pub(super) struct Batch {
    /// What happened, in order.
    pub(super) events: Vec<Event>,
    /// Given back when the events are applied: a session does not run ahead of the engine.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl From<Event> for Batch {
    fn from(event: Event) -> Self {
        Self { events: vec![event], permit: None }
    }
}

/// What a request weighs beyond one, for what it has answered.
pub(super) fn weight_of(event: &Event, payload_max: u64) -> usize {
    use crate::message::Request::{Explain, Get, Purge, Queues, Stats, Tasks, Watch, Workers};
    let Event::Request { request, .. } = event else { return 0 };
    match request {
        // Each may take milliseconds; between two batches others have their turn.
        Queues | Workers => BATCH,
        Explain(_) | Purge(_) | Stats { .. } | Tasks(_) => LONG,
        Get(_) | Watch(_) => {
            let results = (ASKED / payload_max.max(1)).max(1);
            BATCH / usize::try_from(results).unwrap_or(BATCH).clamp(1, BATCH)
        }
        _ => 0,
    }
}

/// Whether nothing comes after it.
pub(super) fn is_last(event: &Event) -> bool {
    match event {
        Event::Refused { refusal, .. } => refusal.code.severity() == Severity::Close,
        Event::Request { request, .. } => *request == crate::message::Request::Bye,
        _ => false,
    }
}
