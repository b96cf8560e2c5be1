//! Amounts of what workers have and tasks take up: `cpu:4,mem:8000`.

use crate::frame::number;
use crate::task::is_name;

/// Most names in one list of amounts.
pub const AMOUNTS_MAX: usize = 8;
/// The largest amount.
pub const AMOUNT_MAX: u64 = 1_000_000_000_000;

/// Reads a list of amounts, each a name and a whole number from 1 to [`AMOUNT_MAX`]; `None` if it is
/// none, is too long, or names something twice.
pub fn read_amounts(text: &str) -> Option<Vec<(&str, u64)>> {
    let mut amounts: Vec<(&str, u64)> = Vec::new();
    for entry in text.split(',') {
        let (name, amount) = entry.split_once(':')?;
        let amount = number(amount.as_bytes()).filter(|a| (1..=AMOUNT_MAX).contains(a))?;
        let known = amounts.iter().any(|(its, _)| *its == name);
        if !is_name(name) || known || amounts.len() >= AMOUNTS_MAX {
            return None;
        }
        amounts.push((name, amount));
    }
    Some(amounts)
}

/// As [`read_amounts`], with names of their own.
pub fn owned_amounts(text: &str) -> Option<Vec<(String, u64)>> {
    let amounts = read_amounts(text)?.into_iter();
    Some(amounts.map(|(name, amount)| (name.to_owned(), amount)).collect())
}

/// Spells a list of amounts.
pub fn spell_amounts<N: AsRef<str>>(amounts: &[(N, u64)]) -> String {
    let spelled: Vec<String> =
        amounts.iter().map(|(name, amount)| format!("{}:{amount}", name.as_ref())).collect();
    spelled.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_names_with_whole_numbers() {
        assert_eq!(read_amounts("cpu:4,mem:8000"), Some(vec![("cpu", 4), ("mem", 8000)]));
        let eight: Vec<String> = (0..8).map(|n| format!("r{n}:1000000000000")).collect();
        assert_eq!(spell_amounts(&read_amounts(&eight.join(",")).unwrap()), eight.join(","));
        let nine = format!("{},x:1", eight.join(","));
        let long = format!("{}:1", "a".repeat(129));
        for text in [
            "",
            "cpu",
            "cpu:",
            ":4",
            "cpu:0",
            "cpu:-1",
            "cpu:1.5",
            "cpu:01",
            "cpu:4,",
            ",cpu:4",
            "cpu:4,cpu:4",
            "cpu:4:4",
            "c pu:4",
            "*:1",
            "cpu:1000000000001",
            &nine,
            &long,
        ] {
            assert_eq!(read_amounts(text), None, "{text}");
        }
    }
}
