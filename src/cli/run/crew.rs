//! The scheduler of a run, its workers, and the client that hands in its lines.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::super::exit::{Exit, Failure};
use super::super::picture::{list, state_of};
use super::runner::{Halt, Runner};
use super::state::random;
use crate::client::{
    Client, Code, Error, Outcome, Stopped, Stopper, Submission, TaskFilter, TaskId, Worker,
};
use crate::protocol::codec::PAYLOAD_MAX;
use crate::server::{self, Config, Server, Tokens};
use crate::task::State;

/// Leases that a worker of a scheduler of its own holds for each command that runs: the next ones are
/// there while the disk is busy with the ends of the last ones.
const AHEAD: u32 = 8;

/// How long workers may take to leave once what runs is being stopped: longer than a command that has
/// to be killed.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// Tasks of one page of a list.
const PAGE: u32 = 1000;

/// How often a task is asked about whose last run, of an interrupted run, is not given up yet.
const LOOK: Duration = Duration::from_millis(50);

/// Where the scheduler is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In this process, for this run alone.
    Own {
        /// The URL of its store.
        store: String,
    },
    /// Somewhere else, with others to serve.
    Running {
        /// Its address.
        addr: String,
        /// The secret that grants.
        token: Option<String>,
    },
}

/// How the tasks of a run are told from all others.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// What the tasks are. Of a scheduler that serves others, a kind that no other worker has.
    pub(super) kind: String,
    /// Where they wait.
    pub(super) queue: String,
    /// What the names of the workers begin with.
    pub(super) worker: String,
}

