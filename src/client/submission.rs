//! A task to be handed in.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::error::Error;
use crate::frame::Decimal;
use crate::message::{AfterFailure, Code, Refusal, Start};
use crate::protocol::{self, Attempts};
use crate::task::TaskId;

/// A task to be handed in: what it is, what to work on, and how to treat it.
///
/// What is not set is left to the scheduler. Values out of range are refused by the scheduler, and
/// texts that no frame can hold by the library, when the task is submitted.
///
/// ```
/// use std::time::Duration;
/// use ganger::client::Submission;
///
/// let thumbnail = Submission::new("resize", "photo-17.jpg 200x200")
///     .queue("photos")
///     .key("user-42")
///     .expires(Duration::from_secs(3600))
///     .attempts(3)
///     .unique("photo-17");
/// # let _ = thumbnail;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a submission does nothing until it is submitted"]
pub struct Submission {
    kind: Cow<'static, str>,
    payload: Bytes,
    queue: Option<Cow<'static, str>>,
    key: Option<Cow<'static, str>>,
    after: Vec<TaskId>,
    after_failure: Option<AfterFailure>,
    serial: bool,
    needs: Vec<Cow<'static, str>>,
    res: Vec<(Cow<'static, str>, u64)>,
    unique: Option<Cow<'static, str>>,
    trace: Option<Cow<'static, str>>,
    start: Start,
    expires_ms: Option<u64>,
    timeout_ms: Option<u64>,
    max_run_ms: Option<u64>,
    attempts: Option<Attempts>,
    backoff_ms: Option<u64>,
    unique_for_ms: Option<u64>,
    result_ttl_ms: Option<u64>,
    priority: Option<Decimal>,
    weight: Option<Decimal>,
    time_ms: Option<u64>,
    resource: Option<Decimal>,
}

impl Submission {
    /// A task of a kind, with the bytes that its worker gets.
    pub fn new(kind: impl Into<Cow<'static, str>>, payload: impl Into<Bytes>) -> Self {
        Self {
            kind: kind.into(),
            payload: payload.into(),
            queue: None,
            key: None,
            after: Vec::new(),
            after_failure: None,
            serial: false,
            needs: Vec::new(),
            res: Vec::new(),
            unique: None,
            trace: None,
            start: Start::Now,
            expires_ms: None,
            timeout_ms: None,
            max_run_ms: None,
            attempts: None,
            backoff_ms: None,
            unique_for_ms: None,
            result_ttl_ms: None,
            priority: None,
            weight: None,
            time_ms: None,
            resource: None,
        }
    }

    /// The same task with other bytes to work on.
    pub fn with_payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The queue it waits in; `default` if none is named.
    pub fn queue(mut self, queue: impl Into<Cow<'static, str>>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// What it belongs to: tasks of one key go to one worker if their queue routes by key. 1 to 256
    /// bytes.
    pub fn key(mut self, key: impl Into<Cow<'static, str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// What it takes up of its worker while it runs: 1 to 8 names with amounts from 1 to 10¹². Only a
    /// worker that has so much gets it, and only while so much is free.
    pub fn res<N: Into<Cow<'static, str>>>(
        mut self,
        amounts: impl IntoIterator<Item = (N, u64)>,
    ) -> Self {
        self.res = amounts.into_iter().map(|(name, amount)| (name.into(), amount)).collect();
        self
    }

    /// Waits until all of these are done: 1 to 250 tasks of the same scheduler. What has ended long ago
    /// and is no longer kept counts as done.
    pub fn after(mut self, tasks: impl IntoIterator<Item = TaskId>) -> Self {
        self.after = tasks.into_iter().collect();
        self
    }

    /// What becomes of it if one of those that it comes after is dead or cancelled; by default it
    /// waits on. Needs [`Submission::after`].
    pub fn after_failure(mut self, after_failure: AfterFailure) -> Self {
        self.after_failure = Some(after_failure);
        self
    }

    /// Does not run beside others of its key and queue that say so too: they run one after another, in
    /// the order of their submission. One that fails keeps its turn until it is done or dead. Needs
    /// [`Submission::key`], and excludes [`Submission::priority`].
    pub fn serial(mut self) -> Self {
        self.serial = true;
        self
    }

    /// Only a worker that has all of these tags gets it: 1 to 16 names. Without such a worker it
    /// waits, and its queue shows as unroutable.
    pub fn needs<T: Into<Cow<'static, str>>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.needs = tags.into_iter().map(T::into).collect();
        self
    }

    /// Does not start before this long after its submission.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.start = Start::Delay(ms(delay));
        self
    }

    /// Does not start before this time. Takes the place of a delay.
    pub fn at(mut self, at: SystemTime) -> Self {
        self.start = Start::At(ms(at.duration_since(UNIX_EPOCH).unwrap_or_default()));
        self
    }

