//! Trying again until it is known: pauses that grow, and one warning in a while.

use std::time::{Duration, Instant};

use super::connect::{Link, now};
use super::failure::Failure;
use crate::store::Error;

/// The first pause; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The pause while Redis refuses us by configuration: a password, a permission.
const PAUSE_REFUSED: Duration = Duration::from_secs(3);
/// Between two warnings about one trouble.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Asks until there is an answer, for ever or for so long.
///
/// # Errors
///
/// What halts, or [`Error::Unavailable`] when the time is over.
pub(super) fn insist<T>(
    link: &mut Link,
    what: &str,
    limit: Option<Duration>,
    mut attempt: impl FnMut(&mut Link) -> Result<T, Failure>,
) -> Result<T, Error> {
    let mut trouble: Option<Trouble> = None;
    loop {
        let (text, pause) = match attempt(link) {
            Ok(answer) => {
                if let Some(trouble) = trouble {
                    trouble.is_over(link.place(), what);
                }
                return Ok(answer);
            }
            Err(Failure::Halt(error)) => return Err(error),
            Err(Failure::NoScript) => ("it forgets scripts at once".to_owned(), None),
            Err(Failure::Refused(text)) => (text, Some(PAUSE_REFUSED)),
            Err(Failure::NotDone(text) | Failure::Unknown(text)) => (text, None),
        };
        link.drop_connection();
        let trouble = trouble.get_or_insert_with(Trouble::new);
        if limit.is_some_and(|limit| now().duration_since(trouble.since) >= limit) {
            return Err(Error::Unavailable(format!("Redis at {}: {what}: {text}", link.place())));
        }
        trouble.warn(link.place(), what, &text);
        trouble.pause(pause);
    }
}

/// How long something has been going wrong.
struct Trouble {
    since: Instant,
    warned: Option<Instant>,
    pause: Duration,
}

impl Trouble {
    fn new() -> Self {
        Self { since: now(), warned: None, pause: Duration::ZERO }
    }

    fn warn(&mut self, place: &str, what: &str, text: &str) {
        let at = now();
        if self.warned.is_none_or(|warned| at.duration_since(warned) >= WARN_EVERY) {
            self.warned = Some(at);
            let ms = at.duration_since(self.since).as_millis();
            tracing::warn!(
                "Redis at {place}: {what} is not done for {ms} ms: {text}; trying again"
            );
        }
    }

    /// The first time at once: a broken connection says nothing about Redis.
    fn pause(&mut self, given: Option<Duration>) {
        rest(given.unwrap_or(self.pause));
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    }

    fn is_over(&self, place: &str, what: &str) {
        let ms = now().duration_since(self.since).as_millis();
        tracing::info!("Redis at {place}: {what} is done after {ms} ms of trouble");
    }
}

/// Lets time pass between two attempts.
#[expect(clippy::disallowed_methods, reason = "Redis tells nobody when it is well again")]
pub(super) fn rest(pause: Duration) {
    if !pause.is_zero() {
        std::thread::sleep(pause);
    }
}
