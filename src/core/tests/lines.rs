//! The order within a queue, also with retries, and the turns between queues.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Driver, Run};
use crate::core::Peer;
use crate::core::line::{Line, Place};
use crate::task::TaskId;

#[test]
fn a_line_gives_places_in_order_however_they_came() {
    for seed in 0..200 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut line, mut model) = (Line::default(), BTreeSet::new());
        for slot in 0..200 {
            if rng.random_range(0..3) > 0 {
                let key = rng.random_range(0..50);
                let place = Place { key, id: TaskId::from_bits(slot.into()), slot };
                line.push(place);
                model.insert(place);
            } else {
                assert_eq!(line.pop(), model.pop_first(), "seed {seed}");
            }
            assert_eq!(line.len(), model.len(), "seed {seed}");
        }
        let odd = |place: &Place| place.key % 2 == 1;
        line.shrink(0, odd);
        model.retain(odd);
        while let Some(first) = model.pop_first() {
            assert_eq!(line.first(odd), Some(first), "seed {seed}");
            line.pop();
        }
        assert_eq!(line.first(odd), None, "seed {seed}");
    }
}

/// A queue as it should be: who is ready, who comes back when, who is leased.
struct Model {
    ready: BTreeSet<TaskId>,
    scheduled: BTreeMap<TaskId, u64>,
    leased: Vec<Run>,
    slots: usize,
}

impl Model {
    /// Takes over what was leased: always the first of those that were ready.
    fn lease(&mut self, runs: &[Run]) {
        for run in runs {
            assert_eq!(Some(run.id), self.ready.pop_first(), "first come, first served");
            self.leased.push(*run);
        }
        let free = self.leased.len() < self.slots;
        assert!(!free || self.ready.is_empty(), "a slot is free while {:?} wait", self.ready);
    }

    fn come_back(&mut self, now_ms: u64) {
        let due: Vec<TaskId> =
            self.scheduled.iter().filter(|(_, at)| **at <= now_ms).map(|(id, _)| *id).collect();
        for id in due {
            self.scheduled.remove(&id);
            self.ready.insert(id);
        }
    }
}

#[test]
fn first_come_first_served_with_retries() {
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut driver = Driver::new(seed);
        let client = driver.join("client");
        let slots = rng.random_range(1..4);
        driver.join(&format!("worker name=w1 kinds=* slots={slots}"));
        let (ready, scheduled) = (BTreeSet::new(), BTreeMap::new());
        let mut model = Model { ready, scheduled, leased: Vec::new(), slots };
        for _ in 0..500 {
            step(&mut driver, &mut model, client, &mut rng);
            driver.core.check();
            driver.core.check_idle();
        }
    }
}

/// One task comes, ends, fails, is cancelled, or time passes.
fn step(driver: &mut Driver, model: &mut Model, client: Peer, rng: &mut SmallRng) {
    let runs = match rng.random_range(0..8) {
        0..3 => {
            let kind = ["a", "b", "c"][rng.random_range(0..3)];
            let delay_ms = [0, 0, 30][rng.random_range(0..3)];
            let runs = driver.ask(client, &format!("SUBMIT {kind} delay={delay_ms}\n"));
            model.scheduled.insert(driver.core.last, driver.now.wall_ms + delay_ms);
            model.come_back(driver.now.wall_ms);
            runs
        }
        3..5 if !model.leased.is_empty() => {
            let run = model.leased.swap_remove(rng.random_range(0..model.leased.len()));
            driver.done(run)
        }
        5 if !model.leased.is_empty() => {
            let run = model.leased.swap_remove(rng.random_range(0..model.leased.len()));
            let retry_ms = rng.random_range(0..50);
            model.scheduled.insert(run.id, driver.now.wall_ms + retry_ms);
            model.come_back(driver.now.wall_ms);
            driver.ask(run.to, &format!("FAIL {} {} retry={retry_ms}\n", run.id, run.attempt))
        }
        6 if !model.ready.is_empty() => {
            let place = rng.random_range(0..model.ready.len());
            let id = *model.ready.iter().nth(place).expect("within");
            model.ready.remove(&id);
            driver.ask(client, &format!("CANCEL {id}\n"))
        }
        _ => {
            // By the millisecond: of two that come back together the first one goes first, but one
            // that comes back earlier does not wait for it.
            for _ in 0..10 {
                let runs = driver.pass(1);
                model.come_back(driver.now.wall_ms);
                model.lease(&runs);
            }
            Vec::new()
        }
    };
    model.lease(&runs);
}

#[test]
fn queues_take_turns_however_much_waits_in_them() {
    let mut driver = Driver::new(1);
    let client = driver.join("client");
    let queues = [("one", 300), ("two", 3000), ("three", 600)];
    for (queue, tasks) in queues {
        (0..tasks).for_each(|_| drop(driver.ask(client, &format!("SUBMIT a queue={queue}\n"))));
    }
    let worker = driver.join("worker name=w1 kinds=a");
    let mut run = driver.take_runs()[0];
    let mut served: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..900 {
        let slot = driver.core.tasks.find(run.id).expect("a leased task");
        let class = driver.core.tasks.at(slot).class;
        let queue = driver.core.queues.queue(driver.core.queues.class(class).queue).name;
        *served.entry(driver.core.queue_names.name(queue).to_string()).or_default() += 1;
        let (least, most) = (served.values().min(), served.values().max());
        let waiting = served.len() == 3;
        assert!(!waiting || most.zip(least).is_some_and(|(most, least)| most - least <= 1));
        assert_eq!(run.to, worker);
        run = driver.done(run)[0];
    }
    assert_eq!(served.values().copied().collect::<Vec<_>>(), [300, 300, 300]);
}
