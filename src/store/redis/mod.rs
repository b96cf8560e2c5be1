//! The store in Redis: one scheduler's records under the keys of one shard, readable with
//! `redis-cli`.
//!
//! A turn is one call of one script that checks everything that could fail and then writes: the
//! fence (nobody else took the shard over), the number and the digest of the batch (it lands on the
//! very state that it was made for, and once), the types of the keys. An outcome that is not known
//! is found out by sending the identical batch again on a new connection. What Redis itself may
//! lose, and when, is told where its settings are.
//!
//! - `options`, `address`, what the store is told; `keys`, every key; `scripts` and `lua/`, every script
//! - `connect`, `failure`, `patience`, `checks`: one request, what can go wrong, until it is known
//! - `fence`, `acquire`, `shard`: who may write; `changes`, `plan`, `commit`: a batch as commands
//! - `inbox`, `bell`: what programs push, and hearing of it
//! - `scan`, `load`, `takeover`: reading it back; `results`, `sweep`: keeping and forgetting results

mod acquire;
mod address;
mod bell;
mod changes;
mod checks;
mod commit;
mod connect;
mod failure;
mod fence;
mod inbox;
mod keys;
mod load;
mod options;
mod patience;
mod plan;
mod results;
mod scan;
mod scripts;
mod shard;
mod sweep;
mod takeover;

use bytes::Bytes;

pub use address::{check_url, is_scheme};
pub use options::Options;

use self::bell::Tracking;
use self::changes::Hosts;
use self::connect::{Link, packed};
use self::failure::Failure;
use self::inbox::Look;
use self::keys::Bucket;
use self::patience::Trouble;
use self::results::Buckets;
use self::shard::Shard;
use self::sweep::Sweeper;
use crate::record::{Batch, Record};
use crate::store::inbox::{Bell, Bite, Found};
use crate::store::{Error, Loaded, Status, Store};
use crate::task::TaskId;

/// Keeps records in a standalone Redis 7.0 or newer.
///
/// Durable is what Redis calls so: with `appendfsync everysec` a power loss of its host may cost
/// about the last second, with `always` nothing. The death of its process costs nothing: what it
/// did not get round to handing to its file is written to it again, unless this process dies too.
pub struct Redis {
    options: Options,
    link: Link,
    /// Ours since `load`.
    shard: Option<Shard>,
    buckets: Buckets,
    sweeper: Sweeper,
    hosts: Hosts,
    /// The latest wall time that we were told, in Unix milliseconds.
    wall_ms: u64,
    status: Status,
    /// Since the last status that Redis gave.
    trouble: Option<Trouble>,
    /// It was told that the inbox is no list.
    no_list: bool,
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
            shard: None,
            buckets: Buckets::default(),
            sweeper: Sweeper::new(options.result_bytes_max),
            hosts: Hosts::new(),
            wall_ms: 0,
            status: Status::default(),
            trouble: None,
            no_list: false,
            options,
        })
    }

    /// Asks Redis how it is; once.
    fn measure(&mut self) -> Result<Status, Failure> {
        let inbox = match &self.shard {
            Some(shard) => shard.renew(&mut self.link)?,
            None => None,
        };
        self.link.check_again(self.options.check_every)?;
        let info = self.link.ask(&packed("INFO", &[b"memory"]))?;
        let info = redis::from_redis_value::<String>(info).map_err(Failure::garbled)?;
        let used = checks::figure(&info, "used_memory").unwrap_or(0);
        let limit = checks::figure(&info, "maxmemory").unwrap_or(0);
        // From nine tenths on: what is running must still find room to end in.
        let pressure = limit > 0 && used > limit / 10 * 9;
        Ok(Status { pressure, bytes: used, result_bytes: 0, inbox })
    }
}

