//! A batch, sorted by the keys that it changes.

use std::collections::BTreeMap;

use super::inbox;
use super::keys::{Bucket, Key, Keys};
use super::plan::{Arg, Plan, settle};
use super::results::Buckets;
use crate::frame::{Word, Words, decode};
use crate::record::{Batch, Write, option};
use crate::task::TaskId;

/// Ended tasks that the list of the last ones shows.
const FINISHED_MAX: usize = 1000;

/// Which host each worker was on when it was last written, decoded.
pub(super) type Hosts = BTreeMap<String, String>;

/// The changes of a batch by key, in their order.
#[derive(Default)]
struct Changes<'a> {
    tasks: Vec<(TaskId, Option<&'a [u8]>)>,
    state: Vec<(TaskId, Option<&'a [u8]>)>,
    dead: Vec<(TaskId, Option<Vec<u8>>)>,
    results: Vec<(TaskId, (&'a [u8], u64))>,
    finished: Vec<TaskId>,
    holds: Vec<(&'a [u8], Option<&'a [u8]>)>,
    queues: Vec<(&'a str, &'a str)>,
    workers: Vec<(&'a str, Option<&'a str>)>,
    stats: Vec<(&'a str, Option<&'a str>)>,
    runs: Vec<(&'a [u8], Option<&'a [u8]>)>,
    crons: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

/// Turns a batch into a plan, and keeps account of buckets and hosts.
pub(super) fn plan<'a>(
    batch: &'a Batch,
    keys: &Keys,
    buckets: &mut Buckets,
    hosts: &mut Hosts,
) -> Plan<'a> {
    let changes = Changes::of(batch);
    let mut plan = Plan::default();
    plan.hash(&keys.tasks(), changes.tasks);
    plan.hash(&keys.state(), changes.state);
    plan.hash(&keys.dead(), changes.dead);
    plan.hash(&keys.holds(), changes.holds);
    put_results(&mut plan, keys, buckets, changes.results, batch.wall_ms);
    put_finished(&mut plan, keys, &changes.finished);
    put_queues(&mut plan, keys, changes.queues);
    put_workers(&mut plan, keys, hosts, changes.workers);
    put_stats(&mut plan, keys, changes.stats);
    plan.hash(&keys.runs(), changes.runs);
    plan.hash(&keys.crons(), changes.crons);
    inbox::put(&mut plan, keys, batch);
    plan
}

impl<'a> Changes<'a> {
    fn of(batch: &'a Batch) -> Self {
        let mut changes = Self::default();
        for &write in &batch.writes {
            changes.add(batch, write);
        }
        changes
    }

    fn add(&mut self, batch: &'a Batch, write: Write) {
        let bytes = |text| batch.slice(text);
        // Names and lines are text by construction; what is not would be no name and hold no option.
        let text = |text| std::str::from_utf8(batch.slice(text)).unwrap_or_default();
        match write {
            Write::Submit { id, frame } => self.tasks.push((id, Some(bytes(frame)))),
            Write::State { id, line } => self.state.push((id, Some(bytes(line)))),
            Write::End { id, frame, until_ms } => {
                self.unfinished(id, None, None);
                self.finished.push(id);
                if until_ms > 0 {
                    self.results.push((id, (bytes(frame), until_ms)));
                }
            }
            Write::Bury { id, line, frame } => {
                self.unfinished(id, None, None);
                self.finished.push(id);
                self.dead.push((id, Some([bytes(line), b"\n", bytes(frame)].concat())));
            }
            Write::Revive { id, line, frame } => {
                self.unfinished(id, Some(bytes(frame)), Some(bytes(line)));
                self.dead.push((id, None));
            }
            Write::Drop { id } => self.dead.push((id, None)),
            Write::Hold { name, line } => self.holds.push((bytes(name), Some(bytes(line)))),
            Write::Unhold { name } => self.holds.push((bytes(name), None)),
            Write::Queue { name, line } => self.queues.push((text(name), text(line))),
            Write::Worker { name, line } => self.workers.push((text(name), Some(text(line)))),
            Write::WorkerGone { name, host: _ } => self.workers.push((text(name), None)),
            Write::Stats { name, line } => self.stats.push((text(name), Some(text(line)))),
            Write::StatsGone { name } => self.stats.push((text(name), None)),
            Write::Run { name, line } => self.runs.push((bytes(name), Some(bytes(line)))),
            Write::RunGone { name } => self.runs.push((bytes(name), None)),
            Write::Cron { name, line } => self.crons.push((bytes(name), Some(bytes(line)))),
            Write::CronGone { name } => self.crons.push((bytes(name), None)),
        }
    }

    fn unfinished(&mut self, id: TaskId, frame: Option<&'a [u8]>, line: Option<&'a [u8]>) {
        self.tasks.push((id, frame));
        self.state.push((id, line));
    }
}

fn put_results<'a>(
    plan: &mut Plan<'a>,
    keys: &Keys,
    buckets: &mut Buckets,
    mut results: Vec<(TaskId, (&'a [u8], u64))>,
    wall_ms: u64,
) {
    settle(&mut results);
    for part in results.chunk_by(|a, b| Bucket::of(a.0) == Bucket::of(b.0)) {
        let Some(&(first, _)) = part.first() else { continue };
        let bucket = Bucket::of(first);
        let key = keys.results(bucket);
        let fields = part.iter().flat_map(|&(id, (frame, _))| [Arg::from(id), Arg::from(frame)]);
        plan.command("HSET", &key, fields);
        for &(_, (frame, until_ms)) in part {
            buckets.add(bucket, frame.len(), until_ms);
        }
        buckets.put(plan, keys, bucket, wall_ms);
    }
}

fn put_finished(plan: &mut Plan<'_>, keys: &Keys, finished: &[TaskId]) {
    if finished.is_empty() {
        return;
    }
    let skip = finished.len().saturating_sub(FINISHED_MAX);
    let shown = finished.iter().skip(skip).map(|&id| Arg::from(id));
    plan.command("LPUSH", &keys.finished(), shown);
    plan.command("LTRIM", &keys.finished(), ["0".into(), (FINISHED_MAX - 1).to_string().into()]);
}

fn put_queues<'a>(plan: &mut Plan<'a>, keys: &Keys, mut queues: Vec<(&'a str, &'a str)>) {
    settle(&mut queues);
    for &(name, line) in &queues {
        put_fields(plan, &keys.queue(name), line);
    }
    plan.hash(&keys.queues(), queues.into_iter().map(|(name, line)| (name, Some(line))).collect());
}

fn put_workers<'a>(
    plan: &mut Plan<'a>,
    keys: &Keys,
    hosts: &mut Hosts,
    mut workers: Vec<(&'a str, Option<&'a str>)>,
) {
    settle(&mut workers);
    for &(name, line) in &workers {
        let host = line.and_then(host_of);
        let before = hosts.get(name);
        if before == host.as_ref() {
            continue;
        }
        if let Some(before) = before {
            plan.command("SREM", &keys.machine(before), [name.into()]);
        }
        match host {
            Some(host) => {
                plan.command("SADD", &keys.machine(&host), [name.into()]);
                hosts.insert(name.to_owned(), host);
            }
            None => {
                hosts.remove(name);
            }
        }
    }
    plan.hash(&keys.workers(), workers);
}

/// The host of a worker's entry, decoded; `None` for one that told none.
pub(super) fn host_of(line: &str) -> Option<String> {
    let host = option(line, "host").filter(|host| !host.is_empty())?;
    decode(host).map(std::borrow::Cow::into_owned)
}

fn put_stats<'a>(plan: &mut Plan<'a>, keys: &Keys, mut stats: Vec<(&'a str, Option<&'a str>)>) {
    settle(&mut stats);
    let pairs = || stats.iter().filter(|(name, _)| name.contains('@'));
    let cost_of = |line: Option<&str>| line.and_then(cost);
    let costly = pairs().filter_map(|&(name, line)| Some((cost_of(line)?, name)));
    plan.command("ZADD", &keys.cost(), costly.flat_map(|(cost, name)| [cost.into(), name.into()]));
    let free = pairs().filter(|&&(_, line)| cost_of(line).is_none());
    plan.command("ZREM", &keys.cost(), free.map(|&(name, _)| name.into()).collect::<Vec<_>>());
    for &(name, line) in &stats {
        put_fields(plan, &keys.stats(name), line.unwrap_or_default());
    }
    plan.hash(&keys.measured(), stats);
}

/// The cost in a line of figures, in the spelling that a sorted set takes for certain.
fn cost(line: &str) -> Option<String> {
    let cost: f64 = option(line, "cost")?.parse().ok()?;
    cost.is_finite().then(|| cost.to_string())
}

/// Replaces a hash by the options of a line.
fn put_fields<'a>(plan: &mut Plan<'a>, key: &Key, line: &'a str) {
    let options = Words::of(line).filter_map(|word| match word {
        Word::Option(name, value) => Some([Arg::from(name), Arg::from(value)]),
        Word::Arg(_) => None,
    });
    plan.bare("DEL", key);
    plan.command("HSET", key, options.flatten());
}
