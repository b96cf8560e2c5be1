//! Results live in buckets by the time of submission, each a hash that is unlinked as a whole: a key
//! per result would cost twice the time and three times the memory.

use std::collections::BTreeMap;

use super::keys::{Bucket, Keys};
use super::plan::{Arg, Plan};
use crate::record::option;
use crate::task::TaskId;

/// Redis forgets a bucket by itself so long after its last result is over, in milliseconds: for
/// when no scheduler ever comes back to sweep. Long, because Redis's clock may not be ours.
const BACKSTOP_MS: u64 = 24 * 3600 * 1000;
/// Buckets that one sweep unlinks.
const SWEEP_MAX: usize = 16;

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
        let bytes = (frame + TaskId::LEN) as u64;
        let held = self.of.entry(bucket).or_default();
        held.until_ms = held.until_ms.max(until_ms);
        held.bytes += bytes;
        self.bytes += bytes;
    }

    /// Writes what is known of a bucket.
    pub(super) fn put(&self, plan: &mut Plan<'_>, keys: &Keys, bucket: Bucket) {
        let Some(held) = self.of.get(&bucket) else { return };
        let forget = held.until_ms.saturating_add(BACKSTOP_MS).to_string();
        plan.command("PEXPIREAT", &keys.results(bucket), [forget.into()]);
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

    /// Plans to unlink buckets that are over, and the oldest beyond the cap. None if there are none.
    pub(super) fn sweep<'a>(&mut self, keys: &Keys, wall_ms: u64, cap: u64) -> Option<Plan<'a>> {
        let gone = self.take_over(wall_ms, cap);
        if gone.is_empty() {
            return None;
        }
        let mut plan = Plan::default();
        for &bucket in &gone {
            plan.bare("UNLINK", &keys.results(bucket));
        }
        let fields = gone.iter().map(|bucket| Arg::from(bucket.text().to_owned()));
        plan.command("HDEL", &keys.buckets(), fields);
        Some(plan)
    }

    /// Whether [`Buckets::sweep`] would find more.
    pub(super) fn is_due(&self, wall_ms: u64, cap: u64) -> bool {
        self.bytes > cap || self.of.values().any(|held| held.until_ms <= wall_ms)
    }

    fn take_over(&mut self, wall_ms: u64, cap: u64) -> Vec<Bucket> {
        let mut gone = Vec::new();
        let mut bytes = self.bytes;
        for (&bucket, held) in &self.of {
            if gone.len() < SWEEP_MAX && (held.until_ms <= wall_ms || bytes > cap) {
                gone.push(bucket);
                bytes -= held.bytes;
            }
        }
        self.bytes = bytes;
        self.of.retain(|bucket, _| !gone.contains(bucket));
        gone
    }
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

    fn bucket(number: u64) -> Bucket {
        Bucket::of(TaskId::from_bits(number << 40))
    }

    #[test]
    fn buckets_that_are_over_go_and_then_the_oldest_beyond_the_cap() {
        let mut buckets = Buckets::default();
        for (number, until) in [(1, 100), (2, 900), (3, 50), (4, 900)] {
            buckets.add(bucket(number), 87, until);
        }
        assert!(buckets.is_due(100, 1000) && !buckets.is_due(49, 1000));
        assert_eq!(buckets.take_over(100, 1000), [bucket(1), bucket(3)]);
        assert_eq!((buckets.bytes(), buckets.is_due(100, 199)), (200, true));
        assert_eq!(buckets.take_over(100, 199), [bucket(2)]);
        assert!(!buckets.is_due(100, 199));
    }

    #[test]
    fn the_time_of_a_result_stands_in_its_header() {
        let frame = b"RESULT 0 done ms=1 until=50 #8\nuntil=99\n";
        assert!(is_over(frame, 50) && !is_over(frame, 49));
        assert!(!is_over(b"RESULT 0 done #0\n\n", u64::MAX));
    }
}
