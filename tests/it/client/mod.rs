//! The library for peers.
//!
//! - `fake`: a scheduler that says what it is told to.
//! - `calls`, `worker`: each side against it, where a real scheduler would not do: split frames,
//!   lost replies, refusals.
//! - `scheduler`: both sides against a real one, through its restarts and lost connections.
//!   `cron`: periodic tasks.
//! - `proxy`: what stands between them then.

mod calls;
mod cron;
mod fake;
mod proxy;
mod scheduler;
mod worker;
