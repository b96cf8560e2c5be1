//! Cuts a stream into frames.

use std::fmt;
use std::io;

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use crate::frame::{Frame, HEADER_MAX, Malformed, Outline};
use crate::message::Code;

/// What a peer may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest header line in bytes, its line feed included; at most [`HEADER_MAX`].
    pub header: usize,
    /// The largest payload in bytes; `None` allows no payload at all.
    pub payload: Option<u64>,
}

impl Limits {
    /// Before HELLO: a header of 4096 bytes and no payload, so that nobody unknown makes the
    /// scheduler buffer more.
    pub const GREETING: Self = Self { header: HEADER_MAX, payload: None };

    /// What a peer takes from the scheduler that it dialled. Answers to queries may be larger than the
    /// payloads that the scheduler takes.
    pub const ANSWERS: Self = Self { header: HEADER_MAX, payload: Some(PAYLOAD_MAX) };

    /// After HELLO.
    pub const fn session(payload: u64) -> Self {
        Self { header: HEADER_MAX, payload: Some(payload) }
    }
}

/// The largest payload by default, in bytes.
pub const PAYLOAD: u64 = 1 << 20;

/// The largest payload that can be configured, in bytes.
pub const PAYLOAD_MAX: u64 = 64 << 20;

/// Cuts a stream into frames and writes frames that are already spelled.
#[derive(Debug)]
pub struct Codec {
    limits: Limits,
    /// Bytes of the header that are known to hold no line feed.
    seen: usize,
    outline: Option<Outline>,
}

impl Codec {
    /// A codec at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { limits, seen: 0, outline: None }
    }

    /// Other limits from the next frame on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether a frame has begun and is not whole: its rest must arrive in time.
    pub fn is_midway(&self, buffer: &BytesMut) -> bool {
        self.outline.is_some() || !buffer.is_empty()
    }

    fn outline(&mut self, buffer: &BytesMut) -> Result<Option<Outline>, Violation> {
        if let Some(outline) = self.outline {
            return Ok(Some(outline));
        }
        let unseen = buffer.get(self.seen..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', unseen) else {
            self.seen = buffer.len();
            return if buffer.len() >= self.limits.header {
                Err(Violation::Malformed(Malformed::HeaderTooLong))
            } else {
                Ok(None)
            };
        };
        let line = buffer.get(..self.seen + end).unwrap_or_default();
        if line.len() >= self.limits.header {
            return Err(Violation::Malformed(Malformed::HeaderTooLong));
        }
        let outline = Outline::of(line).map_err(Violation::Malformed)?;
        if let Some(length) = outline.payload
            && self.limits.payload.is_none_or(|limit| length > limit)
        {
            return Err(Violation::TooLarge { length, limit: self.limits.payload });
        }
        self.outline = Some(outline);
        Ok(Some(outline))
    }
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = Violation;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        let Some(outline) = self.outline(buffer)? else { return Ok(None) };
        let total = outline.total().ok_or(Violation::Malformed(Malformed::Length))?;
        if buffer.len() < total {
            // In steps, so that a declared length alone makes nobody allocate it.
            buffer.reserve((total - buffer.len()).min(64 << 10));
            return Ok(None);
        }
        self.seen = 0;
        self.outline = None;
        let bytes = buffer.split_to(total).freeze();
        Frame::new(bytes, outline).map(Some).map_err(Violation::Malformed)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        // A partial frame at the end of a stream is no frame and no error: its sender is gone.
        self.decode(buffer)
    }
}

impl Encoder<&[u8]> for Codec {
    type Error = Violation;

    fn encode(&mut self, spelled: &[u8], buffer: &mut BytesMut) -> Result<(), Violation> {
        buffer.extend_from_slice(spelled);
        Ok(())
    }
}

/// Why a stream is not read further.
#[derive(Debug)]
pub enum Violation {
    /// It broke the grammar.
    Malformed(Malformed),
    /// It announced a payload over the limit; `None` allows none.
    TooLarge {
        /// What was announced, in bytes.
        length: u64,
        /// What is allowed, in bytes.
        limit: Option<u64>,
    },
    /// The connection failed.
    Io(io::Error),
}

impl Violation {
    /// The code of the ERR that the peer gets before the connection is closed.
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed(Malformed::HeaderTooLong) | Self::TooLarge { .. } => Code::TooLarge,
            Self::Malformed(_) | Self::Io(_) => Code::BadFrame,
        }
    }
}

impl From<io::Error> for Violation {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::TooLarge { length, limit: Some(limit) } => {
                write!(f, "a payload of {length} bytes is over the limit of {limit}")
            }
            Self::TooLarge { length, limit: None } => {
                write!(f, "a payload of {length} bytes where none may come")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Violation {}
