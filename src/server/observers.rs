//! The last events, and those who follow them. An observer reads at its own pace: what its outbox has
//! no room for it gets from the ring later, or as GAP if the ring no longer has it.

use std::collections::VecDeque;

use crate::core::{Core, Happening, Peer};
use crate::frame::Writer;
use crate::message::observe::EventFilter;
use crate::server::engine::Outboxes;

/// Bytes that may wait for an observer before it is told nothing more for the time being. Below what
/// keeps a peer from being read.
pub(super) const BACKLOG: usize = 128 << 10;

/// The events of the turns that are durable, and who follows them.
#[derive(Debug)]
pub(super) struct Observers {
    ring: VecDeque<Happening>,
    /// The number after that of the last event, as far as that is known.
    next: u64,
    observers: Vec<Observer>,
    /// How many are kept for observers who come late or are slow.
    kept: usize,
}

#[derive(Debug)]
struct Observer {
    peer: Peer,
    filter: Box<EventFilter>,
    /// The first event that it was not told.
    at: u64,
}

impl Observers {
    pub(super) fn new(kept: usize) -> Self {
        Self { ring: VecDeque::new(), next: 0, observers: Vec::new(), kept }
    }

    /// Takes in what has happened, in order.
    pub(super) fn record(&mut self, happening: Happening) {
        self.go_on(happening.seq);
        self.next = happening.seq + 1;
        if self.ring.len() >= self.kept {
            self.ring.pop_front();
        }
        self.ring.push_back(happening);
    }

    /// Events before a number that were not recorded leave a gap that the ring does not have.
    fn go_on(&mut self, next: u64) {
        if next > self.next {
            self.ring.clear();
            self.next = next;
        }
    }

    /// Has a connection follow from a number on, and no longer as before; `None`: not at all.
    /// `next` is the number after those that came before it asked.
    pub(super) fn set(&mut self, peer: Peer, filter: Option<Box<EventFilter>>, next: u64) {
        self.observers.retain(|observer| observer.peer != peer);
        self.go_on(next);
        if let Some(filter) = filter {
            let at = filter.from.map_or(next, |from| from.min(next));
            self.observers.push(Observer { peer, filter, at });
        }
    }

    /// Whether somebody has not been told everything.
    pub(super) fn are_behind(&self) -> bool {
        self.observers.iter().any(|observer| observer.at < self.next)
    }

    /// Tells everybody what their outboxes have room for.
    pub(super) fn tell(&mut self, core: &Core, out: &mut dyn Outboxes) {
        if self.observers.is_empty() {
            return;
        }
        let Self { ring, next, observers, .. } = self;
        observers.retain_mut(|observer| {
            core.is_observing(observer.peer) && observer.follow(ring, *next, out).is_some()
        });
    }
}

impl Observer {
    /// `None` if the connection is gone.
    fn follow(
        &mut self,
        ring: &VecDeque<Happening>,
        next: u64,
        out: &mut dyn Outboxes,
    ) -> Option<()> {
        let mut room = BACKLOG.saturating_sub(out.backlog(self.peer));
        // A frame is put together from many small pieces, which a plain vector takes the cheapest.
        let mut frame = Vec::with_capacity(256);
        while self.at < next && room > 0 {
            let first = ring.front().map_or(next, |happening| happening.seq);
            if self.at < first {
                let buffer = out.buffer(self.peer)?;
                Writer::verb(buffer, "GAP").number(self.at).number(first - 1).end();
                self.at = first;
                continue;
            }
            let place = usize::try_from(self.at - first).unwrap_or(usize::MAX);
            let Some(happening) = ring.get(place) else { break };
            if happening.is_wanted(&self.filter) {
                frame.clear();
                happening.put(&mut frame);
                out.buffer(self.peer)?.extend_from_slice(&frame);
                room = room.saturating_sub(frame.len());
            }
            self.at += 1;
        }
        Some(())
    }
}
