//! The shell around the core: sockets, the clock, the store's thread.
//!
//! - [`config`]: what a server is told. [`tokens`]: who may do what.
//! - [`engine`]: the turn, without any I/O. `run`: the loop that drives it.
//! - [`keeper`]: the store's thread. [`load`]: from its records to a core.
//! - `intake`: what programs leave in the store's inbox.
//! - `listener`, `session` with its `batch`es, `outbox`, `directory`: connections.
//! - [`clock`]: the only reader of the clocks.
//!
//! Everything but the store runs on one thread with a current-thread runtime: a frame that arrives
//! is parsed, applied, rendered and written without ever changing threads.

mod batch;
pub mod clock;
pub mod config;
mod directory;
pub mod engine;
mod intake;
pub mod keeper;
mod listener;
pub mod load;
mod observers;
mod outbox;
mod run;
mod session;
pub mod tokens;

use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc as sync_mpsc;
use std::thread::JoinHandle;

use rand::RngExt;
use tokio::sync::{mpsc, oneshot};

use crate::core::{Core, Settings};
use crate::server::clock::Clock;
use crate::server::directory::Directory;
use crate::server::engine::Engine;
use crate::server::intake::Intake;
use crate::server::keeper::Keeper;
use crate::server::run::{Commits, Loop};
use crate::server::session::Shared;
use crate::store::{self, Store};

pub use config::Config;
pub use tokens::Tokens;

/// Batches that wait for the engine; a session that has another one to hand over waits with it, and
/// is not read meanwhile.
const INBOX: usize = 256;

/// Bytes that may wait for one peer whatever waits for others, beside a few of the largest payloads.
const OUTBOX: usize = 64 << 20;

/// Bytes that may wait for all peers together before those are given up for whom more waits than
/// that.
const BACKLOG: usize = 1 << 30;

/// A running scheduler. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

/// Why a scheduler did not start, or could not go on.
#[derive(Debug)]
pub enum Error {
    /// A setting that cannot be.
    Config(String),
    /// The address cannot be listened on.
    Listen(SocketAddr, std::io::Error),
    /// A thread or the runtime cannot be started.
    System(std::io::Error),
    /// The store.
    Store(store::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(text) => f.write_str(text),
            Self::Listen(addr, error) => write!(f, "cannot listen on {addr}: {error}"),
            Self::System(error) => write!(f, "cannot start: {error}"),
            Self::Store(error) => write!(f, "the store is {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl Server {
    /// Starts a scheduler on a thread of its own. Returns when it listens: the store is open and what
    /// it held is loaded.
    ///
    /// # Errors
    ///
    /// [`Error`]: what kept it from starting, and what to do.
    pub fn start(config: Config) -> Result<Self, Error> {
        config.check().map_err(Error::Config)?;
        let (ready, started) = sync_mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let run = move || run(config, &ready, stopped);
        let thread = std::thread::Builder::new().name("ganger".into());
        let thread = thread.spawn(run).map_err(Error::System)?;
        match started.recv() {
            Ok(addr) => Ok(Self { addr, stop: Some(stop), thread: Some(thread) }),
            // It ended before it was ready: its result says why.
            Err(_) => match join(thread) {
                Err(error) => Err(error),
                Ok(()) => Err(Error::Config("the scheduler was stopped while it started".into())),
            },
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Tells it to stop, from anywhere: [`Server::wait`] returns soon after.
    pub fn stopper(&mut self) -> impl FnOnce() + Send + 'static {
        let stop = self.stop.take();
        move || {
            if let Some(stop) = stop {
                let _ = stop.send(());
            }
        }
    }

    /// Waits until it has ended, by itself or by a [`Server::stopper`].
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store could not go on.
    pub fn wait(mut self) -> Result<(), Error> {
        let stop = self.stop.take();
        let ended = self.thread.take().map_or(Ok(()), join);
        drop(stop);
        ended
    }

    /// Stops it: it finishes its turn, tells the workers that it will be back, and ends.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store could not be closed.
    pub fn stop(mut self) -> Result<(), Error> {
        self.stopper()();
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = join(thread);
        }
    }
}

fn join(thread: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    // A panic there has aborted the process.
    thread.join().unwrap_or(Ok(()))
}

/// The scheduler's thread. A panic on it is a broken invariant: what is in memory cannot be trusted,
/// so the process ends and the next one recovers from the store.
fn run(
    config: Config,
    ready: &sync_mpsc::Sender<SocketAddr>,
    stop: oneshot::Receiver<()>,
) -> Result<(), Error> {
    catch_unwind(AssertUnwindSafe(|| open_and_serve(config, ready, stop))).unwrap_or_else(|_| {
        tracing::error!("an invariant is broken: the process aborts, and its next start recovers");
        std::process::abort()
    })
}

fn open_and_serve(
    config: Config,
    ready: &sync_mpsc::Sender<SocketAddr>,
    stop: oneshot::Receiver<()>,
) -> Result<(), Error> {
    let mut store = store::open(&config.store, &config.store_options)?;
    let mut clock = Clock::new();
    let engine = load_engine(&config, store.as_mut(), &mut clock)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Error::System)?.block_on(async {
        let listener = listener::listen(config.listen);
        let listener = listener.map_err(|error| Error::Listen(config.listen, error))?;
        let addr = listener.local_addr().map_err(Error::System)?;
        let intake = Intake::new(config.payload_max);
        if let Some(bell) = store.bell() {
            intake.hear(bell).map_err(Error::System)?;
        }
        let commits = if config.store == "memory:" {
            Commits::Inline(store, 0)
        } else {
            Commits::Thread(Keeper::start(store).map_err(Error::System)?)
        };
        let directory = Arc::new(Directory::default());
        let (sender, inbox) = mpsc::channel(INBOX);
        let payload_max = config.payload_max;
        let shared = Arc::new(Shared { tokens: config.tokens, payload_max, inbox: sender });
        let bounds = listener::Bounds {
            connections: config.connections_max,
            outbox: OUTBOX + 4 * usize::try_from(payload_max).unwrap_or(OUTBOX),
            backlog: BACKLOG,
        };
        let accept = listener::accept(listener, directory.clone(), shared, bounds);
        let accepting = tokio::spawn(accept);
        let engine_loop = Loop { engine, clock, inbox, intake, directory, stop };
        // A task like those of the sessions that wake it: the future that the runtime is entered with
        // is polled only after another look at the sockets, two system calls for each turn.
        let running = tokio::spawn(engine_loop.run(commits));
        let _ = ready.send(addr);
        let ended = running.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => unreachable!("nobody aborts the engine"),
        });
        accepting.abort();
        ended.map_err(Error::from)
    })
}

fn load_engine(config: &Config, store: &mut dyn Store, clock: &mut Clock) -> Result<Engine, Error> {
    let settings = Settings {
        tasks_max: config.tasks_max,
        grace_ms: config.grace_ms,
        restart_grace_ms: config.restart_grace_ms,
        payload_max: config.payload_max,
        events: store.wants_events(),
        ..Settings::default()
    };
    let seed = config.seed.unwrap_or_else(draw_seed);
    let mut engine = Engine::new(Core::new(settings, seed, clock.now()), config.payload_max);
    let loaded = load::load(store, engine.core_mut(), &mut || clock.resume())?;
    engine.restored(clock.resume(), loaded.last);
    Ok(engine)
}

#[expect(clippy::disallowed_methods, reason = "the one random number that the core begins with")]
fn draw_seed() -> u64 {
    rand::rng().random()
}
