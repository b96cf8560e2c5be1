//! Decimals of the text format: exact in thousandths.

use std::fmt;
use std::str::FromStr;

/// A number with up to three decimals that is not negative, as in `1`, `0.5`, `12.125`; kept in
/// thousandths, so that sums are exact and what is printed reads back as the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(u64);

/// Digits before the point, at most.
const WHOLE_DIGITS: usize = 12;

impl Decimal {
    /// One.
    pub const ONE: Self = Self(1000);

    /// So many thousandths.
    pub const fn from_thousandths(thousandths: u64) -> Self {
        Self(thousandths)
    }

    /// A whole number.
    pub const fn whole(number: u64) -> Self {
        Self(number.saturating_mul(1000))
    }

    /// The number in thousandths.
    pub const fn thousandths(self) -> u64 {
        self.0
    }

    /// The number, as near as a float comes.
    pub fn value(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Reads a plain decimal below 10¹².
    ///
    /// `None` for anything else: a sign, an exponent, a leading zero (`00`, `01`), a bare point (`1.`,
    /// `.5`), a fourth decimal.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = match text.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (text, ""),
        };
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        // The bound on the lengths also keeps the sum below from overflowing.
        if whole.is_empty() || whole.len() > WHOLE_DIGITS || leading_zero || decimals.len() > 3 {
            return None;
        }
        let padding = std::iter::repeat_n(b'0', 3 - decimals.len());
        let mut thousandths = 0;
        for digit in whole.bytes().chain(decimals.bytes()).chain(padding) {
            if !digit.is_ascii_digit() {
                return None;
            }
            thousandths = thousandths * 10 + u64::from(digit - b'0');
        }
        Some(Self(thousandths))
    }
}

impl From<u32> for Decimal {
    fn from(number: u32) -> Self {
        Self::whole(number.into())
    }
}

impl FromStr for Decimal {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        Self::parse(text).ok_or(NotADecimal)
    }
}

/// The text is no plain decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotADecimal;

impl fmt::Display for NotADecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("give a number that is not negative, with up to three decimals, like 1 or 0.5")
    }
}

impl std::error::Error for NotADecimal {}

impl fmt::Display for Decimal {
    /// The shortest text that [`Decimal::parse`] reads back as the same number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0 / 1000, self.0 % 1000);
        if decimals == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{decimals:03}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_plain_decimals_and_prints_the_shortest() {
        for (text, thousandths, printed) in [
            ("0", 0, "0"),
            ("0.001", 1, "0.001"),
            ("0.50", 500, "0.5"),
            ("1.000", 1000, "1"),
            ("12.125", 12_125, "12.125"),
            ("999999999999.999", 999_999_999_999_999, "999999999999.999"),
        ] {
            let decimal = Decimal::parse(text).expect(text);
            assert_eq!(decimal.thousandths(), thousandths, "{text}");
            assert_eq!(decimal.to_string(), printed);
            assert_eq!(Decimal::parse(printed), Some(decimal));
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            ".",
            "00",
            "01",
            "00.5",
            "1.",
            ".5",
            "+1",
            "-1",
            "-0",
            "1e3",
            " 1",
            "1 ",
            "1,5",
            "0x1",
            "1.0000",
            "1.2.3",
            "1000000000000",
            "inf",
            "NaN",
            "١",
            "1.+5",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text:?}");
        }
    }
}
