//! The shell around the core: sockets, the clock, the store's thread.

pub mod engine;
