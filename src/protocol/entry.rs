//! Entries of an inbox: SUBMIT as programs write it that have no connection, and whose bytes end
//! where they end.

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::{Frame, HEADER_MAX, Malformed, Outline};
use crate::message::{Code, Entry, Refusal};
use crate::protocol::submit;
use crate::task::is_name;

/// The longest entry in bytes, where payloads are at most so long: a header and a payload, each with
/// its line feed.
pub const fn entry_max(payload_max: u64) -> u64 {
    HEADER_MAX as u64 + payload_max + 1
}

/// Reads an entry as it stands in the inbox.
pub fn read_entry(bytes: Bytes, payload_max: u64) -> Entry {
    let submit = frame_of(&bytes, payload_max).and_then(|frame| submit::read_entry(&frame));
    Entry { reply: reply_of(&bytes), beyond: None, bytes, submit: submit.map(Box::new) }
}

/// What is to be said of an entry of so many bytes, of which only the beginning was read.
pub fn entry_too_large(beginning: Bytes, length: u64, payload_max: u64) -> Entry {
    let limit = entry_max(payload_max);
    let text = format!("an entry of {length} bytes is over the limit of {limit}");
    let submit = Err(Refusal::new(Code::TooLarge, text));
    Entry { reply: reply_of(&beginning), beyond: Some(length), bytes: beginning, submit }
}

/// The entry as a frame: what it may leave out is added.
fn frame_of(entry: &Bytes, payload_max: u64) -> Result<Frame, Refusal> {
    let end = memchr::memchr(b'\n', entry).unwrap_or(entry.len());
    let outline = Outline::of(entry.get(..end).unwrap_or_default()).map_err(malformed)?;
    let rest = entry.get(end + 1..).unwrap_or_default();
    let payload = match outline.payload.map(usize::try_from) {
        None => rest,
        Some(Ok(length)) if rest.len() == length => rest,
        Some(Ok(length)) if rest.len() == length.saturating_add(1) && rest.ends_with(b"\n") => {
            rest.get(..length).unwrap_or_default()
        }
        Some(_) => {
            let text = "the length is not that of what stands behind the first LF";
            return Err(Refusal::new(Code::BadFrame, text));
        }
    };
    if payload.len() as u64 > payload_max {
        let length = payload.len();
        let text = format!("a payload of {length} bytes is over the limit of {payload_max}");
        return Err(Refusal::new(Code::TooLarge, text));
    }
    if outline.payload.is_some() && outline.total() == Some(entry.len()) {
        return Frame::new(entry.clone(), outline).map_err(malformed);
    }
    let mut frame = BytesMut::with_capacity(entry.len() + 16);
    frame.put_slice(entry.get(..outline.words).unwrap_or_default());
    if outline.payload.is_some() || !payload.is_empty() {
        frame.put_slice(b" #");
        crate::frame::put_number(&mut frame, payload.len() as u64);
        frame.put_u8(b'\n');
        frame.put_slice(payload);
    }
    frame.put_u8(b'\n');
    Frame::read(frame.freeze()).map_err(malformed)
}

fn malformed(malformed: Malformed) -> Refusal {
    let code = match malformed {
        Malformed::HeaderTooLong => Code::TooLarge,
        _ => Code::BadFrame,
    };
    Refusal::new(code, malformed.to_string())
}

