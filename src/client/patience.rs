//! Whether a call that came to nothing is made again.

use std::time::Duration;

use tokio::time::Instant;

use super::error::Error;
use super::link::jitter;

/// The pause where a busy scheduler names none.
const PAUSE: Duration = Duration::from_millis(100);

/// How much longer one call is tried.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// When it ends; known from the first failure on.
    until: Option<Instant>,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, until: None }
    }

    /// Returns when the call is to be made again: at once if it was lost and can be repeated, after
    /// the pause that a busy scheduler asked for and up to half of it more, so that those who were
    /// sent away together do not come back together.
    ///
    /// # Errors
    ///
    /// The error, if trying again is of no use, not safe, or would take too long.
    pub(super) async fn bear(&mut self, error: Error, is_repeatable: bool) -> Result<(), Error> {
        let pause = match &error {
            Error::Lost if is_repeatable => Duration::ZERO,
            Error::Refused(refused) if error.is_busy() => {
                refused.retry.unwrap_or(PAUSE).mul_f64(jitter(1.0, 1.5))
            }
            _ => return Err(error),
        };
        let now = Instant::now();
        let far = Duration::from_secs(u32::MAX.into());
        let until = *self.until.get_or_insert_with(|| now + self.limit.min(far));
        if now + pause > until {
            return Err(error);
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }
}
