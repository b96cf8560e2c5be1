//! Names as small numbers, so that what is compared and kept per task is a number.
//!
//! Whoever keeps a number counts as one of its users, and a name without users is gone: what a
//! worker names in its HELLO stays no longer than the worker, unless something else has the name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::Core;
use crate::core::breaker::Odds;
use crate::core::slots::Slots;
use crate::core::stock::Amounts;
use crate::core::workers::Ability;

/// Names in use, by numbers. The number of a name that is gone is that of a later one.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Ordered, because to hash a name so that nobody can choose colliding ones takes longer than
    /// to compare it with a few others.
    numbers: BTreeMap<Arc<str>, u32>,
    names: Slots<Name>,
    serial: u32,
}

#[derive(Debug)]
struct Name {
    text: Arc<str>,
    users: u32,
    serial: u32,
}

impl Names {
    /// The number of a name for another user of it, who gives it up in the end.
    pub(super) fn take(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            self.keep(number);
            return number;
        }
        let text: Arc<str> = name.into();
        self.serial = self.serial.wrapping_add(1);
        let name = Name { text: text.clone(), users: 1, serial: self.serial };
        let number = self.names.insert(name);
        self.numbers.insert(text, number);
        number
    }

    /// As [`Names::take`] of each of some names; their numbers ascending, each once.
    pub(super) fn take_all(&mut self, names: &[String]) -> Vec<u32> {
        let mut numbers: Vec<u32> = names.iter().map(|name| self.take(name)).collect();
        numbers.sort_unstable();
        numbers.dedup_by(|number, before| {
            let twice = number == before;
            if twice {
                self.give_up(*number);
            }
            twice
        });
        numbers
    }

    /// A number that is in use has one more user.
    pub(super) fn keep(&mut self, number: u32) {
        self.names.at_mut(number).users += 1;
    }

    /// A user is through with a number. True if it was the last one: then the name is gone.
    pub(super) fn give_up(&mut self, number: u32) -> bool {
        let name = self.names.at_mut(number);
        name.users -= 1;
        if name.users > 0 {
            return false;
        }
        if let Some(gone) = self.names.remove(number) {
            self.numbers.remove(&gone.text);
        }
        true
    }

    /// The number of a name, for no longer than the name is known to be in use.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(super) fn name(&self, number: u32) -> Arc<str> {
        self.names.at(number).text.clone()
    }

    pub(super) fn text(&self, number: u32) -> &str {
        &self.names.at(number).text
    }

    /// What tells this name under a number from those that had it before.
    pub(super) fn serial(&self, number: u32) -> u32 {
        self.names.at(number).serial
    }

    /// How many users each number has.
    pub(super) fn users(&self) -> BTreeMap<u32, u32> {
        self.names.iter().map(|(number, name)| (number, name.users)).collect()
    }

    /// How many numbers there have ever been at once.
    #[cfg(test)]
    pub(super) fn bound(&self) -> u32 {
        self.names.bound()
    }
}

impl Core {
    /// The names of an ability have one user less: its pool has gone, or was there already.
    pub(super) fn give_up_ability(&mut self, ability: &Ability) {
        ability.kinds.iter().flatten().for_each(|kind| self.give_up_kind(*kind));
        for queue in ability.queues.iter().flatten() {
            self.queue_names.give_up(*queue);
        }
        for tag in &ability.tags {
            self.demands.tags.give_up(*tag);
        }
        for (name, _) in &ability.capacities {
            self.demands.resources.give_up(*name);
        }
    }

    /// A kind has a user less: a class, or a pool. How its runs end is forgotten with its name.
    pub(super) fn give_up_kind(&mut self, kind: u32) {
        if self.kinds.give_up(kind)
            && let Some(odds) = self.odds.get_mut(kind as usize)
        {
            *odds = Odds::default();
        }
    }

    /// A worker's name has a user less. Its price is forgotten with it.
    pub(super) fn give_up_worker_name(&mut self, name: u32) {
        let title = self.worker_names.name(name);
        if self.worker_names.give_up(name) {
            self.costs.set_price(&title, 0.0);
        }
    }

    /// A run goes on whose lease has ended: what it takes up is known as long as it does.
    pub(super) fn keep_amounts(&mut self, amounts: Option<&Amounts>) {
        for (name, _) in amounts.into_iter().flat_map(|amounts| amounts.iter()) {
            self.demands.resources.keep(*name);
        }
    }

    /// It is over.
    pub(super) fn give_up_amounts(&mut self, amounts: Option<&Amounts>) {
        for (name, _) in amounts.into_iter().flat_map(|amounts| amounts.iter()) {
            self.demands.resources.give_up(*name);
        }
    }
}