    /// Is cancelled this long after its submission if no worker has begun it by then.
    pub fn expires(mut self, after: Duration) -> Self {
        self.expires_ms = Some(ms(after));
        self
    }

    /// An attempt fails if it brings neither an answer nor a sign of progress for this long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout_ms = Some(ms(timeout));
        self
    }

    /// An attempt fails if it takes longer than this, whatever its progress.
    pub fn max_run(mut self, max_run: Duration) -> Self {
        self.max_run_ms = Some(ms(max_run));
        self
    }

    /// It is dead after so many failures, timeouts and losses: 1 to 1000.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(Attempts::AtMost(attempts));
        self
    }

    /// It is tried again however often it fails.
    pub fn attempts_unlimited(mut self) -> Self {
        self.attempts = Some(Attempts::Unlimited);
        self
    }

    /// The pause after the first failure; it doubles with each one.
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.backoff_ms = Some(ms(backoff));
        self
    }

    /// At most one unended task of the queue bears this text (1 to 256 bytes): a second submission
    /// gets the task that is there. Only a submission with it can be sent again safely, and is, when
    /// the connection is lost before the answer.
    pub fn unique(mut self, unique: impl Into<Cow<'static, str>>) -> Self {
        self.unique = Some(unique.into());
        self
    }

    /// How long the `unique` text stays taken after the task's end. Needs [`Submission::unique`].
    pub fn unique_for(mut self, unique_for: Duration) -> Self {
        self.unique_for_ms = Some(ms(unique_for));
        self
    }

    /// How long the result is kept; zero keeps none, and only those who watch then get it.
    pub fn result_ttl(mut self, result_ttl: Duration) -> Self {
        self.result_ttl_ms = Some(ms(result_ttl));
        self
    }

    /// In a queue ordered by priority the highest comes first: 0 to 10⁹.
    pub fn priority(mut self, priority: impl Into<Decimal>) -> Self {
        self.priority = Some(priority.into());
        self
    }

    /// In a queue ordered by priority, a task that has none given counts as weight × time ÷ resource.
    /// The weight: 0 to 10⁹, 1 by default.
    pub fn weight(mut self, weight: impl Into<Decimal>) -> Self {
        self.weight = Some(weight.into());
        self
    }

    /// How long it will take; what is measured of its kind by default.
    pub fn time(mut self, time: Duration) -> Self {
        self.time_ms = Some(ms(time));
        self
    }

    /// The resource of [`Submission::weight`]'s formula: 0.001 to 10⁹, 1 by default.
    pub fn resource(mut self, resource: impl Into<Decimal>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// A text for tracing that the worker gets to see, 1 to 256 bytes.
    pub fn trace(mut self, trace: impl Into<Cow<'static, str>>) -> Self {
        self.trace = Some(trace.into());
        self
    }

    /// Whether sending it twice is no worse than sending it once.
    pub(super) fn is_repeatable(&self) -> bool {
        self.unique.is_some()
    }

    /// Appends the SUBMIT frame, or nothing.
    pub(super) fn put(&self, watch: bool, max: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        out.reserve(self.payload.len() + 128);
        self.spelled(watch, max, |spelled| spelled.put(out))
    }

    /// Has it appended to a frame, if its payload is within the limit.
    pub(super) fn spelled(
        &self,
        watch: bool,
        max: u64,
        put: impl FnOnce(&protocol::Submission<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Error> {
        if self.payload.len() as u64 > max {
            let length = self.payload.len();
            let text = format!("a payload of {length} bytes is over the limit of {max}");
            return Err(Refusal::new(Code::TooLarge, text).into());
        }
        let spelled = protocol::Submission {
            kind: &self.kind,
            queue: self.queue.as_deref(),
            key: self.key.as_deref(),
            after: &self.after,
            after_failure: self.after_failure,
            serial: self.serial,
            res: self.res.iter().map(|(name, amount)| (&**name, *amount)).collect(),
            needs: self.needs.iter().map(|tag| &**tag).collect(),
            start: self.start,
            expires_ms: self.expires_ms,
            timeout_ms: self.timeout_ms,
            max_run_ms: self.max_run_ms,
            attempts: self.attempts,
            backoff_ms: self.backoff_ms,
            unique: self.unique.as_deref(),
            unique_for_ms: self.unique_for_ms,
            result_ttl_ms: self.result_ttl_ms,
            priority: self.priority,
            weight: self.weight,
            time_ms: self.time_ms,
            resource: self.resource,
            watch,
            trace: self.trace.as_deref(),
            payload: &self.payload,
        };
        put(&spelled).map_err(Error::from)
    }
}

/// Whole milliseconds, rounded up, so that no positive duration becomes zero.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
