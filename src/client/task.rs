//! A task in the hands of its handler.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::protocol::answer;
use crate::task::{Attempt, TaskId};

/// A task with its attempt: what an answer is about.
pub(super) type Lease = (TaskId, Attempt);

/// A task in the hands of its handler: what to do, and a line back to the scheduler meanwhile.
#[derive(Clone)]
pub struct Task {
    spelled: answer::Task,
    signal: Arc<Signal>,
    notices: mpsc::Sender<Notice>,
}

/// A sign of progress on its way to the scheduler.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) lease: Lease,
    pub(super) percent: u8,
    pub(super) note: Bytes,
}

impl Task {
    pub(super) fn new(
        spelled: answer::Task,
        signal: Arc<Signal>,
        notices: mpsc::Sender<Notice>,
    ) -> Self {
        Self { spelled, signal, notices }
    }

    pub(super) fn lease(&self) -> Lease {
        (self.spelled.id, self.spelled.attempt)
    }

    /// Which task it is. The same task may come again, with a higher attempt.
    pub fn id(&self) -> TaskId {
        self.spelled.id
    }

    /// Which of its leases this is, from 1.
    pub fn attempt(&self) -> Attempt {
        self.spelled.attempt
    }

    /// What it is.
    pub fn kind(&self) -> &str {
        self.spelled.kind()
    }

    /// Where it waited.
    pub fn queue(&self) -> &str {
        self.spelled.queue()
    }

    /// What it belongs to.
    pub fn key(&self) -> Option<Cow<'_, str>> {
        self.spelled.key()
    }

    /// The submitter's text for tracing.
    pub fn trace(&self) -> Option<Cow<'_, str>> {
        self.spelled.trace()
    }

    /// What to work on. Copies no bytes.
    pub fn payload(&self) -> Bytes {
        self.spelled.payload()
    }

    /// How long it may go on without a sign of progress.
    pub fn timeout(&self) -> Option<Duration> {
        self.spelled.timeout_ms.map(Duration::from_millis)
    }

    /// How long it may take in all.
    pub fn max_run(&self) -> Option<Duration> {
        self.spelled.max_run_ms.map(Duration::from_millis)
    }

    /// Tells the scheduler how far it is, 0 to 100, which also begins its [`Task::timeout`] anew.
    /// Without a connection nothing is told.
    pub async fn progress(&self, percent: u8) {
        self.progress_note(percent, Bytes::new()).await;
    }

    /// As [`Task::progress`], with something that people may want to know.
    pub async fn progress_note(&self, percent: u8, note: impl Into<Bytes>) {
        let (lease, percent, note) = (self.lease(), percent.min(100), note.into());
        // Without a receiver the worker is gone, and this run with it.
        drop(self.notices.send(Notice { lease, percent, note }).await);
    }

    /// Whether the result is not wanted any more.
    pub fn is_cancelled(&self) -> bool {
        self.signal.reason.get().is_some()
    }

    /// Waits until the result is not wanted any more, and says why: `cancelled`, `timeout`, `max-run`,
    /// `lost` (the scheduler has given the lease up), or a later word.
    ///
    /// The slot stays taken until the handler returns; what it returns is discarded then.
    pub async fn cancelled(&self) -> &str {
        self.signal.raised().await
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.spelled).finish()
    }
}

/// Raised once, seen by any number of clones of a task.
#[derive(Debug, Default)]
pub(super) struct Signal {
    reason: OnceLock<String>,
    notify: Notify,
}

impl Signal {
    /// Raises it; a second reason changes nothing.
    pub(super) fn raise(&self, reason: String) {
        if self.reason.set(reason).is_ok() {
            self.notify.notify_waiters();
        }
    }

    async fn raised(&self) -> &str {
        loop {
            let mut notified = std::pin::pin!(self.notify.notified());
            // Listening begins before looking, so that nothing is missed in between.
            notified.as_mut().enable();
            if let Some(reason) = self.reason.get() {
                return reason;
            }
            notified.await;
        }
    }
}
