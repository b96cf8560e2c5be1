//! Of names nothing stays but what somebody uses.

use super::Driver;

/// What a core has names in: the numbers that there have ever been at once, in each table.
fn sizes(driver: &Driver) -> [usize; 8] {
    let core = &driver.core;
    let [kinds, queues, workers] = [&core.kinds, &core.queue_names, &core.worker_names];
    let [tags, resources] = [&core.demands.tags, &core.demands.resources];
    let bounds = [kinds, queues, workers, tags, resources].map(|names| names.bound() as usize);
    let [kinds, queues, workers, tags, resources] = bounds;
    let (odds, pools) = (core.odds.len(), core.workers.pools.bound() as usize);
    [kinds, queues, workers, tags, resources, odds, pools, core.owned.len()]
}

/// Workers come and go, each with twenty kinds, four queues, two tags and a resource of its own, and
/// runs a task that was submitted before it came.
fn pass_through(driver: &mut Driver, workers: std::ops::Range<u32>) {
    for i in workers {
        let list = |word: &str, count: u32| {
            (0..count).map(|n| format!("{word}{i}-{n}")).collect::<Vec<_>>().join(",")
        };
        let worker = driver.join(&format!(
            "worker name=w{i} host=h{i} price=1 kinds=a,{} queues=default,keyed,{} tags={} res=r{i}:3",
            list("k", 20),
            list("q", 4),
            list("t", 2),
        ));
        let runs = driver.take_runs();
        for run in runs {
            driver.done(run);
        }
        driver.settle();
        driver.ask(worker, "BYE\n");
        driver.settle();
    }
}

#[test]
fn short_lived_workers_leave_nothing_behind() {
    // As many as the bound speaks of where that takes seconds.
    const WORKERS: u32 = if cfg!(debug_assertions) { 5_000 } else { 100_000 };
    let mut driver = Driver::new(1);
    let client = driver.join("operator");
    driver.ask(client, "QUEUE keyed route=hash spill=none\n");
    for queue in ["default", "keyed key=user1", "keyed key=user2"] {
        driver.ask(client, &format!("SUBMIT a queue={queue}\n"));
    }
    pass_through(&mut driver, 0..100);
    driver.core.check();
    let before = sizes(&driver);
    pass_through(&mut driver, 100..WORKERS);
    driver.core.check();
    driver.core.check_idle();
    assert_eq!(sizes(&driver), before, "after {WORKERS} workers as after a hundred");
    assert!(before.iter().all(|size| *size < 64), "{before:?}");
}

#[test]
fn kinds_and_demands_go_with_their_queues() {
    let mut driver = Driver::new(1);
    let client = driver.join("client");
    let mut sizes_by_hour = Vec::new();
    for hour in 0..5 {
        let worker =
            driver.join(&format!("worker name=w kinds=* tags=gpu,t{hour} res=mem:9 slots=100"));
        for i in 0..100 {
            let submit =
                format!("SUBMIT k{hour}-{i} queue=q{hour}-{i} needs=gpu,t{hour} res=mem:1\n");
            for run in driver.ask(client, &submit) {
                driver.done(run);
            }
        }
        driver.ask(worker, "BYE\n");
        for _ in 0..130 {
            driver.pass(60_000);
        }
        driver.core.check();
        sizes_by_hour.push(sizes(&driver));
    }
    assert_eq!(sizes_by_hour[1], sizes_by_hour[4]);
}

#[test]
fn a_number_that_is_used_again_is_another_names() {
    let mut driver = Driver::new(1);
    let client = driver.join("client");
    let worker = driver.join("worker name=w1 kinds=*");
    let run = driver.submit(client, "SUBMIT old queue=one\n");
    driver.done(run);
    for _ in 0..130 {
        driver.pass(60_000);
    }
    let run = driver.submit(client, "SUBMIT new queue=two\n");
    assert_eq!((run.to, driver.core.kinds.bound()), (worker, 1), "the number is used again");
    driver.done(run);
    let figures = driver.core.costs.pairs(driver.now.wall_ms);
    let counts: Vec<_> = figures.iter().map(|(kind, _, its)| (*kind, its.succeeded)).collect();
    assert_eq!(counts, [("new", 1), ("old", 1)]);
}
