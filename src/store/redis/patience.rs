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
/// Between the first two warnings about one trouble; then twice as long each time.
const WARN_FIRST: Duration = Duration::from_secs(1);
/// Between two warnings at most.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// For how long to try again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// At the start, when nothing is at stake yet: what only a person can change ends it, and so does
    /// this limit.
    Started(Option<Duration>),
    /// However long it takes: what was acknowledged may hang on it.
    Done,
}

/// Asks until there is an answer.
///
/// # Errors
///
/// What halts, or [`Error::Unavailable`] if waiting is not, or no longer, worth it.
pub(super) fn insist<T>(
    link: &mut Link,
    what: &str,
    until: Until,
    mut attempt: impl FnMut(&mut Link) -> Result<T, Failure>,
) -> Result<T, Error> {
    let mut trouble: Option<Trouble> = None;
    loop {
        let failure = match attempt(link) {
            Ok(answer) => {
                if let Some(trouble) = trouble {
                    trouble.is_over(link.place(), what);
                }
                return Ok(answer);
            }
            Err(Failure::Halt(error)) => return Err(error),
            Err(failure) => failure,
        };
        let lasting = matches!(failure, Failure::Refused(_));
        let (text, pause) = (failure.to_string(), lasting.then_some(PAUSE_REFUSED));
        link.drop_connection();
        let trouble = trouble.get_or_insert_with(Trouble::new);
        if let Until::Started(limit) = until
            && (lasting || limit.is_some_and(|limit| trouble.lasted() >= limit))
        {
            return Err(Error::Unavailable(format!("Redis at {}: {what}: {text}", link.place())));
        }
        trouble.warn(link.place(), what, &text);
        trouble.pause(pause);
    }
}

/// How long something has been going wrong.
pub(super) struct Trouble {
    since: Instant,
    /// When a warning is due; none was given yet if there is none.
    warn_at: Option<Instant>,
    warn_gap: Duration,
    pause: Duration,
}

impl Trouble {
    pub(super) fn new() -> Self {
        Self { since: now(), warn_at: None, warn_gap: WARN_FIRST, pause: Duration::ZERO }
    }

    fn lasted(&self) -> Duration {
        now().duration_since(self.since)
    }

    /// Tells it at once, and then at growing intervals.
    pub(super) fn warn(&mut self, place: &str, what: &str, text: &str) {
        let at = now();
        match self.warn_at {
            None => tracing::warn!("Redis at {place}: {what} is not done: {text}; trying again"),
            Some(due) if at >= due => {
                let seconds = self.lasted().as_secs_f64();
                tracing::warn!(
                    "Redis at {place}: {what} is not done for {seconds:.0} s: {text}; trying again"
                );
                self.warn_gap = (self.warn_gap * 2).min(WARN_EVERY);
            }
            Some(_) => return,
        }
        self.warn_at = Some(at + self.warn_gap);
    }

    /// The first time at once: a broken connection says nothing about Redis.
    fn pause(&mut self, given: Option<Duration>) {
        rest(given.unwrap_or(self.pause));
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    }

    pub(super) fn is_over(&self, place: &str, what: &str) {
        let ms = self.lasted().as_millis();
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
