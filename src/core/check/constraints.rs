//! The invariants of what tasks wait for beside a worker: amounts, turns, other tasks.

use std::collections::BTreeMap;

use crate::core::Core;
use crate::core::after::Dependents;
use crate::core::stock::Stock;
use crate::core::tasks::{Phase, Task};
use crate::core::turns::Turns;
use crate::message::AfterFailure;
use crate::task::TaskId;

impl Core {
    /// Checks that who is saved for a class would not do for it now.
    pub(super) fn check_saved(&self) {
        for (number, worker) in self.workers.sessions.iter() {
            if let Some(class) = worker.saved_for {
                let open = self.is_open(self.queues.class(class).queue);
                let fits = open && worker.has_room() && self.fits(number, class);
                assert!(!fits, "worker {number} is saved for class {class} and has room");
            }
        }
    }

    /// What runs take up is counted; sessions are saved for classes that know it.
    pub(super) fn check_stock(&self) {
        let mut tasks = BTreeMap::<u32, usize>::new();
        self.tasks.iter().for_each(|(_, task)| *tasks.entry(task.class).or_default() += 1);
        for (number, class) in self.queues.classes() {
            let counted = tasks.get(&number).copied().unwrap_or_default();
            assert_eq!(class.tasks, counted, "tasks of class {number}");
            let of_queue = &self.queues.queue(class.queue).runs.saved;
            for saved in [&self.saved, of_queue] {
                assert_eq!(class.saved.is_some(), saved.contains(&number), "class {number}");
            }
            let saves = class.saved.map(|worker| self.workers.sessions.at(worker).saved_for);
            assert!(saves.is_none_or(|its| its == Some(number)), "saved for class {number}");
            let waits = class.amounts.is_some() && class.waiting > 0 && class.unsorted.is_empty();
            let looked_after = class.starved_timer.is_some() || class.saved.is_some();
            assert!(!waits || looked_after, "class {number} could starve");
        }
        for (number, session) in self.workers.sessions.iter() {
            let mut stock = Stock::default();
            let leases = session.leases.iter().filter_map(|slot| self.amounts_of(*slot));
            let unanswered = session.unanswered.values().filter_map(|run| run.amounts.clone());
            leases.chain(unanswered).for_each(|amounts| stock.hold(&amounts));
            assert_eq!(session.stock.held, stock.held, "what runs of worker {number} take up");
            let saved = session.saved_for.map(|class| self.queues.class(class).saved);
            assert!(saved.is_none_or(|its| its == Some(number)), "worker {number} is saved");
        }
    }

    /// At most one serial task of a key is under way, and it has the turn.
    pub(super) fn check_turns(&self) {
        let mut found: BTreeMap<(u32, Box<str>), Turns> = BTreeMap::new();
        for (slot, task) in self.tasks.iter() {
            let Some(turn) = self.turn_of(slot).filter(|_| !task.state().is_end()) else {
                continue;
            };
            let kept = self.queues.queue(turn.0).turns.get(&turn.1);
            let has_turn = kept.is_some_and(|turns| turns.current == Some(slot));
            let under_way = match task.phase {
                Phase::Blocked => has_turn,
                Phase::Scheduled { .. } => task.is_between_attempts(),
                _ => true,
            };
            let turns = found.entry(turn).or_default();
            if under_way {
                assert_eq!(turns.current.replace(slot), None, "two turns beside task {}", task.id);
            } else if task.phase == Phase::Blocked && !task.after {
                turns.waiting.insert((task.id, slot));
            }
        }
        for (_, session) in self.workers.sessions.iter() {
            for run in session.unanswered.values().filter(|run| run.serial) {
                let key = run.key.clone().expect("a serial task has a key");
                found.entry((run.queue, key)).or_default().unanswered += 1;
            }
        }
        let held = |turns: &Turns| turns.current.is_some() || turns.unanswered > 0;
        found.retain(|_, turns| held(turns) || !turns.waiting.is_empty());
        for (number, queue) in self.queues.iter() {
            for (key, turns) in &queue.turns {
                assert!(held(turns), "nobody has the turn of {key}");
                let derived = found.remove(&(number, key.clone())).unwrap_or_default();
                assert_eq!(*turns, derived, "the turns of {key}");
            }
        }
        assert_eq!(found, BTreeMap::new(), "turns that are not kept");
    }

    /// Who waits for others is waited for by none of them in vain.
    pub(super) fn check_after(&self) {
        let mut dependents = BTreeMap::<TaskId, Dependents>::new();
        for (id, waiting) in &self.after.waiting {
            for parent in &waiting.parents {
                let its = dependents.entry(*parent).or_default();
                let patient = waiting.on_failure == AfterFailure::Wait;
                if patient { &mut its.patient } else { &mut its.hasty }.insert(*id);
                let parent_slot = self.tasks.find(*parent);
                let state = parent_slot.and_then(|slot| self.tasks.get(slot)).map(Task::state);
                let over = state.is_none_or(|state| state.is_end() && !patient);
                let told = !over || self.after.ended.contains(parent);
                assert!(told, "task {id} waits for {parent}, which has ended");
            }
        }
        assert_eq!(self.after.dependents, dependents, "who is waited for");
        for (_, task) in self.tasks.iter() {
            let waiting = self.after.waiting.get(&task.id);
            assert_eq!(task.after, waiting.is_some_and(|w| !w.parents.is_empty()), "{}", task.id);
            let waits = matches!(task.phase, Phase::Scheduled { .. } | Phase::Blocked);
            assert!(!task.after || waits && task.attempt == 0, "task {} did not wait", task.id);
            let for_its_turn = task.serial || task.after;
            assert!(task.phase != Phase::Blocked || for_its_turn, "task {} is blocked", task.id);
        }
        for id in &self.after.kept {
            assert!(dependents.contains_key(id), "task {id} is kept for nobody");
        }
    }
}
