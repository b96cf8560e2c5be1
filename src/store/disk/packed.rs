//! How many RESULT frames are one row.
//!
//! The payload is the number of frames (u32); for each, by ascending identifier, the identifier
//! (u64), the time until which it is kept (u64) and where its frame ends among the frames (u32); then
//! the frames.

use super::layout::{Reader, Table, begin, key, seal};

/// Bytes that a row has at most, unless one frame alone has more. A page of the database is a power
/// of two, and a row has one to itself; this leaves room for the page's own bytes.
const ROW: usize = (128 << 10) - 512;

/// A result on its way into a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended<'v> {
    pub(super) id: u64,
    pub(super) until_ms: u64,
    pub(super) frame: &'v [u8],
}

/// Cuts results into runs that make a row each, without those that a later one of the same task
/// replaces.
pub(super) fn cut<'e, 'v>(mut all: &'e [Ended<'v>]) -> impl Iterator<Item = Vec<&'e Ended<'v>>> {
    std::iter::from_fn(move || {
        let (mut row, mut bytes) = (Vec::new(), 0);
        while let Some((first, rest)) = all.split_first() {
            bytes += Packed::PLACE + first.frame.len();
            if bytes > ROW && !row.is_empty() {
                break;
            }
            all = rest;
            if rest.first().is_none_or(|next| next.id != first.id) {
                row.push(first);
            }
        }
        (!row.is_empty()).then_some(row)
    })
}

/// Spells the row of a number into `value`, and gives its checksum.
pub(super) fn pack(at: u64, ended: &[&Ended<'_>], value: &mut Vec<u8>) -> u32 {
    let narrow = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    begin(value);
    value.extend_from_slice(&narrow(ended.len()));
    let mut end = 0;
    for ended in ended {
        end += ended.frame.len();
        value.extend_from_slice(&ended.id.to_le_bytes());
        value.extend_from_slice(&ended.until_ms.to_le_bytes());
        value.extend_from_slice(&narrow(end));
    }
    ended.iter().for_each(|ended| value.extend_from_slice(ended.frame));
    seal(Table::Results, &key(at), value)
}

/// The payload of a row of results.
pub(super) struct Packed<'v> {
    places: &'v [[u8; Packed::PLACE]],
    frames: &'v [u8],
}

impl<'v> Packed<'v> {
    /// Bytes beside a frame: identifier, time, end.
    const PLACE: usize = 20;

    /// Reads the payload; `None` if it is cut short.
    pub(super) fn read(payload: &'v [u8]) -> Option<Self> {
        let mut from = Reader(payload);
        let count = from.u32()?;
        let places = from.bytes(count.checked_mul(u32::try_from(Self::PLACE).ok()?)?)?;
        let packed = Self { places: places.as_chunks().0, frames: from.0 };
        let end = packed.places.last().map_or(Some(0), |place| Some(place_of(place)?.2))?;
        (end == packed.frames.len()).then_some(packed)
    }

    fn at(&self, n: usize) -> Option<Ended<'v>> {
        let before = n.checked_sub(1).and_then(|before| self.places.get(before));
        let start = before.map_or(Some(0), |before| Some(place_of(before)?.2))?;
        let (id, until_ms, end) = place_of(self.places.get(n)?)?;
        Some(Ended { id, until_ms, frame: self.frames.get(start..end)? })
    }

    /// All results, by ascending identifier.
    pub(super) fn all(self) -> impl Iterator<Item = Ended<'v>> {
        (0..self.places.len()).filter_map(move |n| self.at(n))
    }

    /// The result of a task.
    pub(super) fn find(&self, id: u64) -> Option<Ended<'v>> {
        let found = self.places.binary_search_by_key(&Some(id), |place| Some(place_of(place)?.0));
        self.at(found.ok()?)
    }
}

fn place_of(place: &[u8; Packed::PLACE]) -> Option<(u64, u64, usize)> {
    let mut from = Reader(place);
    Some((from.u64()?, from.u64()?, usize::try_from(from.u32()?).ok()?))
}
