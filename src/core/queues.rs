//! Queues and classes. A class is what decides who is able: queue, kind, size and demand. Its ready tasks
//! wait in one line or, under a keyed route, in a line for each owner.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::core::limits::Runs;
use crate::core::line::{Line, Place};
use crate::core::slots::Slots;
use crate::core::spill::Spill;
use crate::core::stock::Amounts;
use crate::core::turns::Turns;
use crate::message::Policy;
use crate::task::{State, TaskId};

/// Tasks by state; what has ended with a result is counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) blocked: u64,
    pub(super) cancelled: u64,
    pub(super) dead: u64,
    pub(super) done: u64,
    pub(super) leased: u64,
    pub(super) ready: u64,
    pub(super) scheduled: u64,
}

impl Counts {
    pub(super) fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Scheduled => &mut self.scheduled,
            State::Blocked => &mut self.blocked,
            State::Ready => &mut self.ready,
            State::Leased => &mut self.leased,
            State::Done => &mut self.done,
            State::Dead => &mut self.dead,
            State::Cancelled => &mut self.cancelled,
        }
    }

    /// Tasks in the table.
    pub(super) fn held(&self) -> u64 {
        self.scheduled + self.blocked + self.ready + self.leased + self.dead + self.cancelled
    }

    pub(super) fn add(&mut self, other: &Self) {
        for state in State::ALL {
            let mut other = *other;
            *self.of(state) += *other.of(state);
        }
    }
}

/// A queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: u32,
    pub(super) policy: Policy,
    /// Somebody chose its policies, so it stays.
    pub(super) configured: bool,
    pub(super) classes: Vec<u32>,
    pub(super) counts: Counts,
    pub(super) runs: Runs,
    /// `serial=yes`: by key.
    pub(super) turns: BTreeMap<Box<str>, Turns>,
    /// Round robin: the name that was chosen last since the route was set.
    pub(super) chosen: Option<Arc<str>>,
    /// Monotonic microseconds of its last SUBMIT.
    pub(super) used_us: u64,
}

/// What decides who is able to do a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parts {
    pub(super) queue: u32,
    pub(super) kind: u32,
    /// 0 for payloads up to 1 KiB, else the exponent of the power of two that holds the payload.
    pub(super) size: u8,
    pub(super) demand: u32,
}

/// A class.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) parts: Parts,
    /// Those of its parts.
    pub(super) queue: u32,
    pub(super) kind: u32,
    /// What its tasks take up of the stock of a session.
    pub(super) amounts: Option<Amounts>,
    /// Tasks in the table.
    pub(super) tasks: usize,
    pub(super) keyed: bool,
    /// Pools whose workers are able, ascending.
    pub(super) pools: Vec<u32>,
    /// Ready tasks in lines.
    pub(super) waiting: usize,
    /// The line of an unkeyed class; under a keyed route, tasks that no member can own.
    pub(super) line: Line,
    /// The head of `line` as the pools have it.
    pub(super) listed: Option<(u64, TaskId)>,
    /// Keyed: the lines by owner's name.
    pub(super) owners: BTreeMap<u32, Line>,
    /// Keyed: the tasks in the order in which they came into their owners' lines, and since when.
    pub(super) spill: Spill,
    /// Keyed: when a timer is set for the first of `spill`, in monotonic microseconds.
    pub(super) spill_timer: Option<u64>,
    /// Lines whose tasks are to be put where they belong now, in slices; by their first places, so
    /// that what came first is put first.
    pub(super) unsorted: BTreeMap<Place, Line>,
    /// The owners whom tasks of `unsorted` name: users of their names until all are sorted.
    pub(super) former: BTreeSet<u32>,
    /// With amounts: when it is looked whether its head has waited too long, in monotonic
    /// microseconds; the session that is saved for it; when one was last.
    pub(super) starved_timer: Option<u64>,
    pub(super) saved: Option<u32>,
    pub(super) saved_us: u64,
    /// Keyed: the members that own its tasks.
    pub(super) members: Option<u32>,
}

