//! Those who dial the scheduler. They see nothing but the bytes that reach them.

pub(crate) mod client;
pub(crate) mod worker;

use bytes::{Bytes, BytesMut};
use ganger::protocol::{Answer, Codec, Limits, read_frame};
use tokio_util::codec::Decoder;

use crate::net::Net;

/// A peer's end of its connection.
pub(crate) struct End {
    pub(crate) link: usize,
    codec: Codec,
    buffer: BytesMut,
}

impl End {
    pub(crate) fn new(link: usize) -> Self {
        Self { link, codec: Codec::new(Limits::session(64 << 20)), buffer: BytesMut::new() }
    }

    /// The frames that are whole now that more bytes are here.
    pub(crate) fn read(&mut self, bytes: &Bytes) -> Vec<Answer> {
        self.buffer.extend_from_slice(bytes);
        let mut answers = Vec::new();
        while let Some(frame) = self.codec.decode(&mut self.buffer).expect("a scheduler's stream") {
            answers.push(read_frame(&frame).expect("a scheduler's frame"));
        }
        answers
    }
}

/// What all peers share: the tasks that somebody was told of, and the workers' names.
#[derive(Default)]
pub(crate) struct Talk {
    pub(crate) ids: Vec<ganger::task::TaskId>,
    pub(crate) names: Vec<String>,
    /// Numbers payloads, so that no two tasks are alike.
    pub(crate) count: u64,
}

impl Talk {
    /// A task that somebody was told of, more often a late one.
    pub(crate) fn some_task(&self, net: &mut Net) -> Option<ganger::task::TaskId> {
        let count = self.ids.len();
        if count == 0 {
            return None;
        }
        let recent = net.dice.per_mille(700);
        let from = if recent { count.saturating_sub(20) } else { 0 };
        Some(self.ids[from + net.dice.index(count - from)])
    }

    /// A payload that no other task has.
    pub(crate) fn payload(&mut self, net: &mut Net) -> Vec<u8> {
        self.count += 1;
        let mut payload = format!("payload {}\n", self.count).into_bytes();
        if net.dice.per_mille(net.plan.ask.large) {
            payload.resize(70 << 10, b'x');
        }
        payload
    }
}
