//! The core as its shell sees it: golden scripts, each a situation.

mod rows;
mod script;
mod spelling;
mod stage;

use std::path::Path;

#[test]
fn scripts() {
    script::run_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/core"));
}
