//! Taking the fence.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::RngExt;

use super::checks::figure;
use super::connect::{Link, now, packed};
use super::failure::Failure;
use super::fence::{Fence, Reply};
use super::keys::Keys;
use super::options::Options;
use super::patience::{Until, insist, rest};
use super::scripts::Scripts;
use crate::record::VERSION;
use crate::store::Error;
use crate::task::TaskId;

/// A standby asks again after so long at the latest: the holder may give the lease back any time.
const POLL_MAX: Duration = Duration::from_millis(500);
/// Between two reports of a standby.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How long to wait for Redis's file, and between two looks at it.
const CONFIRM_MAX: Duration = Duration::from_secs(5);
const CONFIRM_PAUSE: Duration = Duration::from_millis(20);
/// A difference of clocks that is worth a warning.
const CLOCKS_APART_MS: u64 = 1000;

/// How a shard is waited for.
pub(super) struct Wait {
    /// For ever, once another was found to hold it: this Redis could be used, and will be again.
    pub(super) until: Until,
    /// The lineage that the data must have, or empty. Whoever waited for data does not begin without
    /// them if Redis is emptied.
    lineage: String,
    /// Which rows are lost: told before they are accepted, since the reply to that may be lost.
    lost: Option<String>,
}

impl Wait {
    pub(super) fn new(options: &Options) -> Self {
        let lineage = options.lineage.clone().unwrap_or_default();
        Self { until: Until::Started(options.start_limit), lineage, lost: None }
    }

    /// From now on these rows are accepted.
    fn accept(&mut self, rows: String) {
        if self.lost.as_ref() != Some(&rows) {
            tracing::warn!("{rows}: accepted, as told; what is missing is lost");
            self.lost = Some(rows);
        }
    }

    /// Whether another was found to hold it.
    pub(super) fn was_standby(&self) -> bool {
        matches!(self.until, Until::Done)
    }
}

/// What one attempt to take the fence found.
enum Attempt {
    Held(Fence, TaskId),
    Busy {
        ms: u64,
        holder: String,
        lineage: String,
    },
    Moved,
    /// Rows are lost, which is to be accepted.
    Lost(String),
}

/// Takes the fence, waiting as a standby while another holds it; with it the last identifier issued.
///
/// # Errors
///
/// [`Error::Corrupt`] if the data are not what they should be, [`Error::Unavailable`] if Redis is
/// not to be used, or not reached within the limit for the start.
pub(super) fn acquire(
    link: &mut Link,
    scripts: &Scripts,
    keys: &Keys,
    options: &Options,
    wait: &mut Wait,
) -> Result<(Fence, TaskId), Error> {
    let mut reported: Option<(String, Instant)> = None;
    loop {
        let attempt = insist(link, "taking the shard", wait.until, |link| {
            attempt(link, scripts, keys, options, wait)
        })?;
        match attempt {
            Attempt::Held(fence, last) => {
                tracing::info!("shard {} is held, epoch {}", options.shard, fence.epoch);
                wait.lineage.clone_from(&fence.lineage);
                return Ok((fence, last));
            }
            Attempt::Moved => rest(Duration::from_millis(1)),
            Attempt::Lost(rows) => wait.accept(rows),
            Attempt::Busy { ms, holder, lineage: found } => {
                wait.lineage = found;
                wait.lost = None;
                let known = |(to, at): &(String, Instant)| {
                    *to == holder && now().duration_since(*at) < REPORT_EVERY
                };
                if !reported.as_ref().is_some_and(known) {
                    let shard = options.shard;
                    tracing::info!("standby: shard {shard} is held by {holder} for {ms} ms more");
                    reported = Some((holder, now()));
                }
                wait.until = Until::Done;
                rest(Duration::from_millis(ms.max(1)).min(POLL_MAX));
            }
        }
    }
}

