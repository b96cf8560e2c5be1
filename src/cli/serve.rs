//! `ganger serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::signals::Signals;
use super::{ranges, values};
use crate::server::{Config, Server, Tokens};
use crate::store;

/// Open files that a scheduler needs beside its connections.
const FILES_BESIDE: u64 = 64;

/// Runs a scheduler.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: ServeSettings,
}

/// What a scheduler is told.
#[derive(Debug, Args)]
pub(super) struct ServeSettings {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "GANGER_LISTEN", hide_env_values = true)]
    #[arg(default_value = "127.0.0.1:7330", value_parser = values::socket)]
    listen: SocketAddr,

    /// Where tasks are kept: file:DIRECTORY, a Redis URL, or memory: (forgets them all)
    #[arg(long, value_name = "URL", env = "GANGER_STORE", hide_env_values = true)]
    #[arg(default_value = "file:ganger-data")]
    store: String,

    /// File of tokens: a token of 8 to 256 bytes, a space, and what it grants
    /// (submit,work,observe,operate) a line; # begins a remark
    #[arg(long, value_name = "FILE", env = "GANGER_TOKENS", hide_env_values = true)]
    tokens: Option<PathBuf>,

    /// Listen on addresses of other machines without tokens: whoever reaches it may do everything
    #[arg(long, value_name = "BOOL", env = "GANGER_INSECURE", hide_env_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    #[arg(default_value = "false", default_missing_value = "true")]
    insecure: bool,

    /// Largest payload and largest result, up to 64MiB
    #[arg(long, value_name = "SIZE", env = "GANGER_MAX_PAYLOAD", hide_env_values = true)]
    #[arg(default_value = "1MiB", value_parser = values::size)]
    max_payload: u64,

    /// Tasks held at once, beyond which submissions are refused as busy
    #[arg(long, value_name = "N", env = "GANGER_MAX_TASKS", hide_env_values = true)]
    #[arg(default_value = "10000000", value_parser = ranges::number::<usize>(ranges::POSITIVE))]
    max_tasks: usize,

    /// Connections at once, as far as the system's limit on open files allows
    #[arg(long, value_name = "N", env = "GANGER_MAX_CONNECTIONS", hide_env_values = true)]
    #[arg(default_value = "100000", value_parser = ranges::number::<usize>(ranges::POSITIVE))]
    max_connections: usize,

    /// How long a worker with heartbeats may be without a connection before its leases are lost
    #[arg(long, value_name = "DURATION", env = "GANGER_GRACE", hide_env_values = true)]
    #[arg(default_value = "5s", value_parser = values::duration)]
    grace: Duration,

    /// How long workers may take to come back after a start of the scheduler
    #[arg(long, value_name = "DURATION", env = "GANGER_RESTART_GRACE", hide_env_values = true)]
    #[arg(default_value = "15s", value_parser = values::duration)]
    restart_grace: Duration,

    /// Bytes of results kept, beyond which the oldest are forgotten
    #[arg(long, value_name = "SIZE", env = "GANGER_RESULT_BYTES", hide_env_values = true)]
    #[arg(default_value = "1GiB", value_parser = values::size)]
    result_bytes: u64,

    /// Go on with a database on disk that had to be repaired, or a Redis that lost tasks, rather than
    /// refuse it
    #[arg(long, value_name = "BOOL", env = "GANGER_ACCEPT_REPAIR", hide_env_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    #[arg(default_value = "false", default_missing_value = "true")]
    accept_repair: bool,

    /// Use a Redis without an append-only file: what was acknowledged is lost when it ends
    #[arg(long, value_name = "BOOL", env = "GANGER_REDIS_UNSAFE", hide_env_values = true)]
    #[arg(num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    #[arg(default_value = "false", default_missing_value = "true")]
    redis_unsafe: bool,
}

