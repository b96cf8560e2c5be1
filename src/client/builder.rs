//! How a client connects.

use std::fmt;
use std::time::Duration;

use super::client::Client;
use super::error::Error;
use super::link::Address;
use crate::message::{Hello, Role};
use crate::route::Weight;

/// How long connecting and HELLO may take by default.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long calls put up with a scheduler that is away or busy, by default.
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings of a [`Client`]; made by [`Client::builder`].
#[derive(Clone)]
#[must_use = "nothing happens before `connect`"]
pub struct Builder {
    hello: Hello,
    connect_timeout: Duration,
    patience: Duration,
}

impl Builder {
    pub(super) fn new() -> Self {
        let hello = hello(Role::Client);
        Self { hello, connect_timeout: CONNECT_TIMEOUT, patience: PATIENCE }
    }

    /// A label for the scheduler's lists and logs: 1 to 128 characters of `A-Z a-z 0-9 . _ / -`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.hello.name = name.into();
        self
    }

    /// The secret that grants what the client may do.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.hello.token = Some(token.into());
        self
    }

    /// Introduces itself as an operator, which is what programs that look after the scheduler are.
    pub fn operator(mut self) -> Self {
        self.hello.role = Role::Operator;
        self
    }

    /// How long connecting and HELLO may take together; 5 s by default.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long a call puts up with a scheduler that cannot be reached, or is too busy to take it,
    /// before it fails; 60 s by default, [`Duration::MAX`] for ever.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connects to a scheduler at `host:port`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if nothing answers there, [`Error::Refused`] if the scheduler does not want this
    /// client, [`Error::Protocol`] if it is no scheduler. Only later connections are patient.
    pub async fn connect(self, addr: impl fmt::Display) -> Result<Client, Error> {
        let (hello, connect_timeout) = (self.hello, self.connect_timeout);
        let address = Address { addr: addr.to_string(), hello, connect_timeout };
        Client::open(address, self.patience).await
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is nobody's business.
        f.debug_struct("Builder").field("name", &self.hello.name).finish_non_exhaustive()
    }
}

/// What every peer says of itself.
pub(super) fn hello(role: Role) -> Hello {
    Hello {
        role,
        name: String::new(),
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        pid: u64::from(std::process::id()),
        slots: 1,
        weight: Weight::default(),
        kinds: None,
        queues: None,
        tags: Vec::new(),
        res: Vec::new(),
        heartbeat_ms: None,
        price: 0.0,
        payload_max: None,
        session: None,
        token: None,
    }
}
