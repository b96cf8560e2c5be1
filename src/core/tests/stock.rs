//! How many different amounts there can be, and what is left of those that are gone.

use super::{Driver, Run};
use crate::task::TaskId;

/// Hands a task in; whether it was taken.
fn submit(driver: &mut Driver, client: crate::core::Peer, options: &str) -> (Vec<Run>, bool) {
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
        let route = ["", "queue=h key=k", "queue=m key=l"][n % 3];
        let words = ["SUBMIT a", route, wishes[n * 7 % wishes.len()]];
        let words: Vec<&str> = words.into_iter().filter(|words| !words.is_empty()).collect();
        runs.extend(driver.ask(client, &format!("{}\n", words.join(" "))));
        if n == 10 {
            driver.ask(client, "QUEUE h route=hash spill=500\n");
            driver.ask(client, "QUEUE m route=modulo\n");
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
