//! The store in Redis: one scheduler's records under the keys of one shard, readable with
//! `redis-cli`.
//!
//! A turn is one call of one script that checks everything that could fail and then writes: the
//! fence (nobody else took the shard over), the number and the digest of the batch (it lands on the
//! very state that it was made for, and once), the types of the keys. An outcome that is not known
//! is found out by sending the identical batch again on a new connection. What Redis itself may
//! lose, and when, is told where its settings are.
//!
//! - `options`, what the store is told; `keys`, every key; `scripts` and `lua/`, every script
//! - `connect`, `failure`, `patience`, `checks`: one request, what can go wrong, until it is known
//! - `fence`, `acquire`: who may write; `changes`, `plan`: a batch as commands
//! - `scan`, `load`: reading it back; `results`, `sweep`: keeping and forgetting results

mod acquire;
mod changes;
mod checks;
mod connect;
mod failure;
mod fence;
mod keys;
mod load;
mod options;
mod patience;
mod plan;
mod results;
mod scan;
mod scripts;
mod sweep;

use std::time::Duration;

use bytes::Bytes;

pub use options::Options;

use self::changes::Hosts;
use self::connect::{Link, packed};
use self::failure::Failure;
use self::fence::{Fence, Reply};
use self::keys::{Bucket, Keys};
use self::patience::insist;
use self::plan::{Head, Plan};
use self::results::Buckets;
use self::scripts::Scripts;
use self::sweep::Sweeper;
use crate::record::{Batch, Record};
use crate::store::{Error, Loaded, Status, Store};
use crate::task::TaskId;

/// How often a running store looks whether Redis may still be used.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// Keeps records in a standalone Redis 7.0 or newer.
///
/// Durable is what Redis calls so: with `appendfsync everysec` a power loss of its host may cost
/// about the last second, with `always` nothing; the death of its process costs nothing either way.
pub struct Redis {
    options: Options,
    link: Link,
    scripts: Scripts,
    keys: Keys,
    /// Ours since `load`.
    fence: Option<Fence>,
    last: TaskId,
    buckets: Buckets,
    sweeper: Sweeper,
    hosts: Hosts,
    /// The latest wall time that we were told, in Unix milliseconds.
    wall_ms: u64,
    status: Status,
}

impl Redis {
    /// Reads the options; connects to nothing before `load`.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the address is not one of a standalone Redis without TLS.
    pub fn new(options: Options) -> Result<Self, Error> {
        Ok(Self {
            link: Link::new(&options)?,
            scripts: Scripts::new(),
            keys: Keys::new(options.shard),
            fence: None,
            last: TaskId::default(),
            buckets: Buckets::default(),
            sweeper: Sweeper::new(options.result_bytes_max),
            hosts: Hosts::new(),
            wall_ms: 0,
            status: Status::default(),
            options,
        })
    }

    /// Carries a plan out: again and again until it is known to be done.
    fn carry_out(&mut self, plan: &Plan<'_>, last: TaskId, events: &[u8]) -> Result<(), Error> {
        let fence = self.fence.as_ref().ok_or_else(not_loaded)?;
        let head = Head { fence, last, lease_ms: self.lease_ms(), events };
        let (request, next) = plan.request(&self.scripts.commit, &self.keys, &head);
        let (script, key) = (&self.scripts.commit, self.keys.fence().name);
        insist(&mut self.link, "a commit", None, |link| {
            let reply = Reply::read(link.run(script, &request)?, &next.nonce)?;
            match reply.word() {
                _ if reply.detail(0).parse() != Ok(next.seq) => Err(Failure::garbled(reply.word())),
                "DONE" | "ALREADY" => Ok(()),
                _ => Err(reply.refusal(&key, 1)),
            }
        })?;
        self.fence = Some(next);
        self.last = last;
        Ok(())
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.options.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks Redis how it is; once.
    fn measure(&mut self) -> Result<Status, Failure> {
        if let Some(fence) = &self.fence {
            let lease_ms = self.lease_ms();
            acquire::renew(&mut self.link, &self.scripts, &self.keys, fence, lease_ms)?;
        }
        self.link.check_again(CHECK_EVERY)?;
        let info = self.link.ask(&packed("INFO", &[b"memory"]))?;
        let info = redis::from_redis_value::<String>(info).map_err(Failure::garbled)?;
        let used = checks::figure(&info, "used_memory").unwrap_or(0);
        let limit = checks::figure(&info, "maxmemory").unwrap_or(0);
        // From nine tenths on: what is running must still find room to end in.
        let pressure = limit > 0 && used > limit / 10 * 9;
        Ok(Status { pressure, bytes: used, result_bytes: 0 })
    }
}

impl Store for Redis {
    /// Waits for Redis, and as a standby for the lease of another scheduler; then reads.
    fn load(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Loaded, Error> {
        let (fence, last) =
            acquire::acquire(&mut self.link, &self.scripts, &self.keys, &self.options)?;
        let (scripts, keys, lease) = (&self.scripts, &self.keys, self.options.lease);
        let kept = insist(&mut self.link, "reading", None, |link| {
            load::Reader::new(link, scripts, keys, &fence, lease).all()
        })?;
        kept.hand_over(each).map_err(Error::Corrupt)?;
        self.buckets = kept.buckets;
        self.hosts = kept.hosts;
        self.fence = Some(fence);
        self.last = last;
        Ok(Loaded { last })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        self.wall_ms = batch.wall_ms;
        let plan = changes::plan(batch, &self.keys, &mut self.buckets, &mut self.hosts);
        self.carry_out(&plan, batch.last.max(self.last), &batch.events)
    }

    fn result(&mut self, id: TaskId) -> Result<Option<Bytes>, Error> {
        let bucket = self.keys.results(Bucket::of(id)).name;
        let request = packed("HGET", &[bucket.as_bytes(), &id.text()]);
        let frame = insist(&mut self.link, "reading a result", None, |link| {
            redis::from_redis_value::<Option<Vec<u8>>>(link.ask(&request)?).map_err(Failure::garbled)
        })?;
        Ok(frame.filter(|frame| !results::is_over(frame, self.wall_ms)).map(Bytes::from))
    }

    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Error> {
        self.wall_ms = wall_ms;
        let (link, keys, buckets) = (&mut self.link, &self.keys, &mut self.buckets);
        let plan = self.sweeper.plan(link, keys, buckets, wall_ms)?;
        if !plan.is_empty() {
            self.carry_out(&plan, self.last, b"")?;
        }
        Ok(self.sweeper.is_due(&self.buckets, wall_ms))
    }

    /// Never waits for a Redis that is away: the last figures then.
    fn status(&mut self) -> Result<Status, Error> {
        match self.measure() {
            Ok(status) => self.status = status,
            Err(Failure::Halt(error)) => return Err(error),
            Err(failure) => {
                self.link.drop_connection();
                tracing::debug!("no status of Redis: {failure:?}");
            }
        }
        self.status.result_bytes = self.buckets.bytes();
        Ok(self.status.clone())
    }

    fn wants_events(&self) -> bool {
        self.options.events
    }

    /// Gives the lease back, if Redis is there to take it.
    fn close(&mut self) -> Result<(), Error> {
        if let Some(fence) = self.fence.take() {
            if let Err(failure) =
                acquire::renew(&mut self.link, &self.scripts, &self.keys, &fence, 0)
            {
                tracing::warn!("the lease was not given back, it runs out by itself: {failure:?}");
            }
        }
        self.link.drop_connection();
        Ok(())
    }
}

fn not_loaded() -> Error {
    Error::Unavailable("a store is loaded before it is written to".to_owned())
}
