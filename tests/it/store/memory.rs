//! The store in memory.

use ganger::store::memory::Memory;

use super::conformance::{self, RESULT_CAP};

#[test]
fn memory_conforms_but_for_restarts() {
    conformance::exercise_volatile(|| Box::new(Memory::new(RESULT_CAP)));
}

#[test]
fn memory_keeps_results_within_the_cap_and_their_time_without_being_swept() {
    conformance::results_are_bounded_by_commits(&mut Memory::new(RESULT_CAP));
}
