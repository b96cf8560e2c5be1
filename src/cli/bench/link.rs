//! A connection to the scheduler that costs as little as it can: one buffer each way, frames cut in
//! place, everything that is due written at once.

use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::frame::number;
use crate::message::Hello;
use crate::protocol::{VERSIONS, put_hello};

/// Room for one read, at least, in bytes.
const ROOM: usize = 64 << 10;

/// A connection whose HELLO was accepted.
pub(super) struct Link {
    stream: TcpStream,
    /// What came.
    pub(super) inbox: Inbox,
    /// What is to be said; [`Link::exchange`] sends it.
    pub(super) out: Vec<u8>,
}

impl Link {
    /// Dials the scheduler and says HELLO.
    pub(super) async fn dial(addr: SocketAddr, hello: &Hello) -> Result<Self> {
        let stream = TcpStream::connect(addr).await.context(Unreachable(addr))?;
        stream.set_nodelay(true)?;
        let mut link = Self { stream, inbox: Inbox::default(), out: spelled_hello(hello)? };
        link.request().await.context("HELLO")?;
        Ok(link)
    }

    /// Sends what is to be said and waits until something came. What does not fit into the socket
    /// at once is sent while waiting.
    pub(super) async fn exchange(&mut self) -> Result<()> {
        let (mut read, write) = self.stream.split();
        let mut sent = 0;
        loop {
            while let Some(rest) = self.out.get(sent..).filter(|rest| !rest.is_empty()) {
                match write.try_write(rest) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
            let done = sent == self.out.len();
            let count = tokio::select! {
                biased;
                count = read.read(self.inbox.room()) => count?,
                writable = write.writable(), if !done => {
                    writable?;
                    continue;
                }
            };
            self.out.drain(..sent);
            return self.inbox.filled(count);
        }
    }

    /// Sends what is to be said and returns the payload of its one reply, which nothing precedes.
    pub(super) async fn request(&mut self) -> Result<Vec<u8>> {
        loop {
            self.exchange().await?;
            if let Some(heard) = self.inbox.next()? {
                ensure!(heard.is("OK"), Refused(heard.text()));
                return Ok(heard.payload.to_owned());
            }
        }
    }

    /// Leaves orderly: BYE, and until the scheduler has closed.
    pub(super) async fn leave(mut self) {
        self.out.extend_from_slice(b"BYE\n");
        while self.exchange().await.is_ok() {
            self.inbox.clear();
        }
    }
}

/// There is no scheduler at the address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreachable(SocketAddr);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no scheduler answers at {}", self.0)
    }
}

/// What the scheduler said instead of OK.
#[derive(Clone, Debug)]
pub(super) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the scheduler says: {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// The HELLO frame.
pub(super) fn spelled_hello(hello: &Hello) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match put_hello(VERSIONS, hello, &mut out) {
        Ok(()) => Ok(out),
        Err(refusal) => bail!("HELLO cannot be said: {}", refusal.text),
    }
}

/// What came and was not taken yet.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Where to read to; [`Inbox::filled`] tells how much was.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.bytes.len() - self.end < ROOM / 4 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.bytes.len() - self.end < ROOM / 4 {
                self.bytes.resize((2 * self.bytes.len()).max(ROOM), 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes were read into the room; none is the end of the stream.
    pub(super) fn filled(&mut self, count: usize) -> Result<()> {
        ensure!(count > 0, "the scheduler closed the connection");
        self.end += count;
        Ok(())
    }

    /// Takes the next frame, if it is whole.
    pub(super) fn next(&mut self) -> Result<Option<Heard<'_>>> {
        let waiting = self.bytes.get(self.start..self.end).unwrap_or_default();
        let Some((heard, length)) = cut(waiting)? else { return Ok(None) };
        self.start += length;
        Ok(Some(heard))
    }

    /// Takes all that came.
    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }
}

/// A frame from the scheduler, where it lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard<'a> {
    /// The words, without the length of the payload.
    pub(super) line: &'a [u8],
    /// The payload; empty if there is none.
    pub(super) payload: &'a [u8],
}

impl<'a> Heard<'a> {
    /// The words after this verb, if it is that verb with words.
    pub(super) fn after(&self, verb: &str) -> Option<&'a [u8]> {
        self.line.strip_prefix(verb.as_bytes())?.strip_prefix(b" ")
    }

    /// Whether it is that verb.
    pub(super) fn is(&self, verb: &str) -> bool {
        self.line == verb.as_bytes() || self.after(verb).is_some()
    }

    /// The words, to be shown.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.line).into_owned()
    }
}

/// Cuts the first frame off, with its length; `None` if it is not whole.
///
/// Trusts the scheduler with the grammar: what matters here is read, the rest is passed over.
fn cut(bytes: &[u8]) -> Result<Option<(Heard<'_>, usize)>> {
    let Some((line, rest)) =
        memchr::memchr(b'\n', bytes).and_then(|end| bytes.split_at_checked(end))
    else {
        return Ok(None);
    };
    let space = memchr::memrchr(b' ', line).unwrap_or(line.len());
    let Some([b' ', b'#', digits @ ..]) = line.get(space..) else {
        return Ok(Some((Heard { line, payload: &[] }, line.len() + 1)));
    };
    let length = number(digits).and_then(|length| usize::try_from(length).ok());
    let length =
        length.with_context(|| format!("no frame: {:?}", String::from_utf8_lossy(line)))?;
    let (Some(payload), Some(end)) = (rest.get(1..=length), rest.get(length + 1)) else {
        return Ok(None);
    };
    ensure!(*end == b'\n', "a payload without its end: {:?}", String::from_utf8_lossy(line));
    let heard = Heard { line: line.get(..space).unwrap_or_default(), payload };
    Ok(Some((heard, line.len() + length + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut() {
        let heard = |line, payload| Heard { line, payload };
        assert_eq!(cut(b"").unwrap(), None);
        assert_eq!(cut(b"OK").unwrap(), None);
        assert_eq!(cut(b"OK\nT").unwrap(), Some((heard(b"OK", b""), 3)));
        assert_eq!(cut(b"OK 7 a=#1\n").unwrap(), Some((heard(b"OK 7 a=#1", b""), 10)));
        assert_eq!(cut(b"T 1 #3\na\nb\nOK").unwrap(), Some((heard(b"T 1", b"a\nb"), 11)));
        assert_eq!(cut(b"T #0\n\n").unwrap(), Some((heard(b"T", b""), 6)));
        for partial in [&b"T #3\n"[..], b"T #3\nab", b"T #3\nabc", b"T #0\n"] {
            assert_eq!(cut(partial).unwrap(), None);
        }
        assert!(cut(b"T #x\n").is_err() && cut(b"T #1\nabc").is_err());
    }

    #[test]
    fn an_inbox_takes_frames_in_pieces() {
        let mut inbox = Inbox::default();
        let stream = b"RESULT x done #2\nhi\nOK\n".repeat(20_000);
        let (mut results, mut replies) = (0, 0);
        for piece in stream.chunks(997) {
            inbox.room()[..piece.len()].copy_from_slice(piece);
            inbox.filled(piece.len()).unwrap();
            while let Some(heard) = inbox.next().unwrap() {
                results += usize::from(heard.after("RESULT") == Some(b"x done"));
                replies += usize::from(heard.is("OK") && !heard.is("O"));
            }
        }
        assert_eq!((results, replies), (20_000, 20_000));
        assert!(inbox.filled(0).is_err() && inbox.bytes.len() <= 2 * ROOM);
    }
}
