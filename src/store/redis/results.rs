//! Results live in buckets by the time of submission, each a hash that is unlinked as a whole: a key
//! per result would cost twice the time and three times the memory.

use std::collections::BTreeMap;

use super::keys::{Bucket, Keys};
use super::plan::Plan;
use crate::record::option;
use crate::task::TaskId;

/// Redis forgets a bucket by itself so long after its last result is over, in milliseconds: for
/// when no scheduler ever comes back to sweep. It is told how long, never when: its clock is not
/// ours, and a time that is past there would take the results away at once.
const BACKSTOP_MS: u64 = 24 * 3600 * 1000;
/// The buckets that exist.
#[derive(Default, Debug)]
pub(super) struct Buckets {
    of: BTreeMap<Bucket, Held>,
    bytes: u64,
}

/// What a bucket holds.
#[derive(Clone, Copy, Default, Debug)]
struct Held {
    /// When its last result is over, in Unix milliseconds.
    until_ms: u64,
    bytes: u64,
}

impl Buckets {
    /// Bytes of all results together.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts a result in.
    pub(super) fn add(&mut self, bucket: Bucket, frame: usize, until_ms: u64) {
        let bytes = cost(frame);
        let held = self.of.entry(bucket).or_default();
        held.until_ms = held.until_ms.max(until_ms);
        held.bytes += bytes;
        self.bytes += bytes;
    }

    /// Writes what is known of a bucket.
    pub(super) fn put(&self, plan: &mut Plan<'_>, keys: &Keys, bucket: Bucket, wall_ms: u64) {
        let Some(held) = self.of.get(&bucket) else { return };
        let left_ms = held.until_ms.saturating_sub(wall_ms) + BACKSTOP_MS;
        plan.command("PEXPIRE", &keys.results(bucket), [left_ms.to_string().into()]);
        let line = format!("{} {}", held.until_ms, held.bytes);
        plan.command("HSET", &keys.buckets(), [bucket.text().to_owned().into(), line.into()]);
    }

    /// Reads what [`Buckets::put`] wrote.
    pub(super) fn read(&mut self, bucket: &[u8], line: &[u8]) -> Result<(), String> {
        let parse = || {
            let (until_ms, bytes) = std::str::from_utf8(line).ok()?.split_once(' ')?;
            Some((Bucket::parse(bucket)?, until_ms.parse().ok()?, bytes.parse::<u64>().ok()?))
        };
        let (bucket, until_ms, bytes) = parse().ok_or_else(|| {
            let show = String::from_utf8_lossy;
            format!("no bucket of results: {:?} {:?}", show(bucket), show(line))
        })?;
        self.of.insert(bucket, Held { until_ms, bytes });
        self.bytes += bytes;
        Ok(())
    }

    /// The buckets whose last result is over, oldest first.
    pub(super) fn over(&self, wall_ms: u64) -> impl Iterator<Item = Bucket> {
        self.of.iter().filter(move |(_, held)| held.until_ms <= wall_ms).map(|(&bucket, _)| bucket)
    }

    /// The oldest bucket and its bytes.
    pub(super) fn oldest(&self) -> Option<(Bucket, u64)> {
        self.of.first_key_value().map(|(&bucket, held)| (bucket, held.bytes))
    }

    /// Bytes of a bucket.
    pub(super) fn bytes_of(&self, bucket: Bucket) -> u64 {
        self.of.get(&bucket).map_or(0, |held| held.bytes)
    }

    /// Corrects what a bucket holds.
    pub(super) fn set_bytes(&mut self, bucket: Bucket, bytes: u64) {
        if let Some(held) = self.of.get_mut(&bucket) {
            self.bytes = self.bytes - held.bytes + bytes;
            held.bytes = bytes;
        }
    }

    /// Forgets a bucket, in the plan and here.
    pub(super) fn unlink(&mut self, plan: &mut Plan<'_>, keys: &Keys, bucket: Bucket) {
        self.set_bytes(bucket, 0);
        self.of.remove(&bucket);
        plan.bare("UNLINK", &keys.results(bucket));
        plan.command("HDEL", &keys.buckets(), [bucket.text().to_owned().into()]);
    }
}

/// What a result takes, as it is counted.
pub(super) fn cost(frame: usize) -> u64 {
    (frame + TaskId::LEN) as u64
}

/// Whether the time of a RESULT frame is over at a wall time.
pub(super) fn is_over(frame: &[u8], wall_ms: u64) -> bool {
    let end = memchr::memchr(b'\n', frame).unwrap_or(frame.len());
    let header = frame.get(..end).and_then(|header| std::str::from_utf8(header).ok());
    let until = header.and_then(|header| option(header, "until")?.parse::<u64>().ok());
    until.is_some_and(|until| until <= wall_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_by_bucket_and_together() {
        let mut buckets = Buckets::default();
        let bucket = |number: u64| Bucket::of(TaskId::from_bits(number << 40));
        for (number, until) in [(1, 100), (2, 900), (3, 50), (3, 40)] {
            buckets.add(bucket(number), 87, until);
        }
        assert_eq!(buckets.over(99).collect::<Vec<_>>(), [bucket(3)]);
        assert_eq!((buckets.bytes(), buckets.oldest()), (400, Some((bucket(1), 100))));
        buckets.unlink(&mut Plan::default(), &Keys::new(0), bucket(1));
        buckets.set_bytes(bucket(3), 150);
        assert_eq!((buckets.bytes(), buckets.oldest()), (250, Some((bucket(2), 100))));
    }

    #[test]
    fn the_time_of_a_result_stands_in_its_header() {
        let frame = b"RESULT 0 done ms=1 until=50 #8\nuntil=99\n";
        assert!(is_over(frame, 50) && !is_over(frame, 49));
        assert!(!is_over(b"RESULT 0 done #0\n\n", u64::MAX));
    }
}
