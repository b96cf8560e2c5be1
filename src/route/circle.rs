//! The route `round-robin`: one after the other by name, and round again.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// Names in a circle, each with a number. A name may be there under several numbers.
#[derive(Clone, Debug, Default)]
pub struct Circle {
    names: BTreeSet<(Arc<str>, u32)>,
}

impl Circle {
    /// An empty circle.
    pub fn new() -> Circle {
        Circle::default()
    }

    /// Puts a name in, or takes it out. O(log n).
    pub fn set(&mut self, index: u32, name: &Arc<str>, here: bool) {
        let place = (name.clone(), index);
        if here {
            self.names.insert(place);
        } else {
            self.names.remove(&place);
        }
    }

    /// The first name after one, by bytes; and the first of all where none comes after it, or no name
    /// is given. The name itself need not be in the circle. O(log n).
    pub fn after(&self, name: Option<&Arc<str>>) -> Option<(&Arc<str>, u32)> {
        let later = name.and_then(|name| {
            let from = (Bound::Excluded((name.clone(), u32::MAX)), Bound::Unbounded);
            self.names.range(from).next()
        });
        later.or_else(|| self.names.first()).map(|(name, index)| (name, *index))
    }

    /// The names with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.names.iter().map(|(name, index)| (name, *index))
    }
}

/// Whether of two names `a` comes first in the circle for whoever stands at `from`.
///
/// By hand: from `b`, of `a` and `c` the latter comes first; from `c`, the former.
pub fn comes_before(from: Option<&str>, a: &str, b: &str) -> bool {
    let wraps = |name: &str| from.is_some_and(|from| name <= from);
    (wraps(a), a) < (wraps(b), b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_round_by_name() {
        let name = |text: &str| -> Arc<str> { text.into() };
        let mut circle = Circle::new();
        assert_eq!(circle.after(None), None);
        for (index, text) in [(3, "b"), (7, "a"), (0, "c")] {
            circle.set(index, &name(text), true);
        }
        let after = |circle: &Circle, from: &str| circle.after(Some(&name(from))).unwrap().1;
        assert_eq!(circle.after(None).unwrap().1, 7);
        assert_eq!([after(&circle, "a"), after(&circle, "b"), after(&circle, "c")], [3, 0, 7]);
        circle.set(0, &name("c"), false);
        assert_eq!([after(&circle, "b"), after(&circle, "aa")], [7, 3], "also between the names");
    }

    #[test]
    fn who_comes_first_depends_on_where_one_stands() {
        assert!(comes_before(None, "a", "b") && !comes_before(None, "b", "a"));
        assert!(comes_before(Some("b"), "c", "a") && comes_before(Some("b"), "a", "b"));
        assert!(comes_before(Some("c"), "a", "b"));
        assert!(!comes_before(Some("c"), "a", "a"));
    }
}
