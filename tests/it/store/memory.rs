//! The store in memory.

use ganger::store::memory::Memory;

use super::conformance::{self, RESULT_CAP};

#[test]
fn memory_conforms() {
    conformance::exercise(|| {
        let memory = Memory::new(RESULT_CAP);
        Box::new(move || Box::new(memory.reopen()))
    });
}
