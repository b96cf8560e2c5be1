//! Crowds and chains of dependents.

use super::{Driver, START, frame};
use crate::core::{Core, Effects, Peer, Settings};
use crate::protocol::parse_submit;
use crate::record::StateLine;
use crate::task::{State, TaskId};

/// Hands a task in; its identifier.
fn submit(driver: &mut Driver, client: Peer, options: &str) -> TaskId {
    driver.ask(client, &format!("SUBMIT a{options}\n"));
    driver.core.last
}

fn in_state(core: &Core, state: State) -> u64 {
    *core.totals().of(state)
}

#[test]
fn a_crowd_is_told_in_slices() {
    let mut driver = Driver::new(7);
    let client = driver.join("client");
    let parent = submit(&mut driver, client, "");
    for word in ["cancel", "run", "wait"] {
        for _ in 0..5000 {
            submit(&mut driver, client, &format!(" after={parent} after-failure={word}"));
        }
    }
    driver.ask(client, &format!("CANCEL {parent}\n"));
    let mut turns = 0;
    while in_state(&driver.core, State::Blocked) > 5000 {
        driver.settle();
        driver.core.check();
        turns += 1;
    }
    assert_eq!(turns, 3, "4096 in a turn");
    assert_eq!(in_state(&driver.core, State::Cancelled), 5001);
    assert_eq!(in_state(&driver.core, State::Ready), 5000);
    // While some are yet to be told, the core asks to be called at once.
    driver.ask(client, &format!("RETRY {parent}\n"));
    let run = driver.join("worker name=w kinds=a");
    let first = driver.core.tasks.find(parent).and_then(|slot| driver.core.tasks.get(slot));
    assert_eq!(first.map(|task| (task.state(), task.attempt)), Some((State::Leased, 1)));
    driver.ask(run, &format!("DONE {parent} 1\n"));
    assert_eq!(driver.core.next_deadline().mono_us, Some(0));
    driver.settle();
    assert_eq!(in_state(&driver.core, State::Blocked), 0);
    driver.core.check();
}

#[test]
fn the_end_of_a_long_chain_is_reached() {
    let mut driver = Driver::new(7);
    let client = driver.join("client");
    let first = submit(&mut driver, client, "");
    let mut last = first;
    for _ in 0..50_000 {
        last = submit(&mut driver, client, &format!(" after={last} after-failure=cancel"));
    }
    driver.ask(client, &format!("CANCEL {first}\n"));
    while in_state(&driver.core, State::Blocked) > 0 {
        driver.settle();
    }
    assert_eq!(in_state(&driver.core, State::Cancelled), 50_001);
    driver.core.check();
}

#[test]
fn a_failure_that_was_not_told_before_a_crash_is_told_at_the_start() {
    let mut core = Core::new(Settings::default(), 7, START);
    let ids: Vec<TaskId> = (0..4_u64)
        .scan(TaskId::default(), |last, _| {
            *last = TaskId::next(*last, START.wall_ms, 0);
            Some(*last)
        })
        .collect();
    let after = |id: TaskId, word: &str| format!("SUBMIT a after={id} after-failure={word}\n");
    let texts = [
        "SUBMIT a\n".to_owned(),
        after(ids[0], "cancel"),
        after(ids[1], "cancel"),
        after(ids[2], "run"),
    ];
    let dead = StateLine { at_ms: START.wall_ms, ..StateLine::new(State::Dead, 1, 1) };
    // In an order in which no store hands them back.
    for place in [3, 1, 0, 2] {
        let submit = parse_submit(&frame(&texts[place])).expect("a SUBMIT");
        let line = (place == 0).then_some(&dead);
        core.restore_task(ids[place], &submit, line).expect("a record");
    }
    core.restored(START, ids[3], &mut Effects::default());
    core.check();
    let state =
        |id: &TaskId| core.tasks.find(*id).and_then(|slot| Some(core.tasks.get(slot)?.state()));
    let states: Vec<State> = ids.iter().filter_map(state).collect();
    assert_eq!(states, [State::Dead, State::Cancelled, State::Cancelled, State::Ready]);
}
