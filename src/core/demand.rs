//! What tasks ask of their workers beside kind, queue and size: tags, by `needs=`, and amounts, by
//! `res=`. Each combination is a small number, so that a class keeps and compares no more than that;
//! 0 asks for nothing.

use std::collections::BTreeMap;

use crate::core::Core;
use crate::core::names::Names;
use crate::core::slots::Slots;
use crate::core::stock::Amounts;
use crate::message::Submit;

/// Most demands with amounts at a time: whoever gets or loses room looks at those of its pool.
const AMOUNTS_MAX: usize = 256;

/// What a task asks of its worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Demand {
    /// Numbers of tags, ascending.
    pub(super) tags: Vec<u32>,
    /// By the number of what they are of, ascending.
    pub(super) amounts: Vec<(u32, u64)>,
}

/// Demands by number, and the names that they and workers use. A demand stays as long as classes
/// have it.
#[derive(Debug)]
pub(super) struct Demands {
    pub(super) tags: Names,
    pub(super) resources: Names,
    by_content: BTreeMap<Demand, u32>,
    /// With the number of classes that have it.
    demands: Slots<(Demand, u32)>,
    /// Those with amounts.
    with_amounts: usize,
}

impl Default for Demands {
    fn default() -> Self {
        let mut demands = Slots::default();
        let nothing = demands.insert((Demand::default(), 1));
        let by_content = BTreeMap::from([(Demand::default(), nothing)]);
        let (tags, resources) = (Names::default(), Names::default());
        Self { tags, resources, by_content, demands, with_amounts: 0 }
    }
}

impl Demands {
    pub(super) fn at(&self, number: u32) -> &Demand {
        &self.demands.at(number).0
    }

    /// The demands with their numbers and how many classes have them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Demand, u32)> {
        self.demands.iter().map(|(number, (demand, classes))| (number, demand, *classes))
    }

    /// The amounts of a demand, if it has any.
    pub(super) fn amounts(&self, number: u32) -> Option<Amounts> {
        let amounts = &self.at(number).amounts;
        (!amounts.is_empty()).then(|| amounts.as_slice().into())
    }

    fn find(&self, submit: &Submit) -> Option<u32> {
        let tags = submit.needs().map(|tag| self.tags.find(tag)).collect::<Option<_>>()?;
        let amount = |(name, amount)| Some((self.resources.find(name)?, amount));
        let amounts = submit.amounts().into_iter().map(amount).collect::<Option<_>>()?;
        self.by_content.get(&Demand::new(tags, amounts)).copied()
    }

    fn insert(&mut self, submit: &Submit) -> u32 {
        let tags: Vec<String> = submit.needs().map(str::to_owned).collect();
        let tags = self.tags.take_all(&tags);
        let amount = |(name, amount)| (self.resources.take(name), amount);
        let demand = Demand::new(tags, submit.amounts().into_iter().map(amount).collect());
        self.with_amounts += usize::from(!demand.amounts.is_empty());
        let number = self.demands.insert((demand.clone(), 0));
        self.by_content.insert(demand, number);
        number
    }

    /// A class more has a demand.
    pub(super) fn keep(&mut self, number: u32) {
        self.demands.at_mut(number).1 += 1;
    }

    /// A class less has it.
    pub(super) fn give_up(&mut self, number: u32) {
        self.demands.at_mut(number).1 -= 1;
        self.drop_unused(number);
    }

    /// Drops a demand that no class has.
    pub(super) fn drop_unused(&mut self, number: u32) {
        if self.demands.at(number).1 > 0 {
            return;
        }
        let Some((demand, _)) = self.demands.remove(number) else { return };
        self.with_amounts -= usize::from(!demand.amounts.is_empty());
        self.by_content.remove(&demand);
        for tag in demand.tags {
            self.tags.give_up(tag);
        }
        for (name, _) in demand.amounts {
            self.resources.give_up(name);
        }
    }
}

impl Demand {
    fn new(mut tags: Vec<u32>, mut amounts: Vec<(u32, u64)>) -> Self {
        tags.sort_unstable();
        tags.dedup();
        amounts.sort_unstable();
        Self { tags, amounts }
    }
}

impl Core {
    /// The number of what a task asks for, made if it is the first; `None` where there are too many.
    pub(super) fn demand_of(&mut self, submit: &Submit) -> Option<u32> {
        if submit.needs.is_none() && submit.res.is_none() {
            return Some(0);
        }
        if let Some(known) = self.demands.find(submit) {
            return Some(known);
        }
        if submit.res.is_some() && self.demands.with_amounts >= AMOUNTS_MAX {
            self.forget_amounts();
        }
        let room = submit.res.is_none() || self.demands.with_amounts < AMOUNTS_MAX;
        room.then(|| self.demands.insert(submit))
    }

    /// Forgets classes with amounts that have no tasks, and with them the demands of no other class.
    fn forget_amounts(&mut self) {
        let classes = self.queues.classes();
        let idle = classes.filter(|(_, class)| class.amounts.is_some() && class.tasks == 0);
        let idle: Vec<u32> = idle.map(|(number, _)| number).collect();
        idle.into_iter().for_each(|class| self.forget_class(class));
    }
}
