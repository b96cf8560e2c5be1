//! Who gets a task by key, and how little a join or a leave moves.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Driver;
use crate::core::Peer;
use crate::frame::Writer;

/// The published answers that any language can check itself with.
fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/route.json");
    let text = std::fs::read_to_string(path).expect("the vectors");
    serde_json::from_str(&text).expect("JSON")
}

fn items(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// The keys that `key=` can express, with their places.
fn keys(vectors: &Value) -> Vec<(usize, &str, &Value)> {
    let keys = items(&vectors["keys"]).iter().enumerate();
    let fitting = |key: &&str| (1..=256).contains(&key.len());
    let keys: Vec<_> = keys
        .filter_map(|(place, key)| Some((place, key["text"].as_str().filter(fitting)?, key)))
        .collect();
    assert!(keys.len() > 100, "most keys are texts");
    keys
}

fn submit(key: &str) -> String {
    let mut frame = Vec::new();
    Writer::verb(&mut frame, "SUBMIT").arg("a").option("key", key).end();
    String::from_utf8(frame).expect("UTF-8")
}

/// A scheduler with a queue of a route, workers by name, and somebody to submit.
struct Gang {
    driver: Driver,
    client: Peer,
    names: BTreeMap<Peer, String>,
}

impl Gang {
    fn new(route: &str) -> Self {
        let mut driver = Driver::new(1);
        let client = driver.join("operator");
        driver.ask(client, &format!("QUEUE default {route}\n"));
        Self { driver, client, names: BTreeMap::new() }
    }

    fn join(&mut self, name: &str, weight: &str) -> Peer {
        let hello = format!("worker name={name} kinds=a slots=65535 weight={weight}");
        let peer = self.driver.join(&hello);
        self.names.insert(peer, name.to_owned());
        self.driver.settle();
        peer
    }

    /// The name of who gets a key; `None` if nobody does.
    fn owner(&mut self, key: &str) -> Option<String> {
        let mut runs = self.driver.ask(self.client, &submit(key));
        // A large ring takes several turns.
        while runs.is_empty() && !self.driver.core.is_settled() {
            runs = self.driver.settle();
        }
        let run = *runs.first()?;
        self.driver.done(run);
        self.names.get(&run.to).cloned()
    }
}

#[test]
fn the_published_rings_hold() {
    let vectors = vectors();
    for ring in items(&vectors["rings"]) {
        let mut gang = Gang::new("route=hash spill=none");
        for member in items(&ring["members"]) {
            gang.join(text(&member["name"]), text(&member["weight"]));
        }
        for (place, key, _) in keys(&vectors) {
            let owners = items(&ring["owners"][place]);
            let Some(owner) = owners.first() else { continue };
            let title = text(&ring["ring"]);
            assert_eq!(gang.owner(key).as_deref(), owner.as_str(), "{title}: {key:?}");
        }
    }
}

#[test]
fn the_published_remainders_hold() {
    let vectors = vectors();
    let mut gang = Gang::new("route=modulo");
    for workers in 1..=7 {
        gang.join(&format!("w{workers}"), "1");
        for (_, key, row) in keys(&vectors) {
            let place = row["modulo"][workers - 1].as_u64().expect("a remainder");
            assert_eq!(gang.owner(key), Some(format!("w{}", place + 1)), "{key:?} of {workers}");
        }
    }
}

#[test]
fn a_join_or_a_leave_among_ten_moves_a_tenth_of_the_keys() {
    let mut gang = Gang::new("route=hash spill=none");
    let peers: Vec<Peer> = (0..10).map(|i| gang.join(&format!("img-{i}"), "1")).collect();
    let keys: Vec<String> = (0..100_000).map(|i| format!("user{i}")).collect();
    let owners = |gang: &mut Gang| -> Vec<String> {
        keys.iter().map(|key| gang.owner(key).expect("an owner")).collect()
    };
    let ten = owners(&mut gang);
    assert_eq!(ten, owners(&mut gang), "the same key has the same owner");

    gang.join("img-10", "1");
    let eleven = owners(&mut gang);
    check_moves(&ten, &eleven, |_, after| after == "img-10");

    gang.driver.ask(peers[3], "BYE\n");
    gang.driver.settle();
    let without = owners(&mut gang);
    check_moves(&eleven, &without, |before, _| before == "img-3");
}

/// Between 6 and 14 in a hundred keys have moved, and only such as may.
fn check_moves(before: &[String], after: &[String], may: impl Fn(&str, &str) -> bool) {
    let moved: Vec<_> =
        before.iter().zip(after).filter(|(before, after)| before != after).collect();
    for (before, after) in &moved {
        assert!(may(before, after), "a key moved from {before} to {after}");
    }
    let share = moved.len() as f64 / before.len() as f64;
    assert!((0.06..=0.14).contains(&share), "{share} of the keys moved");
}

#[test]
fn what_waits_is_sorted_anew_in_slices() {
    let mut gang = Gang::new("route=hash spill=none");
    let driver = &mut gang.driver;
    let old = driver.join("worker name=w1 kinds=a slots=1");
    driver.settle();
    for i in 0..10_000 {
        driver.ask(gang.client, &submit(&format!("user{i}")));
    }
    let new = driver.join("worker name=w2 kinds=a slots=65535");
    let mut moved = Vec::new();
    let mut slices = 0;
    while driver.core.next_deadline().mono_us == Some(0) {
        moved.extend(driver.settle());
        driver.core.check();
        slices += 1;
    }
    assert_eq!(slices, 10, "1024 places at a time");
    driver.core.check_idle();
    assert!((3000..7000).contains(&moved.len()), "about half has moved: {}", moved.len());
    assert!(moved.iter().all(|run| run.to == new), "to the newcomer");
    assert!(moved.is_sorted_by_key(|run| run.id), "in the order of submission");
    // The rest is left to the one that has it: nothing comes twice, nothing is lost.
    let mut run = crate::core::tests::Run { to: old, id: first(driver), attempt: 1 };
    let mut served = moved.len() + 1;
    while let Some(next) = driver.done(run).first().copied() {
        assert!(next.to == old && next.id > run.id);
        run = next;
        served += 1;
    }
    assert_eq!(served, 10_000);
}

/// The task that the only slot of the first worker is taken by.
fn first(driver: &Driver) -> crate::task::TaskId {
    driver.core.tasks.iter().map(|(_, task)| task.id).min().expect("a task")
}

#[test]
fn what_waits_for_its_owner_spills_though_the_route_was_another_for_a_moment() {
    for between in ["weighted-random", "modulo", "hash"] {
        let mut driver = Driver::new(1);
        let client = driver.join("operator");
        driver.ask(client, "QUEUE default route=hash spill=100\n");
        for name in ["v", "w"] {
            driver.join(&format!("worker name={name} kinds=a slots=1"));
        }
        driver.pass(10_000);
        driver.settle();
        // One of them runs, one waits for the same owner.
        driver.submit(client, "SUBMIT a key=k\n");
        assert_eq!(driver.ask(client, "SUBMIT a key=k\n"), []);
        driver.pass(0);
        driver.settle();
        driver.ask(client, &format!("QUEUE default route={between} spill=200\n"));
        driver.ask(client, "QUEUE default route=hash spill=100\n");
        let mut runs = Vec::new();
        for _ in 0..20 {
            runs.extend(driver.settle());
            runs.extend(driver.pass(100));
        }
        assert_eq!(runs.len(), 1, "{between}: it waits for its owner though another is free");
    }
}
