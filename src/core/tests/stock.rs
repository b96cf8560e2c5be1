//! How many different amounts there can be, and what is left of those that are gone.

use std::time::{Duration, Instant};

use super::{Driver, Run};
use crate::core::Peer;
use crate::task::TaskId;

/// Hands a task in; whether it was taken.
fn submit(driver: &mut Driver, client: Peer, options: &str) -> (Vec<Run>, bool) {
    let before = driver.core.last;
    let runs = driver.ask(client, &format!("SUBMIT a {options}\n"));
    (runs, driver.core.last > before)
}

#[test]
fn amounts_of_tasks_that_are_gone_make_room_for_others() {
    let mut driver = Driver::new(7);
    let client = driver.join("client");
    driver.join("worker name=w kinds=a slots=60000 res=cpu:1000000");
    // More than can be at a time, one after another.
    for amount in 1..=1000 {
        let (runs, taken) = submit(&mut driver, client, &format!("res=cpu:{amount}"));
        assert!(taken, "{amount}");
        driver.done(runs[0]);
    }
    driver.core.check();
    // All at once.
    for amount in 1..=256 {
        let queue = if amount % 2 == 0 { "q" } else { "r" };
        let (_, taken) = submit(&mut driver, client, &format!("queue={queue} res=mem:{amount}"));
        assert!(taken, "{amount}");
    }
    assert!(!submit(&mut driver, client, "res=mem:257").1);
    assert!(submit(&mut driver, client, "res=mem:256").1, "what is known goes on");
    driver.core.check();
    // One of them is no longer there.
    let first = TaskId::from_bits(driver.core.last.bits() - 256);
    driver.ask(client, &format!("CANCEL {first}\n"));
    assert!(!submit(&mut driver, client, "res=mem:257").1, "it is still kept");
    driver.pass(3_600_000);
    assert!(submit(&mut driver, client, "res=mem:257").1);
    driver.settle();
    driver.core.check();
    driver.core.check_idle();
}

/// Where tasks go, and the routes of those queues.
const ROUTES: [(&str, &str); 8] = [
    ("", ""),
    ("queue=h key=k", "hash"),
    ("queue=m key=l", "modulo"),
    ("queue=r", "round-robin"),
    ("queue=w", "weighted-round-robin"),
    ("queue=l", "least-loaded"),
    ("queue=f", "fastest"),
    ("queue=x", "random"),
];

#[test]
fn big_and_small_tasks_all_run_in_the_end() {
    let mut driver = Driver::new(7);
    let client = driver.join("client");
    let workers = ["res=cpu:4,mem:10", "res=cpu:8", "res=cpu:2,mem:40"];
    for (number, res) in workers.iter().enumerate() {
        driver.join(&format!("worker name=w{number} kinds=a slots=5 {res}"));
    }
    let wishes = ["res=cpu:1", "res=cpu:8", "res=cpu:2,mem:10", "res=mem:40", "", "res=cpu:4"];
    let mut runs = Vec::new();
    let mut done = 0;
    for n in 0..700 {
        let route = ROUTES[n % ROUTES.len()].0;
        let words = ["SUBMIT a", route, wishes[n * 7 % wishes.len()]];
        let words: Vec<&str> = words.into_iter().filter(|words| !words.is_empty()).collect();
        runs.extend(driver.ask(client, &format!("{}\n", words.join(" "))));
        if n == 10 {
            for (words, route) in ROUTES.iter().filter(|(words, _)| !words.is_empty()) {
                let queue = &words["queue=".len().."queue=".len() + 1];
                driver.ask(client, &format!("QUEUE {queue} route={route}\n"));
            }
        }
        runs.extend(driver.settle());
        if n % 2 == 0 && !runs.is_empty() {
            let run = runs.remove(n * 5 % runs.len());
            runs.extend(driver.done(run));
            done += 1;
        }
        runs.extend(driver.pass(150));
        runs.extend(driver.settle());
        driver.core.check();
        driver.core.check_idle();
    }
    assert!(runs.len() >= 3 && done > 200, "{} run, {done} are done", runs.len());
}

/// More tasks than are passed over in two turns.
const CROWD: usize = 10_000;

/// A session with a small run in a queue of its own. A big task waits for all of it, behind so many
/// that expire a minute after their submission: all that, the run and the big task.
fn starving(crowd: usize) -> (Driver, Peer, Run, TaskId) {
    let mut driver = Driver::new(7);
    let client = driver.join("operator");
    driver.join("worker name=w kinds=* slots=8 res=cpu:8");
    let run = driver.submit(client, SMALL);
    for _ in 0..crowd {
        driver.ask(client, "SUBMIT big res=cpu:8 expires=60000\n");
    }
    driver.ask(client, "SUBMIT big res=cpu:8\n");
    let big = driver.core.last;
    driver.settle();
    (driver, client, run, big)
}

