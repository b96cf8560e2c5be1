//! Who is chosen under the routes that choose among the free workers, against an oracle that looks at
//! every worker each time.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Driver, Run, chi_square};
use crate::core::Peer;
use crate::route::Ratio;
use crate::task::SessionId;

/// Workers of several abilities that come, go, fill up and empty, and tasks for them.
struct Scene {
    driver: Driver,
    client: Peer,
    peers: BTreeMap<String, Peer>,
    runs: Vec<Run>,
    rng: SmallRng,
}

/// A worker that could have been chosen, as it was before the choice.
#[derive(Clone, Debug)]
struct Free {
    name: String,
    runs: u128,
    slots: u128,
    weight: i128,
    session: SessionId,
}

const ABILITIES: [&str; 3] = ["kinds=a", "kinds=a,b", "kinds=* tags=t"];

impl Scene {
    fn new(seed: u64, route: &str) -> Self {
        let mut driver = Driver::new(seed);
        let client = driver.join("operator");
        driver.ask(client, &format!("QUEUE q route={route}\n"));
        let (peers, runs) = (BTreeMap::new(), Vec::new());
        Self { driver, client, peers, runs, rng: SmallRng::seed_from_u64(seed) }
    }

    fn join(&mut self, name: &str, hello: &str) {
        let peer = self.driver.join(&format!("worker name={name} {hello}"));
        self.peers.insert(name.to_owned(), peer);
        let runs = self.driver.take_runs();
        self.runs.extend(runs);
    }

    /// Who could be given a task of a kind, by name.
    fn free(&self, kind: &str) -> Vec<Free> {
        let core = &self.driver.core;
        let number = core.kinds.find(kind);
        let able = |pool: u32| {
            let kinds = &core.workers.pools.at(pool).ability.kinds;
            let has = |kinds: &Vec<u32>| number.is_some_and(|number| kinds.contains(&number));
            kinds.as_ref().is_none_or(has)
        };
        let sessions = core.workers.sessions.iter().map(|(_, session)| session);
        let able = sessions.filter(|session| {
            session.is_free() && session.pool.is_some_and(|(pool, _)| able(pool))
        });
        let mut free: Vec<Free> = able
            .map(|session| Free {
                name: core.worker_names.name(session.name).to_string(),
                runs: session.busy() as u128,
                slots: session.entry.slots.into(),
                weight: i128::from(session.entry.weight.thousandths()) / 1000,
                session: session.session,
            })
            .collect();
        free.sort_by(|a, b| a.name.cmp(&b.name));
        free
    }

    /// Hands a task in; whom it was given to at once.
    fn submit(&mut self, kind: &str, queue: &str) -> Option<String> {
        let runs = self.driver.ask(self.client, &format!("SUBMIT {kind} queue={queue}\n"));
        self.runs.extend(&runs);
        let peer = runs.first()?.to;
        let (name, _) = self.peers.iter().find(|(_, its)| **its == peer).expect("a worker");
        Some(name.clone())
    }

    /// Something else happens: a worker comes, goes, is drained, changes; a run ends; time passes.
    fn stir(&mut self) {
        let name = format!("w{}", self.rng.random_range(0..9));
        match self.rng.random_range(0..12) {
            0 => {
                let ability = ABILITIES[self.rng.random_range(0..3)];
                let (slots, weight) = (self.rng.random_range(1..7), self.rng.random_range(0..6));
                self.join(&name, &format!("{ability} slots={slots} weight={weight}"));
            }
            1 => {
                if let Some(peer) = self.peers.remove(&name) {
                    let runs = self.driver.ask(peer, "BYE\n");
                    self.runs.retain(|run| run.to != peer);
                    self.runs.extend(runs);
                }
            }
            2 => {
                let runs = self.driver.ask(self.client, &format!("DRAIN {name}\n"));
                self.runs.extend(runs);
            }
            3 => {
                if let Some(peer) = self.peers.get(&name) {
                    let slots = self.rng.random_range(0..7);
                    let runs = self.driver.ask(*peer, &format!("SLOTS {slots}\n"));
                    self.runs.extend(runs);
                }
            }
            4 => {
                let runs = self.driver.pass(self.rng.random_range(1..400));
                self.runs.extend(runs);
            }
            5 => drop(self.submit("b", "other")),
            _ if self.runs.is_empty() => {}
            verb => {
                let run = self.runs.swap_remove(self.rng.random_range(0..self.runs.len()));
                let (id, attempt) = (run.id, run.attempt);
                let text = match verb {
                    6 => format!("RELEASE {id} {attempt}\n"),
                    7 => format!("FAIL {id} {attempt} retry=0\n"),
                    _ => format!("DONE {id} {attempt}\n"),
                };
                let runs = self.driver.ask(run.to, &text);
                self.runs.extend(runs);
            }
        }
        let runs = self.driver.settle();
        self.runs.extend(runs);
        self.driver.core.check();
        self.driver.core.check_idle();
    }

