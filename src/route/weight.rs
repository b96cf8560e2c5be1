//! A worker's weight: how large a share of the tasks it is given, against its fellows.

use std::fmt;

use crate::frame::Decimal;

/// A weight in thousandths: 0 to 100, with up to three decimals. Default 1; 0 is never routed to.
///
/// Whole thousandths, so that a sum of weights is exact and every language agrees on the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

impl Weight {
    /// Weight 0: known, but never routed to.
    pub const ZERO: Weight = Weight(0);

    /// The largest weight, 100.
    pub const MAX: Weight = Weight(100_000);

    /// The weight of so many thousandths, 0 to 100,000; `None` above.
    pub const fn from_thousandths(thousandths: u32) -> Option<Weight> {
        if thousandths <= Weight::MAX.0 { Some(Weight(thousandths)) } else { None }
    }

    /// The weight in thousandths, 0 to 100,000.
    pub const fn thousandths(self) -> u32 {
        self.0
    }

    /// Reads a plain decimal from `0` to `100` with up to three decimals, as in `1`, `0.5`, `12.125`.
    ///
    /// `None` for anything else: a sign, an exponent, a leading zero (`00`, `01`), a bare point
    /// (`1.`, `.5`), a fourth decimal, a number above 100.
    pub fn parse(text: &str) -> Option<Weight> {
        let thousandths = Decimal::parse(text)?.thousandths();
        Weight::from_thousandths(u32::try_from(thousandths).ok()?)
    }
}

impl Default for Weight {
    /// Weight 1.
    fn default() -> Weight {
        Weight(1000)
    }
}

impl fmt::Display for Weight {
    /// The shortest text that [`Weight::parse`] reads back as the same weight: `1`, `0.5`, `12.125`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal::from_thousandths(self.0.into()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_decimals() {
        for (text, thousandths) in [
            ("0", 0),
            ("0.001", 1),
            ("0.5", 500),
            ("0.50", 500),
            ("1", 1000),
            ("1.000", 1000),
            ("12.125", 12_125),
            ("99.999", 99_999),
            ("100", 100_000),
            ("100.000", 100_000),
        ] {
            assert_eq!(Weight::parse(text).map(Weight::thousandths), Some(thousandths), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_decimal_or_over_the_largest() {
        for text in ["", "-1", "1e3", "01", "0.1234", "100.001", "101", "4294967296"] {
            assert_eq!(Weight::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn prints_the_shortest_text_that_reads_back() {
        assert_eq!(Weight::default().to_string(), "1");
        assert_eq!(Weight(500).to_string(), "0.5");
        assert_eq!(Weight(10_010).to_string(), "10.01");
        for thousandths in 0..=100_000 {
            let weight = Weight(thousandths);
            assert_eq!(Weight::parse(&weight.to_string()), Some(weight));
        }
        assert_eq!(Weight::from_thousandths(100_001), None);
    }
}
