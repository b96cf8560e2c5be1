//! Queues that open at the end of a turn: who shares workers with them, and what else waits for that.

use std::collections::BTreeMap;

use super::{Driver, Run};
use crate::core::Event;

/// A queue of weight 9 under those policies and another of weight 1 share one slot, and never run dry:
/// how many of 200 runs each has.
fn shared(policies: &str) -> BTreeMap<String, u32> {
    let mut driver = Driver::new(7);
    let client = driver.join("operator");
    driver.join("worker name=w kinds=*");
    let mut runs = driver.ask(client, "SUBMIT a queue=q key=k\n");
    driver.ask(client, &format!("QUEUE q weight=9 {policies}\n"));
    for _ in 0..300 {
        driver.ask(client, "SUBMIT a queue=q key=k\n");
        driver.ask(client, "SUBMIT a queue=other\n");
    }
    let mut counts = BTreeMap::new();
    for _ in 0..200 {
        runs.extend(driver.pass(1000));
        runs.extend(driver.settle());
        driver.core.check_idle();
        assert_eq!(runs.len(), 1, "one at a time");
        let run = runs.remove(0);
        let slot = driver.core.tasks.find(run.id).unwrap();
        let class = driver.core.tasks.at(slot).class;
        let queue = driver.core.queues.queue(driver.core.queues.class(class).queue).name;
        *counts.entry(driver.core.queue_names.name(queue).to_string()).or_default() += 1;
        runs.extend(driver.done(run));
    }
    counts
}

#[test]
fn a_queue_at_its_limit_has_its_share_of_a_slot() {
    for policies in
        ["order=fcfs", "rate=1000", "limit=2", "limit=1", "limit=1 route=hash spill=none"]
    {
        let counts = shared(policies);
        let its = counts.get("q").copied().unwrap_or(0);
        assert!((170..=190).contains(&its), "{policies:?}: {counts:?}");
    }
}

/// For how many seconds a big task waits for its owner, whom small ones keep busy, while another worker
/// that may not have it is idle.
fn wait_for_owner(policies: &str) -> Option<u64> {
    let mut driver = Driver::new(7);
    let client = driver.join("operator");
    for name in ["v", "w"] {
        driver.join(&format!("worker name={name} kinds=* slots=8 res=cpu:8"));
    }
    let small = "SUBMIT small key=k res=cpu:1\n";
    let mut runs = vec![(0, driver.submit(client, small))];
    driver.ask(client, &format!("QUEUE default {policies}\n"));
    let mut big = None;
    for second in 0..300 {
        let over: Vec<Run> =
            runs.extract_if(.., |(since, _)| *since + 2 < second).map(|(_, run)| run).collect();
        let mut begun: Vec<Run> = over.into_iter().flat_map(|run| driver.done(run)).collect();
        for _ in 0..3 {
            begun.extend(driver.ask(client, small));
        }
        if second == 10 {
            begun.extend(driver.ask(client, "SUBMIT big key=k res=cpu:8\n"));
            big = Some(driver.core.last);
        }
        begun.extend(driver.settle());
        begun.extend(driver.pass(1000));
        begun.extend(driver.settle());
        driver.core.check();
        driver.core.check_idle();
        if begun.iter().any(|run| Some(run.id) == big) {
            return Some(second - 10);
        }
        runs.extend(begun.into_iter().map(|run| (second, run)));
    }
    None
}

#[test]
fn a_big_one_has_its_owner_saved_though_others_who_may_not_have_it_are_idle() {
    for policies in ["route=hash spill=none", "route=modulo", "limit=100 route=hash spill=none"] {
        let wait = wait_for_owner(policies);
        assert!(wait.is_some_and(|seconds| seconds <= 60), "{policies}: {wait:?}");
    }
}

/// A task that two workers were lost with, in a queue in which others wait all the time: after how many
/// runs it has its own.
fn wait_of_a_suspect(policies: &str) -> Option<usize> {
    let mut driver = Driver::new(7);
    let client = driver.join("operator");
    let first = driver.join("worker name=w0 kinds=*");
    let suspect = driver.submit(client, "SUBMIT a backoff=0\n").id;
    driver.ask(client, &format!("QUEUE default {policies}\n"));
    let second = driver.join("worker name=w1 kinds=*");
    driver.apply(Event::Left { peer: first });
    let mut runs = go_on(&mut driver);
    assert_eq!(runs.pop().map(|run| (run.to, run.id)), Some((second, suspect)));
    for _ in 0..100 {
        driver.ask(client, "SUBMIT b\n");
    }
    driver.join("worker name=w2 kinds=*");
    driver.apply(Event::Left { peer: second });
    for count in 0..90 {
        runs.extend(go_on(&mut driver));
        assert_eq!(runs.len(), 1, "one at a time");
        let run = runs.remove(0);
        if run.id == suspect {
            return Some(count);
        }
        runs.extend(driver.done(run));
    }
    None
}

/// Lets a second pass; what is pushed to workers meanwhile.
fn go_on(driver: &mut Driver) -> Vec<Run> {
    let mut runs = driver.take_runs();
    runs.extend(driver.settle());
    runs.extend(driver.pass(1000));
    runs.extend(driver.settle());
    driver.core.check();
    driver.core.check_idle();
    runs
}

#[test]
fn a_suspect_has_its_turn_in_a_queue_at_its_bounds() {
    for policies in ["limit=2", "limit=1", "limit=1 order=priority"] {
        let wait = wait_of_a_suspect(policies);
        assert!(wait.is_some_and(|runs| runs <= 10), "{policies}: {wait:?}");
    }
}
