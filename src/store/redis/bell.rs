//! Hearing of new entries: a connection of its own on which Redis says that the inbox has changed,
//! once each time after it was asked for its length (CLIENT TRACKING). Nothing is ever asked for
//! while nothing happens, but for a sign of life each second.

use std::time::{Duration, Instant};

use redis::{Client, Connection, ErrorKind, PushKind, RedisError, ServerErrorKind, Value};

use super::connect::now;
use super::patience::rest;
use crate::store::inbox::{Bell, Ring};

/// How long one wait takes at most.
const WAIT: Duration = Duration::from_secs(1);
/// Between two rings: a crowd of entries is heard of once.
const BETWEEN: Duration = Duration::from_millis(5);

/// Hears of new entries.
pub(super) struct Tracking {
    client: Client,
    connect_limit: Duration,
    inbox: String,
    connection: Option<Connection>,
    /// Redis will say when the inbox changes.
    armed: bool,
    rung: Option<Instant>,
}

impl Tracking {
    /// Connects nothing yet.
    pub(super) fn new(client: Client, connect_limit: Duration, inbox: String) -> Self {
        Self { client, connect_limit, inbox, connection: None, armed: false, rung: None }
    }

    /// One wait.
    fn attempt(&mut self) -> Result<Ring, RedisError> {
        let inbox = &self.inbox;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                self.armed = false;
                let mut made = self.client.get_connection_with_timeout(self.connect_limit)?;
                made.set_read_timeout(Some(WAIT))?;
                made.set_write_timeout(Some(WAIT))?;
                match redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec(&mut made) {
                    Err(error) if is_refused(&error) => return Ok(deaf(inbox, &error)),
                    tracked => tracked?,
                }
                self.connection.insert(made)
            }
        };
        if !self.armed {
            if let Some(left) = self.rung.and_then(|at| BETWEEN.checked_sub(at.elapsed())) {
                rest(left);
            }
            let length: u64 = redis::cmd("LLEN").arg(inbox).query(connection)?;
            self.armed = true;
            if length > 0 {
                self.rung = Some(now());
                return Ok(Ring::Rung);
            }
        }
        match connection.recv_response() {
            Ok(Value::Push { kind: PushKind::Invalidate, .. }) => {
                self.armed = false;
                self.rung = Some(now());
                Ok(Ring::Rung)
            }
            Ok(_) => Ok(Ring::Quiet),
            Err(error) if error.is_timeout() => {
                // A reply that came too late is passed over by the connection: this is that reply.
                redis::cmd("PING").set_no_response(true).exec(connection)?;
                Ok(Ring::Quiet)
            }
            Err(error) => Err(error),
        }
    }
}

impl Bell for Tracking {
    fn wait(&mut self) -> Ring {
        let error = match self.attempt() {
            Ok(ring) => return ring,
            Err(error) => error,
        };
        self.connection = None;
        tracing::debug!("not hearing of new entries: {error}");
        rest(WAIT);
        Ring::Quiet
    }
}

/// Whether Redis refuses to say when something changes, as opposed to being away.
fn is_refused(error: &RedisError) -> bool {
    use ServerErrorKind::{NoPerm, ResponseError};
    matches!(error.kind(), ErrorKind::Server(NoPerm | ResponseError))
}

fn deaf(inbox: &str, error: &RedisError) -> Ring {
    tracing::warn!(
        "Redis does not tell of new entries in {inbox}: they are looked for once a second ({error})"
    );
    Ring::Deaf
}
