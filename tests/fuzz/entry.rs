//! What is fuzzed, and what must hold for any bytes. The tests run the committed corpus through the
//! same functions.
#![allow(dead_code, reason = "each target uses one of them")]

use bytes::BytesMut;
use ganger::frame::Frame;
use ganger::message::{Reply, Role};
use ganger::protocol::{
    Answer, Codec, Limits, Parsed, Terms, greet, parse_request, parse_submit, put_hello,
    put_request, read_entry, read_frame, render, render_stored,
};
use ganger::record::{ResultFrame, StateLine};
use ganger::task::TaskId;
use tokio_util::codec::Decoder;

/// Small, so that the limit is met often.
const LIMITS: Limits = Limits::session(1 << 10);

/// The first byte is the size of the pieces; the rest is the stream. It must be cut into the same
/// frames, and end in the same way, as when it comes at once.
pub(crate) fn codec(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let pieces = stream.chunks(usize::from(size).max(1));
    let (whole, whole_end) = read([stream]);
    let (cut, cut_end) = read(pieces);
    assert_eq!(whole, cut);
    assert_eq!(whole_end, cut_end);
    let length: usize = whole.iter().map(|frame| frame.bytes().len()).sum();
    let joined: Vec<u8> = whole.iter().flat_map(|frame| frame.bytes().to_vec()).collect();
    assert_eq!(stream.get(..length), Some(&joined[..]));
}

/// Every reader takes or refuses every frame; what is taken is spelled and read as the same.
pub(crate) fn message(data: &[u8]) {
    inbox(data);
    for frame in read([data]).0 {
        request(&frame);
        greeting(&frame);
        let _ = read_frame(&frame);
        let _ = ResultFrame::read(&frame);
        let _ = StateLine::read(frame.header().as_bytes());
        let mut out = BytesMut::new();
        render_stored(TaskId::default(), &frame, &mut out);
    }
}

/// Any bytes are an entry of an inbox, or none; what is taken has a record that says the same.
fn inbox(data: &[u8]) {
    let entry = read_entry(data.to_vec().into(), 1 << 10);
    assert_eq!(entry.bytes, data);
    let Ok(submit) = entry.submit else { return };
    assert_eq!(submit.reply(), entry.reply.as_deref());
    let record = Frame::read(submit.frame.bytes().clone()).expect("a record is a frame");
    assert_eq!(parse_submit(&record), Ok(*submit));
    let payload = record.payload().unwrap_or_default();
    let line_feed = data.strip_suffix(b"\n").unwrap_or(data);
    assert!(data.ends_with(&payload) || line_feed.ends_with(&payload));
}

fn request(frame: &Frame) {
    match parse_request(frame) {
        Parsed::Ignore => {}
        Parsed::Refuse(refusal) => match answer(&Reply::Refused(refusal.clone())) {
            Answer::Err(rejected) => assert_eq!(rejected.code, Some(refusal.code)),
            other => panic!("{other:?}"),
        },
        Parsed::Request(request) => {
            let mut out = Vec::new();
            put_request(&request, &mut out).expect("what was read can be said");
            let again = Frame::read(out.into()).expect("what is spelled is a frame");
            assert_eq!(parse_request(&again), Parsed::Request(request));
        }
    }
    if let Ok(submit) = parse_submit(frame) {
        let record = submit.frame.bytes()[..].into();
        match answer(&Reply::Run { id: TaskId::default(), attempt: 1, record }) {
            Answer::Task(task) => {
                assert_eq!((task.kind(), task.queue()), (submit.kind(), submit.queue()));
                assert_eq!(task.payload(), frame.payload().unwrap_or_default());
            }
            other => panic!("{other:?}"),
        }
    }
}

fn greeting(frame: &Frame) {
    let Ok((version, hello)) = greet(frame) else { return };
    let mut out = Vec::new();
    if hello.role == Role::Worker && put_hello((1, 1), &hello, &mut out).is_ok() {
        let again = Frame::read(out.into()).expect("what is spelled is a frame");
        assert_eq!(greet(&again), Ok((version, hello)));
    }
}

fn answer(reply: &Reply) -> Answer {
    let mut out = BytesMut::new();
    let terms = Terms { version: 1, payload_max: 1 << 20, wall_ms: 0 };
    render(reply, b"", &terms, &mut out);
    let frame = Frame::read(out.freeze()).expect("what is spelled is a frame");
    read_frame(&frame).expect("what is spelled is an answer")
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<String>) {
    let (mut codec, mut buffer, mut frames) = (Codec::new(LIMITS), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(violation) => return (frames, Some(violation.to_string())),
            }
        }
    }
    (frames, None)
}
