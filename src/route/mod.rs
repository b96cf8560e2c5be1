//! Which worker gets a ready task; pure.

/// A worker's share under the weighted routes, in thousandths: 0 to 100.000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Weight(pub u32);
