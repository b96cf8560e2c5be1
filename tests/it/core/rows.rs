//! A store that keeps its rows in maps, to be looked at.

use std::collections::BTreeMap;

use bytes::Bytes;
use ganger::record::{Batch, Record, Text, Write};
use ganger::store::{Error, Loaded, Status, Store};
use ganger::task::TaskId;

type Row = Vec<u8>;

/// What a crash leaves.
#[derive(Debug, Default)]
pub(super) struct Rows {
    tasks: BTreeMap<TaskId, (Row, Option<Row>)>,
    buried: BTreeMap<TaskId, (Row, Row)>,
    results: BTreeMap<TaskId, (Bytes, u64)>,
    holds: BTreeMap<Row, Row>,
    queues: BTreeMap<Row, Row>,
    pub(super) workers: BTreeMap<Row, Row>,
    stats: BTreeMap<Row, Row>,
    runs: BTreeMap<Row, Row>,
    crons: BTreeMap<Row, Row>,
    last: TaskId,
}

impl Rows {
    /// The rows, figures left out, as `kind name text`.
    pub(super) fn dump(&self) -> Vec<String> {
        let text = |row: &[u8]| String::from_utf8_lossy(row).into_owned();
        let mut lines = Vec::new();
        for (id, (_, line)) in &self.tasks {
            lines.push(format!("task {id} {}", line.as_deref().map_or("-".into(), text)));
        }
        for (id, (_, line)) in &self.buried {
            lines.push(format!("buried {id} {}", text(line)));
        }
        for (id, (frame, _)) in &self.results {
            let header = frame.split(|byte| *byte == b'\n').next().unwrap_or_default();
            lines.push(format!("result {id} {}", text(header)));
        }
        let named = [
            ("hold", &self.holds),
            ("queue", &self.queues),
            ("worker", &self.workers),
            ("run", &self.runs),
            ("cron", &self.crons),
        ];
        for (kind, rows) in named {
            lines.extend(rows.iter().map(|(name, row)| {
                let row = match kind {
                    "worker" => without_seen(row),
                    "cron" => first_line(row).to_vec(),
                    _ => row.clone(),
                };
                format!("{kind} {} {}", text(name), text(&row))
            }));
        }
        lines
    }

    fn apply(&mut self, batch: &Batch, write: Write) {
        let row = |text: Text| batch.slice(text).to_vec();
        match write {
            Write::Submit { id, frame } => {
                self.tasks.insert(id, (row(frame), None));
            }
            Write::State { id, line } => {
                let task = self.tasks.get_mut(&id).expect("a state line is of an unfinished task");
                task.1 = Some(row(line));
            }
            Write::End { id, frame, until_ms } => {
                self.tasks.remove(&id).expect("what ends with a result was unfinished");
                if until_ms > 0 {
                    let known = self.results.insert(id, (row(frame).into(), until_ms));
                    assert_eq!(known, None, "a second result of task {id}");
                }
            }
            Write::Bury { id, line, frame } => {
                self.tasks.remove(&id).expect("what is buried was unfinished");
                self.buried.insert(id, (row(frame), row(line)));
            }
            Write::Revive { id, line, frame } => {
                self.buried.remove(&id).expect("what is revived was buried");
                self.tasks.insert(id, (row(frame), Some(row(line))));
            }
            Write::Drop { id } => {
                self.buried.remove(&id).expect("what is dropped was buried");
            }
            Write::Hold { name, line } => {
                self.holds.insert(row(name), row(line));
            }
            Write::Unhold { name } => {
                self.holds.remove(&row(name)).expect("a hold that is there");
            }
            Write::Queue { name, line } => {
                self.queues.insert(row(name), row(line));
            }
            Write::Worker { name, line } => {
                self.workers.insert(row(name), row(line));
            }
            Write::WorkerGone { name, .. } => {
                self.workers.remove(&row(name)).expect("a worker that has an entry");
            }
            Write::Stats { name, line } => {
                self.stats.insert(row(name), row(line));
            }
            Write::StatsGone { name } => {
                self.stats.remove(&row(name));
            }
            Write::Run { name, line } => {
                self.runs.insert(row(name), row(line));
            }
            Write::RunGone { name } => {
                self.runs.remove(&row(name)).expect("a run that is there");
            }
            Write::Cron { name, line } => {
                self.crons.insert(row(name), row(line));
            }
            Write::CronGone { name } => {
                self.crons.remove(&row(name)).expect("an entry that is there");
            }
        }
    }
}

/// A periodic task's line, without the frame behind it.
pub(super) fn first_line(row: &[u8]) -> &[u8] {
    row.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// A worker's entry without the time when it was last seen, which changes every minute.
pub(super) fn without_seen(row: &[u8]) -> Row {
    let text = String::from_utf8_lossy(row);
    text.rsplit_once(" seen=").map_or(row.to_vec(), |(entry, _)| entry.as_bytes().to_vec())
}

impl Store for Rows {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Loaded, Error> {
        let mut hand = |record| each(record).map_err(Error::Corrupt);
        for (&id, (frame, line)) in &self.tasks {
            hand(Record::Task { id, frame, line: line.as_deref() })?;
        }
        for (&id, (frame, line)) in &self.buried {
            hand(Record::Buried { id, frame, line })?;
        }
        for (name, line) in &self.holds {
            hand(Record::Hold { name, line })?;
        }
        for (name, line) in &self.queues {
            hand(Record::Queue { name, line })?;
        }
        for (name, line) in &self.workers {
            hand(Record::Worker { name, line })?;
        }
        for (name, line) in &self.stats {
            hand(Record::Stats { name, line })?;
        }
        for (name, line) in &self.runs {
            hand(Record::Run { name, line })?;
        }
        for (name, line) in &self.crons {
            hand(Record::Cron { name, line })?;
        }
        Ok(Loaded { last: self.last })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        batch.writes.iter().for_each(|write| self.apply(batch, *write));
        assert!(batch.last >= self.last, "identifiers went back");
        self.last = batch.last;
        Ok(())
    }

    fn result(&mut self, id: TaskId) -> Result<Option<Bytes>, Error> {
        Ok(self.results.get(&id).map(|(frame, _)| frame.clone()))
    }

    fn sweep(&mut self, wall_ms: u64) -> Result<bool, Error> {
        self.results.retain(|_, (_, until_ms)| *until_ms > wall_ms);
        Ok(false)
    }

    fn status(&mut self) -> Result<Status, Error> {
        Ok(Status::default())
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
