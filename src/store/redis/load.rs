//! Reading everything at the start: in pages of bounded size, handed over in order when all of it
//! is here, since the order of a Redis hash is no order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::changes::{Hosts, host_of};
use super::connect::{Link, now, packed};
use super::failure::Failure;
use super::keys::Key;
use super::results::Buckets;
use super::scan::{Page, next_count};
use super::shard::Shard;
use crate::record::Record;
use crate::store::Error;
use crate::task::TaskId;

/// Everything kept.
#[derive(Default)]
pub(super) struct Kept {
    tasks: Rows,
    state: Rows,
    dead: Rows,
    holds: Pairs,
    queues: Pairs,
    workers: Pairs,
    stats: Pairs,
    runs: Pairs,
    crons: Pairs,
    pub(super) buckets: Buckets,
    pub(super) hosts: Hosts,
}

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Texts by task, in one piece of memory.
#[derive(Default)]
struct Rows {
    text: Vec<u8>,
    /// The task and where its text begins and ends.
    rows: Vec<(TaskId, usize, usize)>,
}

/// Reads pages while the lease goes on.
pub(super) struct Reader<'a> {
    link: &'a mut Link,
    shard: &'a Shard,
    renew_every: Duration,
    renewed: Instant,
    read: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(link: &'a mut Link, shard: &'a Shard, lease: Duration) -> Self {
        Self { link, shard, renew_every: lease / 4, renewed: now(), read: 0 }
    }

    /// Reads everything. The fence is ours before and after, so nobody wrote meanwhile.
    pub(super) fn all(&mut self) -> Result<Kept, Failure> {
        let keys = &self.shard.keys;
        let mut kept = Kept {
            tasks: self.rows(&keys.tasks())?,
            state: self.rows(&keys.state())?,
            dead: self.rows(&keys.dead())?,
            holds: self.pairs(&keys.holds())?,
            workers: self.pairs(&keys.workers())?,
            queues: self.pairs(&keys.queues())?,
            stats: self.pairs(&keys.measured())?,
            runs: self.pairs(&keys.runs())?,
            crons: self.pairs(&keys.crons())?,
            ..Kept::default()
        };
        for (bucket, line) in self.pairs(&keys.buckets())? {
            let read = kept.buckets.read(&bucket, &line);
            read.map_err(|text| Failure::Halt(damaged(&text)))?;
        }
        for (name, line) in &kept.workers {
            let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
            if let Some(host) = host_of(text(line)) {
                kept.hosts.insert(text(name).to_owned(), host);
            }
        }
        self.renew()?;
        Ok(kept)
    }

    fn rows(&mut self, key: &Key) -> Result<Rows, Failure> {
        let mut rows = Rows::default();
        self.pages(key, |page| {
            for pair in page.chunks_exact(2) {
                let [id, text] = pair else { continue };
                let id = TaskId::parse(id).ok_or_else(|| {
                    let found = String::from_utf8_lossy(id);
                    let text = format!("{found:?} in {} is no task identifier", key.name);
                    Failure::Halt(damaged(&text))
                })?;
                rows.push(id, text);
            }
            Ok(())
        })?;
        rows.sort();
        Ok(rows)
    }

    fn pairs(&mut self, key: &Key) -> Result<Pairs, Failure> {
        let mut pairs = Pairs::new();
        self.pages(key, |page| {
            let mut fields = page.into_iter();
            while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
                pairs.insert(field, value);
            }
            Ok(())
        })?;
        Ok(pairs)
    }

    /// Scans a hash. A field may come twice while Redis rearranges the table.
    fn pages(
        &mut self,
        key: &Key,
        mut each: impl FnMut(Vec<Vec<u8>>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut count = next_count(None);
        let mut cursor = "0".to_owned();
        loop {
            let wanted = count.to_string();
            let args = [key.name.as_bytes(), cursor.as_bytes(), b"COUNT", wanted.as_bytes()];
            let reply =
                self.link.ask(&packed("HSCAN", &args)).map_err(|failure| wrong(failure, key))?;
            let page = Page::read(reply).map_err(Failure::garbled)?;
            count = next_count(Some((count, page.bytes())));
            self.read += page.texts.len();
            let last = page.is_last();
            each(page.texts)?;
            if last {
                return Ok(());
            }
            cursor = page.cursor;
            self.renew_in_time()?;
        }
    }

    fn renew_in_time(&mut self) -> Result<(), Failure> {
        if now().duration_since(self.renewed) < self.renew_every {
            return Ok(());
        }
        tracing::info!("reading from Redis: {} texts so far", self.read);
        self.renew()
    }

    fn renew(&mut self) -> Result<(), Failure> {
        self.shard.renew(self.link)?;
        self.renewed = now();
        Ok(())
    }
}

