//! What a server is told at its start.

use std::net::SocketAddr;

use crate::server::tokens::Tokens;
use crate::store;

/// What a server is told at its start. `Config::default()` is a scheduler for this machine, with the
/// embedded store in `ganger-data`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one. `127.0.0.1:7330` by default.
    pub listen: SocketAddr,
    /// The store: `file:DIRECTORY`, `redis://…`, `memory:`. `file:ganger-data` by default.
    pub store: String,
    /// What the store is told.
    pub store_options: store::Options,
    /// Who may do what; everybody everything by default.
    pub tokens: Tokens,
    /// Listen on an address of other machines without tokens.
    pub insecure: bool,
    /// The largest payload and result, in bytes: 1 MiB by default, at most 64 MiB.
    pub payload_max: u64,
    /// Tasks that may be held at once: 10 million by default.
    pub tasks_max: usize,
    /// Connections at once: 100,000 by default, or what the limit on open files allows.
    pub connections_max: usize,
    /// How long a worker with heartbeats may be without a connection, in milliseconds: 5000.
    pub grace_ms: u64,
    /// How long workers may take to come back after a start, in milliseconds: 15,000.
    pub restart_grace_ms: u64,
    /// What decides the random choices; drawn at the start when absent.
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7330)),
            store: "file:ganger-data".into(),
            store_options: store::Options::default(),
            tokens: Tokens::default(),
            insecure: false,
            payload_max: 1 << 20,
            tasks_max: 10_000_000,
            connections_max: 100_000,
            grace_ms: 5_000,
            restart_grace_ms: 15_000,
            seed: None,
        }
    }
}

impl Config {
    /// Checks what can be checked before anything is opened.
    ///
    /// # Errors
    ///
    /// A text that names the setting and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let payload_max = crate::protocol::codec::PAYLOAD_MAX;
        if !(1024..=payload_max).contains(&self.payload_max) {
            return Err(format!("max-payload is 1024 to {payload_max} bytes"));
        }
        store::check_url(&self.store)?;
        if self.tasks_max == 0 {
            return Err("max-tasks is at least 1".into());
        }
        if self.connections_max == 0 {
            return Err("max-connections is at least 1".into());
        }
        if !self.listen.ip().is_loopback() && self.tokens.is_open() && !self.insecure {
            return Err(format!(
                "listening on {} would let every machine that reaches it do everything: give \
                 --tokens FILE, or --insecure if the network is closed",
                self.listen
            ));
        }
        Ok(())
    }
}
