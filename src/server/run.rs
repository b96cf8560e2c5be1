//! The engine's loop: select, apply, commit, deliver, observe.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::core::{Event, Peer};
use crate::server::batch::Batch;
use crate::server::clock::Clock;
use crate::server::directory::Directory;
use crate::server::engine::{Engine, Turn};
use crate::server::intake::Intake;
use crate::server::keeper::{Done, Keeper};
use crate::store::inbox::Found;
use crate::store::{Error, Store};

/// Events of one turn beyond which no further batch is taken in, so that no turn takes long.
const EVENTS_MAX: usize = 16_384;

/// The loop wakes at least so often: the clock wants to be read, and the wall clock may be set.
const TICK: Duration = Duration::from_millis(500);

/// How soon observers who had no room are looked at again.
const OBSERVERS: Duration = Duration::from_millis(20);

/// How long the last words to the peers may take when the scheduler stops.
const FAREWELL: Duration = Duration::from_millis(500);

/// What the loop works with.
pub(super) struct Loop {
    /// The core and its turns.
    pub(super) engine: Engine,
    /// The clocks.
    pub(super) clock: Clock,
    /// What the sessions tell.
    pub(super) inbox: mpsc::Receiver<Batch>,
    /// What programs leave in the store.
    pub(super) intake: Intake,
    /// Who is connected.
    pub(super) directory: Arc<Directory>,
    /// Says that the scheduler is to stop.
    pub(super) stop: oneshot::Receiver<()>,
}

/// Where commits are made.
pub(super) enum Commits {
    /// At once, on the engine's own thread: a store that never blocks, and when it was swept last.
    Inline(Box<dyn Store>, u64),
    /// On the store's own thread.
    Thread(Keeper),
}

/// How often a store on the engine's own thread is swept, in milliseconds.
const SWEEP_MS: u64 = 1000;

enum Woken {
    Batch(Option<Batch>),
    Done(Option<Done>),
    Bell,
    Time,
    Stop,
}

/// Waits for a time; for no time, until everybody else had a turn: a timer would take a millisecond.
async fn rest(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}

