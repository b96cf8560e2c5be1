//! Backoff and expiry.

use super::{Driver, Run, START, frame};
use crate::core::tasks::Phase;
use crate::core::{Event, Peer, What};
use crate::message::Request;
use crate::protocol::{Parsed, parse_request};
use crate::record::StateLine;
use crate::task::{State, TaskId};

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

/// A client, and a worker of one slot that is busy with its first task.
fn busy() -> (Driver, Peer, Run) {
    let mut driver = Driver::new(1);
    let client = driver.join("client");
    driver.join("worker name=w1 kinds=a");
    let run = driver.submit(client, "SUBMIT a\n");
    (driver, client, run)
}

/// The wall clock is an hour ahead at once, and something arrives before any deadline is looked at.
fn jump(driver: &mut Driver) {
    driver.now.wall_ms += 3_600_000;
}

/// Deadlines are looked at and the turn ends; what is pushed to workers by that.
fn turn(driver: &mut Driver) -> Vec<Run> {
    driver.apply(Event::Due);
    driver.settle()
}

/// How tasks that have expired end, and nothing else; what is pushed to workers after that.
fn lapse(driver: &mut Driver, ids: &[TaskId]) -> Vec<Run> {
    let mut runs = turn(driver);
    // Whoever waits behind one that has expired may come in a later turn.
    while driver.core.is_busy() {
        driver.core.check();
        runs.extend(turn(driver));
    }
    driver.core.check();
    driver.core.check_idle();
    for id in ids {
        let slot = driver.core.tasks.find(*id).expect("it is kept for a while");
        let task = driver.core.tasks.at(slot);
        assert_eq!((task.state(), task.attempt), (State::Cancelled, 0), "task {id}");
        assert_eq!(task.more().reason, "expired", "task {id}");
    }
    runs
}

/// A client hands in what has to wait.
fn wait(driver: &mut Driver, client: Peer, submit: &str) -> TaskId {
    assert_eq!(driver.ask(client, submit), [], "{submit:?} has to wait");
    driver.core.last
}

#[test]
fn what_has_expired_is_not_leased_before_its_deadline_is_looked_at() {
    let (mut driver, client, run) = busy();
    let expired = wait(&mut driver, client, "SUBMIT a expires=1000\n");
    let next = wait(&mut driver, client, "SUBMIT a\n");
    jump(&mut driver);
    let runs = driver.done(run);
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [next]);
    assert_eq!(lapse(&mut driver, &[expired]), []);
}

#[test]
fn what_has_expired_does_not_come_out_of_its_owners_line() {
    for (spill, ms) in [("none", 0), ("1000", 2000)] {
        let mut driver = Driver::new(1);
        let client = driver.join("client");
        let operator = driver.join("operator");
        driver.ask(operator, &format!("QUEUE h route=hash spill={spill}\n"));
        driver.join("worker name=w1 kinds=a");
        driver.settle();
        let run = driver.submit(client, "SUBMIT a queue=h key=k\n");
        let expired = wait(&mut driver, client, "SUBMIT a queue=h key=k expires=2500\n");
        let next = wait(&mut driver, client, "SUBMIT a queue=h key=k\n");
        driver.pass(ms);
        jump(&mut driver);
        let runs = driver.done(run);
        assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [next], "spill={spill}");
        assert_eq!(lapse(&mut driver, &[expired]), [], "spill={spill}");
    }
}

#[test]
fn what_has_expired_when_it_is_due_does_not_run() {
    let mut driver = Driver::new(1);
    let client = driver.join("client");
    driver.join("worker name=w1 kinds=a");
    let expired = wait(&mut driver, client, "SUBMIT a delay=10 expires=1000\n");
    jump(&mut driver);
    driver.now.mono_us += 10_000;
    driver.apply(Event::Due);
    assert_eq!(driver.take_runs(), []);
    assert_eq!(lapse(&mut driver, &[expired]), []);
}

#[test]
fn those_behind_one_that_has_expired_come_for_it() {
    let mut driver = Driver::new(1);
    let client = driver.join("client");
    let operator = driver.join("operator");
    driver.ask(operator, "QUEUE k key-limit=1\n");
    driver.join("worker name=w1 kinds=a slots=2");
    for options in ["queue=k key=x", "serial=yes key=x"] {
        let run = driver.submit(client, &format!("SUBMIT a {options}\n"));
        let mut expired = Vec::new();
        for _ in 0..2 {
            let submit = format!("SUBMIT a expires=1000 {options}\n");
            expired.push(wait(&mut driver, client, &submit));
        }
        let next = wait(&mut driver, client, &format!("SUBMIT a {options}\n"));
        jump(&mut driver);
        let mut runs = driver.done(run);
        runs.extend(lapse(&mut driver, &expired));
        assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [next], "{options}");
        driver.done(runs[0]);
    }
}

