//! The fault simulator: the real core and the real engine's turn over simulated time, connections,
//! workers, clients and storage, all from one seed.
//!
//! - `cargo test --test sim` runs 300 seeds; `GANGER_SEEDS=1000..9000 cargo test --test sim seeds`
//!   runs others.
//! - A seed that fails is printed. `GANGER_SEED=n cargo test --test sim replay -- --nocapture` runs
//!   it alone and prints everything that happened.
//!
//! In reading order: [`workload`] decides what a seed consists of, [`world`] makes it happen,
//! [`net`] is time and links, [`scheduler`] the process around the engine, [`store`] what outlives
//! it, [`peers`] who dials it. The [`auditor`] is a second model that knows what is allowed, and
//! [`mutants`] prove that it notices what is not.

#![expect(clippy::indexing_slicing, reason = "a harness may panic; it says what broke")]
#![expect(clippy::print_stderr, reason = "a failing seed must be known")]

mod auditor;
mod dice;
mod found;
#[allow(dead_code, reason = "a mutant is chosen by hand when a check is looked at")]
mod mutants;
mod net;
mod peers;
mod scheduler;
mod store;
mod workload;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

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

fn seeds_to_run() -> Range<u64> {
    let Some(text) = variable("GANGER_SEEDS") else { return 0..300 };
    let (from, to) = text.split_once("..").expect("GANGER_SEEDS is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn seeds() {
    let mut failed: Vec<(u64, String)> = Vec::new();
    let mut marks: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut steps, range) = (0, seeds_to_run());
    let count = range.end - range.start;
    for seed in range {
        let (world, broken) = run(seed, None);
        steps += world.steps;
        if variable("GANGER_TELL").is_some() {
            for line in
                log_of(&world).lines().filter(|l| l.contains("healed:") || l.contains(" steps"))
            {
                eprintln!("seed {seed}: {line}");
            }
        }
        for (mark, times) in world.marks() {
            *marks.entry(mark).or_default() += times;
        }
        if let Some(broken) = broken {
            let log = log_of(&world);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("{tail}\nseed {seed}: {broken}");
            eprintln!("replay: GANGER_SEED={seed} cargo test --test sim replay -- --nocapture\n");
            failed.push((seed, broken));
        }
    }
    eprintln!("{count} seeds, {steps} happenings");
    for (mark, times) in &marks {
        eprintln!("{times:8}  {mark}");
    }
    for (seed, broken) in &failed {
        eprintln!("seed {seed}: {}", broken.lines().next().unwrap_or_default());
    }
    assert!(failed.is_empty(), "{} of {count} seeds failed", failed.len());
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
