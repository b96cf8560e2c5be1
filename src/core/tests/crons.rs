//! Many periodic tasks at one instant, and what an entry costs.

use std::collections::BTreeMap;

use super::{Driver, START, frame};
use crate::core::{Event, Peer};
use crate::protocol::{Parsed, parse_request};
use crate::record::Write;
use crate::task::TaskId;

/// Entries that are due together: more than a few turns take.
const MANY: usize = 20_000;

/// Adds an entry, unseen by whoever counts pushes.
fn add(driver: &mut Driver, peer: Peer, text: &str) {
    let Parsed::Request(request) = parse_request(&frame(&format!("CRON ADD {text}\n"))) else {
        panic!("no entry: {text}")
    };
    driver.core.handle(driver.now, Event::Request { peer, request }, &mut driver.fx);
}

/// The entries and the tasks that a turn writes: which line names which task.
fn fired(driver: &Driver) -> Vec<(String, Option<TaskId>)> {
    let text = |text| String::from_utf8_lossy(driver.fx.batch.slice(text)).into_owned();
    let writes = driver.fx.batch.writes.iter().filter_map(|write| match *write {
        Write::Cron { name, line } => {
            let line = text(line);
            let line = line.lines().next().unwrap_or_default();
            let task =
                crate::record::option(line, "task").and_then(|t| TaskId::parse(t.as_bytes()));
            Some((text(name), task))
        }
        _ => None,
    });
    writes.collect()
}

#[test]
fn d08_entries_of_one_instant_fire_in_slices_each_once() {
    let mut driver = Driver::new(1);
    let peer = driver.join("operator");
    for number in 0..MANY {
        add(
            &mut driver,
            peer,
            &format!("tick-{number} a schedule=0%20*%20*%20*%20* tz=Europe/Berlin"),
        );
    }
    driver.core.check();
    let due_ms = driver.core.next_deadline().wall_ms.expect("a timer is set");
    assert!(due_ms > START.wall_ms && due_ms.is_multiple_of(3_600_000));
    driver.now.wall_ms = due_ms;
    let (mut turns, mut tasks) = (0, BTreeMap::new());
    while driver.core.next_deadline().wall_ms == Some(due_ms) {
        driver.fx.clear();
        driver.core.handle(driver.now, Event::Due, &mut driver.fx);
        driver.core.settle(driver.now, &mut driver.fx);
        driver.core.check();
        let fired = fired(&driver);
        assert!(fired.len() <= 4096, "{} entries fire in one turn", fired.len());
        let submitted = driver.fx.batch.writes.iter();
        let submitted = submitted.filter(|write| matches!(write, Write::Submit { .. })).count();
        assert_eq!(submitted, fired.len(), "a line and its task are in one batch");
        for (name, task) in fired {
            assert_eq!(tasks.insert(name, task.expect("its task")), None, "one fire each");
        }
        turns += 1;
    }
    assert_eq!((tasks.len(), turns), (MANY, MANY.div_ceil(4096)));
    assert_eq!(driver.core.next_deadline().wall_ms, Some(due_ms + 3_600_000));
}
