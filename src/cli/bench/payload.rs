//! Payloads and results that tell which task they belong to.
//!
//! Both begin with the task's number in 16 hexadecimal digits. The rest of a payload is noise that
//! differs from number to number and that no compression shrinks much; the rest of a result is one
//! letter. So a worker can tell whether a payload is whole, and a client whose result it got.

use std::sync::LazyLock;

/// Digits of a number, and so the least length of a payload and a result.
pub(super) const NUMBER: usize = 16;

/// The longest payload and result, in bytes.
pub(super) const LONGEST: usize = 1 << 20;

/// Appends the payload of a task.
pub(super) fn put_payload(number: u64, length: usize, out: &mut Vec<u8>) {
    put_number(number, out);
    out.extend_from_slice(noise(number, length.saturating_sub(NUMBER)));
}

/// The task whose payload this is, if it is whole and of that length.
pub(super) fn read_payload(payload: &[u8], length: usize) -> Option<u64> {
    let (digits, rest) = payload.split_at_checked(NUMBER)?;
    let number = read_number(digits)?;
    (payload.len() == length && rest == noise(number, rest.len())).then_some(number)
}

/// The result of every task, apart from its number.
pub(super) fn blank_result(length: usize) -> Vec<u8> {
    vec![b'r'; length]
}

/// The task whose result this is, if it is `blank` with a number.
pub(super) fn read_result(result: &[u8], blank: &[u8]) -> Option<u64> {
    let (digits, rest) = result.split_at_checked(NUMBER)?;
    let number = read_number(digits)?;
    blank.get(NUMBER..).is_some_and(|blank| blank == rest).then_some(number)
}

fn put_number(number: u64, out: &mut Vec<u8>) {
    let digit = |place: usize| match (number >> (60 - 4 * place) & 15) as u8 {
        digit @ 0..10 => b'0' + digit,
        digit => b'a' - 10 + digit,
    };
    out.extend_from_slice(&std::array::from_fn::<u8, NUMBER, _>(digit));
}

fn read_number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number: u64, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// Letters and digits, others for every number.
#[expect(clippy::cast_possible_truncation, reason = "any place will do")]
fn noise(number: u64, length: usize) -> &'static [u8] {
    static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let letters = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
        // Xorshift: G. Marsaglia, Xorshift RNGs, Journal of Statistical Software 8 (2003), 14.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let letter = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            letters.get((state >> 58) as usize).copied().unwrap_or(b'-')
        };
        (0..2 * LONGEST).map(letter).collect()
    });
    let at = (number as usize).wrapping_mul(length + 13) % LONGEST;
    NOISE.get(at..at + length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for (number, length) in [(0, 16), (1, 17), (0xdead_beef, 100), (u64::MAX, LONGEST)] {
            let mut payload = Vec::new();
            put_payload(number, length, &mut payload);
            assert_eq!(payload.len(), length);
            assert_eq!(read_payload(&payload, length), Some(number));
            assert_eq!(read_payload(&payload, length + 1), None);
            let last = payload.last_mut().unwrap();
            *last = if *last == b'0' { b'1' } else { b'0' };
            assert_ne!(read_payload(&payload, length), Some(number));
        }
    }

    #[test]
    fn results_are_told_apart() {
        let blank = blank_result(32);
        let mut result = blank.clone();
        result[..NUMBER].copy_from_slice(b"00000000000000ff");
        assert_eq!(read_result(&result, &blank), Some(255));
        result[31] = b'x';
        assert_eq!(read_result(&result, &blank), None);
        assert_eq!(read_result(b"00ff", &blank), None);
        assert_eq!(read_result(&blank, &blank), None);
    }
}
