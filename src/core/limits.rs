//! How much of a queue runs at once and how fast runs begin: PAUSE, `limit=`, `rate=`, `key-limit=`.
//!
//! A queue is *open* while another of its runs may begin. Only then does it take turns with others for
//! the workers of a pool, so that a closed queue costs nobody a look. What opens takes turns at once,
//! and is served at the end of the turn: a worker whose turn it has waits until then. A task whose key has all the runs it may have is *set aside* until
//! one of them is over; it comes back at the end of that turn.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::dispatch::{NOBODY, holds};
use crate::core::line::{Line, Place};
use crate::core::rate::Beat;
use crate::core::tasks::{Phase, Task};
use crate::core::timers::Reason;
use crate::core::{Core, Effects};
use crate::message::Policy;

/// The owner of a ready task that is set aside for its key. The numbers of workers' names are smaller than
/// this, and this than what else stands in their place.
pub(super) const ASIDE: u32 = u32::MAX - 4;

/// The runs of a queue: leases, and runs whose lease has ended and that go on.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) count: u32,
    /// `rate=`: when the last run began, by an even spread, or of the start.
    pub(super) last: Beat,
    /// No run may begin, and the pools take it for closed.
    pub(super) is_shut: bool,
    /// It has opened in this turn and was not served yet: it takes turns, but nobody has a run of it.
    pub(super) is_opening: bool,
    /// `rate=`: when a timer is set; until it is over the queue is closed.
    pub(super) timer_us: Option<u64>,
    /// `key-limit=`: by key.
    pub(super) keys: BTreeMap<Box<str>, KeyRuns>,
    /// Tasks set aside under a `key-limit=` of before, to be lined up anew in slices.
    pub(super) released: Vec<Line>,
    /// Monotonic microseconds of the last RESUME: spill counts from then.
    pub(super) resumed_us: u64,
    /// The classes of the queue for which sessions are saved.
    pub(super) saved: BTreeSet<u32>,
}

impl KeyRuns {
    fn put(&mut self, class: u32, place: Place) {
        self.aside.entry(class).or_default().push(place);
    }
}

/// A task that comes back: its queue, the key that called it, if one did, its place.
pub(super) type Returning = (u32, Option<Box<str>>, Place);

/// The runs of a key.
#[derive(Debug, Default)]
pub(super) struct KeyRuns {
    pub(super) count: u32,
    /// Classes of which a task comes back at the end of the turn: whoever else of them is ready by
    /// then comes after it.
    pub(super) returning: BTreeSet<u32>,
    /// By class, which decides who is able.
    pub(super) aside: BTreeMap<u32, Line>,
}

impl Core {
    /// Whether another run of a queue may begin for anybody.
    pub(super) fn is_open(&self, queue: u32) -> bool {
        self.may_open(queue) && !self.queues.queue(queue).runs.is_opening
    }

    /// Whether the policies of a queue let another run begin.
    pub(super) fn may_open(&self, queue: u32) -> bool {
        let queue = self.queues.queue(queue);
        let policy = &queue.policy;
        !policy.paused
            && policy.limit.is_none_or(|limit| queue.runs.count < limit)
            && queue.runs.timer_us.is_none()
    }

    /// Whether another run of a queue may begin, at the latest in a while: runs end, and `rate=` lets the
    /// next one begin at a time that is known.
    pub(super) fn opens_within(&self, queue: u32, us: u64) -> bool {
        let queue = self.queues.queue(queue);
        let by_us = self.now.mono_us.saturating_add(us);
        !queue.policy.paused && queue.runs.timer_us.is_none_or(|at_us| at_us <= by_us)
    }

    pub(super) fn has_key_limit(&self, class: u32) -> bool {
        self.queues.queue(self.queues.class(class).queue).policy.key_limit.is_some()
    }

    /// Whether a task's key has all the runs that it may have.
    pub(super) fn is_key_full(&self, slot: u32) -> bool {
        let Some(task) = self.tasks.get(slot) else { return false };
        let queue = self.queues.queue(self.queues.class(task.class).queue);
        let Some(limit) = queue.policy.key_limit else { return false };
        let runs = task.key_text().and_then(|key| queue.runs.keys.get(&key));
        runs.is_some_and(|runs| runs.count >= limit || runs.returning.contains(&task.class))
    }

    /// The first place of a line whose task may be leased; those before it whose keys have enough
    /// are set aside, and those that have expired lapse.
    ///
    /// It takes no more out in one turn than can be done at once; what is left goes on in the next.
    pub(super) fn front(&mut self, number: u32, owner: u32) -> Option<Place> {
        let limited = self.has_key_limit(number);
        loop {
            let class = self.queues.class_mut(number);
            let line =
                if owner == NOBODY { &mut class.line } else { class.owners.get_mut(&owner)? };
            let place = line.first(|place| holds(&self.tasks, place, owner))?;
            let full = limited && self.is_key_full(place.slot);
            if !full && !self.is_expired(place.slot) {
                return Some(place);
            }
            if !self.may_pass_over(number) {
                return None;
            }
            self.queues.class_mut(number).waiting -= 1;
            self.bar(place.slot);
        }
    }

