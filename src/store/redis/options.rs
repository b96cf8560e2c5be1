//! What a Redis store is told.

use std::time::Duration;

/// Which Redis, and how to treat it.
#[derive(Clone)]
pub struct Options {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: String,
    /// Who holds the shard: `hostname:port` of the scheduler, the same after its restart and of no
    /// other scheduler. The same holder takes its lease over at once, another one waits for its end.
    pub holder: String,
    /// The shard, which names the keys; 0 by default.
    pub shard: u8,
    /// The lineage that the data must have: none by default. With it, data that vanished is not
    /// taken for a new beginning.
    pub lineage: Option<String>,
    /// Use a Redis without an append-only file, which forgets what was acknowledged when it ends.
    pub allow_unsafe: bool,
    /// Take data of which rows were lost, or that somebody added rows to; no by default.
    pub accept_repair: bool,
    /// Publish events; yes by default.
    pub events: bool,
    /// How long results may be in bytes together; 1 GiB by default.
    pub result_bytes_max: u64,
    /// How long the lease runs after each renewal; 6 s by default.
    pub lease: Duration,
    /// How long `load` tries to reach Redis; none (the default) is for ever.
    pub start_limit: Option<Duration>,
    /// How long a connection may take; 1 s by default.
    pub connect_limit: Duration,
    /// How long a reply may take before the outcome counts as unknown; 5 s by default.
    pub response_limit: Duration,
    /// How often `status` looks whether Redis may still be used; 60 s by default.
    pub check_every: Duration,
}

impl Options {
    /// The defaults.
    pub fn new(url: impl Into<String>, holder: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            holder: holder.into(),
            shard: 0,
            lineage: None,
            allow_unsafe: false,
            accept_repair: false,
            events: true,
            result_bytes_max: 1 << 30,
            lease: Duration::from_secs(6),
            start_limit: None,
            connect_limit: Duration::from_secs(1),
            response_limit: Duration::from_secs(5),
            check_every: Duration::from_secs(60),
        }
    }

    /// The lease in milliseconds.
    pub(super) fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }
}
