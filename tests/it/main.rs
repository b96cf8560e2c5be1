//! The program and the library from outside, one binary: a module per subject.
//!
//! - `bench`: `ganger bench`, small, and with a scheduler that is wrong.
//! - `fuzz_corpus`: everything that fuzzing found worth keeping, again.
//! - `protocol_text`: what protocol.md says is what the code says.
//! - `store`: every backend, one suite.
//! - `support`: schedulers and peers for the others.
//! - `transcripts`: the conversations of protocol.md, parsed and run.
#![allow(
    clippy::unwrap_used,
    reason = "in a test, panicking is how a failure is told, in helpers too"
)]

mod bench;
mod fuzz_corpus;
mod protocol_text;
mod store;
mod support;
mod transcripts;
