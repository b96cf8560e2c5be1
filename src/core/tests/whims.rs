//! Whatever may be asked for, in any order: tasks of all sorts come, run and are changed, policies too,
//! workers come and go, both clocks jump. After every event all invariants hold; at the end all tasks
//! end.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Driver, Run};
use crate::core::tasks::Phase;
use crate::core::{Event, Peer};
use crate::task::TaskId;

const SEEDS: u64 = 60;
const STEPS: usize = 400;

/// Everything that there is of a sort, one of which is chosen.
const QUEUES: [&str; 3] = ["default", "q", "h"];
const KEYS: [&str; 5] = ["", " key=x", " key=y", " key=z", " key=x serial=yes"];
const EXPIRES: [&str; 5] = ["", " expires=50", " expires=200", " expires=1000", " expires=30000"];
const OTHERS: [&str; 7] =
    ["", "", " res=gpu:1", " res=gpu:2", " delay=20", " unique=u", " unique=v"];
const AFTER: [&str; 3] = ["", " after-failure=run", " after-failure=wait"];
const ANSWERS: [&str; 5] = ["DONE", "DONE", "DONE", "FAIL", "RELEASE"];
const CHANGES: [&str; 5] = ["CANCEL", "CANCEL", "RETRY", "EXPLAIN", "GET"];
const SAID: [&str; 5] =
    ["", " time=20 resource=3 weight=0.5", " time=9000", " priority=5", " time=20 priority=1"];
const POLICIES: [&str; 21] = [
    "route=hash",
    "route=hash",
    "route=weighted-random",
    "route=modulo",
    "spill=100",
    "spill=none",
    "key-limit=1",
    "key-limit=2",
    "key-limit=none",
    "limit=1",
    "limit=none",
    "order=deadline",
    "order=fcfs",
    "order=priority",
    "order=sjf",
    "rate=1",
    "rate=0.01",
    "rate=none",
    "limit=2",
    "spill=0",
    "spill=2000",
];
const PASSES: [u64; 7] = [1, 20, 50, 200, 1000, 10_000, 30_000];
const JUMPS: [u64; 4] = [60, 250, 1000, 31_000];

struct Whims {
    driver: Driver,
    rng: SmallRng,
    client: Peer,
    operator: Peer,
    ids: Vec<TaskId>,
    /// Until when a task may be leased for the first time.
    expiries: BTreeMap<TaskId, u64>,
    workers: Vec<Peer>,
    joined: usize,
    runs: Vec<Run>,
}