    /// Whether a ready task may not be leased, though its queue is open.
    pub(super) fn is_barred(&self, slot: u32) -> bool {
        self.is_key_full(slot) || self.is_expired(slot)
    }

    /// Such a task, which is in no line, does not wait in one.
    pub(super) fn bar(&mut self, slot: u32) {
        if self.is_expired(slot) { self.lapse(slot) } else { self.set_aside(slot) }
    }

    /// Puts a task that is in no line aside, until its key has room.
    pub(super) fn set_aside(&mut self, slot: u32) {
        let key = self.order_key(slot);
        let task = self.tasks.at(slot);
        let place = Place { key, id: task.id, slot };
        if let Phase::Ready { owner, .. } = &mut task.phase {
            *owner = ASIDE;
        }
        let (class, text) = (task.class, task.key_text());
        if let Some(text) = text {
            self.queues.queue_of(class).runs.keys.entry(text).or_default().put(class, place);
        }
    }

    /// A run of a task is under way.
    pub(super) fn count_run(&mut self, slot: u32) {
        let task = self.tasks.at(slot);
        let queue = self.queues.queue_of(task.class);
        queue.runs.count += 1;
        if queue.policy.key_limit.is_some()
            && let Some(key) = task.key_text()
        {
            queue.runs.keys.entry(key).or_default().count += 1;
        }
    }

    /// A run of a queue is under way, under that key.
    pub(super) fn count_run_of(&mut self, number: u32, key: Option<&str>) {
        let queue = self.queues.queue_mut(number);
        queue.runs.count += 1;
        if let Some(key) = key.filter(|_| queue.policy.key_limit.is_some()) {
            queue.runs.keys.entry(key.into()).or_default().count += 1;
        }
    }

    /// A run of a task begins.
    pub(super) fn begin_run(&mut self, slot: u32) {
        self.count_run(slot);
        let class = self.tasks.at(slot).class;
        if !is_bounded(&self.queues.queue_of(class).policy) {
            return;
        }
        // With room for more, the next of its key comes for the place that it had in the line.
        self.give_way(slot);
        let queue = self.queues.queue_of(class);
        if let Some(rate) = queue.policy.rate {
            queue.runs.last = queue.runs.last.of_run(rate, self.now.mono_us);
        }
        let number = self.queues.class(class).queue;
        self.open_or_shut(number);
    }

    /// A run of a queue is over, under that key.
    pub(super) fn end_run(&mut self, number: u32, key: Option<&str>) {
        let runs = &mut self.queues.queue_mut(number).runs;
        runs.count -= 1;
        if !is_bounded(&self.queues.queue(number).policy) {
            return;
        }
        if let Some(key) = key {
            self.free_key(number, key);
        }
        self.open_or_shut(number);
    }

    /// A key has a run less.
    fn free_key(&mut self, number: u32, key: &str) {
        if let Some(runs) = self.queues.queue_mut(number).runs.keys.get_mut(key) {
            runs.count = runs.count.saturating_sub(1);
            self.call_back(number, key);
        }
    }

    /// A task of a queue leaves its line without a lease: another one of its key may take its place.
    pub(super) fn give_way(&mut self, slot: u32) {
        let task = self.tasks.at(slot);
        let number = self.queues.class(task.class).queue;
        if self.queues.queue(number).policy.key_limit.is_some()
            && let Some(key) = task.key_text()
        {
            self.call_back(number, &key);
        }
    }

    /// Has the first task of each class that was set aside for a key come back, if the key has room.
    /// One of a class is enough: its run, or its leaving, calls the next.
    fn call_back(&mut self, number: u32, key: &str) {
        let queue = self.queues.queue_mut(number);
        let limit = queue.policy.key_limit.unwrap_or_default();
        let Some(runs) = queue.runs.keys.get_mut(key).filter(|runs| runs.count < limit) else {
            return;
        };
        for (class, line) in &mut runs.aside {
            if let Some(place) = line.first(|place| holds(&self.tasks, place, ASIDE)) {
                line.pop();
                runs.returning.insert(*class);
                self.returning.push((number, Some(key.into()), place));
            }
        }
        runs.aside.retain(|_, line| line.len() > 0);
        if runs.count == 0 && runs.aside.is_empty() && runs.returning.is_empty() {
            queue.runs.keys.remove(key);
        }
    }

    /// Has the tasks that come back wait like any other. Where one was cancelled meanwhile, the next
    /// of its key comes.
    pub(super) fn bring_back(&mut self, fx: &mut Effects) {
        while !self.returning.is_empty() {
            self.bring_back_once(fx);
        }
    }

