//! The store's own thread: it commits turn after turn, and looks after the store in between, so that
//! a slow disk or network never holds up a socket.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::server::clock::wall_ms;
use crate::server::engine::Turn;
use crate::store::{Error, Status, Store};

/// How often the store is asked how it is, and swept.
const STATUS: Duration = Duration::from_secs(1);

/// What comes back from the store's thread.
#[derive(Debug)]
pub enum Done {
    /// A turn is durable.
    Turn(Turn),
    /// The store told how it is.
    Status(Status),
    /// The store cannot go on.
    Failed(Error),
}

/// The engine's end of the store's thread.
#[derive(Debug)]
pub struct Keeper {
    turns: Option<SyncSender<Turn>>,
    /// What comes back.
    pub done: mpsc::Receiver<Done>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Those of starting a thread.
    pub fn start(store: Box<dyn Store>) -> std::io::Result<Self> {
        let (turns, to_commit) = sync_channel(1);
        let (answers, done) = mpsc::channel(4);
        let keep = move || keep(store, &to_commit, &answers);
        let thread = std::thread::Builder::new().name("ganger-store".into()).spawn(keep)?;
        Ok(Self { turns: Some(turns), done, thread: Some(thread) })
    }

    /// Hands a turn over; there is never more than one.
    pub fn commit(&self, turn: Turn) {
        if let Some(turns) = &self.turns {
            // If the thread is gone it has told why, and that is read next.
            let _ = turns.try_send(turn);
        }
    }

    /// Ends the thread after what it has, and closes the store.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn close(mut self) -> Result<(), Error> {
        self.turns = None;
        self.done.close();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(Error::Unavailable("the store's thread has panicked".into())),
        }
    }
}

fn keep(
    mut store: Box<dyn Store>,
    turns: &Receiver<Turn>,
    answers: &mpsc::Sender<Done>,
) -> Result<(), Error> {
    let mut looked = now();
    loop {
        let left = STATUS.saturating_sub(looked.elapsed());
        let turn =
            if left.is_zero() { Err(RecvTimeoutError::Timeout) } else { turns.recv_timeout(left) };
        let done = match turn {
            Ok(mut turn) => turn.commit(store.as_mut()).map(|()| Done::Turn(turn)),
            Err(RecvTimeoutError::Timeout) => {
                looked = now();
                look_after(store.as_mut()).map(Done::Status)
            }
            Err(RecvTimeoutError::Disconnected) => return store.close(),
        };
        let failed = done.is_err();
        let gone = answers.blocking_send(done.unwrap_or_else(Done::Failed)).is_err();
        if failed {
            return Ok(());
        }
        if gone {
            return store.close();
        }
    }
}

fn look_after(store: &mut dyn Store) -> Result<Status, Error> {
    store.sweep(wall_ms())?;
    store.status()
}

#[expect(clippy::disallowed_methods, reason = "the store's upkeep is no business of the core")]
fn now() -> Instant {
    Instant::now()
}
