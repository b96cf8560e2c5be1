//! The library for peers: hand tasks in, wait for their ends, execute them.
//!
//! - [`Client`] hands in [`Submission`]s, waits for [`Outcome`]s, and asks what an operator asks; a
//!   [`Cron`] is handed in by the scheduler itself, again and again.
//! - [`Worker`] executes [`Task`]s with handlers of their kinds; a [`Failure`] is what a handler
//!   returns instead of a result.
//!
//! Beneath them, from the wire up:
//!
//! - `connection`: one TCP stream after HELLO; `link`: one that is dialled anew when it is lost.
//! - `courier`: pairs the requests of a client's clones with their replies, over one link.
//!   `patience`: which calls are made again, and when.
//! - `session`: a worker's loop over its link, its runs and its orders. `leases`: what it holds.
//!
//! Both sides need a tokio runtime with time and network enabled. Neither ever keeps a lock while it
//! waits, nor queues without a bound: callers and handlers wait instead.

mod builder;
#[expect(clippy::module_inception, reason = "the client of the module for peers")]
mod client;
mod connection;
mod courier;
mod cron;
mod error;
mod events;
mod failure;
mod handler;
mod leases;
mod link;
mod outcome;
mod patience;
mod session;
mod submission;
mod submit;
mod task;
mod worker;

pub use builder::Builder;
pub use client::Client;
pub use cron::Cron;
pub use error::{Error, Refused};
pub use events::{Events, Observed};
pub use failure::Failure;
pub use outcome::{NotDone, Outcome, Retried, Status, Submitted};
pub use submission::Submission;
pub use submit::Submit;
pub use task::Task;
pub use worker::{Stopped, Stopper, Worker, WorkerBuilder};

pub use crate::message::{AfterFailure, Code, EventFilter, TaskFilter};
pub use crate::protocol::answer::Event;
pub use crate::route::Weight;
pub use crate::task::{State, TaskId};
