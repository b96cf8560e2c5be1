//! Workers and kinds that change while they are at it: slow ones, ones that become slow, ones that fail
//! everything at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::{Driver, Run};
use crate::core::Peer;

/// What a worker does with a task: how many milliseconds it takes, and whether it ends well.
type Habits = fn(worker: usize, at_ms: u64) -> (u64, bool);

/// Workers that do what is submitted at even intervals, in virtual time.
struct Shift {
    driver: Driver,
    client: Peer,
    peers: BTreeMap<Peer, usize>,
    habits: Habits,
    at_ms: u64,
    /// By when they end, in milliseconds.
    running: BinaryHeap<Reverse<(u64, usize)>>,
    runs: Vec<(Run, bool)>,
    /// How many runs began on each worker.
    began: Vec<u64>,
}

impl Shift {
    fn new(policies: &str, workers: &[&str], habits: Habits) -> Self {
        let mut driver = Driver::new(3);
        let client = driver.join("operator");
        driver.ask(client, &format!("QUEUE default {policies}\n"));
        let join = |(place, hello): (usize, &&str)| {
            (driver.join(&format!("worker name=w{place} kinds=a {hello}")), place)
        };
        let peers = workers.iter().enumerate().map(join).collect();
        let (running, runs, began) = (BinaryHeap::new(), Vec::new(), vec![0; workers.len()]);
        Self { driver, client, peers, habits, at_ms: 0, running, runs, began }
    }

    /// Submits so many tasks, one each `every_ms`; how many of all runs meanwhile each worker had.
    fn work(&mut self, tasks: u64, every_ms: u64) -> Vec<u64> {
        self.began.fill(0);
        for _ in 0..tasks {
            let runs = self.driver.ask(self.client, "SUBMIT a attempts=none\n");
            self.begin(runs);
            self.pass_to(self.at_ms + every_ms);
        }
        self.began.clone()
    }

    fn begin(&mut self, runs: Vec<Run>) {
        for run in runs {
            let worker = self.peers[&run.to];
            self.began[worker] += 1;
            let (ms, succeeds) = (self.habits)(worker, self.at_ms);
            self.running.push(Reverse((self.at_ms + ms, self.runs.len())));
            self.runs.push((run, succeeds));
        }
    }

    fn pass_to(&mut self, until_ms: u64) {
        while let Some(&Reverse((at_ms, number))) = self.running.peek()
            && at_ms <= until_ms
        {
            self.running.pop();
            self.wait_until(at_ms);
            let (Run { to, id, attempt }, succeeds) = self.runs[number];
            let verb = if succeeds { "DONE" } else { "FAIL" };
            let runs = self.driver.ask(to, &format!("{verb} {id} {attempt}\n"));
            self.begin(runs);
        }
        self.wait_until(until_ms);
    }

    fn wait_until(&mut self, at_ms: u64) {
        while self.at_ms < at_ms {
            let ms = (at_ms - self.at_ms).min(100);
            self.at_ms += ms;
            let runs = self.driver.pass(ms);
            self.begin(runs);
        }
        let runs = self.driver.settle();
        self.begin(runs);
    }

    fn mean_ms(&self) -> f64 {
        self.driver.core.costs.estimate("a").expect("it was measured").mean_us / 1000.0
    }
}

fn share(counts: &[u64], worker: usize) -> f64 {
    counts[worker] as f64 / counts.iter().sum::<u64>() as f64
}

/// Takes 10 ms, but the second worker a second from the hundredth second on.
fn slows_down(worker: usize, at_ms: u64) -> (u64, bool) {
    (if worker == 1 && at_ms >= 100_000 { 1000 } else { 10 }, true)
}

#[test]
fn fastest_leaves_a_worker_that_has_become_slow() {
    let mut shift = Shift::new("route=fastest", &["slots=8", "slots=8"], slows_down);
    let before = shift.work(5000, 20);
    assert!((0.4..0.6).contains(&share(&before, 1)), "both are the same: {before:?}");
    let after = shift.work(1000, 20);
    assert!(share(&after, 1) < 0.02, "it has had {after:?} of a thousand");
}

/// All workers are slower from the hundredth second on.
fn all_slow_down(_: usize, at_ms: u64) -> (u64, bool) {
    (if at_ms >= 100_000 { 1000 } else { 10 }, true)
}

