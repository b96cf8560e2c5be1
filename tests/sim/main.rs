//! The fault simulator: the real core and the real engine's turn over simulated time, connections,
//! workers, clients and storage, all from one seed.
//!
//! - `cargo test --test sim` runs 300 seeds; `make seeds SEEDS=1000..9000` runs others.
//! - A seed that fails is printed. `GANGER_SEED=n cargo test --test sim replay -- --nocapture` runs
//!   it alone and prints everything that happened.
//!
//! In reading order: [`workload`] decides what a seed consists of, [`happening`] is what can happen,
//! [`world`] makes it happen, [`net`] is time and links, [`scheduler`] the process around the engine,
//! [`store`] what outlives it, [`peers`] who dials it. The [`auditor`] is a second model that knows
//! what is allowed, [`mutants`] prove that it notices what is not, and [`found`] keeps what it found.

#![expect(clippy::indexing_slicing, reason = "a harness may panic; it says what broke")]
#![expect(clippy::print_stderr, reason = "a failing seed must be known")]

mod auditor;
mod dice;
mod found;
mod happening;
mod mutants;
mod net;
mod peers;
mod scheduler;
mod store;
mod workload;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, Once};
use std::thread;

use mutants::Mutant;
use world::World;

thread_local! {
    /// What the last panic of a run said, and where.
    static BROKEN: RefCell<Option<String>> = const { RefCell::new(None) };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Has panics within runs kept instead of printed: they belong to a seed.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if RUNNING.get() {
                let text = info.payload_as_str().unwrap_or("a panic without a text");
                let at = info.location().map(ToString::to_string).unwrap_or_default();
                BROKEN.set(Some(format!("{text}\n(at {at})")));
            } else {
                others(info);
            }
        }));
    });
}

/// Runs a seed; what broke, if something did.
fn run(seed: u64, mutant: Option<Mutant>) -> (World, Option<String>) {
    keep_panics();
    let mut world = World::new(seed, mutant);
    RUNNING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    RUNNING.set(false);
    let broken = outcome.err().map(|_| BROKEN.take().unwrap_or_default());
    (world, broken)
}

fn log_of(world: &World) -> String {
    String::from_utf8_lossy(&world.net.log.0).into_owned()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[test]
fn seeds() {
    run_all(0..300);
}

#[test]
#[ignore = "as long as GANGER_SEEDS=from..to says: make seeds"]
fn sweep() {
    let text = variable("GANGER_SEEDS").unwrap_or_else(|| "0..2000".to_owned());
    let (from, to) = text.split_once("..").expect("GANGER_SEEDS is FROM..TO");
    run_all(from.parse().expect("a number")..to.parse().expect("a number"));
}

/// What came of some seeds.
#[derive(Default)]
struct Outcome {
    steps: u64,
    marks: BTreeMap<&'static str, u64>,
    /// The seeds that failed, with what broke.
    failed: BTreeMap<u64, String>,
}

impl Outcome {
    fn take_in(&mut self, seed: u64, world: &World, broken: Option<String>) {
        self.steps += world.steps;
        for (mark, times) in world.marks() {
            *self.marks.entry(mark).or_default() += times;
        }
        let Some(broken) = broken else { return };
        let log = log_of(world);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        eprintln!(
            "{tail}\nseed {seed}: {broken}\n\
             replay: GANGER_SEED={seed} cargo test --test sim replay -- --nocapture\n"
        );
        self.failed.insert(seed, broken);
    }
}

/// Runs seeds on all processors, tells those that fail, and what was met in all of them.
fn run_all(range: Range<u64>) {
    let count = range.end - range.start;
    let (seeds, outcome) = (Mutex::new(range), Mutex::new(Outcome::default()));
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = seeds.lock().expect("nobody panics with it").next();
                    let Some(seed) = next else { return };
                    let (world, broken) = run(seed, None);
                    outcome.lock().expect("nobody panics with it").take_in(seed, &world, broken);
                }
            });
        }
    });
    let Outcome { steps, marks, failed } = outcome.into_inner().expect("nobody panicked with it");
    eprintln!("{count} seeds, {steps} happenings");
    for (mark, times) in &marks {
        eprintln!("{times:8}  {mark}");
    }
    for (seed, broken) in &failed {
        eprintln!("seed {seed}: {}", broken.lines().next().unwrap_or_default());
    }
    assert!(failed.is_empty(), "{} of {count} seeds failed", failed.len());
    if count >= 300 {
        let missed: Vec<_> = TO_MEET.iter().filter(|mark| !marks.contains_key(*mark)).collect();
        assert!(missed.is_empty(), "no run met {missed:?}");
    }
}

/// What three hundred seeds must meet: a fault or an answer that never comes proves nothing.
const TO_MEET: [&str; 70] = [
    "BYE",
    "RESULT cancelled",
    "RESULT dead after its attempts",
    "RESULT dead as poison",
    "RESULT dead for its size",
    "RESULT dead without a retry",
    "RESULT done",
    "RESULT expired",
    "SLOTS",
    "a CANCEL for a lease that its worker knows nothing of",
    "a CANCEL push",
    "a burst",
    "a connection breaks",
    "a connection falls silent",
    "a crash",
    "a crash at a random moment",
    "a duplicate is found",
    "a failure is acknowledged",
    "a half-closed connection",
    "a lease is told again",
    "a long silence",
    "a name is in use under another token",
    "a name is taken over",
    "a periodic task fires",
    "a periodic task fires what it owes",
    "a periodic task is added",
    "a queue's policies change",
    "a release is acknowledged",
    "a result is acknowledged",
    "a result over the limit",
    "a session begins",
    "a session is resumed",
    "a unique SUBMIT is sent again",
    "a worker comes back as somebody new",
    "a worker dies without a word",
    "a worker is lost for its silence",
    "a worker is told to leave",
    "a wrong request",
    "an answer for a lease of somebody else",
    "an answer is sent twice",
    "an answer to a cancelled lease is acknowledged",
    "an entry of the inbox is a task",
    "an entry of the inbox is refused",
    "an orderly stop",
    "an unacknowledged answer is sent again",
    "an unknown outcome is resolved by sending again",
    "bad-value",
    "busy",
    "conflict",
    "crash before a batch is applied",
    "crash between a batch and its answer",
    "crash during recovery",
    "crash in the middle of the deliveries",
    "denied",
    "ended",
    "entries of the inbox wait",
    "expired",
    "forbidden",
    "missing",
    "running",
    "stale",
    "the machine stands still",
    "the store is nearly full",
    "the store tries again for a while",
    "the wall clock is set",
    "unexpected",
    "unknown-cron",
    "unknown-queue",
    "unknown-verb",
    "unknown-worker",
];

/// Seeds whose logs are compared with those of a second run.
const TWICE: Range<u64> = 7000..7020;

#[test]
fn the_same_seed_makes_the_same_log() {
    for seed in TWICE {
        let (first, second) = (run(seed, None).0, run(seed, None).0);
        assert!(first.net.log.0 == second.net.log.0, "two runs of seed {seed} differ");
    }
}

#[test]
fn replay() {
    let wanted = variable("GANGER_SEED");
    let seed = wanted.as_ref().map_or(0, |seed| seed.parse().expect("GANGER_SEED is a number"));
    let (world, broken) = run(seed, None);
    if wanted.is_some() {
        eprintln!("{}", log_of(&world));
    }
    if let Some(broken) = broken {
        panic!("seed {seed}: {broken}");
    }
}
