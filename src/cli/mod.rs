//! The program.

pub mod bench;