impl Serve {
    pub(super) fn run(self, output: &Output) -> Outcome {
        let config = self.settings.into_config()?;
        let store = values::redacted(&config.store);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::machine(error.to_string()))?;
        let ended = runtime.block_on(async {
            // Caught before the store is opened, so that a stop while it loads is not lost.
            let mut signals =
                Signals::catch().map_err(|error| Failure::machine(error.to_string()))?;
            // A standby starts for as long as another scheduler holds the store.
            let starting = tokio::task::spawn_blocking(move || Server::start(config));
            let server = tokio::select! {
                started = starting => started.map_err(|error| Failure::machine(error.to_string()))??,
                _ = signals.next() => {
                    output.say("stopped before it was ready");
                    return Ok(Exit::Done);
                }
            };
            announce(&server, &store, output)?;
            until_told(server, signals, output).await
        });
        // Told twice, it does not wait for what still goes on.
        runtime.shutdown_background();
        ended
    }
}

fn announce(server: &Server, store: &str, output: &Output) -> Result<(), Failure> {
    let addr = server.addr();
    if output.is_json() {
        return output.json(&json!({ "listen": addr, "store": store, "pid": std::process::id() }));
    }
    let version = env!("CARGO_PKG_VERSION");
    output.say(&format!("ganger {version} listens on {addr} and keeps tasks in {store}"));
    Ok(())
}

async fn until_told(mut server: Server, mut signals: Signals, output: &Output) -> Outcome {
    let stop = server.stopper();
    let mut ended = tokio::task::spawn_blocking(move || server.wait());
    let ended_by_itself = tokio::select! {
        ended = &mut ended => Some(ended),
        _ = signals.next() => None,
    };
    let ended = match ended_by_itself {
        Some(ended) => ended,
        None => {
            tracing::info!("stopping: the turn is finished, and workers are told");
            stop();
            tokio::select! {
                ended = ended => ended,
                _ = signals.next() => {
                    output.say("stopped at once; the next start recovers");
                    return Ok(Exit::Interrupted);
                }
            }
        }
    };
    ended.map_err(|error| Failure::machine(error.to_string()))??;
    Ok(Exit::Done)
}

impl ServeSettings {
    fn into_config(self) -> Result<Config, Failure> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let tokens = self.tokens.as_deref().map(read_tokens).transpose()?.unwrap_or_default();
        let config = Config {
            listen: self.listen,
            store: self.store,
            store_options: store::Options {
                result_cap: self.result_bytes,
                accept_repair: self.accept_repair,
                holder: holder(self.listen),
                allow_unsafe: self.redis_unsafe,
            },
            tokens,
            insecure: self.insecure,
            payload_max: self.max_payload,
            tasks_max: self.max_tasks,
            connections_max: self.max_connections,
            grace_ms: ms(self.grace),
            restart_grace_ms: ms(self.restart_grace),
            ..Config::default()
        };
        config.check().map_err(Failure::usage)?;
        Ok(Config { connections_max: allowed(config.connections_max), ..config })
    }
}

/// Names this scheduler to others on its Redis: the same after a restart, and that of no other.
fn holder(listen: SocketAddr) -> String {
    let host = gethostname::gethostname();
    let host = host.to_string_lossy();
    match listen.port() {
        // Several may ask for any free port: these take nothing over from each other at once.
        0 => format!("{host}:0-{}", std::process::id()),
        port => format!("{host}:{port}"),
    }
}

fn read_tokens(path: &std::path::Path) -> Result<Tokens, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{shown} cannot be read: {error}")))?;
    Tokens::parse(&text).map_err(|error| Failure::usage(format!("{shown}: {error}")))
}

/// How many connections the limit on open files allows, after it was raised as far as may be.
fn allowed(connections: usize) -> usize {
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(FILES_BESIDE);
    let mut limit = getrlimit(Resource::Nofile);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if !is_enough(limit.current) {
        limit.current = if is_enough(limit.maximum) { Some(needed) } else { limit.maximum };
        if setrlimit(Resource::Nofile, limit).is_err() {
            limit = getrlimit(Resource::Nofile);
        }
    }
    match limit.current {
        Some(files) if files < needed => {
            let fewer = usize::try_from(files.saturating_sub(FILES_BESIDE)).unwrap_or(connections);
            let fewer = fewer.max(1);
            tracing::warn!(
                "the limit on open files ({files}) allows {fewer} connections instead of \
                 {connections}, for each is one: raise it with ulimit -n, or LimitNOFILE= of the systemd \
                 unit, or give a lower --max-connections"
            );
            fewer
        }
        _ => connections,
    }
}