#[test]
fn what_had_expired_waits_again_if_the_clock_is_set_back_at_once() {
    let (mut driver, client, run) = busy();
    let id = wait(&mut driver, client, "SUBMIT a expires=1000\n");
    jump(&mut driver);
    assert_eq!(driver.done(run), []);
    driver.now.wall_ms -= 3_600_000;
    let runs = lapse(&mut driver, &[]);
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [id]);
}

#[test]
fn a_crowd_that_has_expired_ends_in_slices() {
    let (mut driver, client, run) = busy();
    let crowd: Vec<TaskId> =
        (0..20_000).map(|_| wait(&mut driver, client, "SUBMIT a expires=1000\n")).collect();
    let next = wait(&mut driver, client, "SUBMIT a\n");
    jump(&mut driver);
    let mut runs = driver.done(run);
    let mut turns = 0;
    while driver.core.is_busy() {
        let before = driver.core.totals();
        runs.extend(turn(&mut driver));
        let ended = driver.core.totals().cancelled - before.cancelled;
        assert!(ended <= 4096, "{ended} ends in a turn");
        turns += 1;
    }
    assert!(turns >= 5, "{turns} turns");
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [next]);
    assert_eq!(lapse(&mut driver, &crowd), []);
}

#[test]
fn a_crowd_that_expired_while_nobody_was_there_ends_in_slices() {
    let mut driver = Driver::new(1);
    let Parsed::Request(Request::Submit(submit)) = parse_request(&frame("SUBMIT a expires=1000\n"))
    else {
        panic!("it is a SUBMIT")
    };
    let mut id = TaskId::default();
    for _ in 0..20_000 {
        id = TaskId::next(id, START.wall_ms - 3_600_000, 0);
        driver.core.restore_task(id, &submit, None).expect("a record");
    }
    driver.core.restored(START, id, &mut driver.fx);
    assert!(most_ends(&mut driver) <= 4096);
    assert_eq!(driver.core.totals().cancelled, 20_000);
}

/// The most tasks that ended in one turn until nothing is left to do.
fn most_ends(driver: &mut Driver) -> u64 {
    let mut most = 0;
    while driver.core.is_busy() {
        let before = driver.core.totals().cancelled;
        turn(driver);
        most = most.max(driver.core.totals().cancelled - before);
    }
    most
}

/// Two workers under the route hash, and a key of each; it is the first to run.
fn owners(driver: &mut Driver, client: Peer, spill: &str) -> [(String, Run); 2] {
    let operator = driver.join("operator");
    driver.ask(operator, &format!("QUEUE h route=hash spill={spill}\n"));
    let workers = ["w1", "w2"].map(|name| driver.join(&format!("worker name={name} kinds=a")));
    driver.settle();
    workers.map(|worker| {
        let mut keys = (0..100).map(|number| format!("k{number}"));
        keys.find_map(|key| {
            let run = driver.submit(client, &format!("SUBMIT a queue=h key={key}\n"));
            if run.to == worker {
                return Some((key, run));
            }
            driver.done(run);
            None
        })
        .expect("a key of each")
    })
}

#[test]
fn a_crowd_in_the_line_of_an_owner_ends_in_slices() {
    let mut driver = Driver::new(1);
    let client = driver.join("client");
    let [(key, _), (_, run)] = owners(&mut driver, client, "60000");
    for _ in 0..20_000 {
        wait(&mut driver, client, &format!("SUBMIT a queue=h key={key} expires=1000\n"));
    }
    jump(&mut driver);
    // The other worker looks for what its owner has had its time for.
    driver.now.mono_us += 60_000_000;
    driver.done(run);
    assert!(driver.core.is_busy());
    assert!(most_ends(&mut driver) <= 4096);
    assert_eq!(driver.core.totals().cancelled, 20_000);
}

#[test]
fn what_waits_for_its_owner_goes_to_others_in_time_whoever_was_there_before_it() {
    for before in 60..75 {
        let mut driver = Driver::new(1);
        let client = driver.join("client");
        let [(key, run), (other_key, mut other)] = owners(&mut driver, client, "10000");
        let other_worker = other.to;
        wait(&mut driver, client, &format!("SUBMIT a queue=h key={key}\n"));
        for _ in 0..before {
            wait(&mut driver, client, &format!("SUBMIT a queue=h key={other_key}\n"));
            other = driver.done(other)[0];
        }
        driver.done(other);
        driver.done(run);
        let id = wait(&mut driver, client, &format!("SUBMIT a queue=h key={key}\n"));
        assert_eq!(driver.pass(9_999), []);
        let runs = driver.pass(1);
        assert_eq!(runs, [Run { to: other_worker, id, attempt: 1 }], "{before} before it");
    }
}

