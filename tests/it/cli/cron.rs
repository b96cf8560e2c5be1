//! `ganger cron`.

use std::path::Path;

use serde_json::json;

use crate::support::program::{Serve, eventually};

#[test]
fn entries_are_added_listed_paused_resumed_and_removed() {
    let serve = Serve::start();
    assert_eq!(serve.say(["cron", "list"]).with(0).err, "there are no periodic tasks\n");
    let add = ["cron", "add", "nightly", "report", "sales", "--schedule", "30 2 * * 1-5"];
    let options =
        ["--tz", "Europe/Berlin", "--queue", "bulk", "--attempts", "3", "--missed", "none"];
    let added = serve.say(add.iter().chain(&options).copied()).with(0);
    assert!(added.out.contains("nightly  report  bulk   30 2 * * 1-5  Europe/Berlin"), "{added:?}");
    assert_eq!(added.err, "");
    let entry = serve.say(["cron", "list", "--json"]).with(0).json()["crons"][0].take();
    let told = ["name", "kind", "queue", "schedule", "tz", "missed", "overlap", "paused", "task"]
        .map(|member| entry[member].clone());
    let expected = [
        json!("nightly"),
        json!("report"),
        json!("bulk"),
        json!("30 2 * * 1-5"),
        json!("Europe/Berlin"),
        json!("none"),
        json!("skip"),
        json!(false),
        json!(null),
    ];
    assert_eq!(told, expected);
    serve.say(["cron", "pause", "nightly"]).with(0).tells("nightly is paused");
    assert!(serve.say(["cron", "list"]).with(0).out.contains("  paused  "));
    let again = ["cron", "add", "nightly", "report", "--every", "90s", "--overlap", "queue"];
    let again = serve.say(again).with(0).tells("takes the place").tells("`ganger cron resume`");
    assert!(again.out.contains("every 1m30s"), "{again:?}");
    serve.say(["cron", "resume", "nightly"]).with(0).tells("nightly is resumed");
    let removed = serve.say(["cron", "remove", "nightly", "--json"]).with(0).json();
    assert_eq!(removed, json!({ "cron": "nightly", "state": "removed" }));
    for command in ["remove", "pause", "resume"] {
        serve.say(["cron", command, "nightly"]).with(4).tells("unknown-cron");
    }
}

#[test]
fn an_entry_fires_tasks_for_a_worker() {
    let serve = Serve::start();
    let _worker = serve.work(&[], "printf 'hello '; cat", Path::new("."));
    serve.say(["cron", "add", "tick", "greet", "world", "--every", "1s"]).with(0);
    let last = || serve.say(["cron", "list", "--json"]).json()["crons"][0]["task"].take();
    eventually("a fire", || !last().is_null());
    let task = last();
    let task = task.as_str().unwrap();
    assert_eq!(serve.say(["watch", task]).with(0).out, "hello world");
    eventually("another fire", || last() != task);
}

#[test]
fn what_makes_no_entry_is_refused() {
    let serve = Serve::start();
    let add = |args: &[&'static str]| {
        serve.say(["cron", "add", "a", "k"].into_iter().chain(args.iter().copied()))
    };
    add(&[]).with(2).tells("--schedule <EXPRESSION>|--every <DURATION>");
    add(&["--schedule", "@daily", "--every", "5m"]).with(2);
    add(&["--every", "5m", "--tz", "Europe/Berlin"]).with(2);
    add(&["--every", "5m", "--overlap", "allow"]).with(2);
    add(&["--every", "5m", "--delay", "5m"]).with(2);
    add(&["--every", "5m", "--unique", "x"]).with(2);
    add(&["--schedule", "0 0 30 2 *"]).with(2).tells("no day that ever comes");
    add(&["--schedule", "* * * *"]).with(2).tells("4 fields instead of five");
    add(&["--schedule", "61 * * * *"]).with(2).tells("its minute cannot be \"61\": give 0 to 59");
    add(&["--schedule", "@daily", "--tz", "Mars/Olympus"]).with(4).tells("Mars/Olympus");
    add(&["--schedule", ""]).with(2).tells("0 fields instead of five");
    serve.say(["cron"]).with(2).tells("add");
    assert_eq!(serve.say(["cron", "list"]).with(0).out, "");
}
