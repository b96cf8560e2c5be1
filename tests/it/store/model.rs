//! What a store must hold, said in maps; and short ways to fill a batch.

use std::collections::BTreeMap;

use ganger::record::{Batch, Record, Taken, Text, Told, Write};
use ganger::store::Store;
use ganger::task::TaskId;

/// The wall time at which tests begin.
pub(super) const START_MS: u64 = 1_790_000_000_000;

type Lines = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store's contents: what [`Store::load`] hands over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) last: TaskId,
    pub(super) tasks: BTreeMap<TaskId, (Vec<u8>, Option<Vec<u8>>)>,
    pub(super) buried: BTreeMap<TaskId, (Vec<u8>, Vec<u8>)>,
    pub(super) holds: Lines,
    pub(super) queues: Lines,
    pub(super) workers: Lines,
    pub(super) stats: Lines,
    pub(super) runs: Lines,
    pub(super) crons: Lines,
}

/// The RESULT frames that may be asked for, with the time until which they are kept.
pub(super) type Results = BTreeMap<TaskId, (u64, Vec<u8>)>;

impl Model {
    /// Loads a store, which must hand over tasks in ascending order and nothing twice.
    pub(super) fn load(store: &mut dyn Store) -> Self {
        let mut model = Self::default();
        let loaded = store.load(&mut |record| model.take(record)).unwrap();
        model.last = loaded.last;
        model
    }

    /// Takes what a store hands over; says what comes twice or out of order.
    pub(super) fn take(&mut self, record: Record<'_>) -> Result<(), String> {
        let fresh = match record {
            Record::Task { id, frame, line } => {
                if self.tasks.last_key_value().is_some_and(|(&last, _)| last >= id) {
                    return Err(format!("{id} is out of order"));
                }
                self.tasks.insert(id, (frame.into(), line.map(Vec::from))).is_none()
            }
            Record::Buried { id, frame, line } => {
                self.buried.insert(id, (frame.into(), line.into())).is_none()
            }
            Record::Hold { name, line } => self.holds.insert(name.into(), line.into()).is_none(),
            Record::Queue { name, line } => self.queues.insert(name.into(), line.into()).is_none(),
            Record::Worker { name, line } => {
                self.workers.insert(name.into(), line.into()).is_none()
            }
            Record::Stats { name, line } => self.stats.insert(name.into(), line.into()).is_none(),
            Record::Run { name, line } => self.runs.insert(name.into(), line.into()).is_none(),
            Record::Cron { name, line } => self.crons.insert(name.into(), line.into()).is_none(),
        };
        if fresh { Ok(()) } else { Err(format!("{record:?} comes twice")) }
    }

    /// Does to the maps what a commit does to a store.
    pub(super) fn apply(&mut self, batch: &Batch, results: &mut Results) {
        self.last = self.last.max(batch.last);
        let bytes = |text| batch.slice(text).to_vec();
        for &write in &batch.writes {
            match write {
                Write::Submit { id, frame } => {
                    self.tasks.entry(id).or_default().0 = bytes(frame);
                }
                Write::State { id, line } => {
                    self.tasks.entry(id).or_default().1 = Some(bytes(line));
                }
                Write::End { id, frame, until_ms } => {
                    self.tasks.remove(&id);
                    if until_ms > 0 {
                        results.insert(id, (until_ms, bytes(frame)));
                    }
                }
                Write::Bury { id, line, frame } => {
                    self.tasks.remove(&id);
                    self.buried.insert(id, (bytes(frame), bytes(line)));
                }
                Write::Revive { id, line, frame } => {
                    self.buried.remove(&id);
                    self.tasks.insert(id, (bytes(frame), Some(bytes(line))));
                }
                Write::Drop { id } => drop(self.buried.remove(&id)),
                Write::Hold { name, line } => drop(self.holds.insert(bytes(name), bytes(line))),
                Write::Unhold { name } => drop(self.holds.remove(batch.slice(name))),
                Write::Queue { name, line } => drop(self.queues.insert(bytes(name), bytes(line))),
                Write::Worker { name, line } => drop(self.workers.insert(bytes(name), bytes(line))),
                Write::WorkerGone { name, .. } => drop(self.workers.remove(batch.slice(name))),
                Write::Stats { name, line } => drop(self.stats.insert(bytes(name), bytes(line))),
                Write::StatsGone { name } => drop(self.stats.remove(batch.slice(name))),
                Write::Run { name, line } => drop(self.runs.insert(bytes(name), bytes(line))),
                Write::RunGone { name } => drop(self.runs.remove(batch.slice(name))),
                Write::Cron { name, line } => drop(self.crons.insert(bytes(name), bytes(line))),
                Write::CronGone { name } => drop(self.crons.remove(batch.slice(name))),
            }
        }
    }
}

/// The n-th task of a test.
pub(super) fn id(n: u64) -> TaskId {
    TaskId::from_bits((TaskId::next(TaskId::default(), START_MS, 0).bits()) + n)
}

/// A batch in the making.
#[derive(Debug, Default, Clone)]
pub(super) struct Turn(pub(super) Batch);

