//! What came of the lines, printed whole: as they end, or in the order of the input.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::exit::Failure;
use super::super::output::{Output, json_bytes};
use super::super::table::visible;
use super::runner::Ran;
use super::state::{Key, Ledger};

/// The most failures that are listed at the end.
const LISTED: usize = 20;

/// How a line ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The line.
    pub(super) line: Vec<u8>,
    /// Its name in the ledger.
    pub(super) key: Key,
    /// What its command wrote to stdout.
    pub(super) stdout: Vec<u8>,
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
    /// Its last run, if it was in this process.
    pub(super) ran: Option<Ran>,
}

impl Ended {
    /// How long its output is, in bytes.
    pub(super) fn output_len(&self) -> usize {
        self.stdout.len() + self.ran.as_ref().map_or(0, |ran| ran.stderr.len())
    }
}

/// Prints what came of lines, and notes it in the ledger.
#[derive(Debug)]
pub(super) struct Printer {
    ledger: Ledger,
    /// Lines that ended before one that stands before them; absent if the order does not matter.
    held_back: Option<BTreeMap<usize, Ended>>,
    /// The place of the next line to be printed.
    next: usize,
    ready: Vec<Ended>,
    /// Lines printed.
    printed: usize,
    /// Those that failed, for the list at the end, and how many there were.
    failures: (Vec<(String, String)>, usize),
}

impl Printer {
    pub(super) fn new(keep_order: bool, ledger: Ledger) -> Self {
        Self {
            ledger,
            held_back: keep_order.then(BTreeMap::new),
            next: 0,
            ready: Vec::new(),
            printed: 0,
            failures: (Vec::new(), 0),
        }
    }

    /// Takes the end of the line at a place, counted from 0 over all that are run.
    pub(super) fn take(&mut self, place: usize, ended: Ended) {
        let Some(held_back) = &mut self.held_back else { return self.ready.push(ended) };
        held_back.insert(place, ended);
        while let Some(ended) = held_back.remove(&self.next) {
            self.next += 1;
            self.ready.push(ended);
        }
    }

    /// Prints all that is ready, and then notes it: what a crash comes between is printed again, never
    /// left out. The number of lines that it was.
    ///
    /// # Errors
    ///
    /// Those of stdout and of the ledger.
    pub(super) fn print(&mut self, output: &Output) -> Result<usize, Failure> {
        if self.ready.is_empty() {
            return Ok(0);
        }
        let (mut data, mut said) = (Vec::new(), Vec::new());
        let mut ends = Vec::with_capacity(self.ready.len());
        for ended in self.ready.drain(..) {
            if output.is_json() {
                data.extend_from_slice(Value::Object(json(&ended)).to_string().as_bytes());
                data.push(b'\n');
            } else {
                data.extend_from_slice(&ended.stdout);
            }
            if let Some(ran) = ended.ran {
                said.extend_from_slice(&ran.stderr);
            }
            ends.push((ended.key, ended.failure.is_none()));
            if let Some(why) = ended.failure {
                self.failures.1 += 1;
                if self.failures.0.len() < LISTED {
                    let line = String::from_utf8_lossy(&ended.line);
                    self.failures.0.push((visible(&line), why));
                }
            }
        }
        output.talk(&said);
        output.data(&data)?;
        self.printed += ends.len();
        self.ledger.finish(&ends)?;
        Ok(ends.len())
    }

    /// How many lines were printed.
    pub(super) fn printed(&self) -> usize {
        self.printed
    }

    /// How many of them had failed.
    pub(super) fn failed(&self) -> usize {
        self.failures.1
    }

    /// Lists the lines that failed, with their last words.
    pub(super) fn list_failures(&self, output: &Output) {
        for (line, why) in &self.failures.0 {
            let mut words = why.lines().map(visible);
            output.say(&format!("failed: {line}: {}", words.next().unwrap_or_default()));
            words.for_each(|word| output.say(&format!("    {word}")));
        }
        let more = self.failures.1.saturating_sub(self.failures.0.len());
        if more > 0 {
            output.say(&format!("and {more} more"));
        }
    }
}

fn json(ended: &Ended) -> Map<String, Value> {
    let mut object = Map::new();
    json_bytes("line", &ended.line, &mut object);
    let state = if ended.failure.is_none() { "done" } else { "failed" };
    object.insert("state".to_owned(), state.into());
    json_bytes("stdout", &ended.stdout, &mut object);
    if let Some(why) = &ended.failure {
        object.insert("error".to_owned(), why.clone().into());
    }
    if let Some(ran) = &ended.ran {
        object.insert("worker".to_owned(), format!("w{}", ran.worker + 1).into());
        object.insert("ms".to_owned(), (ran.took.as_secs_f64() * 1000.0).into());
    }
    object
}
