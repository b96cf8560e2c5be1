//! What peers can say to each other, as plain types; how it is spelled is in [`crate::protocol`].
//!
//! - [`request`]: peer to scheduler. [`entry`]: the same through a store's inbox.
//! - [`reply`]: scheduler to peer, asked for or not.
//! - [`amounts`]: what workers have and tasks take up.
//! - [`observe`]: what an observer wants to be told.
//! - [`code`]: the closed list of error codes. [`why`]: that of EXPLAIN.
//! - [`policy`]: what is chosen of queues; [`cron`] and [`schedule`]: of periodic tasks.

pub mod amounts;
pub mod code;
pub mod cron;
pub mod entry;
pub mod observe;
pub mod policy;
pub mod reply;
pub mod request;
pub mod schedule;
pub mod why;

pub use code::{Code, Severity};
pub use cron::{Cron, CronAdd, Missed, Overlap, Plan};
pub use entry::Entry;
pub use observe::EventFilter;
pub use policy::{Order, Policy, Route};
pub use reply::{Refusal, Reply, TaskInfo};
pub use request::{
    AfterFailure, Fail, Grants, Hello, Purge, Request, Retry, Role, Slice, Start, Submit,
    TaskFilter,
};
pub use why::Why;