impl Turn {
    pub(super) fn at(wall_ms: u64) -> Self {
        Self(Batch { wall_ms, ..Batch::default() })
    }

    pub(super) fn text(&mut self, bytes: impl AsRef<[u8]>) -> Text {
        self.0.put(|out| out.extend_from_slice(bytes.as_ref()))
    }

    fn push(mut self, write: impl FnOnce(&mut Self) -> Write) -> Self {
        let write = write(&mut self);
        self.0.writes.push(write);
        self
    }

    pub(super) fn submit(mut self, id: TaskId, frame: impl AsRef<[u8]>) -> Self {
        self.0.last = self.0.last.max(id);
        self.push(|turn| Write::Submit { id, frame: turn.text(frame) })
    }

    pub(super) fn state(self, id: TaskId, line: impl AsRef<[u8]>) -> Self {
        self.push(|turn| Write::State { id, line: turn.text(line) })
    }

    pub(super) fn end(self, id: TaskId, frame: impl AsRef<[u8]>, until_ms: u64) -> Self {
        self.push(|turn| Write::End { id, frame: turn.text(frame), until_ms })
    }

    pub(super) fn bury(self, id: TaskId, line: impl AsRef<[u8]>, frame: impl AsRef<[u8]>) -> Self {
        self.push(|turn| Write::Bury { id, line: turn.text(line), frame: turn.text(frame) })
    }

    pub(super) fn revive(
        self,
        id: TaskId,
        line: impl AsRef<[u8]>,
        frame: impl AsRef<[u8]>,
    ) -> Self {
        self.push(|turn| Write::Revive { id, line: turn.text(line), frame: turn.text(frame) })
    }

    pub(super) fn drop(self, id: TaskId) -> Self {
        self.push(|_| Write::Drop { id })
    }

    pub(super) fn hold(self, name: &str, line: &str) -> Self {
        self.push(|turn| Write::Hold { name: turn.text(name), line: turn.text(line) })
    }

    pub(super) fn unhold(self, name: &str) -> Self {
        self.push(|turn| Write::Unhold { name: turn.text(name) })
    }

    pub(super) fn queue(self, name: &str, line: &str) -> Self {
        self.push(|turn| Write::Queue { name: turn.text(name), line: turn.text(line) })
    }

    pub(super) fn worker(self, name: &str, line: &str) -> Self {
        self.push(|turn| Write::Worker { name: turn.text(name), line: turn.text(line) })
    }

    pub(super) fn worker_gone(self, name: &str, host: &str) -> Self {
        self.push(|turn| Write::WorkerGone { name: turn.text(name), host: turn.text(host) })
    }

    pub(super) fn stats(self, name: &str, line: &str) -> Self {
        self.push(|turn| Write::Stats { name: turn.text(name), line: turn.text(line) })
    }

    pub(super) fn stats_gone(self, name: &str) -> Self {
        self.push(|turn| Write::StatsGone { name: turn.text(name) })
    }

    pub(super) fn run(self, name: &str, line: &str) -> Self {
        self.push(|turn| Write::Run { name: turn.text(name), line: turn.text(line) })
    }

    pub(super) fn run_gone(self, name: &str) -> Self {
        self.push(|turn| Write::RunGone { name: turn.text(name) })
    }

    pub(super) fn cron(self, name: &str, line: impl AsRef<[u8]>) -> Self {
        self.push(|turn| Write::Cron { name: turn.text(name), line: turn.text(line) })
    }

    pub(super) fn take(mut self, entry: impl AsRef<[u8]>) -> Self {
        let entry = self.text(entry);
        self.0.inbox.taken.push(Taken::Accepted { entry });
        self
    }

    pub(super) fn refuse(mut self, entry: &str, line: &str) -> Self {
        let (entry, line) = (self.text(entry), self.text(line));
        self.0.inbox.taken.push(Taken::Refused { entry, line });
        self
    }

    pub(super) fn cut(mut self, length: u64, beginning: &str, line: &str) -> Self {
        let (beginning, line) = (self.text(beginning), self.text(line));
        self.0.inbox.taken.push(Taken::TooLarge { length, beginning, line });
        self
    }

    pub(super) fn tell(mut self, list: &str, frame: &str, keep_ms: u64) -> Self {
        let (list, frame) = (self.text(list), self.text(frame));
        self.0.inbox.told.push(Told { list, frame, keep_ms });
        self
    }

    pub(super) fn cron_gone(self, name: &str) -> Self {
        self.push(|turn| Write::CronGone { name: turn.text(name) })
    }
}

/// A SUBMIT frame as a session hands it over.
pub(super) fn submit_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ganger::frame::Writer::verb(&mut frame, "SUBMIT").arg("resize").payload(payload);
    frame
}

/// A RESULT frame with so many bytes of payload.
pub(super) fn result_frame(id: TaskId, until_ms: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ganger::frame::Writer::verb(&mut frame, "RESULT")
        .id(id)
        .arg("done")
        .option_number("attempt", 1)
        .option_number("until", until_ms)
        .payload(payload);
    frame
}
