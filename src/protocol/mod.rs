//! How messages are spelled, section by section in the order of protocol.md. Works on buffers only:
//! no sockets, no clock, no state of the scheduler.
//!
//! - [`codec`]: bytes to frames; every limit is checked before bytes are awaited.

pub mod codec;

pub use codec::{Codec, Limits, Violation};

/// The versions of the protocol that are spoken, lowest and highest.
pub const VERSIONS: (u32, u32) = (1, 1);
