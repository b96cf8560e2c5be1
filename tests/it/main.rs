//! The program and the library from outside, one binary: a module per subject.
//!
//! - `bench`: `ganger bench`, small, and with a scheduler that is wrong.
//! - `cli`: the program's other commands, as processes.
//! - `client`: the library for peers.
//! - `core`: golden scripts, each a situation, against the core.
//! - `estimates`: what was measured is measured still after a kill.
//! - `examples`: the programs beside the sources, as processes.
//! - `figures`: the figures in Redis are those of the events.
//! - `fuzz_corpus`: everything that fuzzing found worth keeping, again.
//! - `inbox`: programs submit through Redis, and schedulers are killed.
//! - `protocol_md`: the conversations of protocol.md, held with schedulers.
//! - `protocol_text`: what protocol.md says is what the code says.
//! - `recovery`: processes are killed, and nothing is lost or done twice.
//! - `redis_keys`: the keys in Redis are those of protocol.md.
//! - `run`: `ganger run`, interrupted and gone on with.
//! - `store`: every backend, one suite.
//! - `support`: schedulers and peers for the others.
//! - `tidy`: the repository keeps its own rules.
//! - `transcripts`: the conversations of protocol.md, parsed and run.
//! - `wire`: bad input at the socket.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test, panicking is how a failure is told, in helpers too"
)]
#![allow(clippy::disallowed_methods, reason = "tests measure how long things take")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod bench;
mod cli;
mod client;
mod core;
mod estimates;
mod examples;
mod figures;
mod fuzz_corpus;
mod inbox;
mod protocol_md;
mod protocol_text;
mod recovery;
mod redis_keys;
mod run;
mod store;
mod support;
mod tidy;
mod transcripts;
mod wire;
