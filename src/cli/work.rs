//! `ganger work`.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::command::{self, Heard};
use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::peer::{PeerSettings, block_on};
use super::ranges;
use super::signals::{Signals, Told};
use super::values;
use crate::client::{self, Stopped, Task, Weight, WorkerBuilder};
use crate::frame::Decimal;
use crate::protocol::hello::{HEARTBEAT_MS, PRICE_MAX};
use crate::protocol::parse::SLOTS;

/// The exit code of a command by which it says that it could not work now: sysexits' EX_TEMPFAIL.
const TEMPORARY: i32 = 75;

/// What is said when it is told to stop.
const FINISHING: &[u8] = b"finishing what runs; Ctrl-C again stops it\n";

/// Pieces of what commands say that wait to be handed on.
const HEARD: usize = 64;

/// Works for a scheduler: runs a command for each task. The task's payload is the command's stdin, its
/// stdout the result. Exit code 0 is success, 75 gives the task back unrun, any other fails the
/// attempt with the last lines of stderr.
///
/// The command finds GANGER_TASK_ID, GANGER_ATTEMPT, GANGER_KIND, GANGER_QUEUE and, if the task has
/// one, GANGER_KEY in its environment. A cancelled run gets SIGTERM, and SIGKILL 5 s later. Ctrl-C lets
/// the runs finish; a second one stops them and gives their tasks back. A worker that is killed by
/// SIGKILL leaves them behind: they go on until they end, and their tasks are run again.
#[derive(Debug, Args)]
pub(super) struct Work {
    #[command(flatten)]
    settings: WorkSettings,

    #[command(flatten)]
    peer: PeerSettings,

    /// The command, run as it is, without a shell
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What a worker is.
#[derive(Clone, Debug, Args)]
pub(super) struct WorkSettings {
    /// Kinds of tasks that the command can do, or `*` for every kind
    #[arg(long, value_name = "KINDS", env = "GANGER_KINDS", hide_env_values = true)]
    #[arg(value_delimiter = ',', value_parser = values::name_or_all)]
    kinds: Vec<String>,

    /// Queues to serve [default: all]
    #[arg(long, value_name = "QUEUES", env = "GANGER_QUEUES", hide_env_values = true)]
    #[arg(value_delimiter = ',', value_parser = values::name_or_all)]
    queues: Vec<String>,

    /// What the worker has, for tasks that need it
    #[arg(long, value_name = "TAGS", env = "GANGER_TAGS", hide_env_values = true)]
    #[arg(value_delimiter = ',', value_parser = values::name)]
    tags: Vec<String>,

    /// What the worker has for tasks that take up amounts of it: cpu:4,mem:8000
    #[arg(long, value_name = "AMOUNTS", env = "GANGER_RES", hide_env_values = true)]
    #[arg(value_delimiter = ',', value_parser = values::amount)]
    res: Vec<(String, u64)>,

    /// Name; one that stays the same keeps a worker its keys [default: host and process]
    #[arg(long, value_name = "NAME", env = "GANGER_NAME", hide_env_values = true)]
    #[arg(value_parser = values::name)]
    name: Option<String>,

    /// Commands to run at once
    #[arg(long, value_name = "N", env = "GANGER_SLOTS", hide_env_values = true)]
    #[arg(default_value = "1", value_parser = ranges::number::<u32>(SLOTS))]
    slots: u32,

    /// Share of the tasks under the weighted routes, 0 to 100
    #[arg(long, value_name = "WEIGHT", env = "GANGER_WEIGHT", hide_env_values = true)]
    #[arg(default_value = "1", value_parser = weight)]
    weight: Weight,

    /// What an hour of this worker costs, for the statistics
    #[arg(long, value_name = "PRICE", env = "GANGER_PRICE", hide_env_values = true)]
    #[arg(default_value = "0", value_parser = price)]
    price: f64,

    /// How soon the scheduler wonders whether a silent worker is alive, 1s to 60s
    #[arg(long, value_name = "DURATION", env = "GANGER_HEARTBEAT", hide_env_values = true)]
    #[arg(default_value = "15s", value_parser = ranges::duration(HEARTBEAT_MS))]
    heartbeat: Duration,
}

fn weight(text: &str) -> Result<Weight, String> {
    Weight::parse(text).ok_or_else(|| "give 0 to 100 with up to three decimals".to_owned())
}

fn price(text: &str) -> Result<f64, String> {
    let most = Decimal::whole(PRICE_MAX).value();
    let read = text.parse().ok().filter(|price| (0.0..=most).contains(price));
    read.ok_or_else(|| format!("give a number from 0 to {PRICE_MAX}"))
}

impl Work {
    pub(super) fn run(self, output: &Arc<Output>) -> Outcome {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Failure::usage("give a command behind --"));
        };
        if !command::is_there(program) {
            return Err(Failure::usage(format!("there is no command {}", program.display())));
        }
        let (hurry, hurried) = watch::channel(false);
        let (heard, said) = mpsc::channel(HEARD);
        let runner = Arc::new(Runner {
            program: program.clone(),
            arguments: arguments.to_vec(),
            hurried,
            heard: heard.clone(),
        });
        let builder = self.settings.apply(self.peer.worker())?;
        let builder = builder.handle_any(move |task| {
            let runner = runner.clone();
            async move { runner.run(&task).await }
        });
        block_on(async {
            let saying = hand_on(said, output.clone());
            let failure = |error| self.peer.failure(error);
            work(builder, hurry, heard, saying, failure).await
        })
    }
}

