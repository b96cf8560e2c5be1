//! Follows the lines of periodic tasks: no instant is dealt with twice, and every fire is paid for by
//! an instant, in the batch of its line.

use std::collections::BTreeMap;

use bytes::Bytes;
use ganger::frame::number;
use ganger::record::option;
use ganger::task::TaskId;

use super::{Auditor, Window, require, violated};

/// The entries as the batches have them, and how often they have fired.
#[derive(Default)]
pub(super) struct Crons {
    entries: BTreeMap<String, Entry>,
    /// Fires of the batch that is followed, whose lines have yet to come.
    fired: BTreeMap<String, (TaskId, Bytes)>,
    /// All fires, and those of them that had been owed.
    pub(super) fires: (u32, u32),
}

/// What a line says.
struct Entry {
    paused: bool,
    seen_ms: u64,
    owed: u32,
    task: Option<TaskId>,
    frame: Bytes,
}

impl Entry {
    fn read(record: &Bytes) -> Option<Self> {
        let end = record.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&record[..end]).ok()?;
        let owed = option(line, "owed").map_or(Some(0), |owed| number(owed.as_bytes()))?;
        Some(Self {
            paused: line.starts_with("paused "),
            seen_ms: number(option(line, "seen")?.as_bytes())?,
            owed: u32::try_from(owed).ok()?,
            task: option(line, "task").and_then(|task| TaskId::parse(task.as_bytes())),
            frame: record.slice(end + 1..),
        })
    }
}

impl Auditor {
    /// A task is submitted whose record names an entry.
    pub(super) fn on_fire(&mut self, name: &str, id: TaskId, frame: Bytes) {
        let before = self.crons.fired.insert(name.to_owned(), (id, frame));
        require!("D11", before.is_none(), "cron {name} fires twice without a line between");
    }

    pub(super) fn on_cron(&mut self, name: &str, record: &Bytes, window: Window) {
        let Some(entry) = Entry::read(record) else { violated!("I30", "no cron: {record:?}") };
        let fired = self.crons.fired.remove(name);
        let before = self.crons.entries.get(name);
        let (seen_ms, owed) =
            before.map_or((entry.seen_ms, 0), |entry| (entry.seen_ms, entry.owed));
        require!("D01", entry.seen_ms >= seen_ms, "cron {name} goes back to {}", entry.seen_ms);
        let due = u32::from(entry.seen_ms > seen_ms);
        let early = due > 0 && entry.seen_ms > window.wall_high;
        require!("D01", !early, "cron {name} has dealt with {}, which is to come", entry.seen_ms);
        let paid = u32::from(fired.is_some());
        let text = "more is fired than fell due";
        require!("D11", entry.owed + paid <= owed + due, "cron {name}: {text}, at {seen_ms}");
        let Some((id, frame)) = fired else {
            let same = before.is_none_or(|before| before.task == entry.task);
            require!("D11", same, "cron {name} names a task that it has not fired");
            self.crons.entries.insert(name.to_owned(), entry);
            return;
        };
        require!("D11", entry.task == Some(id), "cron {name} does not name task {id}");
        require!("I22", entry.frame == frame, "cron {name} fires another task than its own");
        require!("W", !entry.paused, "cron {name} fires {id} while it is paused");
        if let Some(last) = before.and_then(|before| before.task) {
            require!(
                "D10",
                self.task(last).row.is_end(),
                "cron {name} fires {id} while {last} runs"
            );
        }
        self.crons.fires.0 += 1;
        self.crons.fires.1 += u32::from(owed > 0);
        self.crons.entries.insert(name.to_owned(), entry);
    }

    pub(super) fn on_cron_gone(&mut self, name: &str) {
        let known = self.crons.entries.remove(name);
        require!("I03", known.is_some(), "cron {name} is removed and was not there");
    }

    /// A batch ends: every fire has its line.
    pub(super) fn all_fires_are_written(&self) {
        require!(
            "D11",
            self.crons.fired.is_empty(),
            "fires without a line: {:?}",
            self.crons.fired
        );
    }

    /// How often periodic tasks fired, and how often they did what they had owed.
    pub(crate) fn fires(&self) -> (u32, u32) {
        self.crons.fires
    }
}
