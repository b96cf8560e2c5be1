//! Backoff.

use super::Driver;
use crate::core::tasks::Phase;
use crate::task::TaskId;

/// How long a task has still to wait.
fn left_ms(driver: &Driver, id: TaskId) -> u64 {
    let task = driver.core.tasks.find(id).and_then(|slot| driver.core.tasks.get(slot));
    match task.expect("a task").phase {
        Phase::Scheduled { over_us, .. } => (over_us - driver.core.now.mono_us) / 1000,
        other => panic!("it is {other:?}"),
    }
}

/// The waits in milliseconds of a task that fails again and again.
fn waits(seed: u64, options: &str, failures: usize) -> Vec<u64> {
    let mut driver = Driver::new(seed);
    let client = driver.join("client");
    driver.join("worker name=w1 kinds=a");
    let mut run = driver.submit(client, &format!("SUBMIT a attempts=none{options}\n"));
    let mut waits = Vec::new();
    for _ in 0..failures {
        let at_once = driver.ask(run.to, &format!("FAIL {} {}\n", run.id, run.attempt));
        let wait_ms = if at_once.is_empty() { left_ms(&driver, run.id) } else { 0 };
        waits.push(wait_ms);
        let runs = if at_once.is_empty() { driver.pass(wait_ms) } else { at_once };
        assert_eq!(runs.len(), 1, "due after {wait_ms} ms, and not before");
        run = runs[0];
    }
    waits
}

#[test]
fn backoff_doubles_up_to_an_hour_and_waits_between_half_and_all_of_it() {
    for (options, base_ms, ceiling_ms) in [
        ("", 1000, 3_600_000),
        (" backoff=1", 1, 3_600_000),
        (" backoff=7777", 7777, 3_600_000),
        (" backoff=86400000", 86_400_000, 86_400_000),
    ] {
        for seed in 0..20 {
            let waits = waits(seed, options, 70);
            for (place, wait_ms) in waits.into_iter().enumerate() {
                let doubled = 1_u64
                    .checked_shl(u32::try_from(place).unwrap())
                    .and_then(|n| n.checked_mul(base_ms));
                let most_ms = doubled.unwrap_or(ceiling_ms).min(ceiling_ms);
                assert!(
                    (most_ms.div_ceil(2)..=most_ms).contains(&wait_ms),
                    "{wait_ms} of {most_ms} ms after failure {place}, {options:?}, seed {seed}"
                );
            }
        }
    }
}

#[test]
fn what_failed_together_does_not_come_back_together() {
    let mut first: Vec<u64> = (0..1000).map(|seed| waits(seed, "", 1)[0]).collect();
    first.sort_unstable();
    let (least, most) = (first[0], first[999]);
    assert!(least < 510 && most > 990, "from {least} to {most} ms");
    first.dedup();
    assert!(first.len() > 300, "{} different waits", first.len());
}

#[test]
fn no_backoff_is_at_once() {
    assert_eq!(waits(1, " backoff=0", 5), [0; 5]);
}
