//! Fuzzes the cutting of a stream into frames.
#![no_main]

mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::codec(data));
