//! How long one step of the core takes at most, and so how long anybody else waits: measured in
//! optimised builds, by `make stalls`. What counts is the time of this thread on a processor, so that
//! other programs do not.
#![cfg(not(debug_assertions))]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{Driver, Run};
use crate::core::{Event, Peer};

/// How long anybody may wait while the order or route of a million tasks changes: what is demanded. It
/// takes 9 ms at most where nothing else is busy.
const CHANGE_MAX: Duration = Duration::from_millis(20);

/// How long anybody may wait while tasks are sorted anew for a thousand workers of which half have left.
const SORT_MAX: Duration = Duration::from_millis(50);

/// How long anybody may wait while these workers join and leave, within a second: one of weight 100 takes
/// 20 ms where nothing else is busy.
const JOIN_MAX: Duration = Duration::from_millis(100);

/// How long anybody may wait for the answer to a question about ten thousand of something: it is one
/// step, and takes 12 ms at most.
const QUESTION_MAX: Duration = Duration::from_millis(40);

/// Tasks that wait in the large queue.
const WAITING: u32 = 1_000_000;

/// A scheduler with a large queue, and another one whose worker is free.
struct Scene {
    driver: Driver,
    client: Peer,
    /// The longest step, and the longest time from a SUBMIT to its TASK in the other queue.
    step: Duration,
    wait: Duration,
    /// All steps together, and how many.
    total: Duration,
    turns: u32,
}

impl Scene {
    fn new() -> Self {
        let mut driver = Driver::new(1);
        let client = driver.join("operator");
        driver.join("worker name=other kinds=b queues=other");
        driver.settle();
        let zero = Duration::ZERO;
        Self { driver, client, step: zero, wait: zero, total: zero, turns: 0 }
    }

    fn fill(&mut self) {
        for i in 0..WAITING {
            // Neither order nor keys come in the order of submission.
            let scattered = i.wrapping_mul(2_654_435_761);
            let weighed = match i % 2 {
                0 => format!("priority={}", scattered % 1000),
                _ => format!("time={}", 1 + scattered % 60_000),
            };
            let submit = format!(
                "SUBMIT a queue=big key=user{} {weighed} expires={}\n",
                scattered % 500_000,
                100_000_000 + u64::from(scattered % 100_000)
            );
            self.driver.ask(self.client, &submit);
        }
        self.driver.settle();
    }

    /// One step, for whose end everybody waits.
    fn step(&mut self, act: impl FnOnce(&mut Driver)) -> Duration {
        let begin = on_processor();
        act(&mut self.driver);
        let took = on_processor().saturating_sub(begin);
        self.driver.fx.clear();
        self.step = self.step.max(took);
        self.total += took;
        took
    }

    /// A turn with nothing in it, during which a task of the other queue comes, and the turn in which
    /// that is leased.
    fn turn(&mut self) {
        let (client, now) = (self.client, self.driver.now);
        let due = self.step(|driver| driver.core.handle(now, Event::Due, &mut driver.fx));
        let before = self.step(|driver| driver.core.settle(now, &mut driver.fx));
        let mut run: Option<Run> = None;
        let own = self.step(|driver| {
            run = driver.ask(client, "SUBMIT b queue=other\n").first().copied();
        });
        self.wait = self.wait.max(due + before + own);
        self.turns += 1;
        let run = run.expect("the other queue's worker is free");
        self.driver.done(run);
    }

    /// Goes on until all is where it belongs.
    fn go_on(&mut self) {
        while self.driver.core.next_deadline().mono_us == Some(0) {
            self.turn();
            self.driver.now.mono_us += 1000;
        }
    }

    /// Tells what was measured since the last time: the longest that anybody waited.
    fn tell(&mut self, what: &str) -> Duration {
        let Self { step, wait, total, turns, .. } = *self;
        eprintln!(
            "{what:<34} longest step {step:>9.1?}, another queue waits {wait:>9.1?}; \
             {turns} turns, {total:.2?}"
        );
        let zero = Duration::ZERO;
        (self.step, self.wait, self.total, self.turns) = (zero, zero, zero, 0);
        step.max(wait)
    }

    /// Tells it, and asserts that it is not too long.
    fn bound(&mut self, what: &str, most: Duration) {
        let wait = self.tell(what);
        assert!(wait < most, "{what}: somebody waits {wait:?}");
    }
}

