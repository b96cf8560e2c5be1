//! How messages are spelled, section by section in the order of protocol.md. Works on buffers only:
//! no sockets, no clock, no state of the scheduler.
//!
//! - [`codec`]: bytes to frames; every limit is checked before bytes are awaited.
//! - [`hello`]: the first frame, and the version agreed on.
//! - [`parse`]: frames of peers to requests.
//! - [`render`]: replies and pushes to frames.

pub mod codec;
pub mod hello;
pub mod parse;
pub mod render;

pub use codec::{Codec, Limits, Violation};
pub use hello::greet;
pub use parse::{Parsed, parse_request, parse_submit};
pub use render::{Terms, put_ping, put_refusal, render, render_stored};

/// The versions of the protocol that are spoken, lowest and highest.
pub const VERSIONS: (u32, u32) = (1, 1);
