//! Stores: one suite that every backend passes, and what each promises beyond it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod conformance;
mod crash;
mod damage;
mod disk;
mod history;
mod memory;
mod model;
mod redis;
mod redis_acl;
mod redis_faults;
mod redis_forgets;
mod redis_inbox;
mod redis_lease;
mod redis_rows;
mod redis_state;
mod storage;
mod trials;
mod workload;