impl Kept {
    /// The tasks that have a state line and no record, which somebody removed: nothing can be run from
    /// them.
    pub(super) fn strays(&self) -> Vec<TaskId> {
        let mut tasks = self.tasks.iter().map(|(id, _)| id).peekable();
        let ids = self.state.iter().map(|(id, _)| id);
        ids.filter(|id| {
            while tasks.next_if(|task| task < id).is_some() {}
            tasks.peek() != Some(id)
        })
        .collect()
    }

    /// Hands everything over, tasks in ascending order.
    pub(super) fn hand_over(
        &self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut lines = self.state.iter().peekable();
        for (id, frame) in self.tasks.iter() {
            while lines.next_if(|(other, _)| *other < id).is_some() {}
            let line = lines.next_if(|(other, _)| *other == id).map(|(_, line)| line);
            each(Record::Task { id, frame, line })?;
        }
        for (id, text) in self.dead.iter() {
            let end = memchr::memchr(b'\n', text).ok_or(format!("buried {id} has no frame"))?;
            let (line, frame) = text.split_at(end);
            each(Record::Buried { id, frame: frame.get(1..).unwrap_or_default(), line })?;
        }
        hand_over(&self.queues, each, |name, line| Record::Queue { name, line })?;
        hand_over(&self.workers, each, |name, line| Record::Worker { name, line })?;
        hand_over(&self.holds, each, |name, line| Record::Hold { name, line })?;
        hand_over(&self.stats, each, |name, line| Record::Stats { name, line })?;
        hand_over(&self.runs, each, |name, line| Record::Run { name, line })?;
        hand_over(&self.crons, each, |name, line| Record::Cron { name, line })
    }
}

fn hand_over<'a>(
    pairs: &'a Pairs,
    each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    record: impl Fn(&'a [u8], &'a [u8]) -> Record<'a>,
) -> Result<(), String> {
    pairs.iter().try_for_each(|(name, line)| each(record(name, line)))
}

impl Rows {
    fn push(&mut self, id: TaskId, text: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.rows.push((id, start, self.text.len()));
    }

    fn sort(&mut self) {
        self.rows.sort_unstable();
        self.rows.dedup_by_key(|&mut (id, ..)| id);
    }

    fn iter(&self) -> impl Iterator<Item = (TaskId, &[u8])> {
        let text = |start, end| self.text.get(start..end).unwrap_or_default();
        self.rows.iter().map(move |&(id, start, end)| (id, text(start, end)))
    }
}

/// A key of another type than ours is no passing trouble.
fn wrong(failure: Failure, key: &Key) -> Failure {
    match failure {
        Failure::Unknown(text) if text.contains("WRONGTYPE") => corrupt(format!(
            "the key {} is no {}; remove or rename it, then start again",
            key.name,
            key.kind.word()
        )),
        failure => failure,
    }
}

fn corrupt(text: String) -> Failure {
    Failure::Halt(Error::Corrupt(text))
}

/// A record that cannot be read, and what can be done about it.
pub(super) fn damaged(text: &str) -> Error {
    Error::Corrupt(format!(
        "{text}; restore the data of this Redis, or remove the row (HDEL) and go on without it by \
         --accept-repair"
    ))
}
