//! The bounded way to a connection.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Bytes that wait for a peer beyond which it is not read any more: it pipelines without reading.
const PAUSE: usize = 256 << 10;

/// What waits to be written to a connection. Whoever puts something writes as much of it as the
/// socket takes at once; the connection's own task writes the rest.
#[derive(Debug)]
pub(super) struct Outbox {
    stream: Arc<TcpStream>,
    waiting: Mutex<Waiting>,
    /// Something is left for the connection's task to do.
    pub(super) changed: Notify,
    /// Bytes beyond which the peer is too slow for what is pushed to it.
    most: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    /// Close when all is written.
    ending: bool,
    /// Close at once.
    broken: Option<&'static str>,
    /// Since when nothing could be written.
    stalled: Option<Instant>,
}

/// How a connection's way out is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing waits.
    Clear,
    /// Something waits since a time, so much that the peer should not be read any more if `pause`.
    Backlog {
        /// Since when the socket takes nothing.
        since: Option<Instant>,
        /// Whether to stop reading.
        pause: bool,
    },
    /// All that was due is written, and the connection is to end.
    Ended,
    /// The connection is to end at once, for that reason.
    Broken(&'static str),
}

impl Outbox {
    /// An outbox that holds at most so many bytes before the peer is given up.
    pub(super) fn new(stream: Arc<TcpStream>, most: usize) -> Self {
        Self { stream, waiting: Mutex::default(), changed: Notify::new(), most }
    }

    /// Puts what `put` appends, and writes what the socket takes.
    pub(super) fn put(&self, put: impl FnOnce(&mut BytesMut)) {
        self.with(|waiting| put(&mut waiting.bytes));
        self.flush();
    }

    /// Appends without writing; [`Outbox::flush`] follows. Takes the bytes out of `from`.
    pub(super) fn append(&self, from: &mut BytesMut) {
        self.with(|waiting| {
            if waiting.bytes.is_empty() {
                std::mem::swap(&mut waiting.bytes, from);
            } else {
                waiting.bytes.extend_from_slice(from);
            }
        });
        from.clear();
    }

    /// Ends the connection after what waits.
    pub(super) fn end(&self) {
        self.with(|waiting| waiting.ending = true);
        self.changed.notify_one();
    }

    /// Writes what the socket takes; the rest waits for the connection's task.
    pub(super) fn flush(&self) {
        let left = self.with(|waiting| {
            while !waiting.bytes.is_empty() && waiting.broken.is_none() {
                match self.stream.try_write(&waiting.bytes) {
                    Ok(written) => {
                        waiting.bytes.advance(written);
                        waiting.stalled = None;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        waiting.stalled.get_or_insert_with(now);
                        break;
                    }
                    Err(_) => waiting.broken = Some("the connection is lost"),
                }
            }
            if waiting.bytes.len() > self.most {
                waiting.broken = Some("the peer does not read what is sent to it");
            }
            if waiting.bytes.is_empty() && waiting.bytes.capacity() > 4 * PAUSE {
                waiting.bytes = BytesMut::new();
            }
            !waiting.bytes.is_empty() || waiting.broken.is_some()
        });
        if left {
            self.changed.notify_one();
        }
    }

    /// Waits until nothing is left to write.
    pub(super) async fn written(&self) {
        while let Way::Backlog { .. } = self.way() {
            if self.stream.writable().await.is_err() {
                return;
            }
            self.flush();
        }
    }

    /// Bytes that wait.
    pub(super) fn backlog(&self) -> usize {
        self.with(|waiting| waiting.bytes.len())
    }

    /// How it stands.
    pub(super) fn way(&self) -> Way {
        self.with(|waiting| match waiting {
            Waiting { broken: Some(reason), .. } => Way::Broken(reason),
            Waiting { bytes, ending: true, .. } if bytes.is_empty() => Way::Ended,
            Waiting { bytes, .. } if bytes.is_empty() => Way::Clear,
            Waiting { bytes, stalled, .. } => {
                Way::Backlog { since: *stalled, pause: bytes.len() > PAUSE }
            }
        })
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Waiting) -> T) -> T {
        // A panic while it was held ended that session; the bytes are whole frames all the same.
        use_it(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[expect(clippy::disallowed_methods, reason = "a stall of a socket is no business of the core")]
fn now() -> Instant {
    Instant::now()
}