impl Store for Redis {
    /// Waits for Redis, and as a standby for the lease of another scheduler; then reads.
    fn load(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Loaded, Error> {
        let (mut shard, kept) = self.take_over()?;
        kept.hand_over(each).map_err(|text| load::damaged(&text))?;
        self.clear(&mut shard, &kept.strays())?;
        self.buckets = kept.buckets;
        self.hosts = kept.hosts;
        let last = shard.last;
        self.shard = Some(shard);
        Ok(Loaded { last })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        let shard = self.shard.as_mut().ok_or_else(not_loaded)?;
        self.wall_ms = batch.wall_ms;
        let plan = changes::plan(batch, &shard.keys, &mut self.buckets, &mut self.hosts);
        shard.carry_out(&mut self.link, &plan, batch.last, &batch.events)
    }

    fn result(&mut self, id: TaskId) -> Result<Option<Bytes>, Error> {
        let shard = self.shard.as_ref().ok_or_else(not_loaded)?;
        let bucket = shard.keys.results(Bucket::of(id)).name;
        let request = packed("HGET", &[bucket.as_bytes(), &id.text()]);
        let what = "reading a result";
        let frame: Option<Vec<u8>> =
            shard.read(&mut self.link, what, &request, redis::from_redis_value)?;
        Ok(frame.filter(|frame| !results::is_over(frame, self.wall_ms)).map(Bytes::from))
    }

    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Error> {
        let shard = self.shard.as_mut().ok_or_else(not_loaded)?;
        self.wall_ms = wall_ms;
        let (link, buckets) = (&mut self.link, &mut self.buckets);
        let plan = self.sweeper.plan(link, shard, buckets, wall_ms)?;
        if !plan.is_empty() {
            shard.carry_out(link, &plan, TaskId::default(), b"")?;
        }
        Ok(self.sweeper.is_due(buckets, wall_ms))
    }

    /// Never waits for a Redis that is away: the last figures then.
    fn status(&mut self) -> Result<Status, Error> {
        const WHAT: &str = "looking after the shard";
        match self.measure() {
            Ok(status) => {
                self.status = status;
                if let Some(trouble) = self.trouble.take() {
                    trouble.is_over(self.link.place(), WHAT);
                }
            }
            Err(Failure::Halt(error)) => return Err(error),
            Err(failure) => {
                self.link.drop_connection();
                let trouble = self.trouble.get_or_insert_with(Trouble::new);
                trouble.warn(self.link.place(), WHAT, &failure.to_string());
            }
        }
        self.status.result_bytes = self.buckets.bytes();
        Ok(self.status.clone())
    }

    fn wants_events(&self) -> bool {
        self.options.events
    }

    /// Never waits for a Redis that is away: nothing is found then.
    fn entries(&mut self, bite: Bite) -> Result<Vec<Found>, Error> {
        let shard = self.shard.as_ref().ok_or_else(not_loaded)?;
        match inbox::look(shard, &mut self.link, bite) {
            Ok(Look::Found(found)) => {
                self.no_list = false;
                return Ok(found);
            }
            Ok(Look::NoList(key, kind)) => {
                if !std::mem::replace(&mut self.no_list, true) {
                    tracing::warn!("{key} is a {kind}, not a list: no entries are taken");
                }
            }
            Err(Failure::Halt(error)) => return Err(error),
            Err(failure) => {
                self.link.drop_connection();
                tracing::debug!("no look at the inbox: {failure:?}");
            }
        }
        Ok(Vec::new())
    }

    fn bell(&self) -> Option<Box<dyn Bell>> {
        let shard = self.shard.as_ref()?;
        let client = self.link.hearing().ok()?;
        let limit = self.options.connect_limit;
        Some(Box::new(Tracking::new(client, limit, shard.keys.inbox().name)))
    }

    /// Gives the lease back, if Redis is there to take it.
    fn close(&mut self) -> Result<(), Error> {
        let given_back = self.shard.take().map(|shard| shard.give_back(&mut self.link));
        if let Some(Err(failure)) = given_back {
            tracing::warn!("the lease was not given back, it runs out by itself: {failure:?}");
        }
        self.link.drop_connection();
        Ok(())
    }
}

fn not_loaded() -> Error {
    Error::Unavailable("a store is loaded before it is written to".to_owned())
}
