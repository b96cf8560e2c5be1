//! A new task.

use crate::core::event::Peer;
use crate::core::holds::Hold;
use crate::core::inbox::keep_ms;
use crate::core::queues::{Counts, Parts};
use crate::core::tasks::Task;
use crate::core::timers::Reason;
use crate::core::{Ask, Core, Effects};
use crate::message::{Code, Refusal, Reply, Submit};
use crate::protocol::hello::PAYLOAD_LIMIT_MIN;
use crate::record::Write;
use crate::task::{State, TaskId};

/// Payloads up to this many bytes are of size 0: every worker takes them.
const SIZE_ZERO: u64 = PAYLOAD_LIMIT_MIN;

/// The size of a payload: the exponent of the smallest power of two that holds it.
pub(super) fn size_of_payload(bytes: u64) -> u8 {
    if bytes <= SIZE_ZERO { 0 } else { exponent(bytes.next_power_of_two()) }
}

/// The size of a limit: the exponent of the largest power of two within it.
pub(super) fn size_of_limit(bytes: u64) -> u8 {
    exponent(bytes.max(SIZE_ZERO))
}

fn exponent(bytes: u64) -> u8 {
    u8::try_from(bytes.ilog2()).unwrap_or(u8::MAX)
}

/// What became of a submission.
pub(super) enum Accepted {
    /// A task of its own.
    New,
    /// That one, which holds its `unique=`.
    Duplicate(Hold),
}

impl Core {
    pub(super) fn on_submit(&mut self, peer: Peer, submit: &Submit, fx: &mut Effects) {
        match self.accept(peer, submit, fx) {
            Ok(Accepted::New) => {}
            Ok(Accepted::Duplicate(held)) => self.on_duplicate(peer, held, submit.watch, fx),
            Err(refusal) => fx.send(peer, Reply::Refused(refusal)),
        }
    }

