//! SUBMIT, spelled.

use bytes::BufMut;

use crate::frame::{Decimal, HEADER_MAX, Writer};
use crate::message::amounts::spell_amounts;
use crate::message::{AfterFailure, Code, Refusal, Start};
use crate::protocol::ask::{check_amounts, check_name, check_text};
use crate::task::TaskId;

/// A task to be submitted. What is `None` is left to the scheduler's defaults; see protocol.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission<'a> {
    /// What it is.
    pub kind: &'a str,
    /// Where it waits.
    pub queue: Option<&'a str>,
    /// What it belongs to.
    pub key: Option<&'a str>,
    /// The tasks that it comes after.
    pub after: &'a [TaskId],
    /// What becomes of it if one of those is dead or cancelled.
    pub after_failure: Option<AfterFailure>,
    /// Tasks of its key and queue run one at a time.
    pub serial: bool,
    /// The tags that its worker must have.
    pub needs: Vec<&'a str>,
    /// What it takes up while it runs.
    pub res: Vec<(&'a str, u64)>,
    /// When it may start.
    pub start: Start,
    /// Milliseconds from submission after which it is cancelled unless it was leased.
    pub expires_ms: Option<u64>,
    /// Milliseconds without a sign of progress after which a lease ends.
    pub timeout_ms: Option<u64>,
    /// Milliseconds after which a lease ends in any case.
    pub max_run_ms: Option<u64>,
    /// How many failures, timeouts and losses make it dead.
    pub attempts: Option<Attempts>,
    /// The first backoff in milliseconds.
    pub backoff_ms: Option<u64>,
    /// At most one unended task of the queue bears it.
    pub unique: Option<&'a str>,
    /// How long `unique` is held after the end, in milliseconds.
    pub unique_for_ms: Option<u64>,
    /// How long the result is kept, in milliseconds.
    pub result_ttl_ms: Option<u64>,
    /// Under the order `priority`: the highest first.
    pub priority: Option<Decimal>,
    /// Under the order `priority`: without one, weight × time ÷ resource.
    pub weight: Option<Decimal>,
    /// How long it will take, in milliseconds.
    pub time_ms: Option<u64>,
    /// See `weight`.
    pub resource: Option<Decimal>,
    /// Whether RESULT is pushed to the submitter at the end.
    pub watch: bool,
    /// Free text for tracing, handed on to the worker.
    pub trace: Option<&'a str>,
    /// Handed to the worker as it is.
    pub payload: &'a [u8],
}

/// A bound on failures, timeouts and losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempts {
    /// 1 to 1000.
    AtMost(u32),
    /// None at all.
    Unlimited,
}

impl<'a> Submission<'a> {
    /// A task with every option left to its default.
    pub const fn new(kind: &'a str, payload: &'a [u8]) -> Self {
        Self {
            kind,
            queue: None,
            key: None,
            after: &[],
            after_failure: None,
            serial: false,
            needs: Vec::new(),
            res: Vec::new(),
            start: Start::Now,
            expires_ms: None,
            timeout_ms: None,
            max_run_ms: None,
            attempts: None,
            backoff_ms: None,
            unique: None,
            unique_for_ms: None,
            result_ttl_ms: None,
            priority: None,
            weight: None,
            time_ms: None,
            resource: None,
            watch: false,
            trace: None,
            payload,
        }
    }

    /// Appends the SUBMIT frame.
    ///
    /// # Errors
    ///
    /// The refusal that the scheduler would give, for a kind or queue that is no name and a text that
    /// is empty, over 256 bytes, or holds control characters; and [`Code::TooLarge`] if the header is.
    /// Nothing is appended then.
    pub fn put(&self, out: &mut impl BufMut) -> Result<(), Refusal> {
        check_name("kind", self.kind)?;
        self.queue.map_or(Ok(()), |queue| check_name("queue", queue))?;
        self.needs.iter().try_for_each(|tag| check_name("tag", tag))?;
        check_amounts(&self.res)?;
        for (name, text) in self.texts() {
            text.map_or(Ok(()), |text| check_text(name, text))?;
        }
        if self.needs.is_empty() && self.res.is_empty() && self.after.is_empty() {
            // Without a list, the longest of everything fits.
            self.write(out);
            return Ok(());
        }
        let mut frame = Vec::with_capacity(self.payload.len() + 256);
        self.write(&mut frame);
        if memchr::memchr(b'\n', &frame).is_none_or(|end| end >= HEADER_MAX) {
            let text = "more tags or tasks than a header holds";
            return Err(Refusal::new(Code::TooLarge, text));
        }
        out.put_slice(&frame);
        Ok(())
    }

    fn write(&self, out: &mut impl BufMut) {
        let mut line = Writer::verb(out, "SUBMIT").arg(self.kind);
        if let Some(queue) = self.queue {
            line = line.option("queue", queue);
        }
        if !self.after.is_empty() {
            let ids: Vec<String> = self.after.iter().map(TaskId::to_string).collect();
            line = line.option("after", &ids.join(","));
        }
        if let Some(after_failure) = self.after_failure {
            line = line.option("after-failure", after_failure.word());
        }
        if self.serial {
            line = line.option("serial", "yes");
        }
        if !self.res.is_empty() {
            line = line.option("res", &spell_amounts(&self.res));
        }
        if !self.needs.is_empty() {
            line = line.option("needs", &self.needs.join(","));
        }
        line = match self.start {
            Start::Now => line,
            Start::Delay(ms) => line.option_number("delay", ms),
            Start::At(ms) => line.option_number("at", ms),
        };
        line = match self.attempts {
            None => line,
            Some(Attempts::AtMost(bound)) => line.option_number("attempts", u64::from(bound)),
            Some(Attempts::Unlimited) => line.option("attempts", "none"),
        };
        let numbers = [
            ("expires", self.expires_ms),
            ("timeout", self.timeout_ms),
            ("max-run", self.max_run_ms),
            ("backoff", self.backoff_ms),
            ("unique-for", self.unique_for_ms),
            ("result-ttl", self.result_ttl_ms),
            ("time", self.time_ms),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                line = line.option_number(name, number);
            }
        }
        let decimals =
            [("priority", self.priority), ("weight", self.weight), ("resource", self.resource)];
        for (name, decimal) in decimals {
            if let Some(decimal) = decimal {
                line = line.option(name, &decimal.to_string());
            }
        }
        for (name, text) in self.texts() {
            if let Some(text) = text {
                line = line.option(name, text);
            }
        }
        if self.watch {
            line = line.option("watch", "yes");
        }
        line.payload(self.payload);
    }

    fn texts(&self) -> [(&'static str, Option<&'a str>); 3] {
        [("key", self.key), ("unique", self.unique), ("trace", self.trace)]
    }
}
