//! From nothing to a shard that is held and read.

use super::Redis;
use super::acquire::Wait;
use super::load::{self, Kept};
use super::patience::insist;
use super::plan::Plan;
use super::shard::Shard;
use crate::store::Error;
use crate::task::TaskId;

/// States of lost tasks that one call removes.
const STRAYS: usize = 10_000;

impl Redis {
    /// Takes the shard and reads it. A standby has told nobody anything yet: where another is quicker
    /// while it cannot read, it waits again.
    pub(super) fn take_over(&mut self) -> Result<(Shard, Kept), Error> {
        let (link, options) = (&mut self.link, &self.options);
        let mut wait = Wait::new(options);
        loop {
            let shard = Shard::acquire(link, options, &mut wait)?;
            let read = insist(link, "reading", wait.until, |link| {
                load::Reader::new(link, &shard, options.lease).all()
            });
            let Err(Error::Fenced(text)) = read else { return Ok((shard, read?)) };
            // Two of one name would take it from each other for ever.
            if !wait.was_standby() || shard.holder(link)? == options.holder {
                return Err(Error::Fenced(text));
            }
            tracing::warn!("{text}; it waits again");
        }
    }

    /// Removes the state lines of tasks that are lost, if that they are was accepted: until then whoever
    /// restores the tasks needs them.
    pub(super) fn clear(&mut self, shard: &mut Shard, strays: &[TaskId]) -> Result<(), Error> {
        let (Some(first), count) = (strays.first(), strays.len()) else { return Ok(()) };
        if !self.options.accept_repair {
            tracing::error!(
                "{count} tasks are lost but for their states, from {first} on; restore them, or remove \
                 the states by --accept-repair"
            );
            return Ok(());
        }
        for part in strays.chunks(STRAYS) {
            let mut plan = Plan::default();
            plan.command("HDEL", &shard.keys.state(), part.iter().map(|&id| id.into()));
            shard.carry_out(&mut self.link, &plan, TaskId::default(), b"")?;
        }
        tracing::warn!(
            "{count} tasks are lost but for their states, from {first} on: these are removed"
        );
        Ok(())
    }
}
