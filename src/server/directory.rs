//! The connections by number, so that the engine's frames find their way.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;

use crate::core::Peer;
use crate::server::engine::Outboxes;
use crate::server::outbox::Outbox;

/// Connections by number. Shared between the listener, which adds, and the engine, which looks up
/// and removes.
#[derive(Debug, Default)]
pub(super) struct Directory {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    serial: u32,
}

#[derive(Debug)]
struct Entry {
    serial: u32,
    outbox: Arc<Outbox>,
    /// Rendered in the delivery that is going on.
    rendered: BytesMut,
}

impl Directory {
    /// Adds a connection.
    pub(super) fn add(&self, outbox: Arc<Outbox>) -> Peer {
        let mut entries = self.lock();
        entries.serial = entries.serial.wrapping_add(1).max(1);
        let serial = entries.serial;
        let entry = Some(Entry { serial, outbox, rendered: BytesMut::new() });
        let index = match entries.free.pop() {
            Some(index) => index,
            None => {
                entries.entries.push(None);
                u32::try_from(entries.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(slot) = entries.entries.get_mut(index as usize) {
            *slot = entry;
        }
        Peer { index, serial }
    }

    /// Removes a connection; its number is free again.
    pub(super) fn remove(&self, peer: Peer) {
        let mut entries = self.lock();
        let slot = entries.entries.get_mut(peer.index as usize);
        let known = slot.filter(|slot| slot.as_ref().is_some_and(|its| its.serial == peer.serial));
        if let Some(slot) = known {
            *slot = None;
            entries.free.push(peer.index);
        }
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        let entries = self.lock();
        entries.entries.len() - entries.free.len()
    }

    /// Every outbox.
    pub(super) fn outboxes(&self) -> Vec<Arc<Outbox>> {
        self.lock().entries.iter().flatten().map(|entry| entry.outbox.clone()).collect()
    }

    /// Lets `deliver` render into the connections' buffers, and writes what it rendered: one write
    /// for each connection.
    pub(super) fn deliver(&self, deliver: impl FnOnce(&mut dyn Outboxes)) {
        let mut entries = self.lock();
        let mut delivery = Delivery {
            entries: &mut entries.entries,
            touched: Vec::new(),
            closed: BTreeSet::new(),
        };
        deliver(&mut delivery);
        let Delivery { touched, closed, .. } = delivery;
        // Backwards: what a turn says last are pushes, which a worker or a client waits for, and first
        // are replies that only acknowledge. The order within a connection stays.
        for index in touched.into_iter().rev() {
            if let Some(Some(entry)) = entries.entries.get_mut(index as usize) {
                entry.outbox.append(&mut entry.rendered);
                if closed.contains(&index) {
                    entry.outbox.end();
                }
                entry.outbox.flush();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A delivery that is going on.
struct Delivery<'a> {
    entries: &'a mut Vec<Option<Entry>>,
    touched: Vec<u32>,
    closed: BTreeSet<u32>,
}

impl Outboxes for Delivery<'_> {
    fn buffer(&mut self, peer: Peer) -> Option<&mut BytesMut> {
        let entry = self.entries.get_mut(peer.index as usize)?.as_mut();
        let entry = entry.filter(|entry| entry.serial == peer.serial)?;
        if self.closed.contains(&peer.index) {
            return None;
        }
        if entry.rendered.is_empty() {
            self.touched.push(peer.index);
        }
        Some(&mut entry.rendered)
    }

    fn backlog(&mut self, peer: Peer) -> usize {
        let entry = self.entries.get(peer.index as usize).and_then(Option::as_ref);
        let entry = entry.filter(|entry| entry.serial == peer.serial);
        entry.map_or(0, |entry| entry.rendered.len() + entry.outbox.backlog())
    }

    fn close(&mut self, peer: Peer) {
        let entry = self.entries.get(peer.index as usize).and_then(Option::as_ref);
        if entry.is_some_and(|entry| entry.serial == peer.serial) {
            self.closed.insert(peer.index);
            self.touched.push(peer.index);
        }
    }
}