    /// Whom the queue chose last by round robin.
    fn last(&self) -> Option<String> {
        let core = &self.driver.core;
        let queue = core.queue_names.find("q").and_then(|name| core.queues.find(name));
        queue
            .and_then(|queue| core.queues.queue(queue).chosen.as_ref())
            .map(|name| name.to_string())
    }

    fn waits(&self) -> bool {
        self.driver.core.queues.classes().any(|(_, class)| class.waiting > 0)
            || !self.driver.core.apart.is_empty()
    }
}

/// A task was given to a worker at once.
struct Choice<'a> {
    seed: u64,
    /// After the choice.
    scene: &'a Scene,
    /// Those who could be chosen, as they were before.
    free: Vec<Free>,
    kind: &'a str,
    /// Whom the queue chose last before.
    last: Option<String>,
    chosen: String,
}

impl Choice<'_> {
    fn its(&self) -> &Free {
        self.free.iter().find(|free| free.name == self.chosen).expect("it was free")
    }
}

/// Plays scenes, and has each choice judged.
fn play(route: &str, mut judge: impl FnMut(Choice)) {
    let mut choices = 0;
    for seed in 0..25 {
        let mut scene = Scene::new(seed, route);
        for _ in 0..300 {
            scene.stir();
            let kind = ["a", "a", "b"][scene.rng.random_range(0..3)];
            let free = scene.free(kind);
            if free.is_empty() || scene.waits() {
                continue;
            }
            let last = scene.last();
            let chosen = scene.submit(kind, "q").expect("somebody is free");
            assert!(free.iter().any(|free| free.name == chosen), "seed {seed}: {chosen} was full");
            judge(Choice { seed, scene: &scene, free, kind, last, chosen });
            choices += 1;
        }
    }
    assert!(choices > 1200, "{choices} choices under {route}");
}

#[test]
fn random_chooses_among_the_free() {
    play("random", |_| {});
}

#[test]
fn least_loaded_chooses_the_smallest_runs_by_slots() {
    play("least-loaded", |choice| {
        let its = choice.its();
        let less = choice.free.iter().find(|free| free.runs * its.slots < its.runs * free.slots);
        assert!(less.is_none(), "seed {}: {its:?}, but {less:?}", choice.seed);
    });
}

#[test]
#[expect(clippy::cast_possible_truncation, reason = "means are not that long")]
fn fastest_chooses_the_smallest_expected_finish() {
    play("fastest", |choice| {
        let (costs, kind) = (&choice.scene.driver.core.costs, choice.kind);
        let estimate = |name: &str| {
            let pair = costs.find(kind, name).and_then(|pair| costs.pair_estimate(pair));
            let usual_us = costs.estimate(kind).map_or(1e6, |known| known.mean_us).round();
            let its_us = pair.map(|known| known.mean_us.round());
            // In the parts that a worker's slowness is counted in, so that nothing is lost.
            let slowness = Ratio::of(costs.slowness(name)).value();
            (its_us.unwrap_or(usual_us * slowness) * 65_536.0) as u128
        };
        let its = choice.its();
        let finish = |free: &Free| estimate(&free.name) * (free.runs + 1);
        let sooner = |other: &&Free| finish(other) * its.slots < finish(its) * other.slots;
        let less = choice.free.iter().find(sooner);
        assert!(less.is_none(), "seed {}: {its:?}, but {less:?}", choice.seed);
    });
}

