//! The program and the library from outside.
//!
//! - `fuzz_corpus`: everything that fuzzing found worth keeping, again.
//! - `protocol_text`: what protocol.md says is what the code says.
//! - `transcripts`: the conversations of protocol.md, parsed and run.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, panicking is how a failure is told, in helpers too"
)]

mod fuzz_corpus;
mod protocol_text;
mod transcripts;
