//! Following what happens.

use std::time::Duration;

use serde_json::Value;

use super::error::Error;
use super::link::{self, Address, Link};
use crate::message::{EventFilter, Request};
use crate::protocol::answer::{Accepted, Event};
use crate::protocol::{Answer, put_request};

/// Something that an observer is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Observed {
    /// Something happened to a task, or a worker came or went.
    Event(Event),
    /// Events with the numbers from the first to the last were missed.
    Gap(u64, u64),
    /// The figures, as [`Client::stats`](super::Client::stats) gives them.
    Stats(Value),
}

/// What happens, as it happens; made by [`Client::events`](super::Client::events). It has a connection of
/// its own, which ends with it, and goes on after a lost one where that ended.
#[derive(Debug)]
pub struct Events {
    link: Link,
    filter: EventFilter,
    patience: Duration,
    /// Whether the connection of now was told what is wanted.
    asked: bool,
}

impl Events {
    pub(super) async fn open(
        address: Address,
        filter: EventFilter,
        patience: Duration,
    ) -> Result<Self, Error> {
        let (connection, _) = address.open().await?;
        let link = Link::over(address, connection);
        let mut events = Self { link, filter, patience, asked: false };
        events.ask()?;
        // What is wrong with the filter is told before anything else.
        while !events.asked {
            match events.link.answer()? {
                Some(answer) => drop(events.take(answer)?),
                None => events.wait().await?,
            }
        }
        Ok(events)
    }

    /// The next thing to be told. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the scheduler is away for longer than the client's patience,
    /// [`Error::Refused`] and [`Error::Protocol`] as every call. Nothing comes after an error.
    pub async fn next(&mut self) -> Result<Observed, Error> {
        loop {
            match self.link.answer()? {
                Some(answer) => {
                    if let Some(observed) = self.take(answer)? {
                        return Ok(observed);
                    }
                }
                None => self.wait().await?,
            }
        }
    }

    /// Where to go on after the last thing told: `from` of a later filter.
    pub fn next_seq(&self) -> u64 {
        self.filter.from.unwrap_or_default()
    }

    async fn wait(&mut self) -> Result<(), Error> {
        match self.link.next().await {
            link::Event::Moved => Ok(()),
            link::Event::Up(_) => self.ask(),
            link::Event::Down(error) => {
                tracing::info!(%error, "the connection to the scheduler is lost");
                self.asked = false;
                Ok(())
            }
            link::Event::Unreachable(error) => {
                let patient = self.link.down_for().is_none_or(|down| down < self.patience);
                if patient { Ok(()) } else { Err(error) }
            }
            link::Event::Refused(error) => Err(error),
        }
    }

    fn ask(&mut self) -> Result<(), Error> {
        let request = Request::Events(Some(Box::new(self.filter.clone())));
        if let Some(outbox) = self.link.outbox() {
            put_request(&request, outbox)?;
            self.link.push();
        }
        Ok(())
    }

    fn take(&mut self, answer: Answer) -> Result<Option<Observed>, Error> {
        match answer {
            Answer::Ok(accepted) => self.begin(&accepted)?,
            Answer::Err(rejected) => return Err(rejected.into()),
            Answer::Event(event) => {
                self.filter.from = Some(event.seq.saturating_add(1));
                return Ok(Some(Observed::Event(event)));
            }
            Answer::Gap(from, to) => {
                self.filter.from = Some(to.saturating_add(1));
                return Ok(Some(Observed::Gap(from, to)));
            }
            Answer::Stats(json) => {
                let stats = serde_json::from_slice(&json);
                let wrong = |error| Error::Protocol(format!("the figures are no JSON: {error}"));
                return stats.map(|stats| Some(Observed::Stats(stats))).map_err(wrong);
            }
            // Not for observers, or of a later version.
            _ => {}
        }
        Ok(None)
    }

    fn begin(&mut self, accepted: &Accepted) -> Result<(), Error> {
        let lacking = || Error::Protocol("the OK to EVENTS lacks next".to_owned());
        let next = accepted.number("next").ok_or_else(lacking)?;
        self.filter.from.get_or_insert(next);
        self.asked = true;
        Ok(())
    }
}
