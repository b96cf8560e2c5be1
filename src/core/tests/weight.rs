//! What waiting tasks cost in memory and time, and that nothing stays behind.

use super::Driver;
use crate::core::tasks::{More, Task};

#[test]
fn a_waiting_task_is_small() {
    assert!(size_of::<Task>() <= 112, "{} bytes", size_of::<Task>());
    assert!(
        size_of::<More>() <= 224,
        "{} bytes for what most tasks do not have",
        size_of::<More>()
    );
}

#[test]
fn nothing_stays_of_tasks_that_ended() {
    let mut driver = Driver::new(1);
    let operator = driver.join("operator");
    driver.ask(operator, "QUEUE keyed route=hash spill=500\n");
    driver.join("worker name=w1 kinds=* slots=3 heartbeat=1000");
    driver.settle();
    let options = ["timeout=60000", "max-run=60000", "expires=60000", "delay=5", "unique=u"];
    let mut runs = Vec::new();
    for i in 0..20_000 {
        let option = options[i % options.len()];
        let queue = ["default", "keyed key=k"][i / options.len() % 2];
        runs.extend(driver.ask(operator, &format!("SUBMIT a queue={queue} {option}\n")));
        if i % 50 == 49 {
            let last = driver.core.last;
            driver.ask(operator, &format!("CANCEL {last}\n"));
        }
        if i % 7 == 6 {
            runs.extend(driver.pass(1));
        }
        while let Some(run) = runs.pop() {
            runs.extend(driver.done(run));
        }
    }
    runs.extend(driver.pass(10));
    while let Some(run) = runs.pop() {
        runs.extend(driver.done(run));
    }
    driver.pass(3_600_000);
    driver.core.check();
    assert_eq!(driver.core.tasks.len(), 0, "tasks");
    assert_eq!(driver.core.timers.len(), 1, "only housekeeping has a time");
    assert_eq!(driver.core.holds.iter().count(), 0, "holds");
    assert_eq!(driver.core.apart.len(), 0, "released tasks");
    for (number, class) in driver.core.queues.classes() {
        let places = class.line.len() + class.spill.len() + class.unsorted.len();
        let owned: usize = class.owners.values().map(|line| line.len()).sum();
        assert!(places + owned < 256, "class {number} keeps {places} and {owned} places");
    }
}

/// Timing needs an optimised build to mean anything.
#[cfg(not(debug_assertions))]
#[test]
#[expect(clippy::disallowed_methods, reason = "it is the real time that is compared")]
fn a_dispatch_costs_the_same_whatever_waits() {
    use std::time::{Duration, Instant};

    let fastest = |waiting: u32| {
        let mut driver = Driver::new(1);
        let client = driver.join("client");
        (0..waiting).for_each(|_| drop(driver.ask(client, "SUBMIT a\n")));
        driver.join("worker name=w1 kinds=a");
        let mut run = driver.take_runs()[0];
        // The best of several, since other programs take time too.
        let hundred = |_| {
            let begin = Instant::now();
            for _ in 0..100 {
                run = driver.done(run)[0];
            }
            begin.elapsed()
        };
        (0..9).map(hundred).min().unwrap_or(Duration::MAX)
    };
    let (few, many) = (fastest(1000), fastest(1_000_000));
    assert!(
        many < 4 * few,
        "{few:?} for 100 dispatches before a thousand, {many:?} before a million"
    );
}

/// Timing needs an optimised build to mean anything.
#[cfg(not(debug_assertions))]
#[test]
#[expect(clippy::disallowed_methods, reason = "it is the real time that is compared")]
fn a_choice_costs_little_more_among_thousands_of_workers() {
    use std::time::{Duration, Instant};

    use crate::message::Route;

    let fastest = |route: Route, workers: u32| {
        let mut driver = Driver::new(1);
        let client = driver.join("operator");
        driver.ask(client, &format!("QUEUE default route={}\n", route.word()));
        for i in 0..workers {
            driver.join(&format!("worker name=w{i} kinds=a slots=3 weight={}", 1 + i % 7));
        }
        driver.settle();
        let mut hundred = |_| {
            let begin = Instant::now();
            let runs: Vec<_> = (0..100).map(|_| driver.submit(client, "SUBMIT a\n")).collect();
            driver.now.mono_us += 1000;
            runs.into_iter().for_each(|run| drop(driver.done(run)));
            begin.elapsed()
        };
        // The best of several, since other programs take time too.
        (0..200).map(&mut hundred).min().unwrap_or(Duration::MAX)
    };
    for route in Route::ALL.into_iter().filter(|route| !route.is_keyed()) {
        let (few, many) = (fastest(route, 40), fastest(route, 4000));
        eprintln!("{:>21}: {few:?} for 100 tasks among 40, {many:?} among 4000", route.word());
        assert!(many < 6 * few, "{}: {few:?} among 40, {many:?} among 4000", route.word());
    }
}