#[test]
fn round_robin_goes_round_by_name() {
    play("round-robin", |choice| {
        let last = &choice.last;
        let later = |free: &&Free| last.as_ref().is_none_or(|last| free.name > *last);
        let next = choice.free.iter().find(later).or(choice.free.first()).expect("somebody");
        assert_eq!(next.name, choice.chosen, "seed {}", choice.seed);
        assert_eq!(choice.scene.last().as_ref(), Some(&next.name), "seed {}", choice.seed);
    });
}

/// Weighted round robin as it is defined, in fractions of the least common multiple of 1 to 40: a clock
/// that goes on by 1 ÷ (sum of the weights) with each choice, and turns as long as 1 ÷ weight on it.
#[derive(Default)]
struct Oracle {
    clock: i128,
    /// By name: the beginning of the turn, and the worker's session.
    turns: BTreeMap<String, (i128, SessionId)>,
    here: BTreeSet<String>,
}

const FRACTION: i128 = 5_342_931_457_063_200;

impl Oracle {
    /// Takes note of who is free, and weighs how much.
    fn look(&mut self, scene: &Scene) {
        let free = scene.free("a");
        for Free { name, session, .. } in &free {
            let turn = self.turns.entry(name.clone()).or_insert((self.clock, *session));
            if turn.1 != *session {
                *turn = (self.clock, *session);
            } else if !self.here.contains(name) {
                turn.0 = turn.0.max(self.clock);
            }
        }
        self.here = free.into_iter().map(|free| free.name).collect();
    }

    fn choose(&mut self, free: &[Free]) -> String {
        let begin = |free: &&Free| self.turns[&free.name].0;
        let first = free.iter().map(|free| begin(&free)).min().expect("somebody");
        self.clock = self.clock.max(first);
        let begun = free.iter().filter(|free| begin(free) <= self.clock);
        let end = |free: &&Free| (begin(free) + FRACTION / free.weight, free.name.clone());
        let next = begun.min_by_key(end).expect("one has begun");
        let end = end(&next).0;
        self.clock += FRACTION / free.iter().map(|free| free.weight).sum::<i128>();
        self.turns.insert(next.name.clone(), (end, next.session));
        next.name.clone()
    }
}

/// All workers can do the same here but for a tag, which makes different pools of them: they must take
/// turns as if they were one.
#[test]
fn weighted_round_robin_is_that_of_the_definition() {
    for seed in 0..40 {
        let mut scene = Scene::new(seed, "weighted-round-robin");
        let (mut oracle, mut choices) = (Oracle::default(), 0);
        for i in 0..600 {
            let name = format!("w{}", scene.rng.random_range(0..7));
            match scene.rng.random_range(0..10) {
                0 if i < 300 || i % 2 == 0 => {
                    let (slots, weight) =
                        (scene.rng.random_range(1..5), scene.rng.random_range(0..6));
                    let tag = ["", " tags=t", " tags=u"][scene.rng.random_range(0..3)];
                    scene.join(&name, &format!("kinds=a slots={slots} weight={weight}{tag}"));
                }
                1 => {
                    if let Some(peer) = scene.peers.get(&name) {
                        let slots = scene.rng.random_range(0..5);
                        let runs = scene.driver.ask(*peer, &format!("SLOTS {slots}\n"));
                        scene.runs.extend(runs);
                    }
                }
                2..5 if !scene.runs.is_empty() => {
                    let run = scene.runs.swap_remove(scene.rng.random_range(0..scene.runs.len()));
                    let runs = scene.driver.done(run);
                    scene.runs.extend(runs);
                }
                _ => {}
            }
            scene.driver.core.check();
            oracle.look(&scene);
            let free = scene.free("a");
            if free.is_empty() || scene.waits() {
                continue;
            }
            let wanted = oracle.choose(&free);
            assert_eq!(scene.submit("a", "q"), Some(wanted), "seed {seed}, step {i}: {free:?}");
            oracle.look(&scene);
            choices += 1;
        }
        assert!(choices > 100, "{choices} choices of seed {seed}");
    }
}

