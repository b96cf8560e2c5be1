//! How far a run is, and whether it may go further: a reader that pauses holds it up before it keeps
//! more output than memory should.

use tokio::sync::watch;

/// Lines that are handed in and not printed, at most; those held back for the order are among them.
const LINES_MAX: usize = 1 << 16;

/// Bytes of output that wait to be printed; while there are more, nothing new begins.
const OUTPUT_MAX: usize = 1 << 20;

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Lines that are run, or were.
    pub(super) handed_in: usize,
    /// Those that have ended.
    pub(super) ended: usize,
    /// Those whose output is printed.
    pub(super) printed: usize,
    /// Commands that run.
    pub(super) running: usize,
    /// Bytes of output that were given to the writer and that it has not dealt with.
    pub(super) waiting: usize,
    /// Nothing is printed any more.
    pub(super) is_over: bool,
}

impl Counts {
    fn is_behind(&self) -> bool {
        self.waiting > OUTPUT_MAX
    }

    /// Lines that may be handed in.
    fn room(&self) -> usize {
        if self.is_behind() { 0 } else { LINES_MAX.saturating_sub(self.handed_in - self.printed) }
    }
}

/// The counts, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Progress(watch::Sender<Counts>);

impl Progress {
    /// Changes them.
    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.0.send_modify(change);
    }

    /// What they are.
    pub(super) fn counts(&self) -> Counts {
        *self.0.borrow()
    }

    /// Waits until lines may be handed in; how many.
    pub(super) async fn room(&self) -> usize {
        self.until(|counts| counts.room() > 0).await.room()
    }

    /// Whether the reader has to catch up before anything new begins.
    pub(super) fn is_behind(&self) -> bool {
        self.counts().is_behind()
    }

    /// Waits until it has caught up.
    pub(super) async fn caught_up(&self) {
        self.until(|counts| !counts.is_behind()).await;
    }

    /// Waits until nothing is printed any more.
    pub(super) async fn over(&self) {
        self.until(|counts| counts.is_over).await;
    }

    async fn until(&self, holds: impl Fn(&Counts) -> bool) -> Counts {
        let mut receiver = self.0.subscribe();
        let counts = receiver.wait_for(holds).await.map(|counts| *counts);
        // The sender is borrowed here: it cannot have gone.
        counts.unwrap_or_default()
    }
}
