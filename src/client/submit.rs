//! Handing tasks in: one, one and its end, many.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::client::{Client, end_of};
use super::courier::{Waiting, submitted};
use super::error::Error;
use super::outcome::{Outcome, Submitted};
use super::submission::Submission;

/// Submissions of [`Client::submit_many`] that are on their way at once.
const WINDOW: usize = 4096;

/// Submissions that go to the connection together.
const TOGETHER: usize = 256;

/// Bytes of frames that go to the connection together, unless one frame is longer.
const TOGETHER_BYTES: usize = 256 << 10;

/// A task about to be handed in; see [`Client::submit`].
#[derive(Debug)]
#[must_use = "nothing is submitted before this is awaited"]
pub struct Submit {
    client: Client,
    submission: Submission,
}

impl Submit {
    pub(super) fn new(client: Client, submission: Submission) -> Self {
        Self { client, submission }
    }

    /// Hands the task in and waits for its end; also for that of the task that is there already, if
    /// it has the same [`Submission::unique`] text.
    ///
    /// # Errors
    ///
    /// As awaiting the submission itself; once the task is durable, as [`Client::watch`].
    /// [`Error::Refused`] with `expired` if the task that is there already has ended, and its result
    /// is no longer kept.
    pub async fn watch(self) -> Result<Outcome, Error> {
        let Self { client, submission } = self;
        let frame = spelled(&client, &submission, true)?;
        let mut patience = client.patience();
        loop {
            let (reply, replied) = oneshot::channel();
            let (end, ended) = oneshot::channel();
            client.send(frame.clone(), Waiting::Submit(reply, end)).await?;
            match replied.await.unwrap_or(Err(Error::Lost)) {
                Ok(accepted) => {
                    let id = submitted(&accepted)?.id;
                    return match end_of(ended).await {
                        Ok(ended) => Ok(ended.into()),
                        Err(_) => client.watch(id).await,
                    };
                }
                Err(error) => patience.bear(error, submission.is_repeatable()).await?,
            }
        }
    }

    async fn now(self) -> Result<Submitted, Error> {
        let Self { client, submission } = self;
        let frame = spelled(&client, &submission, false)?;
        let accepted = client.ask_spelled(frame, submission.is_repeatable()).await?;
        submitted(&accepted)
    }
}

/// Awaited, hands the task in and returns once it is durable.
///
/// # Errors
///
/// [`Error::Refused`] if the scheduler (or the library, before anything is sent) does not take it,
/// [`Error::Lost`] if nobody can know whether it did, [`Error::Io`] if it was not sent.
impl IntoFuture for Submit {
    type Output = Result<Submitted, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.now())
    }
}

impl Client {
    /// Hands tasks in as fast as the scheduler takes them, and tells each one's fate, in their order.
    ///
    /// Each is taken or refused on its own. Which of them were taken before an error can be told from
    /// the errors: `Lost` may have been taken, all others were not.
    pub async fn submit_many(
        &self,
        submissions: impl IntoIterator<Item = Submission>,
    ) -> Vec<Result<Submitted, Error>> {
        let mut submissions = submissions.into_iter();
        let mut fates = Vec::with_capacity(submissions.size_hint().0);
        loop {
            let window: Vec<Submission> = submissions.by_ref().take(WINDOW).collect();
            if window.is_empty() {
                return fates;
            }
            self.submit_window(window, &mut fates).await;
        }
    }

    /// Hands in what is on its way at once, and again what can be handed in again.
    async fn submit_window(
        &self,
        window: Vec<Submission>,
        fates: &mut Vec<Result<Submitted, Error>>,
    ) {
        let start = fates.len();
        let mut patience = self.patience();
        let mut left: Vec<(usize, Submission)> = window.into_iter().enumerate().collect();
        fates.extend(left.iter().map(|_| Err(Error::Lost)));
        while !left.is_empty() {
            let round = self.submit_round(&left).await;
            let mut again = Vec::new();
            let mut worst = None;
            for ((place, submission), fate) in left.into_iter().zip(round) {
                if let Err(error) = &fate
                    && (error.is_busy()
                        || matches!(error, Error::Lost) && submission.is_repeatable())
                {
                    worst = Some(error.clone());
                    again.push((place, submission));
                }
                if let Some(at) = fates.get_mut(start + place) {
                    *at = fate;
                }
            }
            left = again;
            if let Some(error) = worst
                && patience.bear(error, true).await.is_err()
            {
                return;
            }
        }
    }

    /// Hands each in once.
    async fn submit_round(
        &self,
        submissions: &[(usize, Submission)],
    ) -> Vec<Result<Submitted, Error>> {
        let mut fates = Vec::with_capacity(submissions.len());
        let mut sent = Vec::new();
        let mut frames = Vec::new();
        let mut count = 0;
        let mut bad = Vec::new();
        for (place, (_, submission)) in submissions.iter().enumerate() {
            match submission.put(false, self.payload_max(), &mut frames) {
                Ok(()) => count += 1,
                Err(error) => bad.push((place, error)),
            }
            if count >= TOGETHER || frames.len() >= TOGETHER_BYTES {
                sent.push(self.submit_together(&mut frames, &mut count).await);
            }
        }
        if count > 0 {
            sent.push(self.submit_together(&mut frames, &mut count).await);
        }
        for (count, replied) in sent {
            let lost = || vec![Err(Error::Lost); count];
            fates.extend(replied.await.unwrap_or_else(|_| lost()));
        }
        for (place, error) in bad {
            fates.insert(place, Err(error));
        }
        fates
    }

    async fn submit_together(
        &self,
        frames: &mut Vec<u8>,
        count: &mut usize,
    ) -> (usize, oneshot::Receiver<Vec<Result<Submitted, Error>>>) {
        let (replies, replied) = oneshot::channel();
        let count = std::mem::take(count);
        let frames = Bytes::from(std::mem::take(frames));
        // If nobody takes it, the receiver tells.
        drop(self.send(frames, Waiting::Many(count, replies)).await);
        (count, replied)
    }
}

fn spelled(client: &Client, submission: &Submission, watch: bool) -> Result<Bytes, Error> {
    let mut frame = Vec::new();
    submission.put(watch, client.payload_max(), &mut frame)?;
    Ok(frame.into())
}