/// Hands on to stderr what commands say, on a thread of its own: a reader that pauses holds up what
/// they say, and not the worker's signs of life.
fn hand_on(mut said: mpsc::Receiver<Vec<u8>>, output: Arc<Output>) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        while let Some(words) = said.blocking_recv() {
            output.talk(&words);
        }
    })
}

/// Works until it is stopped by a signal, drained or superseded, and all is said.
async fn work(
    builder: WorkerBuilder,
    hurry: watch::Sender<bool>,
    heard: Heard,
    saying: JoinHandle<()>,
    failure: impl Fn(client::Error) -> Failure,
) -> Outcome {
    let mut signals = Signals::catch().map_err(|error| Failure::machine(error.to_string()))?;
    let worker = builder.build()?;
    let stopper = worker.stopper();
    let mut working = Box::pin(worker.run());
    let mut told = 0;
    let stopped = loop {
        tokio::select! {
            stopped = &mut working => break stopped,
            signal = signals.next() => {
                told += 1;
                stopper.stop(Duration::MAX);
                match (told, signal) {
                    (1, Told::Interrupt) => {
                        // If more is waiting to be said than is heard, nobody looks.
                        let _ = heard.try_send(FINISHING.into());
                    }
                    (1, Told::Terminate) => {}
                    (2, _) => drop(hurry.send(true)),
                    // What still runs is killed with the future.
                    _ => return Ok(Exit::Interrupted),
                }
            }
        }
    };
    drop((working, heard));
    tokio::select! {
        said = saying => said.map_err(|error| Failure::machine(error.to_string()))?,
        _ = signals.next() => {}
    }
    match stopped.map_err(failure)? {
        Stopped::Superseded => {
            let text = "another worker has come under the same name";
            Err(Failure::new(Exit::Refused, text))
        }
        // Whoever stopped or drained it knows why.
        _ => Ok(if told > 1 { Exit::Interrupted } else { Exit::Done }),
    }
}

impl WorkSettings {
    fn apply(self, builder: WorkerBuilder) -> Result<WorkerBuilder, Failure> {
        if self.kinds.is_empty() {
            let hint = "--kinds resize,encode, or --kinds '*' for every kind";
            return Err(Failure::usage("say which kinds the command can do").hint(hint));
        }
        let everything = |names: &[String]| names.iter().any(|name| name == "*");
        let builder = builder
            .slots(self.slots)
            .weight(self.weight)
            .price(self.price)
            .tags(self.tags)
            .res(self.res)
            .heartbeat(self.heartbeat);
        let builder = match everything(&self.kinds) {
            true => builder,
            false => builder.kinds(self.kinds),
        };
        let builder = match self.queues.is_empty() || everything(&self.queues) {
            true => builder,
            false => builder.queues(self.queues),
        };
        Ok(match self.name {
            Some(name) => builder.name(name),
            None => builder,
        })
    }
}

/// Runs the command for a task.
struct Runner {
    program: OsString,
    arguments: Vec<OsString>,
    /// Turns true when runs are to be stopped.
    hurried: watch::Receiver<bool>,
    heard: Heard,
}

impl Runner {
    async fn run(&self, task: &Task) -> Result<Vec<u8>, client::Failure> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env("GANGER_TASK_ID", task.id().to_string())
            .env("GANGER_ATTEMPT", task.attempt().to_string())
            .env("GANGER_KIND", task.kind())
            .env("GANGER_QUEUE", task.queue());
        match task.key() {
            Some(key) => command.env("GANGER_KEY", &*key),
            None => command.env_remove("GANGER_KEY"),
        };
        let mut hurried = self.hurried.clone();
        let stop = async {
            tokio::select! {
                reason = task.cancelled() => {
                    tracing::info!(task = %task.id(), reason, "the run is stopped");
                }
                _ = hurried.wait_for(|hurried| *hurried) => {}
            }
        };
        let ended = command::run(command, Some(task.payload()), Some(&self.heard), stop).await;
        let ended = ended.map_err(|error| {
            client::Failure::new(format!("{} cannot be run: {error}", self.program.display()))
        })?;
        if ended.too_much {
            return Err(client::Failure::fatal(ended.failure()));
        }
        match ended.status.code() {
            Some(0) => Ok(ended.stdout),
            Some(TEMPORARY) => Err(client::Failure::release(Duration::ZERO)),
            // Stopped by us, not by a fault of its own.
            _ if ended.stopped => Err(client::Failure::release(Duration::ZERO)),
            _ => Err(client::Failure::new(ended.failure())),
        }
    }
}
