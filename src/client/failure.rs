//! What a handler returns when it has no result.

use std::fmt;
use std::time::Duration;

use super::submission::ms;

/// Why a handler has no result, and what is to become of the task.
///
/// Every error becomes one that is tried again after the task's backoff, so that `?` works in
/// handlers:
///
/// ```
/// use std::time::Duration;
/// use ganger::client::{Failure, Task};
///
/// async fn handle(task: Task) -> Result<Vec<u8>, Failure> {
///     let payload = task.payload();
///     let text = std::str::from_utf8(&payload).map_err(|_| Failure::fatal("not UTF-8"))?;
///     let number: u64 = text.parse()?;
///     if number == 0 {
///         return Err(Failure::new("not there yet").retry_after(Duration::from_secs(60)));
///     }
///     Ok(number.to_string().into_bytes())
/// }
/// # let _ = handle;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub(super) text: String,
    pub(super) next: Next,
}

/// What becomes of a task without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Backoff,
    After(u64),
    Never,
    Released(u64),
}

impl Failure {
    /// An attempt that failed; the task is tried again after its backoff, if it has attempts left.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), next: Next::Backoff }
    }

    /// A task that trying again does not help: it is dead.
    pub fn fatal(text: impl Into<String>) -> Self {
        Self { text: text.into(), next: Next::Never }
    }

    /// No failure at all: the task goes back unrun, to another worker if there is one, and not before
    /// the delay. It uses no attempt up.
    pub fn release(delay: Duration) -> Self {
        Self { text: String::new(), next: Next::Released(ms(delay)) }
    }

    /// Tried again after this instead of the task's backoff; at most a day.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.next = Next::After(ms(delay));
        self
    }
}

impl<E: std::error::Error> From<E> for Failure {
    /// The error with its sources, to be tried again after the task's backoff.
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
