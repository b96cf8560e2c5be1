//! What tasks ask of their workers beside kind, queue and size: tags, by `needs=`. Every set of them
//! is a small number, so that a class keeps and compares no more than that; 0 asks for nothing.

use std::collections::BTreeMap;

use crate::core::Core;
use crate::core::names::Names;
use crate::message::Submit;

/// What a task asks of its worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Demand {
    /// Numbers of tags, ascending.
    pub(super) tags: Vec<u32>,
}

/// Demands by number, and the tags that they and workers name. None is ever given up.
#[derive(Debug)]
pub(super) struct Demands {
    pub(super) tags: Names,
    by_content: BTreeMap<Demand, u32>,
    demands: Vec<Demand>,
}

impl Default for Demands {
    fn default() -> Self {
        let nothing = Demand::default();
        let by_content = BTreeMap::from([(nothing.clone(), 0)]);
        Self { tags: Names::default(), by_content, demands: vec![nothing] }
    }
}

impl Demands {
    pub(super) fn at(&self, number: u32) -> &Demand {
        self.demands.get(number as usize).expect("a number that was handed out")
    }

    /// Demands that ask for something.
    fn len(&self) -> usize {
        self.demands.len() - 1
    }

    fn find(&self, submit: &Submit) -> Option<u32> {
        let tags = submit.needs().map(|tag| self.tags.find(tag)).collect::<Option<Vec<u32>>>()?;
        self.by_content.get(&Demand::new(tags)).copied()
    }

    fn insert(&mut self, submit: &Submit) -> u32 {
        let tags = submit.needs().map(|tag| self.tags.number(tag)).collect();
        let demand = Demand::new(tags);
        let number = u32::try_from(self.demands.len()).expect("fewer than 2^32 demands");
        self.by_content.insert(demand.clone(), number);
        self.demands.push(demand);
        number
    }
}

impl Demand {
    fn new(mut tags: Vec<u32>) -> Self {
        tags.sort_unstable();
        tags.dedup();
        Self { tags }
    }
}

impl Core {
    /// The number of what a task asks for, made if it is the first; `None` where there are too many.
    pub(super) fn demand_of(&mut self, submit: &Submit) -> Option<u32> {
        if submit.needs.is_none() {
            return Some(0);
        }
        if let Some(known) = self.demands.find(submit) {
            return Some(known);
        }
        (self.demands.len() < self.settings.classes_max).then(|| self.demands.insert(submit))
    }
}