impl Loop {
    /// Runs until it is told to stop, or the store cannot go on.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(super) async fn run(mut self, mut commits: Commits) -> Result<(), Error> {
        self.start_commit(&mut commits)?;
        self.look_for_entries(&commits);
        loop {
            match self.select(&mut commits).await {
                Woken::Batch(Some(batch)) => self.take_in(batch),
                Woken::Done(Some(done)) => self.on_done(done)?,
                Woken::Bell => self.intake.ring(),
                Woken::Time => self.apply(Event::Due),
                Woken::Batch(None) | Woken::Stop => break,
                Woken::Done(None) => {
                    return Err(Error::Unavailable("the store's thread is gone".into()));
                }
            }
            let now = self.clock.now();
            self.engine.settle(now);
            self.start_commit(&mut commits)?;
            self.look_for_entries(&commits);
            self.tell_observers();
            if let Commits::Inline(store, swept_ms) = &mut commits
                && now.wall_ms.abs_diff(*swept_ms) >= SWEEP_MS
            {
                *swept_ms = now.wall_ms;
                store.sweep(now.wall_ms)?;
            }
        }
        self.finish(commits).await
    }

    /// Waits for the first thing that happens.
    async fn select(&mut self, commits: &mut Commits) -> Woken {
        let sleep = self.sleep();
        let full = self.engine.is_full();
        let bell = self.intake.bell();
        let done = async {
            match commits {
                Commits::Inline(..) => std::future::pending().await,
                Commits::Thread(keeper) => keeper.done.recv().await,
            }
        };
        tokio::select! {
            biased;
            done = done => Woken::Done(done),
            _ = &mut self.stop => Woken::Stop,
            () = bell.notified() => Woken::Bell,
            batch = self.inbox.recv(), if !full => Woken::Batch(batch),
            () = rest(sleep), if !full => Woken::Time,
        }
    }

    /// How long until the next deadline.
    fn sleep(&mut self) -> Duration {
        let now = self.clock.now();
        let deadline = self.engine.next_deadline();
        let mono = deadline.mono_us.map(|at| Duration::from_micros(at.saturating_sub(now.mono_us)));
        let wall = deadline.wall_ms.map(|at| Duration::from_millis(at.saturating_sub(now.wall_ms)));
        let tick = if self.engine.are_observers_behind() { OBSERVERS } else { TICK };
        [mono, wall].into_iter().flatten().fold(tick, Duration::min)
    }

    /// Applies a batch, and what else has arrived, up to a turn's worth.
    fn take_in(&mut self, batch: Batch) {
        let mut taken = batch.events.len();
        self.apply_batch(batch);
        while taken < EVENTS_MAX && !self.engine.is_full() {
            let Ok(batch) = self.inbox.try_recv() else { break };
            taken += batch.events.len();
            self.apply_batch(batch);
        }
        let deadline = self.engine.next_deadline();
        let now = self.clock.now();
        if deadline.mono_us.is_some_and(|at| at <= now.mono_us)
            || deadline.wall_ms.is_some_and(|at| at <= now.wall_ms)
        {
            self.engine.apply(now, Event::Due);
        }
    }

    fn apply_batch(&mut self, batch: Batch) {
        let now = self.clock.now();
        for event in batch.events {
            let left = match event {
                Event::Left { peer } => Some(peer),
                _ => None,
            };
            self.engine.apply(now, event);
            if let Some(peer) = left {
                self.forget(peer);
            }
        }
        drop(batch.permit);
    }

    fn apply(&mut self, event: Event) {
        let now = self.clock.now();
        self.engine.apply(now, event);
    }

    fn forget(&self, peer: Peer) {
        self.directory.remove(peer);
    }

    fn on_done(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Turn(turn) => {
                if !turn.batch().inbox.taken.is_empty() {
                    self.intake.stored();
                }
                self.deliver(turn);
            }
            Done::Status(status) => {
                self.apply(Event::Pressure(status.pressure));
                self.apply(Event::Inbox(status.inbox));
                self.intake.ring();
            }
            Done::Entries(found) => self.take_entries(found),
            Done::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Applies what was found in the inbox.
    fn take_entries(&mut self, found: Vec<Found>) {
        let entries = self.intake.read(found);
        if !entries.is_empty() {
            self.apply(Event::Entries(entries));
        }
        if self.engine.takes_entries() {
            self.intake.taken();
        }
    }

    /// Has the store look into its inbox, if there may be something in it and there is room.
    fn look_for_entries(&mut self, commits: &Commits) {
        let Commits::Thread(keeper) = commits else { return };
        let has_room = self.engine.core().has_room() && !self.engine.is_full();
        if let Some(bite) = self.intake.next(has_room) {
            keeper.look(bite);
        }
    }

    /// Hands the store the next turn, if it is free.
    fn start_commit(&mut self, commits: &mut Commits) -> Result<(), Error> {
        while let Some(mut turn) = self.engine.take_turn() {
            match commits {
                _ if turn.is_idle() => self.deliver(turn),
                Commits::Inline(store, _) => {
                    turn.commit(store.as_mut())?;
                    self.deliver(turn);
                }
                Commits::Thread(keeper) => {
                    keeper.commit(turn);
                    break;
                }
            }
        }
        Ok(())
    }

    fn deliver(&mut self, turn: Turn) {
        let now = self.clock.now();
        let Self { engine, directory, .. } = self;
        directory.deliver(|out| engine.deliver(turn, now, out));
    }

    /// Tells observers what they had no room for before.
    fn tell_observers(&mut self) {
        let Self { engine, directory, .. } = self;
        if engine.are_observers_behind() {
            directory.deliver(|out| engine.tell_observers(out));
        }
    }

    /// Finishes the turn, tells the workers, and closes the store.
    async fn finish(mut self, mut commits: Commits) -> Result<(), Error> {
        self.inbox.close();
        while let Ok(batch) = self.inbox.try_recv() {
            self.apply_batch(batch);
        }
        self.apply(Event::Stop);
        let now = self.clock.now();
        self.engine.settle(now);
        self.start_commit(&mut commits)?;
        if let Commits::Thread(keeper) = &mut commits {
            while self.engine.is_committing() {
                let done = keeper.done.recv().await;
                let gone = || Error::Unavailable("the store's thread is gone".into());
                match done.ok_or_else(gone)? {
                    Done::Turn(turn) => {
                        self.deliver(turn);
                        if let Some(turn) = self.engine.take_turn() {
                            keeper.commit(turn);
                        }
                    }
                    Done::Status(_) | Done::Entries(_) => {}
                    Done::Failed(error) => return Err(error),
                }
            }
        }
        self.farewell().await;
        match commits {
            Commits::Inline(mut store, _) => store.close(),
            Commits::Thread(keeper) => keeper.close(),
        }
    }

    /// Lets the sockets take what is due, for a moment.
    async fn farewell(&self) {
        let outboxes = self.directory.outboxes();
        outboxes.iter().for_each(|outbox| outbox.end());
        let written = async {
            for outbox in outboxes {
                outbox.written().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, written).await;
    }
}
