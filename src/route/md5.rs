//! Where keys and names lie on the ring: MD5, read in the byte order that ketama fixed.
//!
//! MD5 is here for spread and because every language has it; nothing secret depends on it.

use ::md5::{Digest as _, Md5};

/// The MD5 digest (RFC 1321) of a key, which decides its owner under the routes by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub(super) [u8; 16]);

impl Digest {
    /// That of any bytes, empty ones included.
    pub fn of(key: &[u8]) -> Self {
        Self(Md5::digest(key).into())
    }

    /// The ring point of a key: bytes 0–3, little-endian.
    pub fn point(self) -> u32 {
        let [point, ..] = self.points();
        point
    }

    /// The four ring points in one digest: bytes 0–3, 4–7, 8–11 and 12–15, each little-endian.
    pub(super) fn points(self) -> [u32; 4] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_le_bytes)
    }
}

/// The ring point of a key: bytes 0–3 of its MD5 digest, little-endian.
///
/// The key is any bytes, empty ones included.
pub fn point(key: &[u8]) -> u32 {
    Digest::of(key).point()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_digest_of_rfc_1321_in_little_endian_words() {
        // MD5("") = d41d8cd98f00b204e9800998ecf8427e
        assert_eq!(point(b""), 0xd98c_1dd4);
        let points = [0xd98c_1dd4, 0x04b2_008f, 0x9809_80e9, 0x7e42_f8ec];
        assert_eq!(Digest::of(b"").points(), points);
        // MD5("abc") = 900150983cd24fb0d6963f7d28e17f72
        assert_eq!(point(b"abc"), 0x9850_0190);
    }
}
