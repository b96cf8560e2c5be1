//! So many at once, in the order of the input as far as what waits is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::task::TaskId;

/// Gives out turns, each with a number.
#[derive(Debug)]
pub(super) struct Turns {
    count: usize,
    places: Mutex<Places>,
}

#[derive(Debug)]
struct Places {
    free: BTreeSet<usize>,
    /// Identifiers rise with the lines, so the first one here is that of the first line. A task may be
    /// here twice, if its first lease was lost: those who came are told apart by a count.
    waiting: BTreeMap<(TaskId, u64), oneshot::Sender<usize>>,
    came: u64,
}

/// A turn; it is over when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    /// Which of the turns at a time it is, from 0.
    pub(super) number: usize,
}

impl Turns {
    /// So many at once.
    pub(super) fn new(count: usize) -> Self {
        let places = Places { free: (0..count).collect(), waiting: BTreeMap::new(), came: 0 };
        Self { count, places: Mutex::new(places) }
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.count.saturating_sub(self.places().free.len())
    }

    /// Waits for the turn of a task. Dropping the future gives it up.
    pub(super) async fn take(&self, id: TaskId) -> Turn<'_> {
        let mut waiting = {
            let mut places = self.places();
            if let Some(number) = places.free.pop_first() {
                return Turn { turns: self, number };
            }
            let (sender, turn) = oneshot::channel();
            places.came += 1;
            let came = places.came;
            places.waiting.insert((id, came), sender);
            Waiting { turns: self, turn }
        };
        match (&mut waiting.turn).await {
            Ok(number) => Turn { turns: self, number },
            // Senders are dropped with the turns only, which are borrowed here.
            Err(_) => std::future::pending().await,
        }
    }

    /// Hands a number to the first who still waits.
    fn give(&self, mut number: usize) {
        let mut places = self.places();
        while let Some((_, sender)) = places.waiting.pop_first() {
            match sender.send(number) {
                Ok(()) => return,
                Err(unwanted) => number = unwanted,
            }
        }
        places.free.insert(number);
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.give(self.number);
    }
}

/// Somebody who waits. Dropped with a turn that was handed over meanwhile, it passes that on.
struct Waiting<'a> {
    turns: &'a Turns,
    turn: oneshot::Receiver<usize>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turn.close();
        if let Ok(number) = self.turn.try_recv() {
            self.turns.give(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn id(number: u64) -> TaskId {
        TaskId::from_bits(number)
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_first_line_that_waits_is_next() {
        let turns = Turns::new(1);
        let Poll::Ready(turn) = poll(pin!(turns.take(id(1)))) else { panic!("it is free") };
        let (mut third, mut second) = (pin!(turns.take(id(3))), pin!(turns.take(id(2))));
        assert!(poll(third.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        assert_eq!((turn.number, turns.taken()), (0, 1));
        drop(turn);
        assert!(poll(third.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_ready());
        assert!(poll(third.as_mut()).is_ready());
        assert_eq!(turns.taken(), 0);
    }

    #[test]
    fn a_turn_that_is_given_up_is_passed_on() {
        let turns = Turns::new(1);
        let Poll::Ready(turn) = poll(pin!(turns.take(id(1)))) else { panic!("it is free") };
        let mut third = pin!(turns.take(id(3)));
        {
            // One that leaves before it is handed a turn, and one that leaves with it.
            let mut left = Box::pin(turns.take(id(0)));
            let mut second = Box::pin(turns.take(id(2)));
            assert!(poll(left.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
            assert!(poll(third.as_mut()).is_pending());
            drop(left);
            drop(turn);
        }
        assert!(poll(third.as_mut()).is_ready());
        assert_eq!(turns.taken(), 0);
    }
}
