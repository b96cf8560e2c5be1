//! Names as small numbers, so that what is compared and kept per task is a number.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbers names in the order in which they come. Names are never given up.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Ordered, because to hash a name so that nobody can choose colliding ones takes longer than
    /// to compare it with a few others.
    numbers: BTreeMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer than 2^32 names");
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(super) fn name(&self, number: u32) -> Arc<str> {
        self.names.get(number as usize).cloned().expect("a number that was handed out")
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}
