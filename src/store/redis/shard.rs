//! A shard that is ours: what is written to it, and read from it, under its fence.

use redis::{ParsingError, Value};

use super::acquire::{Wait, acquire, confirm};
use super::commit::{Recent, Sent};
use super::connect::{Link, packed};
use super::failure::Failure;
use super::fence::{Fence, Reply};
use super::keys::Keys;
use super::options::Options;
use super::patience::{Until, insist};
use super::plan::{Head, Plan};
use super::scripts::Scripts;
use crate::store::Error;
use crate::store::inbox::Bite;
use crate::task::TaskId;

/// A shard whose fence we took.
pub(super) struct Shard {
    pub(super) keys: Keys,
    scripts: Scripts,
    lease_ms: u64,
    /// As it is after the last batch.
    fence: Fence,
    /// The last identifier issued.
    pub(super) last: TaskId,
    recent: Recent,
}

impl Shard {
    /// Takes a shard, waiting for Redis and as a standby for whoever holds it.
    ///
    /// # Errors
    ///
    /// [`Error`]: the data or the Redis are not to be used, or the limit for the start is over.
    pub(super) fn acquire(
        link: &mut Link,
        options: &Options,
        wait: &mut Wait,
    ) -> Result<Self, Error> {
        let (keys, scripts) = (Keys::new(options.shard), Scripts::new());
        let (fence, last) = acquire(link, &scripts, &keys, options, wait)?;
        confirm(link, wait.until)?;
        let lease_ms = options.lease_ms();
        Ok(Self { keys, scripts, lease_ms, fence, last, recent: Recent::default() })
    }

    /// Carries a plan out: again and again until it is known to be done.
    ///
    /// # Errors
    ///
    /// [`Error`]: it is not done and never will be.
    pub(super) fn carry_out(
        &mut self,
        link: &mut Link,
        plan: &Plan<'_>,
        last: TaskId,
        events: &[u8],
    ) -> Result<(), Error> {
        let last = last.max(self.last);
        let head = Head { fence: &self.fence, last, lease_ms: self.lease_ms, events };
        let batch = plan.request(&self.scripts.commit, &self.keys, &head);
        insist(link, "a commit", Until::Done, |link| self.write(link, &batch))?;
        self.fence = batch.after.clone();
        self.last = last;
        self.recent.keep(batch);
        Ok(())
    }

    /// Asks until there is an answer. On a new connection what Redis forgot is written first, so
    /// that nobody reads an older state than was told.
    ///
    /// # Errors
    ///
    /// [`Error`]: there never will be an answer.
    pub(super) fn read<T>(
        &self,
        link: &mut Link,
        what: &str,
        packed: &[u8],
        read: impl Fn(Value) -> Result<T, ParsingError>,
    ) -> Result<T, Error> {
        insist(link, what, Until::Done, |link| {
            if !link.is_connected() {
                self.renew(link)?;
            }
            read(link.ask(packed)?).map_err(Failure::garbled)
        })
    }

    /// Prolongs the lease, and writes again what Redis forgot; once. Tells how many entries are in the
    /// inbox; `None` if that is no list.
    pub(super) fn renew(&self, link: &mut Link) -> Result<Option<u64>, Failure> {
        let reply = self.prolong(link, self.lease_ms)?;
        let (seq, digest) = (reply.detail(0), reply.detail(1));
        if self.fence.is_at(seq, digest) || self.write_since(link, seq, digest)? {
            return Ok(reply.detail(2).parse().ok());
        }
        Err(Reply::other_state(&self.keys.fence().name, seq, digest))
    }

    /// Asks for the next entries of the inbox, and for so many bytes of one that is too long; once.
    /// With the nonce that the reply must have.
    pub(super) fn ask_entries(
        &self,
        link: &mut Link,
        bite: Bite,
        beginning: usize,
    ) -> Result<(Value, &str), Failure> {
        let (keys, fence) = (&self.keys, &self.fence);
        let mut call = self.scripts.entries.call(3);
        call.arg(keys.fence().name).arg(keys.inbox().name).arg(keys.refused().name);
        call.arg(&fence.epoch).arg(&fence.nonce).arg(&fence.lineage);
        call.arg(fence.seq).arg(&fence.digest);
        call.arg(bite.entries).arg(bite.bytes).arg(bite.entry_max).arg(beginning);
        let reply = link.run(&self.scripts.entries, &call.get_packed_command())?;
        Ok((reply, &fence.nonce))
    }

    /// The name of who holds the shard now; empty if nobody does.
    ///
    /// # Errors
    ///
    /// [`Error`]: there never will be an answer.
    pub(super) fn holder(&self, link: &mut Link) -> Result<String, Error> {
        let request = packed("HGET", &[self.keys.fence().name.as_bytes(), b"holder"]);
        insist(link, "looking who holds the shard", Until::Done, |link| {
            let found = redis::from_redis_value::<Option<String>>(link.ask(&request)?);
            Ok(found.map_err(Failure::garbled)?.unwrap_or_default())
        })
    }

    /// Gives the lease back; once.
    pub(super) fn give_back(&self, link: &mut Link) -> Result<(), Failure> {
        if !link.is_connected() {
            self.renew(link)?;
        }
        self.prolong(link, 0).map(drop)
    }

    fn prolong(&self, link: &mut Link, lease_ms: u64) -> Result<Reply, Failure> {
        let (key, fence) = (self.keys.fence().name, &self.fence);
        let counted = self.keys.counted();
        let mut call = self.scripts.renew.call(2 + counted.len());
        call.arg(&key).arg(self.keys.inbox().name).arg(counted);
        call.arg(&fence.epoch).arg(&fence.nonce).arg(&fence.lineage).arg(lease_ms);
        let reply = link.run(&self.scripts.renew, &call.get_packed_command())?;
        let reply = Reply::read(reply, &fence.nonce)?;
        match reply.word() {
            "DONE" => Ok(reply),
            _ => Err(reply.refusal(&key, 0)),
        }
    }

    /// Writes a batch, after those that Redis forgot.
    fn write(&self, link: &mut Link, batch: &Sent) -> Result<(), Failure> {
        let reply = self.send(link, batch)?;
        if reply.word() == "SEQ" && self.write_since(link, reply.detail(1), reply.detail(2))? {
            return self.judge(&self.send(link, batch)?);
        }
        self.judge(&reply)
    }

    /// Writes the batches since a state of the fence; false if it is not known which they are.
    fn write_since(&self, link: &mut Link, seq: &str, digest: &str) -> Result<bool, Failure> {
        let Some(forgotten) = self.recent.since(seq, digest) else { return Ok(false) };
        let mut count = 0;
        for batch in forgotten {
            self.judge(&self.send(link, batch)?)?;
            count += 1;
        }
        let place = link.place();
        tracing::warn!(
            "Redis at {place} forgot what it had (batches: {count}); it is written again"
        );
        Ok(true)
    }

    fn send(&self, link: &mut Link, batch: &Sent) -> Result<Reply, Failure> {
        let reply = link.run(&self.scripts.commit, &batch.request)?;
        let reply = Reply::read(reply, &batch.after.nonce)?;
        match reply.detail(0) == batch.after.seq.to_string() {
            true => Ok(reply),
            false => Err(Failure::garbled(reply.word())),
        }
    }

    fn judge(&self, reply: &Reply) -> Result<(), Failure> {
        match reply.word() {
            "DONE" | "ALREADY" => Ok(()),
            _ => Err(reply.refusal(&self.keys.fence().name, 1)),
        }
    }
}
