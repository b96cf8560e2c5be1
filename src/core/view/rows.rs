//! The rows of pictures, as they are spelled: members in the order of their names.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::core::queues::Counts;
use crate::task::{Attempt, SessionId, TaskId};

/// Rows that are made one by one as they are written; once.
pub(super) struct Rows<I>(RefCell<Option<I>>);

impl<I> Rows<I> {
    pub(super) fn new(rows: I) -> Self {
        Self(RefCell::new(Some(rows)))
    }
}

impl<I: Iterator<Item: Serialize>> Serialize for Rows<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.borrow_mut().take().into_iter().flatten())
    }
}

#[derive(Serialize)]
#[serde(bound = "I: Iterator<Item: Serialize>")]
pub(super) struct QueueList<I> {
    pub(super) queues: Rows<I>,
}

#[derive(Serialize)]
pub(super) struct QueueRow<'a> {
    pub(super) aging: f64,
    pub(super) alpha: f64,
    pub(super) configured: bool,
    pub(super) key_limit: Option<u32>,
    pub(super) kinds: Vec<&'a str>,
    pub(super) limit: Option<u32>,
    pub(super) name: &'a str,
    pub(super) order: &'static str,
    pub(super) paused: bool,
    pub(super) rate: Option<f64>,
    pub(super) route: &'static str,
    pub(super) spill_ms: Option<u64>,
    pub(super) tasks: Counts,
    pub(super) unroutable: bool,
    pub(super) weight: f64,
}

#[derive(Serialize)]
#[serde(bound = "I: Iterator<Item: Serialize>")]
pub(super) struct WorkerList<I> {
    pub(super) workers: Rows<I>,
}

#[derive(Serialize)]
pub(super) struct WorkerRow<'a> {
    pub(super) heartbeat_ms: Option<u64>,
    pub(super) held: Amounts<'a>,
    pub(super) host: &'a str,
    pub(super) kinds: Option<&'a [String]>,
    pub(super) leased: usize,
    pub(super) name: &'a str,
    pub(super) pid: u64,
    pub(super) queues: Option<&'a [String]>,
    pub(super) res: Amounts<'a>,
    pub(super) saved: bool,
    #[serde(serialize_with = "as_text")]
    pub(super) session: SessionId,
    pub(super) since_ms: u64,
    pub(super) slots: u32,
    pub(super) state: &'static str,
    pub(super) superseded: bool,
    pub(super) tags: &'a [String],
    pub(super) unanswered: usize,
    pub(super) weight: f64,
}

/// Amounts by name.
#[derive(Serialize)]
pub(super) struct Amounts<'a>(BTreeMap<&'a str, u64>);

impl<'a> Amounts<'a> {
    pub(super) fn new(amounts: impl Iterator<Item = (&'a str, u64)>) -> Self {
        Self(amounts.collect())
    }
}

#[derive(Serialize)]
pub(super) struct TaskList<'a> {
    pub(super) next: Option<u32>,
    pub(super) tasks: Vec<TaskRow<'a>>,
}

/// A task; what does not concern it is left out.
#[derive(Default, Serialize)]
pub(in crate::core) struct TaskRow<'a> {
    pub(super) age_ms: u64,
    pub(super) attempt: Attempt,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cron: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) due_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ended_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<&'a str>,
    #[serde(serialize_with = "as_text")]
    pub(super) id: TaskId,
    pub(super) kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) percent: Option<u8>,
    pub(super) queue: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) running_ms: Option<u64>,
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) straggler: Option<bool>,
    pub(super) used: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waiting_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) worker: Option<&'a str>,
}

fn as_text<S: Serializer>(id: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}
