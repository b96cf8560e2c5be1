//! Fuzzes the meaning of frames: requests, greetings, answers, records.
#![no_main]

mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::message(data));