impl Class {
    /// Adds a line to those that are to be sorted anew. A place that is there twice stands for one
    /// task.
    pub(super) fn put_unsorted(&mut self, mut line: Line) {
        while let Some(first) = line.peek() {
            if let Entry::Vacant(free) = self.unsorted.entry(first) {
                free.insert(line);
                return;
            }
            line.pop();
        }
    }

    /// Takes the first place of the lines that are to be sorted anew.
    pub(super) fn take_unsorted(&mut self) -> Option<Place> {
        let (place, mut line) = self.unsorted.pop_first()?;
        line.pop();
        self.put_unsorted(line);
        Some(place)
    }
}

/// Queues, and classes by what decides them.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: Slots<Queue>,
    by_name: BTreeMap<u32, u32>,
    classes: Slots<Class>,
    by_parts: BTreeMap<Parts, u32>,
}

impl Queues {
    pub(super) fn find(&self, name: u32) -> Option<u32> {
        self.by_name.get(&name).copied()
    }

    pub(super) fn insert(&mut self, name: u32, now_us: u64) -> u32 {
        let number = self.queues.insert(Queue {
            name,
            policy: Policy::default(),
            configured: false,
            classes: Vec::new(),
            counts: Counts::default(),
            runs: Runs::default(),
            turns: BTreeMap::new(),
            chosen: None,
            used_us: now_us,
        });
        self.by_name.insert(name, number);
        number
    }

    pub(super) fn queue(&self, number: u32) -> &Queue {
        self.queues.at(number)
    }

    pub(super) fn queue_mut(&mut self, number: u32) -> &mut Queue {
        self.queues.at_mut(number)
    }

    pub(super) fn find_queue_mut(&mut self, number: u32) -> Option<&mut Queue> {
        self.queues.get_mut(number)
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The queues with their numbers, in the order of their names' numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Queue)> {
        self.by_name.values().map(|&number| (number, self.queues.at(number)))
    }

    pub(super) fn find_class(&self, parts: Parts) -> Option<u32> {
        self.by_parts.get(&parts).copied()
    }

    pub(super) fn insert_class(
        &mut self,
        parts: Parts,
        amounts: Option<Amounts>,
        pools: Vec<u32>,
    ) -> u32 {
        let Parts { queue, kind, .. } = parts;
        let keyed = self.queue(queue).policy.route.is_keyed();
        let number = self.classes.insert(Class {
            parts,
            queue,
            kind,
            amounts,
            tasks: 0,
            keyed,
            pools,
            waiting: 0,
            line: Line::default(),
            listed: None,
            owners: BTreeMap::new(),
            spill: Spill::default(),
            spill_timer: None,
            unsorted: BTreeMap::new(),
            former: BTreeSet::new(),
            starved_timer: None,
            saved: None,
            saved_us: 0,
            members: None,
        });
        self.by_parts.insert(parts, number);
        self.queue_mut(queue).classes.push(number);
        number
    }

    pub(super) fn class(&self, number: u32) -> &Class {
        self.classes.at(number)
    }

    pub(super) fn class_mut(&mut self, number: u32) -> &mut Class {
        self.classes.at_mut(number)
    }

    pub(super) fn find_class_mut(&mut self, number: u32) -> Option<&mut Class> {
        self.classes.get_mut(number)
    }

    /// The queue of a class.
    pub(super) fn queue_of(&mut self, class: u32) -> &mut Queue {
        let queue = self.classes.at(class).queue;
        self.queues.at_mut(queue)
    }

    /// The classes with their numbers, in the order of what decides them.
    pub(super) fn classes(&self) -> impl Iterator<Item = (u32, &Class)> {
        self.by_parts.values().map(|&number| (number, self.classes.at(number)))
    }

    pub(super) fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// Forgets a class.
    pub(super) fn remove_class(&mut self, number: u32) {
        let Some(gone) = self.classes.remove(number) else { return };
        self.by_parts.remove(&gone.parts);
        self.queue_mut(gone.queue).classes.retain(|class| *class != number);
    }

    /// Forgets a queue without classes.
    pub(super) fn remove(&mut self, number: u32) -> Option<Queue> {
        let gone = self.queues.remove(number)?;
        self.by_name.remove(&gone.name);
        Some(gone)
    }
}
