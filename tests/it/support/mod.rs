//! What the tests share: real servers, and networks that fail when told to.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

pub(crate) mod proxy;
pub(crate) mod redis;
