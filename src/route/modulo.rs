//! The route `modulo`: the plainest way to spread keys, for fleets whose size does not change.

use super::Digest;

/// Which of `n` workers, sorted by name and counted from 0, owns a key: its MD5 digest, read as a
/// 128-bit big-endian number, mod `n`. `None` when `n` is 0.
///
/// A change of `n` moves nearly every key; [`super::Ring`] is the route for fleets that grow and shrink.
pub fn modulo(key: &[u8], n: usize) -> Option<usize> {
    Digest::of(key).modulo(n)
}

impl Digest {
    /// What [`modulo`] says of its key.
    pub fn modulo(self, n: usize) -> Option<usize> {
        let number = u128::from_be_bytes(self.0);
        let rest = number.checked_rem(u128::try_from(n).ok()?)?;
        usize::try_from(rest).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_digest_as_one_big_endian_number() {
        // MD5("") = d41d8cd98f00b204e9800998ecf8427e: the last bits decide a remainder by a power of two
        assert_eq!(modulo(b"", 16), Some(0xe));
        assert_eq!(modulo(b"", 256), Some(0x7e));
        assert_eq!(modulo(b"", 1), Some(0));
        assert_eq!(modulo(b"", 0), None);
    }
}