impl Names {
    /// Those for a command, and the nonce of its run.
    pub(super) fn new(command: &str, nonce: &str, place: &Place) -> Self {
        let queue = format!("run/{command}-{nonce}");
        match place {
            Place::Own { .. } => Self { kind: command.to_owned(), queue, worker: "w".to_owned() },
            Place::Running { .. } => {
                Self { kind: queue.clone(), queue, worker: format!("run-{nonce}-w") }
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Crew {
    /// Hands in the lines.
    pub(super) client: Client,
    /// What the workers do.
    pub(super) runner: Arc<Runner>,
    queue: String,
    /// Tasks of an interrupted run, which wait to be asked for again.
    leftovers: Arc<HashSet<TaskId>>,
    workers: JoinSet<Result<Stopped, Error>>,
    stoppers: Vec<Stopper>,
    halt: watch::Sender<Halt>,
    scheduler: Option<Scheduler>,
    /// Whether the scheduler has others to serve.
    is_shared: bool,
}

/// A scheduler in this process.
#[derive(Debug)]
struct Scheduler {
    stop: Stop,
    ended: JoinHandle<Result<(), server::Error>>,
}

/// Tells it to stop.
struct Stop(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stop")
    }
}

impl Crew {
    /// Starts a scheduler, if there is to be one, and connects the client. No worker is there yet.
    ///
    /// # Errors
    ///
    /// If the scheduler cannot be started or reached.
    pub(super) async fn gather(
        place: &Place,
        names: &Names,
        goes_on: bool,
        runner: Runner,
        halt: watch::Sender<Halt>,
        workers: usize,
    ) -> Result<Self, Failure> {
        let (addr, token, scheduler) = match place {
            Place::Own { store } => start_scheduler(store)?,
            Place::Running { addr, token } => (addr.clone(), token.clone(), None),
        };
        let builder = Client::builder().name("run").patience(Duration::MAX);
        let builder = match &token {
            Some(token) => builder.token(token),
            None => builder,
        };
        let client = builder.connect(&addr).await.map_err(|error| match error {
            Error::Io(cause) => {
                Failure::new(Exit::Unreachable, format!("no scheduler answers at {addr}: {cause}"))
            }
            error => error.into(),
        })?;
        // Before any worker is there: what is not in the input any more is not to be run.
        let leftovers =
            if goes_on { withdraw(&client, &names.queue).await? } else { HashSet::new() };
        let mut crew = Self {
            client,
            runner: Arc::new(runner),
            queue: names.queue.clone(),
            leftovers: Arc::new(leftovers),
            workers: JoinSet::new(),
            stoppers: Vec::new(),
            halt,
            scheduler,
            is_shared: matches!(place, Place::Running { .. }),
        };
        let slots = if crew.is_shared { 1 } else { AHEAD };
        for worker in 0..workers {
            crew.add_worker(worker, slots, &addr, token.as_deref(), names)?;
        }
        Ok(crew)
    }

    fn add_worker(
        &mut self,
        number: usize,
        slots: u32,
        addr: &str,
        token: Option<&str>,
        names: &Names,
    ) -> Result<(), Failure> {
        let builder = Worker::builder(addr)
            .name(format!("{}{}", names.worker, number + 1))
            .slots(slots)
            .queues([&names.queue]);
        let builder = match token {
            Some(token) => builder.token(token),
            None => builder,
        };
        let runner = self.runner.clone();
        let worker = builder.handle(&names.kind, move |task| {
            let runner = runner.clone();
            async move { runner.run(&task).await }
        });
        let worker = worker.build()?;
        self.stoppers.push(worker.stopper());
        self.workers.spawn(worker.run());
        Ok(())
    }

    /// Waits until one of the workers has left.
    ///
    /// # Errors
    ///
    /// If it should not have left, or the scheduler has.
    pub(super) async fn changed(&mut self) -> Result<(), Failure> {
        let Self { workers, scheduler, halt, .. } = self;
        let scheduler_ended = async {
            match scheduler {
                Some(scheduler) => (&mut scheduler.ended).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(stopped) = workers.join_next() => {
                let stopped = stopped.map_err(|error| Failure::machine(error.to_string()))??;
                if *halt.borrow() == Halt::Not {
                    let text = format!("a worker of this run has left: {stopped:?}");
                    return Err(Failure::new(Exit::Refused, text));
                }
                Ok(())
            }
            ended = scheduler_ended => {
                self.scheduler = None;
                ended.map_err(|error| Failure::machine(error.to_string()))??;
                Err(Failure::machine("the scheduler has ended"))
            }
        }
    }

    /// Whether all workers have left.
    pub(super) fn is_gone(&self) -> bool {
        self.workers.is_empty()
    }

    /// Has the workers begin nothing new, or stop what runs too, and leave.
    pub(super) fn halt(&self, halt: Halt) {
        let limit = if halt == Halt::Stop { STOP_LIMIT } else { Duration::MAX };
        for stopper in &self.stoppers {
            stopper.stop(limit);
        }
        self.halt.send_if_modified(|now| {
            let further = halt > *now;
            *now = halt.max(*now);
            further
        });
    }

    /// What the client is told from now on has come after all that was told to it before.
    pub(super) async fn catch_up(&self) {
        // The answer is of no interest; a scheduler that is gone tells nothing more.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.client.queues()).await;
    }

    /// Hands a line's task in, or finds it, and waits for its end.
    pub(super) fn see_through(
        &self,
        submission: Submission,
    ) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
        let (client, leftovers) = (self.client.clone(), self.leftovers.clone());
        async move {
            match client.submit(submission).watch().await? {
                Outcome::Cancelled { id, .. } if leftovers.contains(&id) => {
                    while let Err(error) = client.retry(id).await {
                        if error.code() != Some(Code::Running) {
                            return Err(error);
                        }
                        // Its last run is that of a worker that was killed; it is given up soon.
                        tokio::time::sleep(LOOK).await;
                    }
                    client.watch(id).await
                }
                ended => Ok(ended),
            }
        }
    }

    /// Ends it all: what still runs is stopped, and what others are not to find is taken back.
    ///
    /// # Errors
    ///
    /// Those of the scheduler.
    pub(super) async fn disband(mut self, finished: bool) -> Result<(), Failure> {
        self.halt(Halt::Stop);
        while self.workers.join_next().await.is_some() {}
        if self.is_shared && !finished {
            let withdrawn = withdraw(&self.client, &self.queue);
            let withdrawn = tokio::time::timeout(STOP_LIMIT, withdrawn).await;
            let late = || Failure::new(Exit::Unreachable, "the scheduler does not answer");
            drop(withdrawn.map_err(|_| late())??);
        }
        if let Some(scheduler) = self.scheduler.take() {
            scheduler.stop.0();
            let ended = scheduler.ended.await;
            ended.map_err(|error| Failure::machine(error.to_string()))??;
        }
        Ok(())
    }
}

/// A scheduler for this run alone. Nobody else on this machine is to feed it commands, so it has a
/// token that nobody else knows.
fn start_scheduler(store: &str) -> Result<(String, Option<String>, Option<Scheduler>), Failure> {
    let token = format!("{:032x}", random());
    let grants = format!("{token} submit,work,observe,operate");
    let mut server = Server::start(Config {
        listen: ([127, 0, 0, 1], 0).into(),
        store: store.to_owned(),
        tokens: Tokens::parse(&grants).map_err(Failure::machine)?,
        payload_max: PAYLOAD_MAX,
        // Its workers live and die with it: there is none to wait for.
        restart_grace_ms: 0,
        ..Config::default()
    })?;
    let addr = server.addr().to_string();
    let stop = Stop(Box::new(server.stopper()));
    let ended = tokio::task::spawn_blocking(move || server.wait());
    Ok((addr, Some(token), Some(Scheduler { stop, ended })))
}

/// Cancels all tasks of a queue that have not ended; those that are cancelled now.
async fn withdraw(client: &Client, queue: &str) -> Result<HashSet<TaskId>, Failure> {
    let queue = Some(queue.to_owned());
    let mut filter = TaskFilter { queue, limit: PAGE, ..TaskFilter::default() };
    let mut withdrawn = HashSet::new();
    loop {
        let page = client.tasks(&filter).await?;
        let mut cancels = JoinSet::new();
        for task in list(&page, "tasks") {
            let id = task.get("id").and_then(serde_json::Value::as_str);
            let id = id.and_then(|id| TaskId::parse(id.as_bytes()));
            match id.zip(state_of(task)) {
                None | Some((_, State::Done | State::Dead)) => {}
                Some((id, State::Cancelled)) => drop(withdrawn.insert(id)),
                Some((id, State::Ready | State::Scheduled | State::Blocked | State::Leased)) => {
                    let client = client.clone();
                    cancels.spawn(async move { (id, client.cancel(id).await) });
                }
            }
        }
        while let Some(Ok((id, cancelled))) = cancels.join_next().await {
            match cancelled {
                Ok(()) => drop(withdrawn.insert(id)),
                // It has ended meanwhile: its end is told to whoever asks for it.
                Err(error) if error.code() == Some(Code::Ended) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match page.get("next").and_then(serde_json::Value::as_u64) {
            Some(next) => filter.cursor = next,
            None => return Ok(withdrawn),
        }
    }
}