/// Two can do `a`, one of them and a third `b`: a thousand tasks of the first kind give the third
/// nothing to make up for.
#[test]
fn who_could_not_be_chosen_has_nothing_to_make_up_for() {
    let mut scene = Scene::new(1, "weighted-round-robin");
    for (name, hello) in [("w1", "kinds=a"), ("w2", "kinds=a,b weight=2"), ("w3", "kinds=b")] {
        scene.join(name, &format!("{hello} slots=5"));
    }
    let mut fall = |kind: &str, tasks: usize| {
        let names = (0..tasks).map(|_| {
            let name = scene.submit(kind, "q").expect("somebody is free");
            let run = scene.runs.pop().expect("a run");
            scene.driver.done(run);
            name
        });
        names.collect::<Vec<_>>()
    };
    let ones = fall("a", 999).iter().filter(|name| *name == "w1").count();
    assert_eq!(ones, 333);
    let next = fall("b", 12);
    assert_eq!(next.iter().filter(|name| *name == "w3").count(), 4, "{next:?}");
    assert!(next.windows(2).all(|two| two != ["w3", "w3"]), "{next:?}");
}

/// How 20,000 tasks fall to workers of these HELLOs, each of which has a slot. `busy` runs are under
/// way on each of them all the while.
fn fall_to(route: &str, workers: &[&str], busy: usize) -> Vec<u64> {
    let mut scene = Scene::new(7, "round-robin");
    for (place, hello) in workers.iter().enumerate() {
        scene.join(&format!("w{place}"), hello);
    }
    (0..busy * workers.len()).for_each(|_| drop(scene.submit("a", "q")));
    scene.driver.ask(scene.client, &format!("QUEUE q route={route}\n"));
    let mut counts = vec![0; workers.len()];
    for _ in 0..20_000 {
        let name = scene.submit("a", "q").expect("somebody is free");
        let place = name[1..].parse::<usize>().expect("a number");
        counts[place] += 1;
        let run = scene.runs.pop().expect("a run");
        scene.driver.done(run);
    }
    scene.driver.core.check();
    counts
}

/// The chi-square statistic that so many degrees of freedom exceed once in a thousand times.
const ONCE_IN_A_THOUSAND: [f64; 5] = [0.0, 10.83, 13.82, 16.27, 18.47];

#[test]
fn random_makes_all_equally_likely_whatever_they_weigh_and_can_do_besides() {
    let hellos =
        ["kinds=a weight=7", "kinds=a", "kinds=a,b", "kinds=* weight=0.5", "kinds=a tags=t"];
    let counts = fall_to("random", &hellos, 0);
    assert!(chi_square(&counts, &[1.0; 5]) < ONCE_IN_A_THOUSAND[4], "{counts:?}");
    assert_eq!(counts, fall_to("random", &hellos, 0), "the same seed makes the same choices");
}

#[test]
fn those_equally_loaded_are_equally_likely() {
    // One run on each: a third, a quarter, and three times a fifth, in three pools.
    let hellos = [
        "kinds=a slots=3",
        "kinds=a slots=4",
        "kinds=a,b slots=5",
        "kinds=* slots=5",
        "kinds=a slots=5",
    ];
    let counts = fall_to("least-loaded", &hellos, 1);
    assert_eq!(counts[..2], [0, 0]);
    assert!(chi_square(&counts[2..], &[1.0; 3]) < ONCE_IN_A_THOUSAND[2], "{counts:?}");
    assert_eq!(counts, fall_to("least-loaded", &hellos, 1), "the same seed, the same choices");
}

#[test]
fn those_expected_to_be_through_at_once_are_equally_likely() {
    // Every run takes a microsecond: a half, and twice a third. What one of them weighs is nothing.
    let hellos = ["kinds=a slots=2", "kinds=a,b slots=3", "kinds=a slots=3 weight=9"];
    let counts = fall_to("fastest", &hellos, 0);
    assert_eq!(counts[0], 0);
    assert!(chi_square(&counts[1..], &[1.0; 2]) < ONCE_IN_A_THOUSAND[1], "{counts:?}");
}