fn attempt(
    link: &mut Link,
    scripts: &Scripts,
    keys: &Keys,
    options: &Options,
    wait: &mut Wait,
) -> Result<Attempt, Failure> {
    let fence = keys.fence().name;
    let found = found_nonce(link, &fence)?;
    let nonce = random();
    let kept = [keys.finished().name, keys.cost().name];
    let mut call = scripts.acquire.call(1 + keys.counted().len() + kept.len());
    call.arg(&fence).arg(keys.counted()).arg(&kept);
    call.arg(&options.holder).arg(&nonce).arg(found).arg(VERSION);
    call.arg(options.lease_ms()).arg(random()).arg(&wait.lineage);
    call.arg(if wait.lost.is_some() { "yes" } else { "no" });
    call.arg(if options.events { keys.events() } else { String::new() });
    let reply = link.run(&scripts.acquire, &call.get_packed_command())?;
    let reply = Reply::read(reply, &nonce)?;
    match reply.word() {
        "HELD" => held(&reply, nonce, wait),
        "ROWS" if options.accept_repair => Ok(Attempt::Lost(reply.lost(&fence, 0))),
        "BUSY" => Ok(Attempt::Busy {
            ms: reply.detail(0).parse().map_err(Failure::garbled)?,
            holder: reply.detail(1).to_owned(),
            lineage: reply.detail(2).to_owned(),
        }),
        "MOVED" => Ok(Attempt::Moved),
        _ => Err(refusal(&reply, &fence, &wait.lineage)),
    }
}

/// The nonce in the fence, empty without one.
fn found_nonce(link: &mut Link, fence: &str) -> Result<String, Failure> {
    match link.ask(&packed("HGET", &[fence.as_bytes(), b"nonce"])) {
        Ok(found) => Ok(redis::from_redis_value::<Option<String>>(found)
            .map_err(Failure::garbled)?
            .unwrap_or_default()),
        // The script says what is there instead.
        Err(Failure::Unknown(text)) if text.contains("WRONGTYPE") => Ok(String::new()),
        Err(failure) => Err(failure),
    }
}

fn held(reply: &Reply, nonce: String, wait: &mut Wait) -> Result<Attempt, Failure> {
    let damaged = |what: &str| Failure::Halt(Error::Corrupt(format!("the fence: {what}")));
    let seq = reply.detail(1).parse().map_err(|_| damaged("seq is no number"))?;
    let last = match reply.detail(4) {
        "" => TaskId::default(),
        last => last.parse().map_err(|_| damaged("last is no task identifier"))?,
    };
    if let Some(rows) = reply.rows(6) {
        wait.accept(rows);
    }
    if let Ok(now_ms) = reply.detail(5).parse::<u64>() {
        compare_clocks(now_ms);
    }
    let fence = Fence {
        epoch: reply.detail(0).to_owned(),
        nonce,
        lineage: reply.detail(3).to_owned(),
        seq,
        digest: reply.detail(2).to_owned(),
    };
    Ok(Attempt::Held(fence, last))
}

fn refusal(reply: &Reply, fence: &str, lineage: &str) -> Failure {
    let text = match reply.word() {
        "SCHEMA" => match reply.detail(0).parse::<u32>() {
            Ok(found) if found > VERSION => format!(
                "the data are of version {found}, this program knows version {VERSION}: use a newer \
                 program"
            ),
            _ => format!(
                "the data are of version {:?}, this program knows version {VERSION}",
                reply.detail(0)
            ),
        },
        "LINEAGE" => format!(
            "the data have lineage {:?}, those that are wanted {lineage:?}: Redis was emptied, or is \
             another one; check the address or restore the data",
            reply.detail(0),
        ),
        "ORPHANS" => format!(
            "the key {} exists without {fence}: data of this shard were lost or partly removed; \
             restore them, or remove all keys of the shard to begin without them",
            reply.detail(0)
        ),
        _ => return reply.refusal(fence, 0),
    };
    Failure::Halt(Error::Corrupt(text))
}

/// Waits until Redis has handed the fence to its file, so that its death does not undo the taking:
/// what a batch loses that way is written again, a fence that never was cannot be.
///
/// # Errors
///
/// [`Error`]: the Redis is not to be used any more.
pub(super) fn confirm(link: &mut Link, until: Until) -> Result<(), Error> {
    let began = now();
    let request = packed("INFO", &[b"persistence"]);
    while now().duration_since(began) < CONFIRM_MAX {
        let info = insist(link, "confirming the fence", until, |link| {
            redis::from_redis_value::<String>(link.ask(&request)?).map_err(Failure::garbled)
        })?;
        if figure(&info, "aof_buffer_length").unwrap_or(0) == 0 {
            return Ok(());
        }
        rest(CONFIRM_PAUSE);
    }
    tracing::warn!("Redis is slow to write its file: if it dies now, this scheduler must restart");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "compares this host's clock with Redis's, no more")]
fn compare_clocks(redis_ms: u64) {
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let apart = ours.abs_diff(u128::from(redis_ms));
    if apart > u128::from(CLOCKS_APART_MS) {
        tracing::warn!("the clocks of Redis and of this host are {apart} ms apart");
    }
}

/// 128 random bits.
#[expect(clippy::disallowed_methods, reason = "two processes must differ, whatever their seed")]
fn random() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}
