//! The digests of the keys that were met last: keys come again and again, and a look is a tenth of an
//! MD5.

use super::Digest;

/// Keys that are remembered; a power of two. With 64 bytes each they stay in a processor's cache.
const PLACES: usize = 4096;

/// The longest key that is remembered, in bytes.
const LONGEST: usize = 47;

const _: () = assert!(size_of::<Remembered>() == 64, "a line of a cache");

/// A memory of digests by what the keys are spelled like. A key has two places side by side, which it
/// shares with others; of these the last two that were computed stay.
///
/// It answers as the computation does, whatever was asked before.
#[derive(Debug, Default)]
pub struct Digests {
    /// None until the first key.
    places: Vec<Remembered>,
}

/// All of one is in one line of a processor's cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Remembered {
    digest: Digest,
    /// 0 where there is none.
    len: u8,
    key: [u8; LONGEST],
}

impl Digests {
    /// The digest of a key that is spelled like that, which `compute` finds if it is not remembered. It
    /// must be the same for the same spelling.
    pub fn of(&mut self, key: &[u8], compute: impl FnOnce() -> Digest) -> Digest {
        let Some(len) =
            u8::try_from(key.len()).ok().filter(|len| (1..=LONGEST).contains(&(*len as usize)))
        else {
            return compute();
        };
        if self.places.is_empty() {
            let nothing = Remembered { digest: Digest([0; 16]), len: 0, key: [0; LONGEST] };
            self.places = vec![nothing; PLACES];
        }
        let first = place_of(key);
        let Some(pair) = self.places.get_mut(first..).and_then(|rest| rest.first_chunk_mut())
        else {
            return compute();
        };
        let [newer, older]: &mut [Remembered; 2] = pair;
        if newer.is(len, key) {
            return newer.digest;
        }
        if older.is(len, key) {
            return older.digest;
        }
        *older = *newer;
        *newer = Remembered { digest: compute(), len, key: newer.key };
        if let Some(kept) = newer.key.get_mut(..key.len()) {
            kept.copy_from_slice(key);
        }
        newer.digest
    }
}

impl Remembered {
    fn is(&self, len: u8, key: &[u8]) -> bool {
        self.len == len && self.key.starts_with(key)
    }
}

/// The first of the two places where a key is looked for: by its first and its last eight bytes. Multiplication by an odd number
/// spreads to the high bits, which are taken (Knuth, The Art of Computer Programming, vol. 3, section 6.4).
fn place_of(key: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (first, last) = match (key.first_chunk(), key.last_chunk()) {
        (Some(first), Some(last)) => (*first, *last),
        _ => {
            let mut all = [0; 8];
            all.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
            (all, all)
        }
    };
    let mixed =
        u64::from_le_bytes(first).wrapping_mul(ODD) ^ u64::from_le_bytes(last).rotate_left(32);
    2 * usize::try_from(mixed.wrapping_mul(ODD) >> (65 - PLACES.ilog2())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_is_computed() {
        let mut digests = Digests::default();
        let lengths = (0..3 * LONGEST).map(|len| "x".repeat(len));
        let numbers = (0..3 * PLACES).map(|number| format!("key {number}"));
        // One the beginning of the next, in bytes that fill whatever is not of a key.
        let zeros = (0..=LONGEST).map(|len| "\0".repeat(len));
        let keys: Vec<String> = lengths.chain(numbers).chain(zeros).collect();
        for key in keys.iter().chain(&keys) {
            let digest = Digest::of(key.as_bytes());
            assert_eq!(digests.of(key.as_bytes(), || digest), digest, "{key:?}");
        }
    }

    #[test]
    fn of_a_thousand_keys_hardly_any_is_computed_twice() {
        let mut digests = Digests::default();
        let keys: Vec<String> = (0..1000).map(|number| format!("k{number}")).collect();
        let mut computed = 0;
        for key in (0..10).flat_map(|_| &keys) {
            digests.of(key.as_bytes(), || {
                computed += 1;
                Digest::of(key.as_bytes())
            });
        }
        assert!((1000..1900).contains(&computed), "{computed} times, of ten thousand");
    }

    #[test]
    fn keys_spread_over_the_places() {
        let mut counts = vec![0; PLACES];
        for number in 0..16 * PLACES {
            counts[place_of(format!("customer-{number}").as_bytes())] += 1;
            counts[place_of(format!("{number}").as_bytes())] += 1;
        }
        let pairs = counts.chunks(2).map(|pair| pair[0]);
        assert!(pairs.into_iter().all(|count| (2..=192).contains(&count)), "of 64 on the mean");
    }
}
