//! Batches as they are sent, and those sent last.
//!
//! With `appendfsync everysec` a Redis that dies may come back without what it had not handed to
//! its disk. Its fence then still names us, with the number of an earlier batch: the batches since
//! are written again, in their order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::connect::now;
use super::fence::Fence;

/// Batches older than this are on the disk of a Redis that syncs every second, late as it may be.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Bytes of batches to keep at most.
const KEPT_BYTES: usize = 64 << 20;

/// A batch as it was, or is to be, sent.
pub(super) struct Sent {
    /// The call of the commit script.
    pub(super) request: Vec<u8>,
    /// The fence that it was made for.
    pub(super) before: Fence,
    /// The fence when it is written.
    pub(super) after: Fence,
}

/// The batches written last, oldest first.
#[derive(Default)]
pub(super) struct Recent {
    batches: VecDeque<(Instant, Sent)>,
    bytes: usize,
}

impl Recent {
    /// Keeps a batch that is written, and lets go of old ones.
    pub(super) fn keep(&mut self, sent: Sent) {
        let at = now();
        self.bytes += sent.request.len();
        self.batches.push_back((at, sent));
        while let Some((oldest, sent)) = self.batches.front() {
            if self.bytes <= KEPT_BYTES && at.duration_since(*oldest) < KEPT_FOR {
                break;
            }
            self.bytes -= sent.request.len();
            self.batches.pop_front();
        }
    }

    /// The batches since a state of the fence; none if that is not known.
    pub(super) fn since(&self, seq: &str, digest: &str) -> Option<impl Iterator<Item = &Sent>> {
        let from = self.batches.iter().position(|(_, sent)| sent.before.is_at(seq, digest))?;
        Some(self.batches.iter().skip(from).map(|(_, sent)| sent))
    }
}
