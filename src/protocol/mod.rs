//! How messages are spelled, as protocol.md says. Works on buffers only: no sockets, no clock, no
//! state of the scheduler.
//!
//! The scheduler's side:
//!
//! - [`codec`]: bytes to frames; every limit is checked before bytes are awaited.
//! - [`hello`]: the first frame, and the version agreed on.
//! - [`parse`]: frames of peers to requests; [`submit`] is the largest of them, [`cron`] the one
//!   that holds another, `words` what they are taken apart with. [`entry`]: SUBMIT as an inbox has it.
//! - [`mod@render`]: replies and pushes to frames.
//!
//! The side of those who dial it:
//!
//! - [`ask`]: requests to frames; [`submission`] is the largest of them.
//! - [`answer`]: frames of the scheduler to answers and pushes.

pub mod answer;
pub mod ask;
pub mod codec;
pub mod cron;
pub mod entry;
mod events;
pub mod hello;
pub mod parse;
pub mod render;
pub mod submission;
pub mod submit;
mod words;

#[cfg(test)]
mod tests;

pub use answer::{Answer, read_frame};
pub use ask::{put_done, put_hello, put_request};
pub use codec::{Codec, Limits, Violation};
pub use cron::put_cron_add;
pub use entry::{entry_max, entry_too_large, read_entry};
pub use hello::greet;
pub use parse::{Parsed, announced_result, parse_request};
pub use render::{Terms, put_ping, put_refusal, render, render_stored};
pub use submission::{Attempts, Submission};
pub use submit::parse_submit;

/// The versions of the protocol that are spoken, lowest and highest.
pub const VERSIONS: (u32, u32) = (1, 1);

/// The longest free text of an option in bytes, decoded.
pub const TEXT_MAX: usize = 256;