const SMALL: &str = "SUBMIT small queue=small res=cpu:1\n";

/// Has the session saved while small tasks wait, too.
fn save(driver: &mut Driver, client: Peer) {
    driver.pass(30_000);
    driver.settle();
    for _ in 0..20 {
        assert_eq!(driver.ask(client, SMALL), [], "the session is saved");
    }
}

/// Turns until nothing is left to do at once; what was pushed to workers meanwhile.
fn go_on(driver: &mut Driver) -> Vec<Run> {
    let mut runs = driver.settle();
    for _ in 0..100 {
        if !driver.core.is_busy() {
            driver.core.check_idle();
            return runs;
        }
        runs.extend(driver.pass(0));
        runs.extend(driver.settle());
        driver.core.check();
    }
    panic!("it is busy for ever")
}

#[test]
fn a_session_stays_saved_while_a_crowd_that_has_expired_is_passed_over() {
    let (mut driver, client, run, big) = starving(CROWD);
    save(&mut driver, client);
    driver.now.wall_ms += 60_000;
    // What ends is answered before the deadlines are looked at.
    let mut runs = driver.done(run);
    runs.extend(go_on(&mut driver));
    assert_eq!(runs.first().map(|run| run.id), Some(big), "the big one comes before the small");
}

#[test]
fn a_session_stays_saved_while_what_waits_for_it_is_sorted_anew() {
    for policies in ["order=priority", "route=hash", "route=hash spill=none"] {
        let (mut driver, client, run, big) = starving(0);
        save(&mut driver, client);
        driver.ask(client, &format!("QUEUE default {policies}\n"));
        let mut runs = driver.done(run);
        runs.extend(go_on(&mut driver));
        assert_eq!(runs.first().map(|run| run.id), Some(big), "{policies}");
    }
}

#[test]
fn who_starves_behind_a_crowd_that_has_expired_is_found() {
    let (mut driver, _, _, _) = starving(CROWD);
    driver.now.wall_ms += 60_000;
    driver.pass(30_000);
    go_on(&mut driver);
    driver.pass(2_000);
    go_on(&mut driver);
    assert_eq!(driver.core.saved.len(), 1, "it has waited for half a minute");
}

/// A big task among small ones that come all the time, in a queue that is hardly ever open: for how many
/// seconds those that came later run before it.
fn wait_of_a_big_one(policies: &str) -> Option<u64> {
    let mut driver = Driver::new(7);
    let client = driver.join("operator");
    for name in ["v", "w"] {
        driver.join(&format!("worker name={name} kinds=* slots=8 res=cpu:8"));
    }
    let mut runs = vec![(0, driver.submit(client, "SUBMIT small res=cpu:1\n"))];
    driver.ask(client, &format!("QUEUE default {policies}\n"));
    let (mut big, mut overtaken) = (None, None);
    for second in 0..600 {
        // What ends makes room for another of the same queue at once.
        let over: Vec<Run> =
            runs.extract_if(.., |(since, _)| *since + 2 < second).map(|(_, run)| run).collect();
        let mut begun: Vec<Run> = over.into_iter().flat_map(|run| driver.done(run)).collect();
        if second == 10 {
            begun.extend(driver.ask(client, "SUBMIT big res=cpu:8\n"));
            big = Some(driver.core.last);
        }
        for _ in 0..2 {
            begun.extend(driver.ask(client, "SUBMIT small res=cpu:1\n"));
        }
        begun.extend(driver.settle());
        begun.extend(driver.pass(1000));
        begun.extend(driver.settle());
        driver.core.check();
        driver.core.check_idle();
        if begun.iter().any(|run| Some(run.id) == big) {
            return Some(second - overtaken.unwrap_or(second));
        }
        if begun.iter().any(|run| big.is_some_and(|big| run.id > big)) {
            overtaken = overtaken.or(Some(second));
        }
        runs.extend(begun.into_iter().map(|run| (second, run)));
    }
    None
}

#[test]
fn a_big_one_does_not_starve_in_a_queue_that_is_hardly_ever_open() {
    for limits in ["limit=3", "limit=1", "rate=1", "rate=4 limit=8", "rate=0.1"] {
        for route in ["weighted-random", "hash", "hash spill=none", "round-robin"] {
            let policies = format!("{limits} route={route}");
            let wait = wait_of_a_big_one(&policies);
            assert!(wait.is_some_and(|seconds| seconds <= 60), "{policies}: {wait:?}");
        }
    }
}