/// How long this thread has been on a processor.
fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[test]
#[ignore = "minutes of an optimised build: make stalls"]
fn a_change_of_policy_stalls_nobody() {
    let mut scene = Scene::new();
    scene.driver.ask(scene.client, "QUEUE big order=fcfs\n");
    for i in 0..100 {
        scene.driver.join(&format!("worker name=w{i} kinds=none queues=big"));
    }
    scene.driver.join("worker name=busy kinds=a queues=big slots=1");
    scene.driver.settle();
    scene.fill();
    scene.go_on();
    scene.tell("1,000,000 tasks wait");
    let changes = [
        "order=priority",
        "order=sjf",
        "order=deadline",
        "order=fcfs",
        "order=fcfs key-limit=1",
        "order=priority key-limit=1",
        "order=fcfs key-limit=none",
        "route=hash",
        "route=hash order=priority",
        "route=modulo",
        "route=hash order=fcfs spill=none",
        "route=weighted-random",
    ];
    for change in changes {
        let client = scene.client;
        scene.step(|driver| drop(driver.ask(client, &format!("QUEUE big {change}\n"))));
        scene.go_on();
        scene.bound(change, CHANGE_MAX);
    }
}

/// A thousand workers join within a second, while a million tasks wait for their owners.
fn many_join(weight: &str) {
    let mut scene = Scene::new();
    scene.driver.ask(scene.client, "QUEUE big route=hash\n");
    scene.driver.join(&format!("worker name=w kinds=a queues=big slots=1 weight={weight}"));
    scene.driver.settle();
    scene.fill();
    scene.tell("1,000,000 tasks wait");
    for i in 0..1000 {
        let hello = format!("worker name=w{i} kinds=a queues=big slots=1 weight={weight}");
        scene.step(|driver| {
            driver.join(&hello);
        });
        scene.turn();
        scene.driver.now.mono_us += 1000;
    }
    scene.bound(&format!("1,000 of weight {weight} join"), JOIN_MAX);
    while !scene.driver.core.is_settled() {
        scene.turn();
        scene.driver.now.mono_us += 1000;
    }
    scene.bound("and then, until all are sorted", SORT_MAX);
    let workers: Vec<Peer> =
        scene.driver.core.workers.sessions.iter().filter_map(|(_, worker)| worker.peer).collect();
    for peer in workers.into_iter().skip(2).step_by(2) {
        scene.step(|driver| {
            driver.apply(Event::Left { peer });
            driver.take_runs();
        });
        scene.turn();
        scene.driver.now.mono_us += 1000;
    }
    scene.bound("500 of them leave", JOIN_MAX);
    while !scene.driver.core.is_settled() {
        scene.turn();
        scene.driver.now.mono_us += 1000;
    }
    scene.bound("and then, until all are sorted", SORT_MAX);
}

#[test]
#[ignore = "minutes of an optimised build: make stalls"]
fn many_joins_stall_nobody() {
    many_join("1");
}

#[test]
#[ignore = "minutes of an optimised build: make stalls"]
fn many_heavy_joins_stall_nobody() {
    many_join("100");
}

#[test]
#[ignore = "minutes of an optimised build: make stalls"]
fn no_question_stalls_anybody() {
    const MANY: u32 = 10_000;
    let mut scene = Scene::new();
    let client = scene.client;
    for i in 0..MANY - 2 {
        scene.driver.ask(client, &format!("QUEUE q{i} order=priority aging=0.5 rate=100\n"));
        scene.driver.ask(client, &format!("SUBMIT kind{i} queue=q{i} key=user{i}\n"));
    }
    scene.driver.settle();
    scene.step(|driver| drop(driver.ask(client, "QUEUES\n")));
    scene.bound("QUEUES of 10,000", QUESTION_MAX);
    scene.step(|driver| drop(driver.ask(client, "TASKS limit=1000\n")));
    scene.step(|driver| drop(driver.ask(client, "TASKS limit=1000 queue=nowhere\n")));
    scene.bound("TASKS of 10,000", QUESTION_MAX);
    for i in 0..MANY {
        let hello = "host=host17 pid=4711 kinds=resize,encode,c queues=other,default tags=gpu,ssd";
        scene.driver.join(&format!("worker name=worker-{i} {hello} res=mem:100 heartbeat=15000"));
        scene.driver.settle();
    }
    scene.step(|driver| drop(driver.ask(client, "WORKERS\n")));
    scene.bound("WORKERS of 10,000", QUESTION_MAX);
    for _ in 0..4 {
        for _ in 0..MANY {
            let runs = scene.driver.ask(client, "SUBMIT c\n");
            scene.driver.now.mono_us += 100;
            runs.into_iter().for_each(|run| drop(scene.driver.done(run)));
        }
    }
    scene.driver.pass(1000);
    scene.step(|driver| drop(driver.ask(client, "STATS\n")));
    let pairs = scene.driver.core.costs.pairs(0).len();
    scene.bound(&format!("STATS of {pairs} pairs"), QUESTION_MAX);
    scene.driver.now.mono_us += 100_000_000;
    scene.turn();
    scene.bound("housekeeping", QUESTION_MAX);
}
