//! What peers can say to each other, as plain types; how it is spelled is in [`crate::protocol`].
//!
//! - [`request`]: peer to scheduler.
//! - [`reply`]: scheduler to peer, asked for or not.
//! - [`amounts`]: what workers have and tasks take up.
//! - [`code`]: the closed list of error codes.

pub mod amounts;
pub mod code;
pub mod policy;
pub mod reply;
pub mod request;

pub use code::{Code, Severity};
pub use policy::{Order, Policy, Route};
pub use reply::{Refusal, Reply, TaskInfo};
pub use request::{
    AfterFailure, Fail, Grants, Hello, Purge, Request, Retry, Role, Slice, Start, Submit,
    TaskFilter,
};
