//! The store's own thread: it commits turn after turn, and looks after the store in between, so that
//! a slow disk or network never holds up a socket.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::server::clock::wall_ms;
use crate::server::engine::Turn;
use crate::store::inbox::{Bite, Found};
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
    /// What the store found in its inbox.
    Entries(Vec<Found>),
    /// The store cannot go on.
    Failed(Error),
}

/// What the store's thread is to do.
#[derive(Debug)]
enum Order {
    Commit(Turn),
    Look(Bite),
}

/// The engine's end of the store's thread.
#[derive(Debug)]
pub struct Keeper {
    orders: Option<SyncSender<Order>>,
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
        let (orders, to_do) = sync_channel(2);
        let (answers, done) = mpsc::channel(4);
        let keep = move || keep(store, &to_do, &answers);
        let thread = std::thread::Builder::new().name("ganger-store".into()).spawn(keep)?;
        Ok(Self { orders: Some(orders), done, thread: Some(thread) })
    }

    /// Hands a turn over; there is never more than one.
    pub fn commit(&self, turn: Turn) {
        self.order(Order::Commit(turn));
    }

    /// Has the inbox looked into; there is never more than one look.
    pub fn look(&self, bite: Bite) {
        self.order(Order::Look(bite));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // If the thread is gone it has told why, and that is read next.
            let _ = orders.try_send(order);
        }
    }

    /// Ends the thread after what it has, and closes the store.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn close(mut self) -> Result<(), Error> {
        self.orders = None;
        self.done.close();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(Error::Unavailable("the store's thread has panicked".into())),
        }
    }
}

fn keep(
    mut store: Box<dyn Store>,
    orders: &Receiver<Order>,
    answers: &mpsc::Sender<Done>,
) -> Result<(), Error> {
    let mut looked = now();
    loop {
        let left = STATUS.saturating_sub(looked.elapsed());
        let order =
            if left.is_zero() { Err(RecvTimeoutError::Timeout) } else { orders.recv_timeout(left) };
        let done = match order {
            Ok(Order::Commit(mut turn)) => turn.commit(store.as_mut()).map(|()| Done::Turn(turn)),
            Ok(Order::Look(bite)) => store.entries(bite).map(Done::Entries),
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