    fn bring_back_once(&mut self, fx: &mut Effects) {
        let mut returning = std::mem::take(&mut self.returning);
        for (number, key, _) in &returning {
            if let Some(key) = key
                && let Some(queue) = self.queues.find_queue_mut(*number)
                && let Some(runs) = queue.runs.keys.get_mut(key)
            {
                runs.returning.clear();
            }
        }
        returning.sort_by_key(|(_, _, place)| *place);
        for (number, key, place) in returning {
            if holds(&self.tasks, &place, ASIDE) {
                self.take_out(place.slot);
                self.enter(place.slot, fx);
            } else if let Some(key) = key
                && self.queues.find_queue_mut(number).is_some()
            {
                self.call_back(number, &key);
            }
        }
    }

    /// A queue may have opened or closed. One that has opened takes turns from now on, and is served at the
    /// end of the turn: until then nobody has a run of it, or whoever comes free first would have the next
    /// one whoever waits longest.
    pub(super) fn open_or_shut(&mut self, number: u32) {
        self.arm_rate(number);
        let shut = !self.may_open(number);
        let runs = &mut self.queues.queue_mut(number).runs;
        let was = std::mem::replace(&mut runs.is_shut, shut);
        runs.is_opening = !shut && (was || runs.is_opening);
        if was != shut {
            for (_, pool) in self.workers.pools.iter_mut() {
                if pool.heads.contains_key(&number) {
                    if shut { pool.shares.rest(number) } else { pool.shares.wait(number) }
                }
            }
        }
        if !shut {
            self.opened.insert(number);
        }
    }

    /// Sets the timer for the next beginning, if that is not yet due.
    fn arm_rate(&mut self, number: u32) {
        let now_us = self.now.mono_us;
        let queue = self.queues.queue_mut(number);
        let due_us = queue.policy.rate.map(|rate| queue.runs.last.next_us(rate));
        let due_us = due_us.filter(|at_us| *at_us > now_us);
        let armed_us = std::mem::replace(&mut queue.runs.timer_us, due_us);
        if armed_us != due_us {
            armed_us.into_iter().for_each(|at| self.timers.off_mono(at, Reason::Rate(number)));
            due_us.into_iter().for_each(|at| self.timers.at_mono(at, Reason::Rate(number)));
        }
    }

    pub(super) fn on_rate(&mut self, number: u32) {
        if let Some(queue) = self.queues.find_queue_mut(number) {
            queue.runs.timer_us = None;
            self.open_or_shut(number);
        }
    }

    /// The bounds of a queue changed from those of `before`.
    pub(super) fn rebound(&mut self, number: u32, before: &Policy) {
        let now_us = self.now.mono_us;
        let queue = self.queues.queue_mut(number);
        let after = queue.policy;
        if before.paused && !after.paused {
            queue.runs.resumed_us = now_us;
        }
        if before.rate != after.rate {
            queue.runs.last = queue.runs.last.whole();
        }
        if before.key_limit != after.key_limit {
            self.count_keys_anew(number);
        }
        self.open_or_shut(number);
    }

    /// Counts the runs of every key of a queue; what was set aside lines up again, in slices.
    fn count_keys_anew(&mut self, number: u32) {
        let runs = &mut self.queues.queue_mut(number).runs;
        let before = std::mem::take(&mut runs.keys);
        runs.released.extend(before.into_values().flat_map(|key| key.aside.into_values()));
        let unsorted = !runs.released.is_empty();
        if self.queues.queue(number).policy.key_limit.is_some() {
            for key in self.running_keys(number) {
                let keys = &mut self.queues.queue_mut(number).runs.keys;
                keys.entry(key).or_default().count += 1;
            }
        }
        if unsorted {
            self.released.insert(number);
        }
    }

    pub(super) fn running_keys(&self, number: u32) -> Vec<Box<str>> {
        let mut keys = Vec::new();
        for (_, session) in self.workers.sessions.iter() {
            let leases = session.leases.iter().filter_map(|slot| self.tasks.get(*slot));
            let its = |task: &&Task| self.queues.class(task.class).queue == number;
            keys.extend(leases.filter(its).filter_map(Task::key_text));
            let unanswered = session.unanswered.values().filter(|run| run.queue == number);
            keys.extend(unanswered.filter_map(|run| run.key.clone()));
        }
        keys
    }

    /// Brings back a task that a changed `key-limit=` has released. False if there is none.
    pub(super) fn bring_back_released(&mut self, fx: &mut Effects) -> bool {
        let Some(&number) = self.released.first() else { return false };
        let line = self.queues.find_queue_mut(number).and_then(|queue| queue.runs.released.pop());
        let Some(mut line) = line else {
            self.released.remove(&number);
            return true;
        };
        self.returning.extend(line.pop().map(|place| (number, None, place)));
        if line.len() > 0 {
            self.queues.queue_mut(number).runs.released.push(line);
        }
        self.bring_back(fx);
        true
    }
}

/// Whether something of the policies depends on what runs.
fn is_bounded(policy: &Policy) -> bool {
    policy.limit.is_some() || policy.rate.is_some() || policy.key_limit.is_some()
}
