//! Who has the next run of a queue that is at its `limit=` or `rate=`.

use super::{Driver, Run};
use crate::task::TaskId;

/// Tasks of two sorts, each of which only one worker may do, come all the time, more than may run;
/// how many of each sort were begun within ten minutes, and who first was passed over.
fn begun(hello: [&str; 2], submit: [&str; 2], policies: &str) -> ([usize; 2], Option<TaskId>) {
    let mut driver = Driver::new(7);
    let client = driver.join("operator");
    for hello in hello {
        driver.join(&format!("worker {hello} slots=100"));
    }
    let first = driver.ask(client, &format!("{}\n", submit[0]));
    driver.ask(client, &format!("QUEUE default {policies}\n"));
    driver.settle();
    let mut sorts: Vec<(TaskId, usize)> = Vec::new();
    let (mut counts, mut overtaken) = ([0, 0], None);
    let mut runs: Vec<(u64, Run)> = first.into_iter().map(|run| (0, run)).collect();
    for second in 0..600 {
        let over: Vec<Run> =
            runs.extract_if(.., |(since, _)| *since + 2 < second).map(|(_, run)| run).collect();
        let mut begun: Vec<Run> = over.into_iter().flat_map(|run| driver.done(run)).collect();
        for _ in 0..2 {
            for (sort, submit) in submit.iter().enumerate() {
                begun.extend(driver.ask(client, &format!("{submit}\n")));
                sorts.push((driver.core.last, sort));
            }
        }
        begun.extend(driver.settle());
        begun.extend(driver.pass(1000));
        begun.extend(driver.settle());
        driver.core.check();
        driver.core.check_idle();
        for run in &begun {
            let Some(place) = sorts.iter().position(|(id, _)| *id == run.id) else { continue };
            // Of those that begin together the order is not told.
            if place >= begun.len() {
                overtaken = overtaken.or(Some(sorts[0].0));
            }
            counts[sorts.remove(place).1] += 1;
        }
        runs.extend(begun.into_iter().map(|run| (second, run)));
    }
    (counts, overtaken)
}

#[test]
fn who_came_first_has_the_next_run_whoever_may_do_it() {
    for bound in ["limit=1", "limit=3", "rate=1", "rate=0.5 limit=2"] {
        let kinds = ["name=a kinds=a", "name=b kinds=b"];
        let (counts, overtaken) = begun(kinds, ["SUBMIT a", "SUBMIT b"], bound);
        assert_eq!(overtaken, None, "{bound}: {counts:?}");
        let routes = ["hash spill=none", "modulo", "hash spill=60000"];
        for route in routes {
            let policies = format!("{bound} route={route}");
            let workers = ["name=a kinds=*", "name=b kinds=*"];
            // Each key is of one of the two, by both routes.
            let keys = ["SUBMIT a key=0", "SUBMIT a key=1"];
            let (counts, overtaken) = begun(workers, keys, &policies);
            assert_eq!(overtaken, None, "{policies}: {counts:?}");
        }
    }
}
