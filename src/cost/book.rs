//! The running sums behind one row of figures.

use super::{Decayed, Figures, Throughput, WINDOW_S, Welford, cost};

/// All that is kept of a (kind, worker) pair. Books merge, and a book can be restored from the figures
/// it gave, but for the throughput, which starts anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    /// Durations of the attempts that succeeded, in microseconds; its count is theirs.
    pub(super) duration: Welford,
    pub(super) recent: Decayed,
    pub(super) throughput: Throughput,
    pub(super) failed: u64,
    pub(super) lost: u64,
    /// Waits in microseconds. Their variance is not published and not restored.
    pub(super) wait: Welford,
    pub(super) spend: f64,
    /// When the row last changed, to a flush, in milliseconds.
    pub(super) seen_ms: u64,
}

impl Book {
    /// The book behind some published figures, last seen when they were read.
    pub(super) fn restored(figures: &Figures) -> Book {
        Book {
            duration: Welford::from_parts(figures.succeeded, figures.mean_us, figures.m2),
            recent: figures.recent,
            throughput: Throughput::default(),
            failed: figures.failed,
            lost: figures.lost,
            wait: Welford::from_parts(figures.waits, figures.wait_mean_us, 0.0),
            spend: figures.spend,
            seen_ms: figures.at_ms,
        }
    }

    /// Adds all that another book holds.
    pub(super) fn merge(&mut self, other: &Book) {
        self.duration.merge(&other.duration);
        self.recent.merge(&other.recent);
        self.throughput.merge(&other.throughput);
        self.failed += other.failed;
        self.lost += other.lost;
        self.wait.merge(&other.wait);
        self.spend += other.spend;
        self.seen_ms = self.seen_ms.max(other.seen_ms);
    }

    /// The figures to publish at a wall time in milliseconds.
    pub(super) fn figures(&self, at_ms: u64) -> Figures {
        let throughput = self.throughput.count(at_ms) as f64 / WINDOW_S as f64;
        Figures {
            succeeded: self.duration.count(),
            failed: self.failed,
            lost: self.lost,
            mean_us: self.duration.mean(),
            m2: self.duration.m2(),
            variance: self.duration.variance(),
            waits: self.wait.count(),
            wait_mean_us: self.wait.mean(),
            recent: self.recent,
            throughput,
            cost: cost(throughput, self.wait.mean(), self.duration.mean()),
            spend: self.spend,
            at_ms,
        }
    }
}