impl Whims {
    fn new(seed: u64) -> Self {
        let mut driver = Driver::new(seed);
        let (client, operator) = (driver.join("client"), driver.join("operator"));
        Self {
            driver,
            rng: SmallRng::seed_from_u64(seed),
            client,
            operator,
            ids: Vec::new(),
            expiries: BTreeMap::new(),
            workers: Vec::new(),
            joined: 0,
            runs: Vec::new(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let place = self.below(of.len());
        of[place]
    }

    /// Something has happened.
    fn look(&mut self, runs: Vec<Run>) {
        for run in runs.iter().filter(|run| run.attempt == 1) {
            let in_time = self.expiries.get(&run.id).is_none_or(|at| *at > self.driver.now.wall_ms);
            assert!(in_time, "task {} is leased after its expiry", run.id);
        }
        self.runs.extend(runs);
        self.driver.core.check();
    }

    fn ask(&mut self, peer: Peer, text: &str) {
        let runs = self.driver.ask(peer, &format!("{text}\n"));
        self.look(runs);
    }

    fn turn(&mut self, due: bool) {
        if due {
            self.driver.apply(Event::Due);
            let runs = self.driver.take_runs();
            self.look(runs);
        }
        let runs = self.driver.settle();
        self.look(runs);
        self.driver.core.check_idle();
    }

    /// Turns until nothing is left to do at once.
    fn go_on(&mut self) {
        let turns = (0..2000).take_while(|_| {
            let busy = self.driver.core.is_busy();
            if busy {
                self.turn(true);
            }
            busy
        });
        assert!(turns.count() < 2000, "it is busy for ever");
    }

    fn step(&mut self) {
        match self.below(30) {
            0..9 => self.submit(),
            9..13 => self.answer(),
            13 => self.change(),
            14 => {
                let queue = self.one(&QUEUES);
                // Often it is another one before anything of it has been done.
                for _ in 0..=self.below(2) {
                    let policy = self.one(&POLICIES);
                    self.ask(self.operator, &format!("QUEUE {queue} {policy}"));
                }
            }
            15 => {
                let (verb, queue) = (self.one(&["PAUSE", "RESUME", "RESUME"]), self.one(&QUEUES));
                self.ask(self.operator, &format!("{verb} {queue}"));
            }
            16 => self.come_or_go(),
            17 => self.driver.now.wall_ms += self.one(&JUMPS),
            18 => self.driver.now.wall_ms -= self.one(&JUMPS),
            19..22 => self.pass(),
            22 => {
                let state = self.one(&["ready", "scheduled", "cancelled"]);
                let queue = self.one(&QUEUES);
                self.ask(self.operator, &format!("PURGE {queue} state={state}"));
            }
            23..28 => {
                let due = self.below(4) > 0;
                self.turn(due);
            }
            _ => self.go_on(),
        }
    }

    fn submit(&mut self) {
        let (kind, queue) = (self.one(&["a", "a", "b"]), self.one(&QUEUES));
        let (key, expires, other) = (self.one(&KEYS), self.one(&EXPIRES), self.one(&OTHERS));
        let after = match self.ids.last().copied() {
            Some(last) if self.below(8) == 0 => format!(" after={last}{}", self.one(&AFTER)),
            _ => String::new(),
        };
        let last = self.driver.core.last;
        let said = self.one(if key.contains("serial") { &SAID[..3] } else { &SAID });
        let text = format!("SUBMIT {kind} queue={queue}{key}{said}{expires}{other}{after}");
        self.ask(self.client, &text);
        let id = self.driver.core.last;
        if id > last {
            self.ids.push(id);
            let ms = expires.rsplit_once('=').map(|(_, ms)| ms.parse::<u64>().expect("a number"));
            self.expiries.extend(ms.map(|ms| (id, id.wall_ms() + ms)));
        }
    }

    fn answer(&mut self) {
        if self.runs.is_empty() {
            return;
        }
        let place = self.below(self.runs.len());
        let run = self.runs.swap_remove(place);
        if self.workers.contains(&run.to) {
            let verb = self.one(&ANSWERS);
            self.ask(run.to, &format!("{verb} {} {}", run.id, run.attempt));
        }
    }

    fn change(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let place = self.below(self.ids.len());
        let (verb, id) = (self.one(&CHANGES), self.ids[place]);
        if verb == "RETRY" {
            self.expiries.remove(&id);
        }
        self.ask(self.operator, &format!("{verb} {id}"));
    }

    fn come_or_go(&mut self) {
        if self.workers.len() < 4 {
            let (kinds, res) = (self.one(&["a", "a,b", "*"]), self.one(&["", " res=gpu:2"]));
            let slots = 1 + self.below(3);
            // Now and then the last one comes a second time.
            self.joined += usize::from(self.joined == 0 || self.below(4) > 0);
            let hello = format!("worker name=w{} kinds={kinds} slots={slots}{res}", self.joined);
            let worker = self.driver.join(&hello);
            self.workers.push(worker);
        } else {
            let place = self.below(self.workers.len());
            let verb = self.one(&["", "", "SLOTS 0", "SLOTS 2", "BYE"]);
            if verb.is_empty() {
                let peer = self.workers.swap_remove(place);
                self.driver.apply(Event::Left { peer });
            } else {
                self.ask(self.workers[place], verb);
            }
        }
        let runs = self.driver.take_runs();
        self.look(runs);
    }

    fn pass(&mut self) {
        let ms = self.one(&PASSES);
        self.driver.now.mono_us += ms * 1000;
        self.driver.now.wall_ms += ms;
    }

    /// Nothing hinders any task any more: all end.
    fn end(&mut self) {
        for queue in QUEUES {
            let policies = "limit=none key-limit=none rate=none route=hash spill=100";
            self.ask(self.operator, &format!("QUEUE {queue} {policies}"));
            self.ask(self.operator, &format!("RESUME {queue}"));
        }
        for peer in std::mem::take(&mut self.workers) {
            self.driver.apply(Event::Left { peer });
        }
        self.runs.clear();
        for name in ["y", "z"] {
            self.driver.join(&format!("worker name={name} kinds=* slots=2 res=gpu:2"));
        }
        let runs = self.driver.take_runs();
        self.look(runs);
        for _ in 0..600 {
            self.driver.now.mono_us += 2_000_000;
            self.driver.now.wall_ms += 2_000;
            self.turn(true);
            for run in std::mem::take(&mut self.runs) {
                self.ask(run.to, &format!("DONE {} {}", run.id, run.attempt));
            }
        }
        for (_, task) in self.driver.core.tasks.iter() {
            let goes_on = matches!(task.phase, Phase::Ready { .. } | Phase::Leased { .. });
            assert!(!goes_on, "task {} is {:?} at the end", task.id, task.phase);
        }
    }
}

#[test]
fn invariants_hold_whatever_is_asked_for() {
    for seed in 0..SEEDS {
        let played = std::panic::catch_unwind(|| {
            let mut whims = Whims::new(seed);
            (0..STEPS).for_each(|_| whims.step());
            whims.end();
        });
        assert!(played.is_ok(), "seed {seed}");
    }
}
