//! The digests of the keys that were met last: keys come again and again, and a look is a tenth of an
//! MD5.

use super::Digest;

/// Keys that are remembered; a power of two. With 64 bytes each they stay in a processor's cache.
const PLACES: usize = 4096;

/// The longest key that is remembered, in bytes.
const LONGEST: usize = 47;

/// A memory of digests: each key has one place, where the last of those that share it stays.
///
/// It answers as [`Digest::of`] does, whatever was asked before.
#[derive(Debug, Default)]
pub struct Digests {
    /// None until the first key.
    places: Vec<Remembered>,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    digest: Digest,
    /// 0 where there is none.
    len: u8,
    /// Zeros behind it.
    key: [u8; LONGEST],
}

impl Digests {
    /// The digest of a key.
    pub fn of(&mut self, key: &[u8]) -> Digest {
        let Some((len, padded)) = padded(key) else { return Digest::of(key) };
        if self.places.is_empty() {
            let nothing = Remembered { digest: Digest([0; 16]), len: 0, key: [0; LONGEST] };
            self.places = vec![nothing; PLACES];
        }
        let Some(place) = self.places.get_mut(place_of(&padded)) else { return Digest::of(key) };
        if place.len != len || place.key != padded {
            *place = Remembered { digest: Digest::of(key), len, key: padded };
        }
        place.digest
    }
}

/// A key that can be remembered: its length, and its bytes with zeros behind them.
fn padded(key: &[u8]) -> Option<(u8, [u8; LONGEST])> {
    let len = u8::try_from(key.len()).ok().filter(|len| *len > 0)?;
    let mut padded = [0; LONGEST];
    padded.get_mut(..key.len())?.copy_from_slice(key);
    Some((len, padded))
}

/// Where a key is looked for. Multiplication by an odd number spreads to the high bits, which are taken
/// (Knuth, The Art of Computer Programming, vol. 3, section 6.4).
fn place_of(padded: &[u8; LONGEST]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = padded.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let words = words.iter().chain([&last]);
    let mixed = words.fold(0u64, |mixed, word| {
        (mixed.rotate_left(29) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD)
    });
    usize::try_from(mixed >> (64 - PLACES.ilog2())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_is_computed() {
        let mut digests = Digests::default();
        let lengths = (0..3 * LONGEST).map(|len| "x".repeat(len));
        let numbers = (0..3 * PLACES).map(|number| format!("key {number}"));
        // With zeros at their ends, which the place of a shorter key has too.
        let zeros = (0..=LONGEST).map(|len| "\0".repeat(len));
        let keys: Vec<String> = lengths.chain(numbers).chain(zeros).collect();
        for key in keys.iter().chain(&keys) {
            assert_eq!(digests.of(key.as_bytes()), Digest::of(key.as_bytes()), "{key:?}");
        }
    }

    #[test]
    fn keys_spread_over_the_places() {
        let mut counts = vec![0; PLACES];
        for number in 0..16 * PLACES {
            let (_, key) = padded(format!("customer-{number}").as_bytes()).unwrap();
            counts[place_of(&key)] += 1;
        }
        assert!(counts.iter().all(|count| (1..=48).contains(count)), "of 16 on the mean");
    }
}
