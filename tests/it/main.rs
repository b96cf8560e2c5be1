//! Integration tests, one binary: a module per subject.

mod store;
mod support;