/// A queue of one run at a time, with a run that goes on, and big tasks that wait; beside it a session
/// that has room for one of them: the operator, that run, and the other session.
fn one_at_a_time() -> (Driver, Peer, Run, Peer) {
    let mut driver = Driver::new(7);
    let client = driver.join("operator");
    driver.join("worker name=v kinds=* slots=1 res=cpu:8");
    driver.ask(client, "QUEUE q limit=1\n");
    let run = driver.submit(client, "SUBMIT parent queue=q res=cpu:1\n");
    let other = driver.join("worker name=w kinds=* slots=1 res=cpu:8");
    (driver, client, run, other)
}

#[test]
fn a_run_does_not_wait_for_ever_for_a_task_of_another_queue_while_a_session_is_saved() {
    let (mut driver, client, _, other) = one_at_a_time();
    driver.ask(client, "SUBMIT parent queue=q res=cpu:1\n");
    driver.pass(30_000);
    driver.settle();
    // What the run that goes on waits for.
    let mut runs = driver.ask(client, "SUBMIT child\n");
    for _ in 0..60 {
        runs.extend(driver.pass(1000));
        runs.extend(driver.settle());
        driver.core.check();
        driver.core.check_idle();
    }
    assert_eq!(runs.first().map(|run| run.to), Some(other), "a free session does nothing");
}

#[test]
fn who_has_a_session_saved_takes_turns_with_others_of_the_queue() {
    let (mut driver, client, run, _) = one_at_a_time();
    for _ in 0..20 {
        driver.ask(client, "SUBMIT parent queue=q res=cpu:1\n");
        driver.ask(client, "SUBMIT big queue=q res=cpu:8\n");
        driver.ask(client, "SUBMIT other queue=q res=cpu:7\n");
    }
    let big = driver.core.last;
    let mut classes = std::collections::BTreeMap::<u32, u32>::new();
    let mut runs = vec![run];
    for _ in 0..30 {
        for _ in 0..40 {
            runs.extend(driver.pass(1000));
            runs.extend(driver.settle());
        }
        assert_eq!(runs.len(), 1, "one at a time");
        let over = runs.remove(0);
        let slot = driver.core.tasks.find(over.id).unwrap();
        *classes.entry(driver.core.tasks.get(slot).unwrap().class).or_default() += 1;
        runs.extend(driver.done(over));
        runs.extend(driver.settle());
        driver.core.check();
        driver.core.check_idle();
    }
    assert!(classes.len() == 3 && classes.values().all(|runs| *runs >= 5), "{classes:?} {big}");
}

/// How long it takes to run small tasks in an open queue in which so many classes of big ones have waited
/// that long.
#[expect(clippy::disallowed_methods, reason = "it measures how long the core takes")]
fn time_of_small_ones(classes: usize, ms: u64) -> Duration {
    let mut driver = Driver::new(7);
    let client = driver.join("operator");
    driver.ask(client, "QUEUE default limit=100000\n");
    for number in 0..classes {
        driver.join(&format!("worker name=w{number} kinds=* slots=2 res=cpu:2"));
        driver.submit(client, "SUBMIT long queue=other res=cpu:1\n");
    }
    for number in 0..classes {
        driver.ask(client, &format!("SUBMIT big{number} res=cpu:2\n"));
    }
    driver.pass(ms);
    driver.settle();
    assert_eq!(driver.core.saved.len() >= classes / 2, ms >= 30_000);
    driver.join("worker name=small kinds=small slots=10");
    let began = Instant::now();
    for _ in 0..1000 {
        let run = driver.submit(client, "SUBMIT small\n");
        driver.done(run);
    }
    began.elapsed()
}

#[test]
fn a_run_of_an_open_queue_costs_no_look_at_all_saved_sessions() {
    let (none, many) = (time_of_small_ones(400, 1), time_of_small_ones(400, 30_000));
    assert!(many < 8 * none, "{many:?} while sessions are saved, else {none:?}");
}

#[test]
fn nobody_is_saved_for_what_waits_for_the_queue_and_not_for_room() {
    let mut driver = Driver::new(7);
    let client = driver.join("operator");
    driver.join("worker name=w kinds=* slots=8 res=cpu:8");
    let run = driver.submit(client, "SUBMIT small queue=q res=cpu:1\n");
    driver.ask(client, "QUEUE q limit=1\n");
    driver.ask(client, "SUBMIT small queue=q res=cpu:1\n");
    let next = driver.core.last;
    for _ in 0..300 {
        driver.pass(1000);
        driver.settle();
        driver.core.check();
        assert!(driver.core.saved.is_empty(), "there is room for it all the time");
        let other = driver.submit(client, "SUBMIT small\n");
        driver.done(other);
    }
    driver.done(run);
    assert_eq!(driver.settle().first().map(|run| run.id), Some(next));
}
