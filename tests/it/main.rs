//! The program and the library from outside, one binary: a module per subject.
//!
//! - `cli`: the program's commands. `run`: `ganger run`.
//! - `fuzz_corpus`: everything that fuzzing found worth keeping, again.
//! - `protocol_text`: what protocol.md says is what the code says.
//! - `store`: every backend, one suite.
//! - `support`: schedulers and peers for the others.
//! - `transcripts`: the conversations of protocol.md, parsed and run.
#![allow(
    clippy::unwrap_used,
    reason = "in a test, panicking is how a failure is told, in helpers too"
)]

mod cli;
mod fuzz_corpus;
mod protocol_text;
mod run;
mod store;
mod support;
mod transcripts;
