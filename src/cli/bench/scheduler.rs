//! The scheduler under measurement: one that is running, or one that is started for the purpose,
//! with its store.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::link::Link;
use super::load::Shape;
use super::options::Options;
use super::process::Process;
use super::scratch::Scratch;
use super::usage;
use crate::frame::Writer;
use crate::message::{Order, Role, Route};

/// A scheduler, and the Redis that was started for it.
pub(super) struct Scheduler {
    addr: SocketAddr,
    /// What is counted as the scheduler of `--connect`.
    told: Vec<u32>,
    started: Option<Started>,
}

/// The fields end in their order: the scheduler before what it writes to.
struct Started {
    process: Process,
    program: PathBuf,
    store: String,
    limit: Duration,
    redis: Option<Process>,
    scratch: Scratch,
}

impl Scheduler {
    /// Starts what the options ask for; returns when it listens.
    pub(super) async fn start(options: &Options) -> Result<Self> {
        if let Some(addr) = options.connect {
            return Ok(Self { addr, told: options.pid.clone(), started: None });
        }
        let scratch = Scratch::new()?;
        let limit = Duration::from_secs(options.limit);
        let (store, redis) = match options.store.as_str() {
            "file:" => (format!("file:{}", scratch.path().join("store").display()), None),
            "redis" => {
                let (redis, url) = start_redis(&scratch, limit).await?;
                (url, Some(redis))
            }
            url => (url.to_owned(), None),
        };
        let program = options.program.clone().map_or_else(std::env::current_exe, Ok)?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (process, addr) = serve(&program, &store, any, limit).await?;
        let started = Started { process, program, store, limit, redis, scratch };
        Ok(Self { addr, told: Vec::new(), started: Some(started) })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The processes that count as the scheduler.
    pub(super) fn pids(&self) -> Vec<u32> {
        match &self.started {
            None => self.told.clone(),
            Some(started) => {
                let redis = started.redis.as_ref().map(Process::pid);
                std::iter::once(started.process.pid()).chain(redis).collect()
            }
        }
    }

    /// Whether a killed one comes back with its tasks.
    pub(super) fn is_restartable(&self) -> bool {
        self.started.as_ref().is_some_and(|started| started.store != "memory:")
    }

    /// Bytes of the files in the directory that was made for it; `None` if they are elsewhere.
    pub(super) fn disk_bytes(&self) -> Option<u64> {
        let started = self.started.as_ref()?;
        let bytes = usage::bytes_below(started.scratch.path());
        (bytes > 0).then_some(bytes)
    }

    /// Kills it as a crash would; what it writes to stays.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.started.as_mut().context("it was not started here")?.process.kill()
    }

    /// Starts it again at its address, by which a store may know it; returns when it listens.
    pub(super) async fn start_again(&mut self) -> Result<()> {
        let started = self.started.as_mut().context("it was not started here")?;
        let serving = serve(&started.program, &started.store, self.addr, started.limit);
        (started.process, self.addr) = serving.await?;
        Ok(())
    }

    /// How many of its tasks are in a state.
    pub(super) async fn count(&self, shape: &Shape, state: &str) -> Result<u64> {
        let mut link = self.operator(shape).await?;
        Writer::verb(&mut link.out, "STATS").end();
        let stats: Value = serde_json::from_slice(&link.request().await.context("STATS")?)?;
        let count = stats.get("tasks").and_then(|tasks| tasks.get(state)).and_then(Value::as_u64);
        count.with_context(|| format!("STATS counts no {state} tasks: {stats}"))
    }

    /// Sets in which order tasks of the run's queue are done, and how they find their workers.
    pub(super) async fn set_policy(
        &self,
        shape: &Shape,
        (order, route): (Option<Order>, Option<Route>),
    ) -> Result<()> {
        let Some(queue) = &shape.queue else { bail!("the default queue is left as it is") };
        let mut link = self.operator(shape).await?;
        let mut frame = Writer::verb(&mut link.out, "QUEUE").arg(queue);
        if let Some(order) = order {
            frame = frame.option("order", order.word());
        }
        if let Some(route) = route {
            frame = frame.option("route", route.word());
        }
        frame.end();
        link.request().await.context("QUEUE")?;
        Ok(())
    }

    async fn operator(&self, shape: &Shape) -> Result<Link> {
        Link::dial(self.addr, &shape.hello(Role::Operator, 0, 1)).await
    }
}

async fn serve(
    program: &PathBuf,
    store: &str,
    listen: SocketAddr,
    limit: Duration,
) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(program);
    command.args(["serve", "--store", store, "--listen", &listen.to_string()]);
    Process::start("the scheduler", &mut command, limit, listening).await
}

/// The address in the line in which a scheduler says where it listens.
fn listening(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("listen")?;
    let words = after.split(|c: char| c.is_whitespace() || c == '=');
    words.map(|word| word.trim_end_matches(['.', ',', ';'])).find_map(|word| word.parse().ok())
}

/// Starts a Redis as a careful operator would run it: every write in its append-only file, which is
/// synced every second.
async fn start_redis(scratch: &Scratch, limit: Duration) -> Result<(Process, String)> {
    // Free a moment ago; whoever took it since makes Redis end, and the run with it.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let dir = scratch.path().join("redis");
    std::fs::create_dir(&dir)?;
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "everysec", "--dir"]).arg(dir);
    let ready = |line: &str| line.contains("Ready to accept connections").then_some(());
    let (redis, ()) = Process::start("redis-server", &mut command, limit, ready).await?;
    Ok((redis, format!("redis://127.0.0.1:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_where_one_is_told() {
        let expected = Some(SocketAddr::from(([127, 0, 0, 1], 4711)));
        for line in [
            "listening on 127.0.0.1:4711",
            "2026-11-20T11:00:00Z  INFO ganger: listening addr=127.0.0.1:4711 store=memory:",
            "ganger 0.1.0 listens on 127.0.0.1:4711.",
        ] {
            assert_eq!(listening(line), expected, "{line}");
        }
        assert_eq!(listening("connected to 127.0.0.1:6379"), None);
    }
}
