//! A task scheduler: workers in any language dial it over a small line-framed TCP protocol, say what
//! they can do, and are pushed tasks; clients submit tasks and get results. What it acknowledges is
//! durable, and at most one result of a task is ever recorded.
//!
//! The modules, in reading order: each uses only those above it.

// The vocabulary.
pub mod task;

// The one text format of wire, record and Redis value.
pub mod frame;

// Which worker: pure choices.
pub mod route;

// What tasks cost: pure statistics.
pub mod cost;

// What survives a crash.
pub mod record;

// What peers can say.
pub mod message;

// How it is spelled.
pub mod protocol;

// The scheduler: events in, effects out.
pub mod core;

// Where records live.
pub mod store;

// The shell around the core: sockets, clock, store thread.
pub mod server;

// The library for peers.
pub mod client;

// The program.
pub mod cli;
