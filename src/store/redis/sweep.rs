//! Forgetting results: whole buckets where their time is over, and the oldest results beyond the
//! cap.
//!
//! The oldest of a bucket are not known without reading it, so a bucket that is cut is read first,
//! a page for each call, and then cut from that list until it is used up.

use super::connect::{Link, packed};
use super::keys::Bucket;
use super::plan::{Arg, Plan};
use super::results::{Buckets, cost};
use super::scan::{Page, next_count};
use super::shard::Shard;
use crate::store::Error;
use crate::task::TaskId;

/// Buckets that one call unlinks.
const UNLINK_MAX: usize = 16;
/// Results that one call cuts.
const CUT_MAX: usize = 1000;

/// Forgets results, piece by piece.
pub(super) struct Sweeper {
    /// Bytes of results to keep.
    cap: u64,
    cutting: Option<Cut>,
}

/// A bucket that is read, and then cut.
struct Cut {
    bucket: Bucket,
    /// Where to read on, and how many; none when all is read.
    cursor: Option<(String, usize)>,
    /// What the bucket counted when reading began.
    counted: u64,
    /// Results and what they take; when all is read, the oldest last.
    list: Vec<(TaskId, u64)>,
}

impl Sweeper {
    pub(super) fn new(cap: u64) -> Self {
        Self { cap, cutting: None }
    }

    /// Whether there is something to forget.
    pub(super) fn is_due(&self, buckets: &Buckets, wall_ms: u64) -> bool {
        buckets.bytes() > self.cap || buckets.over(wall_ms).next().is_some()
    }

    /// Plans a bounded piece of work; an empty plan if this piece only read.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub(super) fn plan(
        &mut self,
        link: &mut Link,
        shard: &Shard,
        buckets: &mut Buckets,
        wall_ms: u64,
    ) -> Result<Plan<'static>, Error> {
        let keys = &shard.keys;
        let mut plan = Plan::default();
        let over: Vec<Bucket> = buckets.over(wall_ms).take(UNLINK_MAX).collect();
        for &bucket in &over {
            buckets.unlink(&mut plan, keys, bucket);
        }
        let Some((oldest, bytes)) = buckets.oldest().filter(|_| buckets.bytes() > self.cap) else {
            return Ok(plan);
        };
        if buckets.bytes() - bytes >= self.goal() {
            buckets.unlink(&mut plan, keys, oldest);
            return Ok(plan);
        }
        let begun = self.cutting.take().filter(|cut| cut.bucket == oldest);
        let mut cut = begun.unwrap_or_else(|| Cut::new(oldest, buckets));
        if cut.cursor.is_some() {
            cut.read(link, shard, buckets)?;
            self.cutting = Some(cut);
        } else if cut.list.is_empty() {
            // Nothing is there any more: Redis forgot the bucket by itself.
            buckets.unlink(&mut plan, keys, oldest);
        } else {
            plan.command("HDEL", &keys.results(oldest), cut.take(buckets, self.goal()));
            buckets.put(&mut plan, keys, oldest, wall_ms);
            self.cutting = Some(cut).filter(|cut| !cut.list.is_empty());
        }
        Ok(plan)
    }

    /// What is left when the cap is passed: an eighth goes at once, so that a store at its cap is
    /// not cut for every single result.
    fn goal(&self) -> u64 {
        self.cap - self.cap / 8
    }
}

impl Cut {
    fn new(bucket: Bucket, buckets: &Buckets) -> Self {
        let cursor = Some(("0".to_owned(), next_count(None)));
        Self { bucket, cursor, counted: buckets.bytes_of(bucket), list: Vec::new() }
    }

    /// Reads a page. What comes in meanwhile may be missed; it is among the newest.
    fn read(&mut self, link: &mut Link, shard: &Shard, buckets: &mut Buckets) -> Result<(), Error> {
        let Some((cursor, count)) = self.cursor.take() else { return Ok(()) };
        let (key, wanted) = (shard.keys.results(self.bucket).name, count.to_string());
        let args = [key.as_bytes(), cursor.as_bytes(), b"COUNT", wanted.as_bytes()];
        let request = packed("HSCAN", &args);
        let page = shard.read(link, "reading results", &request, Page::read)?;
        for pair in page.texts.chunks_exact(2) {
            let [id, frame] = pair else { continue };
            if let Some(id) = TaskId::parse(id) {
                self.list.push((id, cost(frame.len())));
            }
        }
        if page.is_last() {
            self.arrange(buckets);
        } else {
            let count = next_count(Some((count, page.bytes())));
            self.cursor = Some((page.cursor, count));
        }
        Ok(())
    }

    /// All is read: the list is brought in order, and the bucket's count put right by it.
    fn arrange(&mut self, buckets: &mut Buckets) {
        self.list.sort_unstable_by(|a, b| b.cmp(a));
        self.list.dedup_by_key(|&mut (id, _)| id);
        let read: u64 = self.list.iter().map(|&(_, bytes)| bytes).sum();
        let since = buckets.bytes_of(self.bucket).saturating_sub(self.counted);
        buckets.set_bytes(self.bucket, read + since);
    }

    /// The oldest results until only the goal is left.
    fn take(&mut self, buckets: &mut Buckets, goal: u64) -> Vec<Arg<'static>> {
        let mut gone = Vec::new();
        while gone.len() < CUT_MAX && buckets.bytes() > goal {
            let Some((id, bytes)) = self.list.pop() else { break };
            let left = buckets.bytes_of(self.bucket).saturating_sub(bytes);
            buckets.set_bytes(self.bucket, left);
            gone.push(Arg::from(id));
        }
        gone
    }
}