#[test]
fn a_kinds_drift_shows_in_its_estimate_within_minutes() {
    let many = |every_ms: u64, before: u64, after: u64| {
        let mut shift = Shift::new("order=sjf", &["slots=200"], all_slow_down);
        shift.work(before, every_ms);
        assert!((shift.mean_ms() - 10.0).abs() < 1.0, "{}", shift.mean_ms());
        shift.work(after, every_ms);
        // Those of the last second are still running.
        shift.pass_to(shift.at_ms + 1000);
        shift.mean_ms()
    };
    // 100 per second: within 460 tasks; one each 2 s: within 200 s; one each 5 minutes: the fourth.
    assert!(many(10, 10_000, 460) >= 900.0);
    assert!(many(2000, 50, 101) >= 900.0);
    assert!(many(300_000, 1, 4) >= 900.0);
}

/// The second fails at once whatever it gets, the others take 100 ms.
fn black_hole(worker: usize, _: u64) -> (u64, bool) {
    if worker == 1 { (0, false) } else { (100, true) }
}

/// All but `modulo`, under which a task waits for its worker, come what may.
const ROUTES: [&str; 7] = [
    "weighted-random",
    "random",
    "weighted-round-robin",
    "round-robin",
    "least-loaded",
    "fastest",
    "hash",
];

#[test]
fn w18_a_worker_that_fails_everything_at_once_is_not_fed_everything() {
    for route in ROUTES {
        let workers = ["slots=4", "slots=4", "slots=4"];
        let mut shift = Shift::new(&format!("route={route}"), &workers, black_hole);
        shift.work(500, 20);
        let had = shift.work(3000, 20);
        // Two tries a minute at the most, when its pauses have grown; and none of the tasks is lost.
        assert!(had[1] <= 3, "{route}: {had:?}");
        assert!(had[0] + had[2] >= 2990, "{route}: {had:?}");
        shift.driver.core.check();
    }
}

#[test]
fn w19_a_worker_that_fails_fast_gets_no_turns_under_round_robin() {
    let mut shift = Shift::new("route=round-robin", &["slots=1"; 3], black_hole);
    // Before anybody has succeeded nothing is known; then six failures in a row, or a few more.
    let first = shift.work(100, 60);
    assert!(first[1] <= 12, "{first:?}");
    let later = shift.work(1000, 60);
    assert!(later[1] <= 5, "its pauses grow: {later:?}");
}

/// The second takes twenty times as long as the others.
fn slow(worker: usize, _: u64) -> (u64, bool) {
    (if worker == 1 { 1000 } else { 50 }, true)
}

#[test]
fn w19_a_slow_worker_gets_what_it_gets_done_under_least_loaded() {
    let workers = ["slots=4", "slots=4", "slots=4"];
    let mut shift = Shift::new("route=least-loaded", &workers, slow);
    shift.work(500, 20);
    let had = shift.work(3000, 20);
    // In 60 s its four slots could do 240; it is left alone while it has more runs than the others.
    assert!((30..=240).contains(&had[1]), "{had:?}");
    let mut shift = Shift::new("route=fastest", &workers, slow);
    shift.work(500, 20);
    let had = shift.work(3000, 20);
    assert!(had[1] <= 5, "and hardly anything under fastest: {had:?}");
}

/// A worker that was slow with ten kinds is not given the eleventh while another has a free slot, unless
/// that has so much to do that it would be slower.
#[test]
fn fastest_goes_by_how_slow_a_worker_is_with_other_kinds() {
    let mut driver = Driver::new(5);
    let client = driver.join("operator");
    driver.ask(client, "QUEUE default route=fastest\n");
    let [quick, slow] =
        ["quick", "slow"].map(|name| driver.join(&format!("worker name={name} kinds=* slots=1")));
    for kind in 0..10 {
        let runs = [0, 1].map(|_| driver.submit(client, &format!("SUBMIT k{kind}\n")));
        for (worker, ms) in [(quick, 10), (slow, 30)] {
            driver.pass(ms);
            let run = runs.iter().find(|run| run.to == worker).expect("one on each");
            driver.done(*run);
        }
        driver.core.check();
    }
    // It takes four times as long.
    for worker in [quick, slow] {
        driver.ask(worker, "SLOTS 6\n");
    }
    let to: Vec<Peer> = (0..6).map(|_| driver.submit(client, "SUBMIT new\n").to).collect();
    assert_eq!(to[..3], [quick; 3]);
    assert_eq!(
        to.iter().filter(|to| **to == quick).count(),
        5,
        "1 × 4 ÷ 6 is as much as 4 × 1 ÷ 6"
    );
    driver.core.check();
}
