//! A periodic task to be added.

use std::borrow::Cow;
use std::time::Duration;

use super::error::Error;
use super::submission::{Submission, ms};
use crate::protocol::put_cron_add;

/// A periodic task to be added with [`super::Client::add_cron`]: what it is called, when it fires, and the
/// task that each fire submits.
///
/// ```
/// use std::time::Duration;
/// use ganger::client::{Cron, Submission};
///
/// let report = Submission::new("report", "sales").attempts(3);
/// let nightly = Cron::at("nightly-report", "30 2 * * 1-5", report)
///     .tz("Europe/Berlin")
///     .missed_none();
/// let sync = Cron::every("sync", Duration::from_secs(90), Submission::new("sync", ""));
/// # let _ = (nightly, sync);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a periodic task does nothing until it is added"]
pub struct Cron {
    name: Cow<'static, str>,
    task: Submission,
    plan: Vec<(&'static str, Cow<'static, str>)>,
}

impl Cron {
    /// One that fires as a cron expression of five fields says (`30 2 * * 1-5`, or `@hourly`,
    /// `@daily`, `@weekly`, `@monthly`, `@yearly`), in UTC unless [`Cron::tz`] says otherwise.
    pub fn at(
        name: impl Into<Cow<'static, str>>,
        schedule: impl Into<Cow<'static, str>>,
        task: Submission,
    ) -> Self {
        Self { name: name.into(), task, plan: vec![("schedule", schedule.into())] }
    }

    /// One that fires every so often from now on, at least a second apart.
    pub fn every(name: impl Into<Cow<'static, str>>, interval: Duration, task: Submission) -> Self {
        let every = ms(interval).to_string().into();
        Self { name: name.into(), task, plan: vec![("every", every)] }
    }

    /// The time zone whose clocks the expression means: `Europe/Berlin`.
    pub fn tz(self, zone: impl Into<Cow<'static, str>>) -> Self {
        self.with("tz", zone.into())
    }

    /// What falls due while the task of the last fire has not ended is fired when it has; by default it
    /// is passed over.
    pub fn overlap_queue(self) -> Self {
        self.with("overlap", "queue".into())
    }

    /// What falls due while the scheduler is down is not fired; by default one fire stands for all of
    /// it.
    pub fn missed_none(self) -> Self {
        self.with("missed", "none".into())
    }

    fn with(mut self, option: &'static str, value: Cow<'static, str>) -> Self {
        self.plan.retain(|(given, _)| *given != option);
        self.plan.push((option, value));
        self
    }

    /// Appends the CRON ADD frame, or nothing.
    pub(super) fn put(&self, max: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        let plan: Vec<_> = self.plan.iter().map(|(option, value)| (*option, &**value)).collect();
        self.task.spelled(false, max, |task| put_cron_add(&self.name, &plan, task, out))
    }
}