#[test]
fn a_newcomer_does_not_overtake_behind_a_crowd() {
    let mut driver = Driver::new(1);
    let client = driver.join("client");
    let [(key, run), _] = owners(&mut driver, client, "none");
    for _ in 0..10_000 {
        wait(&mut driver, client, &format!("SUBMIT a queue=h key={key} expires=1000\n"));
    }
    let next = wait(&mut driver, client, &format!("SUBMIT a queue=h key={key}\n"));
    jump(&mut driver);
    let mut runs = driver.done(run);
    runs.extend(driver.ask(client, &format!("SUBMIT a queue=h key={key}\n")));
    runs.extend(lapse(&mut driver, &[]));
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [next]);
}

#[test]
fn one_that_starved_and_expired_leaves_no_worker_idle() {
    let mut driver = Driver::new(1);
    let client = driver.join("client");
    driver.join("worker name=w1 kinds=a,b res=gpu:1");
    let run = driver.submit(client, "SUBMIT a\n");
    wait(&mut driver, client, "SUBMIT a res=gpu:1 expires=30000\n");
    let next = wait(&mut driver, client, "SUBMIT b\n");
    // Both are over: of a starving task is looked at first.
    driver.pass(30_000);
    driver.core.check();
    driver.settle();
    driver.core.check();
    let runs = driver.done(run);
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [next]);
}

#[test]
fn who_asks_why_an_expired_task_waits_ends_it() {
    let (mut driver, client, run) = busy();
    let ids = [(); 2].map(|()| wait(&mut driver, client, "SUBMIT a expires=1000\n"));
    jump(&mut driver);
    driver.ask(client, &format!("EXPLAIN {}\n", ids[1]));
    assert_eq!(driver.core.totals().cancelled, 1);
    driver.done(run);
    assert_eq!(lapse(&mut driver, &ids), []);
}

#[test]
fn what_is_due_after_a_long_wait_for_the_store_is_due_then() {
    for (text, line) in
        [("SUBMIT a delay=10000\n", None), ("SUBMIT a\n", Some("scheduled at=AT attempt=1 used=1"))]
    {
        let mut driver = Driver::new(1);
        let Parsed::Request(Request::Submit(submit)) = parse_request(&frame(text)) else {
            panic!("{text:?}")
        };
        // A standby has waited for an hour when it takes over; the task is due 5 s after that.
        driver.now.wall_ms += 3_600_000;
        driver.now.mono_us += 3_600_000_000;
        let due_ms = driver.now.wall_ms + 5_000;
        let id = TaskId::next(TaskId::default(), due_ms - 10_000, 0);
        let line = line.map(|line| line.replace("AT", &due_ms.to_string()));
        let line = line.map(|line| StateLine::read(line.as_bytes()).expect("a line"));
        driver.core.start(driver.now);
        driver.core.restore_task(id, &submit, line.as_ref()).expect("a record");
        driver.core.restored(driver.now, id, &mut driver.fx);
        assert_eq!(left_ms(&driver, id), 5_000, "{line:?}");
    }
}

#[test]
fn who_comes_while_others_are_sorted_is_leased_when_they_are_gone() {
    for expires in ["", " expires=1000"] {
        let mut driver = Driver::new(1);
        let client = driver.join("client");
        let operator = driver.join("operator");
        driver.join("worker name=w1 kinds=a");
        let run = driver.submit(client, "SUBMIT a\n");
        let submit = format!("SUBMIT a{expires}\n");
        let ids: Vec<TaskId> = (0..3000).map(|_| wait(&mut driver, client, &submit)).collect();
        driver.ask(operator, "QUEUE default order=priority\n");
        driver.settle();
        if expires.is_empty() {
            for id in &ids[..2999] {
                driver.ask(operator, &format!("CANCEL {id}\n"));
            }
        } else {
            jump(&mut driver);
        }
        let mut runs = driver.done(run);
        runs.extend(driver.ask(client, "SUBMIT a\n"));
        driver.ask(operator, &format!("CANCEL {}\n", ids[2999]));
        let next = driver.core.last;
        runs.extend(lapse(&mut driver, &[]));
        assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [next], "{expires:?}");
    }
}

#[test]
fn events_are_numbered_from_when_the_records_come() {
    let mut driver = Driver::new(1);
    driver.now.wall_ms += 3_600_000;
    driver.core.start(driver.now);
    driver.core.restored(driver.now, TaskId::default(), &mut driver.fx);
    let observer = driver.join("operator");
    let Parsed::Request(request) = parse_request(&frame("EVENTS\n")) else { panic!("EVENTS") };
    driver.apply(Event::Request { peer: observer, request });
    let next = driver.fx.sends.iter().find_map(|send| match send.what {
        What::Observe { next, .. } => Some(next),
        _ => None,
    });
    assert!(next.expect("it observes") >= driver.now.wall_ms * 1000, "{next:?}");
}
