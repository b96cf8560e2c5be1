//! Who gets a task by weight.

use super::{Driver, chi_square};

/// The chi-square statistic that two degrees of freedom exceed once in a thousand times.
const ONCE_IN_A_THOUSAND: f64 = 13.82;

/// How 100,000 tasks fall to workers of these HELLOs, all of whom have room for each of them.
fn fall_to(workers: &[&str]) -> Vec<u64> {
    let mut driver = Driver::new(7);
    let client = driver.join("client");
    let peers: Vec<_> = workers.iter().map(|hello| driver.join(hello)).collect();
    let mut counts = vec![0; workers.len()];
    for _ in 0..100_000 {
        let run = driver.submit(client, "SUBMIT a\n");
        counts[peers.iter().position(|peer| *peer == run.to).expect("a worker")] += 1;
        driver.done(run);
    }
    counts
}

#[test]
fn tasks_fall_to_workers_in_proportion_to_weight() {
    let counts = fall_to(&[
        "worker name=w1 kinds=a weight=1",
        "worker name=w2 kinds=a weight=2",
        "worker name=w5 kinds=a weight=5",
    ]);
    assert!(chi_square(&counts, &[1.0, 2.0, 5.0]) < ONCE_IN_A_THOUSAND, "{counts:?}");
}

#[test]
fn so_they_do_where_workers_differ_in_what_else_they_can_do() {
    let counts = fall_to(&[
        "worker name=w1 kinds=a weight=0.1",
        "worker name=w2 kinds=a,b weight=0.2",
        "worker name=w5 kinds=* queues=default weight=0.5",
    ]);
    assert!(chi_square(&counts, &[1.0, 2.0, 5.0]) < ONCE_IN_A_THOUSAND, "{counts:?}");
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let workers = ["worker name=w1 kinds=a", "worker name=w2 kinds=a", "worker name=w3 kinds=a"];
    assert_eq!(fall_to(&workers), fall_to(&workers));
}
