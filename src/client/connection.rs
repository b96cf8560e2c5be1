//! One TCP stream to a scheduler, from HELLO on: frames in, bytes out. No meaning beyond that.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_util::codec::Decoder;

use super::error::Error;
use crate::message::Hello;
use crate::protocol::answer::Welcome;
use crate::protocol::codec::PAYLOAD_MAX;
use crate::protocol::{Answer, Codec, Limits, VERSIONS, Violation, put_hello, read_frame};

/// How much is asked of the socket at once, in bytes.
const READ: usize = 64 << 10;

/// How long a connection may be idle before the system asks for a sign of life.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
/// How often it asks then, and how often in vain before the connection is lost.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// Sent bytes that stay unacknowledged for so long end a connection.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection whose HELLO was accepted.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    codec: Codec,
    inbox: BytesMut,
    /// What is spelled and not yet taken by the socket.
    pub(super) outbox: BytesMut,
}

impl Connection {
    /// Dials and introduces itself.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the scheduler does not want this peer, [`Error::Io`] if it is not there
    /// or says nothing in time, [`Error::Protocol`] if it is no scheduler.
    pub(super) async fn open(
        addr: &str,
        hello: &Hello,
        limit: Duration,
    ) -> Result<(Self, Welcome), Error> {
        let opening = async {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            guard(&stream)?;
            // What the scheduler says is not bounded by what it takes: a list may be longer.
            let codec = Codec::new(Limits::session(PAYLOAD_MAX));
            let (inbox, outbox) = (BytesMut::new(), BytesMut::new());
            let mut connection = Self { stream, codec, inbox, outbox };
            let welcome = connection.greet(hello).await?;
            Ok((connection, welcome))
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no OK to HELLO in time");
        tokio::time::timeout(limit, opening).await.unwrap_or_else(|_| Err(late().into()))
    }

    async fn greet(&mut self, hello: &Hello) -> Result<Welcome, Error> {
        put_hello(VERSIONS, hello, &mut self.outbox)?;
        loop {
            self.exchange().await?;
            match self.answer()? {
                None => {}
                Some(Answer::Ok(accepted)) => {
                    let no_welcome = || Error::Protocol("the OK to HELLO lacks words".to_owned());
                    return accepted.welcome().ok_or_else(no_welcome);
                }
                Some(Answer::Err(rejected)) => return Err(rejected.into()),
                Some(_) => return Err(Error::Protocol("HELLO got another answer".to_owned())),
            }
        }
    }

    /// Waits until the socket has, or takes, something, and moves it. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    ///
    /// Whatever ends the connection; the scheduler's closing it is an unexpected end of file. All
    /// that the scheduler said before has been read by then.
    pub(super) async fn exchange(&mut self) -> io::Result<()> {
        let interest = match self.outbox.is_empty() {
            true => Interest::READABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        let ready = self.stream.ready(interest).await?;
        if ready.is_readable() {
            self.pull()?;
        }
        if ready.is_writable() {
            self.push();
        }
        Ok(())
    }

    /// Writes what the socket takes without waiting. An error is not told here: what the scheduler
    /// said before it closed is still to be read, and reading ends with the same error.
    pub(super) fn push(&mut self) {
        while !self.outbox.is_empty() {
            match self.stream.try_write(&self.outbox) {
                Ok(written) => self.outbox.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.outbox.clear(),
            }
        }
    }

    fn pull(&mut self) -> io::Result<()> {
        self.inbox.reserve(READ);
        match self.stream.try_read_buf(&mut self.inbox) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The next whole frame of what has been read.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`]; the connection is of no use then.
    pub(super) fn answer(&mut self) -> Result<Option<Answer>, Error> {
        match self.codec.decode(&mut self.inbox) {
            Ok(None) => Ok(None),
            Ok(Some(frame)) => read_frame(&frame).map(Some).map_err(Error::Protocol),
            Err(Violation::Io(error)) => Err(error.into()),
            Err(violation) => Err(Error::Protocol(violation.to_string())),
        }
    }
}

/// Has the system find out when the other side is gone without a word.
fn guard(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}