    /// Makes a task of a submission, or finds the one that holds its `unique=`. Of a new one the
    /// submitter is told.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn accept(
        &mut self,
        peer: Peer,
        submit: &Submit,
        fx: &mut Effects,
    ) -> Result<Accepted, Refusal> {
        if let Some(busy) = self.why_busy() {
            return Err(Refusal::later(Code::Busy, 1000 + self.draw(1000), busy));
        }
        if submit.after.is_some() {
            self.may_come_after(submit)?;
        }
        let Some(class) = self.class_of(submit) else {
            let text = "too many queues, kinds, or sets of needs or amounts";
            return Err(Refusal::later(Code::Busy, 60_000, text));
        };
        let queue = self.queues.class(class).queue;
        if let Some(unique) = submit.unique_value() {
            let name = (queue, Box::from(unique));
            if let Some(held) = self.holds.get(&name) {
                return Ok(Accepted::Duplicate(held));
            }
            let id = TaskId::next(self.last, self.now.wall_ms, self.settings.shard);
            self.holds.set(name, Hold { id, until_ms: None });
        }
        self.admit(peer, class, submit, fx);
        Ok(Accepted::New)
    }

    /// Issues an identifier, writes the record, tells the submitter, if there is one, and begins.
    pub(super) fn admit(
        &mut self,
        peer: Peer,
        class: u32,
        submit: &Submit,
        fx: &mut Effects,
    ) -> TaskId {
        self.last = TaskId::next(self.last, self.now.wall_ms, self.settings.shard);
        let id = self.last;
        let record = self.records.of(submit.frame.bytes());
        let mut task = Task::new(id, class, submit, record, self.now);
        if submit.watch {
            task.watcher = peer;
            self.count_watch(peer);
        }
        let frame = fx.text(submit.frame.bytes());
        fx.write(Write::Submit { id, frame });
        if peer.is_some() {
            fx.send(peer, Reply::OkTask(id));
        }
        if let Some(reply) = submit.reply() {
            fx.tell_ok(reply, id, false, keep_ms(submit.result_ttl_ms));
        }
        self.submitted += 1;
        self.queues.queue_of(class).used_us = self.now.mono_us;
        self.event(fx, "submitted", id, 0, class, None, &[]);
        let comes_after = task.after;
        self.queues.class_mut(class).tasks += 1;
        let slot = self.tasks.insert(task);
        let doomed = comes_after && self.come_after(slot);
        self.begin(slot, fx);
        if doomed {
            self.bury(slot, State::Cancelled, "after", fx);
        }
        id
    }

    pub(super) fn why_busy(&self) -> Option<&'static str> {
        if self.pressure {
            Some("the store is nearly full")
        } else if self.tasks.len() >= self.settings.tasks_max {
            Some("too many tasks are waiting")
        } else {
            None
        }
    }

    fn on_duplicate(&mut self, peer: Peer, held: Hold, watch: bool, fx: &mut Effects) {
        let slot = self.tasks.find(held.id);
        if watch && slot.is_none() {
            // Whether there is something to tell, the store knows.
            return fx.look_up(peer, held.id, Ask::Duplicate);
        }
        fx.send(peer, Reply::Duplicate(held.id));
        match slot.filter(|_| watch) {
            Some(slot) if self.tasks.at(slot).state().is_end() => self.tell_end(peer, slot, fx),
            Some(slot) => self.watch(peer, slot),
            None => {}
        }
    }

    /// Counts a new task, sets its timers and schedules it or makes it ready.
    pub(super) fn begin(&mut self, slot: u32, fx: &mut Effects) {
        let task = self.tasks.at(slot);
        let (id, class, expires) = (task.id, task.class, task.expires_at_ms());
        let due = task.phase.is_due(self.now);
        *self.queues.queue_of(class).counts.of(State::Scheduled) += 1;
        if let Some(at_ms) = expires {
            self.timers.at_wall(at_ms, Reason::Expiry(id));
        }
        if due {
            self.make_ready(slot, fx);
        } else {
            self.arm_due(slot);
        }
    }

    /// The class of a task, made if it is the first; `None` where there are too many.
    pub(super) fn class_of(&mut self, submit: &Submit) -> Option<u32> {
        let payload = submit
            .frame
            .payload_at()
            .map_or(0, |at| submit.frame.bytes().len().saturating_sub(usize::from(at)) as u64);
        let size = size_of_payload(payload.saturating_sub(1));
        let demand = self.demand_of(submit)?;
        if let Some(queue) = self.queue_names.find(submit.queue()).and_then(|n| self.queues.find(n))
            && let Some(kind) = self.kinds.find(submit.kind())
            && let Some(class) = self.queues.find_class(Parts { queue, kind, size, demand })
        {
            return Some(class);
        }
        // Places are made by forgetting what has no tasks; not this demand.
        self.demands.keep(demand);
        if self.queues.class_count() >= self.settings.classes_max {
            self.forget_idle_classes();
        }
        let room = self.queues.class_count() < self.settings.classes_max;
        let queue = if room { self.queue_by_name(submit.queue()) } else { None };
        let Some(queue) = queue else {
            self.demands.give_up(demand);
            return None;
        };
        let kind = self.kinds.take(submit.kind());
        Some(self.new_class(Parts { queue, kind, size, demand }))
    }

    /// The queue of a name, made if it is the first; `None` where there are too many.
    pub(super) fn queue_by_name(&mut self, name: &str) -> Option<u32> {
        if let Some(queue) = self.queue_names.find(name).and_then(|name| self.queues.find(name)) {
            return Some(queue);
        }
        if self.queues.len() >= self.settings.queues_max {
            self.forget_idle_queues();
        }
        if self.queues.len() >= self.settings.queues_max {
            return None;
        }
        let name = self.queue_names.take(name);
        Some(self.queues.insert(name, self.now.mono_us))
    }

    fn new_class(&mut self, parts: Parts) -> u32 {
        let pools = self.workers.pools.iter();
        let able = pools.filter(|(_, pool)| self.covers(&pool.ability, &parts));
        let pools: Vec<u32> = able.map(|(number, _)| number).collect();
        let amounts = self.demands.amounts(parts.demand);
        let class = self.queues.insert_class(parts, amounts, pools.clone());
        for pool in pools {
            self.workers.pools.at_mut(pool).classes.push(class);
        }
        self.make_room(class);
        self.choose_members(class);
        class
    }

    /// All counts of all queues, and of those that are gone.
    pub(super) fn totals(&self) -> Counts {
        let mut totals = self.ended;
        self.queues.iter().for_each(|(_, queue)| totals.add(&queue.counts));
        totals
    }
}
