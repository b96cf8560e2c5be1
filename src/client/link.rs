//! A connection that comes back: dialled anew, with growing pauses, whenever it is lost.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::BytesMut;
use rand::RngExt;
use tokio::time::Instant;

use super::connection::Connection;
use super::error::Error;
use crate::message::Hello;
use crate::protocol::Answer;
use crate::protocol::answer::Welcome;

/// The pause before dialling again; it doubles with each attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest pause at first: well within the grace that the scheduler gives a worker's session.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Later, pauses are a part of the time without a connection, up to this.
const PAUSE_LATER: (u32, Duration) = (10, Duration::from_secs(30));

/// Whom to dial, and what to say first.
#[derive(Clone)]
pub(super) struct Address {
    /// Host and port; looked up at every attempt.
    pub(super) addr: String,
    pub(super) hello: Hello,
    /// How long connecting and HELLO may take together.
    pub(super) connect_timeout: Duration,
}

impl Address {
    pub(super) async fn open(&self) -> Result<(Connection, Welcome), Error> {
        Connection::open(&self.addr, &self.hello, self.connect_timeout).await
    }
}

/// What a link has to tell.
#[derive(Debug)]
pub(super) enum Event {
    /// A connection stands, and its HELLO was answered.
    Up(Welcome),
    /// Something moved: there may be answers to take.
    Moved,
    /// The connection is gone, and everything that it brought has been taken.
    Down(Error),
    /// Dialling did not succeed; it goes on.
    Unreachable(Error),
    /// Dialling is of no use any more.
    Refused(Error),
}

type Dialling = Pin<Box<dyn Future<Output = Result<(Connection, Welcome), Error>> + Send>>;

enum State {
    Up(Box<Connection>),
    Dialling(Dialling),
}

/// A connection, or the endeavour to have one.
pub(super) struct Link {
    address: Address,
    state: State,
    /// Attempts to dial since the last connection that lasted.
    attempts: u32,
    /// Since when there is a connection, or none.
    since: Instant,
}

impl Link {
    /// A link that begins to dial.
    pub(super) fn dial(address: Address) -> Self {
        let state = State::Dialling(dialling(address.clone(), Duration::ZERO));
        Self { address, state, attempts: 0, since: Instant::now() }
    }

    /// A link over a connection that stands.
    pub(super) fn over(address: Address, connection: Connection) -> Self {
        let state = State::Up(Box::new(connection));
        Self { address, state, attempts: 0, since: Instant::now() }
    }

    /// Host and port.
    pub(super) fn addr(&self) -> &str {
        &self.address.addr
    }

    /// What HELLO says from the next attempt on.
    pub(super) fn hello(&mut self) -> &mut Hello {
        &mut self.address.hello
    }

    /// For how long there has been no connection; `None` while there is one.
    pub(super) fn down_for(&self) -> Option<Duration> {
        matches!(self.state, State::Dialling(_)).then(|| self.since.elapsed())
    }

    /// Where to spell what is to be sent; `None` without a connection.
    pub(super) fn outbox(&mut self) -> Option<&mut BytesMut> {
        match &mut self.state {
            State::Up(connection) => Some(&mut connection.outbox),
            State::Dialling(_) => None,
        }
    }

    /// Bytes that the socket has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        match &self.state {
            State::Up(connection) => connection.outbox.len(),
            State::Dialling(_) => 0,
        }
    }

    /// Hands the outbox to the socket as far as it takes it. That the connection is lost is told by
    /// [`Link::next`].
    pub(super) fn push(&mut self) {
        if let State::Up(connection) = &mut self.state {
            connection.push();
        }
    }

    /// The next thing that happens. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Event {
        match &mut self.state {
            State::Up(connection) => match connection.exchange().await {
                Ok(()) => Event::Moved,
                Err(error) => {
                    self.lose();
                    Event::Down(error.into())
                }
            },
            State::Dialling(dialling) => match dialling.await {
                Ok((connection, welcome)) => {
                    self.since = Instant::now();
                    self.state = State::Up(Box::new(connection));
                    Event::Up(welcome)
                }
                Err(error) if error.is_final() => {
                    self.redial(PAUSE_MAX);
                    Event::Refused(error)
                }
                Err(error) => {
                    // Half of it at least: nobody was there just now.
                    let pause = self.pause().mul_f64(jitter(0.5, 1.0));
                    let asked = match &error {
                        Error::Refused(refused) => refused.retry.unwrap_or_default(),
                        _ => Duration::ZERO,
                    };
                    self.redial(pause.max(asked));
                    Event::Unreachable(error)
                }
            },
        }
    }

    /// Gives a connection up that cannot be trusted; dialling begins. No event tells it.
    pub(super) fn give_up(&mut self) {
        if matches!(self.state, State::Up(_)) {
            self.lose();
        }
    }

    fn lose(&mut self) {
        // One that was gone at once is no reason to hurry.
        if self.since.elapsed() > PAUSE_MAX {
            self.attempts = 0;
        }
        self.since = Instant::now();
        self.redial(self.pause().mul_f64(jitter(0.0, 1.0)));
    }

    /// The next answer of what has been read.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`]: the connection is to be given up.
    pub(super) fn answer(&mut self) -> Result<Option<Answer>, Error> {
        match &mut self.state {
            State::Up(connection) => connection.answer(),
            State::Dialling(_) => Ok(None),
        }
    }

    fn redial(&mut self, pause: Duration) {
        self.attempts = self.attempts.saturating_add(1);
        self.state = State::Dialling(dialling(self.address.clone(), pause));
    }

    /// It doubles with every attempt, and then grows with the time without a connection. Random parts
    /// of it are waited, so that those who were cut off together do not come back together.
    fn pause(&self) -> Duration {
        let (part, longest) = PAUSE_LATER;
        let doubled = PAUSE.saturating_mul(1 << self.attempts.min(16)).min(PAUSE_MAX);
        doubled.max((self.down_for().unwrap_or_default() / part).min(longest))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("addr", &self.address.addr).finish_non_exhaustive()
    }
}

fn dialling(address: Address, pause: Duration) -> Dialling {
    Box::pin(async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        address.open().await
    })
}

/// A random factor.
#[expect(clippy::disallowed_methods, reason = "pauses of different peers are to differ")]
pub(super) fn jitter(from: f64, to: f64) -> f64 {
    rand::rng().random_range(from..to)
}
