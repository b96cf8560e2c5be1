//! The tests of the program from outside, in one binary. Each module is one subject.

mod core;
