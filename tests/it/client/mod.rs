//! The library for peers.
//!
//! - `fake`: a scheduler that says what it is told to.
//! - `client`, `worker`: each side against it, where a real scheduler would not do: split frames,
//!   lost replies, refusals.
//! - `scheduler`: both sides against a real one, through its restarts and lost connections.
//! - `proxy`: what stands between them then.

mod client;
mod fake;
mod proxy;
mod scheduler;
mod worker;