/// The value of `reply=` in a header, however wrong the rest is.
fn reply_of(entry: &[u8]) -> Option<String> {
    let line = entry.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let words = line.get(..line.len().min(HEADER_MAX)).unwrap_or_default().split(|&b| b == b' ');
    let values = words.filter_map(|word| word.strip_prefix(b"reply="));
    let mut names = values.filter_map(|value| std::str::from_utf8(value).ok());
    names.find(|name| is_name(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1000;

    fn read(entry: impl Into<Vec<u8>>) -> Entry {
        read_entry(Bytes::from(entry.into()), LIMIT)
    }

    #[test]
    fn what_an_entry_leaves_out_is_added_to_its_record() {
        for (entry, record) in [
            ("SUBMIT a", "SUBMIT a\n"),
            ("SUBMIT a\n", "SUBMIT a\n"),
            ("SUBMIT a #0", "SUBMIT a #0\n\n"),
            ("SUBMIT a #0\n", "SUBMIT a #0\n\n"),
            ("SUBMIT a #0\n\n", "SUBMIT a #0\n\n"),
            ("SUBMIT a queue=x\nhello", "SUBMIT a queue=x #5\nhello\n"),
            ("SUBMIT a\nhello\n", "SUBMIT a #6\nhello\n\n"),
            ("SUBMIT a\n\n", "SUBMIT a #1\n\n\n"),
            ("SUBMIT a #5\nhello", "SUBMIT a #5\nhello\n"),
            ("SUBMIT a #5\nhello\n", "SUBMIT a #5\nhello\n"),
            ("SUBMIT a #6\nhello\n", "SUBMIT a #6\nhello\n\n"),
            ("SUBMIT a\nSUBMIT b #1", "SUBMIT a #11\nSUBMIT b #1\n"),
        ] {
            let submit =
                read(entry).submit.unwrap_or_else(|refusal| panic!("{entry:?}: {refusal:?}"));
            assert_eq!(submit.frame.bytes(), record, "{entry:?}");
        }
    }

    #[test]
    fn a_payload_may_hold_any_byte() {
        let payload: Vec<u8> = (0..=255).collect();
        for header in ["SUBMIT a", "SUBMIT a #256"] {
            let entry = read([header.as_bytes(), b"\n", &payload].concat());
            assert_eq!(entry.submit.unwrap().frame.payload().unwrap(), payload);
        }
    }

    #[test]
    fn what_is_no_submit_is_refused_as_a_connection_would() {
        let long = "x".repeat(1001);
        let header = format!("SUBMIT a trace={}", "x".repeat(4096));
        // It fits only without the length that it needs.
        let just = format!("SUBMIT a x={}\nx", "x".repeat(4083));
        for (entry, code) in [
            ("", Code::BadFrame),
            ("\n", Code::BadFrame),
            (" SUBMIT a", Code::BadFrame),
            ("SUBMIT a\r\nhello", Code::BadFrame),
            ("SUBMIT a #3\nhello", Code::BadFrame),
            ("SUBMIT a #99\nhello", Code::BadFrame),
            ("SUBMIT a #5", Code::BadFrame),
            ("SUBMIT a #18446744073709551615\nhello", Code::BadFrame),
            ("SUBMIT a #05\nhello", Code::BadFrame),
            ("SUBMIT", Code::Missing),
            ("SUBMIT a prioritty=5", Code::UnknownOption),
            ("SUBMIT a watch=yes", Code::UnknownOption),
            ("SUBMIT a cron=x", Code::UnknownOption),
            ("SUBMIT a reply=", Code::BadValue),
            ("SUBMIT a reply=a%20b", Code::BadValue),
            ("SUBMIT a reply=a reply=b", Code::UnknownOption),
            ("SUBMIT a timeout=0", Code::BadValue),
            ("SUBMIT a delay=1 at=1", Code::Conflict),
            ("GET 06fq2v8k3n1zg", Code::UnknownVerb),
            ("submit a", Code::UnknownVerb),
            ("{\"kind\":\"a\"}", Code::UnknownVerb),
            (&format!("SUBMIT a\n{long}"), Code::TooLarge),
            (&format!("SUBMIT a #1001\n{long}"), Code::TooLarge),
            (&header, Code::TooLarge),
            (&just, Code::TooLarge),
        ] {
            let shown = entry.get(..40).unwrap_or(entry);
            assert_eq!(read(entry).submit.unwrap_err().code, code, "{shown:?}");
        }
        assert_eq!(read(&b"SUBMIT \xff"[..]).submit.unwrap_err().code, Code::BadFrame);
        assert!(read("SUBMIT a watch=no").submit.is_ok());
    }

    #[test]
    fn a_reply_is_told_whatever_else_is_wrong() {
        let reply = |entry: &str| read(entry).reply;
        assert_eq!(reply("SUBMIT a reply=me").as_deref(), Some("me"));
        assert_eq!(reply("SUBMIT a prio=1  reply=me\nx").as_deref(), Some("me"));
        assert_eq!(reply("SUBMIT a\nreply=me"), None);
        assert_eq!(reply("SUBMIT a reply={x}"), None);
        let large = entry_too_large(Bytes::from("SUBMIT a reply=me\nxxx"), 1 << 30, LIMIT);
        assert_eq!(large.reply.as_deref(), Some("me"));
        assert_eq!(large.submit.unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn a_record_with_a_reply_is_read_again() {
        let entry = read("SUBMIT a reply=me unique=x");
        let frame = entry.submit.unwrap().frame;
        let again = crate::protocol::parse_submit(&frame).unwrap();
        assert_eq!(again.reply(), Some("me"));
        let said = crate::protocol::parse_request(&frame);
        assert!(matches!(said, crate::protocol::Parsed::Refuse(_)), "not over a connection");
    }
}
