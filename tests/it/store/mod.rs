//! Stores: one suite that every backend passes, and what each promises beyond it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod conformance;
mod disk;
mod memory;
mod model;
mod workload;
