//! The protocol against itself: what one side spells, the other reads, however the bytes arrive.
//!
//! - `properties`: round trips, splits, arbitrary bytes.
//! - `framing`, `greeting`, `requests`: what is wrong and what is at the limit, one by one, by the ids
//!   of the fault catalogue.

mod framing;
mod greeting;
mod observing;
mod properties;
mod requests;

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use crate::frame::Frame;
use crate::message::{Code, Refusal, Request};
use crate::protocol::{Codec, Limits, Parsed, Violation, greet, parse_request};

/// The frames of a stream that arrives in these pieces, and how reading it ended.
fn read_pieces<'a>(
    limits: Limits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Frame>, Option<Violation>) {
    let (mut codec, mut buffer, mut frames) = (Codec::new(limits), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(violation) => return (frames, Some(violation)),
            }
        }
    }
    (frames, None)
}

fn read_all(bytes: &[u8]) -> (Vec<Frame>, Option<Violation>) {
    read_pieces(Limits::session(1 << 20), [bytes])
}

/// Why a stream is closed after these bytes.
fn violation(bytes: &[u8]) -> Violation {
    let (frames, violation) = read_all(bytes);
    assert_eq!(frames, [], "{:?}", String::from_utf8_lossy(bytes));
    violation.unwrap_or_else(|| panic!("accepted: {:?}", String::from_utf8_lossy(bytes)))
}

fn frame(text: &str) -> Frame {
    Frame::read(text.to_owned().into()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn parsed(text: &str) -> Parsed {
    parse_request(&frame(text))
}

fn request(text: &str) -> Request {
    match parsed(text) {
        Parsed::Request(request) => request,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refusal(text: &str) -> Refusal {
    match parsed(text) {
        Parsed::Refuse(refusal) => refusal,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn code(text: &str) -> Code {
    refusal(text).code
}

fn greeting_code(text: &str) -> Code {
    greet(&frame(text)).expect_err(text).code
}

/// The refusal of a SUBMIT with these options; `None` if it is accepted.
fn submit(options: &str) -> Option<Code> {
    match parsed(&format!("SUBMIT resize {options}\n")) {
        Parsed::Request(Request::Submit(_)) => None,
        Parsed::Refuse(refusal) => Some(refusal.code),
        other => panic!("{options}: {other:?}"),
    }
}
