//! A SUBMIT that comes without a connection: an entry of a store's inbox.

use bytes::Bytes;

use crate::message::{Refusal, Submit};

/// An entry of a store's inbox, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// As it stands in the inbox, so that it can be found there again.
    pub bytes: Bytes,
    /// How long it is, if it is beyond the limit; `bytes` is only its beginning then.
    pub beyond: Option<u64>,
    /// `reply=`: the list that is told. Also of one that is refused, where it can be read.
    pub reply: Option<String>,
    /// What it asks for, or why it cannot.
    pub submit: Result<Box<Submit>, Refusal>,
}
