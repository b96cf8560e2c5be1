//! Somebody who follows all events.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use tokio::task::JoinHandle;

use super::link::Link;
use super::load::Shape;
use crate::message::Role;

/// How an observer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pace {
    /// All that there is to read, at once
    Fast,
    /// 64 KiB at most every tenth of a second
    Slow,
}

impl Pace {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Slow => "slow",
        }
    }
}

/// Long enough that a slow observer is always behind.
const REST: Duration = Duration::from_millis(100);

/// Has an observer follow until the handle is dropped with the runtime, or the connection ends.
pub(super) async fn follow(addr: SocketAddr, shape: &Shape, pace: Pace) -> Result<JoinHandle<()>> {
    let mut link = Link::dial(addr, &shape.hello(Role::Operator, 1, 1)).await?;
    link.out.extend_from_slice(b"EVENTS\n");
    link.request().await.context("EVENTS")?;
    Ok(tokio::spawn(async move {
        while link.exchange().await.is_ok() {
            link.inbox.clear();
            if pace == Pace::Slow {
                tokio::time::sleep(REST).await;
            }
        }
    }))
}
