//! The commands of clients and operators.

use std::path::Path;

use ganger::message::Route;
use serde_json::{Value, json};

use crate::support::Peer;
use crate::support::program::{Running, Serve, eventually, ganger, say, say_to};

const HERE: &str = ".";

#[track_caller]
fn id(text: &str) -> &str {
    let id = text.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {text:?}"));
    assert_eq!(id.len(), 13, "{text:?}");
    id
}

#[test]
fn a_task_is_submitted_worked_on_and_watched() {
    let serve = Serve::start();
    let submitted = serve.say(["submit", "greet", "world"]).with(0);
    assert_eq!(submitted.err, "");
    let id = id(&submitted.out);
    assert_eq!(serve.say(["get", id, "--json"]).json()["state"], "ready");

    let _worker = serve.work(&[], "printf 'hello '; cat", Path::new(HERE));
    assert_eq!(serve.say(["watch", id]).with(0).out, "hello world");
    let json = serve.say(["watch", id, "--json"]).with(0).json();
    assert_eq!((&json["state"], &json["result"]), (&"done".into(), &"hello world".into()));
    let got = serve.say(["get", id]).with(0).out;
    let state: Vec<_> = got.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(state, ["state", "done"]);
    assert!(got.ends_with("\nresult:\n  hello world\n"), "{got}");

    let waited = say_to(&mut serve.ganger(["submit", "greet", "-", "--wait"]), "a\nb\n").with(0);
    assert_eq!((&*waited.out, &*waited.err), ("hello a\nb\n", ""));
}

#[test]
fn results_that_are_no_text_are_told_in_hexadecimal_digits() {
    let serve = Serve::start();
    let _worker = serve.work(&[], "printf '\\377\\000'", Path::new(HERE));
    let json = serve.say(["submit", "k", "--wait", "--json"]).with(0).json();
    assert_eq!(json["result_hex"], "ff00");
}

#[test]
fn lines_become_tasks_in_their_order() {
    let serve = Serve::start();
    let lines: String = (0..5000).map(|number| format!("line {number}\n")).collect();
    let said = say_to(&mut serve.ganger(["submit", "k", "--lines"]), &lines).with(0);
    let ids: Vec<_> = said.out.lines().collect();
    assert_eq!(ids.len(), 5000);
    assert!(ids.is_sorted(), "in the order of submission");
    assert_eq!(
        serve.say(["tasks", "--limit", "6000", "--json"]).json()["tasks"].as_array().unwrap().len(),
        5000
    );

    let _worker = serve.work(&["--slots", "4", "--queues", "other"], "cat; echo", Path::new(HERE));
    let mut wait = serve.ganger(["submit", "k", "--lines", "--wait", "--queue", "other"]);
    let said = say_to(&mut wait, "a\nb\n\nc").with(0);
    assert_eq!(said.out, "a\nb\n\nc\n");
}

#[test]
fn ids_are_printed_while_lines_still_come() {
    let serve = Serve::start();
    let mut submit = Running::start_open(&mut serve.ganger(["submit", "k", "--lines"]));
    submit.write("one\n");
    assert_eq!(submit.line().len(), 13);
    submit.write("two\n");
    assert_eq!(submit.line().len(), 13);
    submit.end().with(0);
}

#[test]
fn a_line_that_is_refused_is_named() {
    let serve = Serve::with(&["--store", "memory:", "--max-payload", "1KiB"]);
    let lines = format!("short\n{}\nshort too\n", "x".repeat(2000));
    let said = say_to(&mut serve.ganger(["submit", "k", "--lines"]), &lines).with(4);
    // The third is handed in if it was read together with the second.
    let ids = said.out.lines().count();
    assert!((1..=2).contains(&ids), "{}", said.out);
    let seen = format!("of lines 1 to {}, those whose ids were printed are tasks now", ids + 1);
    said.tells("line 2: too-large").tells(&seen);
}

#[test]
fn failed_tasks_are_exit_code_1() {
    let serve = Serve::start();
    let _worker = serve.work(&[], "echo no such photo >&2; exit 3", Path::new(HERE));
    let said = serve.say(["submit", "k", "--attempts", "1", "--wait"]).with(1);
    assert_eq!(said.out, "");
    said.tells("is dead (attempts): exit code 3: no such photo");
    let json = serve.say(["submit", "k", "--attempts", "1", "--wait", "--json"]).with(1).json();
    assert_eq!((&json["state"], &json["reason"]), (&"dead".into(), &"attempts".into()));
    let tasks = serve.say(["tasks", "--state", "dead"]).with(0).out;
    assert_eq!(tasks.lines().count(), 3, "{tasks}");
}

#[test]
fn tasks_are_cancelled_and_made_ready_again() {
    let serve = Serve::start();
    let first = serve.say(["submit", "k", "--delay", "1h"]).out;
    let second = serve.say(["submit", "k", "--delay", "1h"]).out;
    let (first, second) = (id(&first), id(&second));
    let mut watch = Running::start(&mut serve.ganger(["watch", first]));
    eventually("the watch", || serve.say(["stats", "--json"]).json()["connections"] == 2);
    let said = serve.say(["cancel", first, second, "--json"]).with(0);
    let states: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(states[1]["id"], second);
    watch.wait_for("was cancelled (cancelled)");
    watch.end().with(1);

    // What is refused does not keep the others from being changed.
    let third = serve.say(["submit", "k", "--delay", "1h"]).out;
    let said = serve.say(["cancel", first, id(&third)]).with(4);
    said.tells("ended: ").tells("is cancelled");
    assert_eq!(serve.say(["get", id(&third), "--json"]).json()["state"], "cancelled");

    serve
        .say(["retry", first])
        .with(0)
        .tells(&format!("{first} is ready again: it was cancelled\n"));
    assert_eq!(serve.say(["get", first, "--json"]).json()["state"], "ready");
    let late = serve.say(["submit", "k", "--expires", "1ms"]).out;
    serve.say(["watch", id(&late)]).with(1).tells("was cancelled (expired)");
    serve.say(["retry", id(&late)]).with(0).tells("is ready again: it was cancelled (expired)\n");
    serve.say(["cancel", id(&late)]).with(0);
    let told = serve.say(["retry", id(&late), "--json"]).with(0).json();
    assert_eq!((&told["was"], &told["reason"]), (&json!("cancelled"), &json!("cancelled")));
    serve.say(["retry", first]).with(4).tells("running: ");
}

#[test]
fn options_of_tasks_reach_the_scheduler() {
    let serve = Serve::start();
    let (mut worker, _) = Peer::worker(serve.addr, "name=raw kinds=k slots=9");
    let submit = [
        "submit",
        "k",
        "payload",
        "--queue",
        "photos",
        "--key",
        "user 42",
        "--timeout",
        "1m",
        "--max-run",
        "1h30m",
        "--expires",
        "2d",
        "--backoff",
        "250ms",
        "--unique",
        "u1",
        "--unique-for",
        "10s",
        "--result-ttl",
        "0",
        "--trace",
        "t=1",
    ];
    let first = serve.say(submit).with(0).out;
    let (task, payload) = worker.expect(&format!("TASK {} 1 k ", first.trim()));
    let words: Vec<_> = task.split(' ').collect();
    for word in ["queue=photos", "key=user%2042", "timeout=60000", "max-run=5400000", "trace=t%3D1"]
    {
        assert!(words.contains(&word), "{word}: {task}");
    }
    assert_eq!(payload, b"payload");
    let second = serve.say(submit).with(0).tells("was there already");
    assert_eq!(second.out, first);
    assert_eq!(serve.say([&submit[..], &["--json"]].concat()).json()["duplicate"], true);

    let at = serve.say(["submit", "k", "--at", "2100-03-01T00:00:00Z"]).out;
    let got = serve.say(["get", id(&at), "--json"]).json();
    assert_eq!(
        (&got["state"], &got["due_ms"]),
        (&"scheduled".into(), &4_107_542_400_000_u64.into())
    );
    assert!(serve.say(["get", id(&at)]).out.contains("2100-03-01T00:00:00Z"));
}

#[test]
fn it_is_told_why_a_task_waits_and_runs_and_has_ended() {
    let serve = Serve::start();
    let waits = serve.say(["submit", "k", "x", "--queue", "photos"]).out;
    let waits = id(&waits);
    let (mut other, _) = Peer::worker(serve.addr, "name=other kinds=l");
    let said = serve.say(["explain", waits]).with(0).out;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], format!("{waits} is ready, kind k, queue photos:"));
    assert_eq!(lines[1], "  no worker that is connected is able: other does not do k");
    assert_eq!(lines[2], "  it is the next of its kind in the order fcfs");
    let json = serve.say(["explain", waits, "--json"]).with(0).json();
    assert_eq!(json["reasons"][0]["near_misses"][0]["lacks"], serde_json::json!(["kind"]));

    let (mut worker, _) = Peer::worker(serve.addr, "name=raw kinds=k");
    worker.expect(&format!("TASK {waits} 1 k"));
    let runs = serve.say(["explain", waits]).with(0).out;
    assert!(runs.contains("raw has run attempt 1 for "), "{runs}");
    worker.send(format!("DONE {waits} 1 #2\nok\n"));
    worker.expect("OK ");
    let both = serve.say(["submit", "l", "--queue", "photos"]).out;
    other.expect("TASK ");
    let both = serve.say(["explain", waits, id(&both)]).with(0).out;
    assert!(
        both.starts_with(&format!("{waits} is done:\n  raw ended it with a result: ")),
        "{both}"
    );
    assert!(both.contains(" is leased, kind l, queue photos:\n  other has run"), "{both}");

    serve.say(["explain", "7zzzzzzzzzzzz"]).with(4).tells("7zzzzzzzzzzzz: ");
    serve.say(["explain", "zzz"]).with(2);
    serve.say(["explain"]).with(2);
}

#[test]
fn events_are_printed_as_they_happen() {
    let serve = Serve::start();
    // From the first on: what happened before is told to be missed, and the rest is not missed.
    let mut lines = Running::start(&mut serve.ganger(["events", "--from", "0"]));
    assert!(lines.line().starts_with("0 to "));
    let done = "events --from 0 --what done,failed,worker-joined --stats 1s --json".split(' ');
    let mut json = Running::start(&mut serve.ganger(done));
    assert!(json.line().starts_with("{\"gap\":"));
    let (mut worker, _) = Peer::worker(serve.addr, "name=raw kinds=k");
    let task = serve.say(["submit", "k", "--queue", "photos"]).out;
    let task = id(&task);
    worker.expect("TASK ");
    worker.send(format!("PROGRESS {task} 1 50 #4\nhalf\nDONE {task} 1\n"));
    assert!(lines.line().ends_with(" worker-joined worker=raw reason=new slots=1"));
    for (what, end) in [
        ("submitted", " 0 queue=photos kind=k"),
        ("leased", "kind=k worker=raw wait-us=0"),
        ("progress", " 1 queue=photos kind=k worker=raw percent=50 half"),
        ("done", ""),
    ] {
        let line = lines.line();
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!((words[2], words[3]), (what, task), "{line}");
        assert!(line.ends_with(end), "{line}");
    }
    let mut told = serde_json::Value::Null;
    let (mut figures, mut event, mut joined) = (false, false, false);
    while !figures || !event || !joined {
        told = serde_json::from_str(&json.line()).unwrap();
        joined |= told["what"] == "worker-joined" && told["slots"] == 1 && told["id"].is_null();
        figures |= told["stats"]["submitted"].is_u64();
        event |= told["what"] == "done" && told["us"].is_u64() && told["id"] == task;
    }
    assert!(told.is_object());
    lines.signal("INT");
    lines.end().with(130);
    json.signal("TERM");
    json.end().with(0);
    serve.say(["events", "--what", "exploded"]).with(2);
}

#[test]
fn refusals_are_exit_code_4() {
    let serve = Serve::start();
    serve.say(["submit", "k", "--res", "cpu:1,cpu:2"]).with(4).tells("error: bad-value: ");
    serve.say(["get", "7zzzzzzzzzzzz"]).with(4).tells("7zzzzzzzzzzzz: ");
    serve.say(["queue", "none"]).with(4).tells("error: unknown-queue: ");
    serve.say(["drain", "nobody"]).with(4).tells("error: unknown-worker: ");
    serve.say(["queue", "photos", "route"]).with(2).tells("NAME=VALUE");
}

#[test]
fn every_route_is_told_of_and_can_be_set() {
    let serve = Serve::start();
    let help = serve.say(["queue", "--help"]).with(0).out;
    let routes = help.split_once("route=").unwrap().1.split_once(',').unwrap().0;
    let routes: Vec<&str> = routes.split('|').collect();
    assert_eq!(routes, Route::ALL.map(Route::word));
    for route in routes {
        let policy = format!("route={route}");
        let queue = serve.say(["queue", "q", policy.as_str(), "--json"]).with(0).json();
        assert_eq!(queue["route"], route);
    }
}

#[test]
fn queues_are_shown_and_their_policies_set() {
    let serve = Serve::start();
    serve.say(["queues"]).with(0).tells("there are no queues");
    let queue = serve.say(["queue", "photos", "route=hash", "spill=2s", "--json"]).with(0).json();
    assert_eq!((&queue["route"], &queue["spill_ms"]), (&"hash".into(), &2000.into()));
    serve.say(["submit", "k", "--queue", "photos"]).with(0);
    let table = serve.say(["queues"]).with(0).out;
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().take(6).collect();
    assert_eq!(row, ["photos", "fcfs", "hash", "2000ms", "-", "1"], "{table}");
    assert!(table.contains("no worker for some"), "{table}");
    let bounds = ["order=sjf", "limit=3", "key-limit=1", "rate=0.5"];
    let table = serve.say([&["queue", "photos"][..], &bounds].concat()).with(0).out;
    assert!(table.contains("sjf"), "{table}");
    assert!(table.contains("limit=3 key-limit=1 rate=0.5"), "{table}");
    assert!(serve.say(["queue", "photos", "paused=yes"]).with(0).out.contains("paused"));
}

#[test]
fn a_queue_is_paused_purged_and_resumed() {
    let serve = Serve::start();
    serve.say(["pause", "q"]).with(4).tells("error: unknown-queue: there is no queue q");
    let id = serve.say(["submit", "k", "--queue", "q"]).with(0).out;
    serve.say(["pause", "q"]).with(0).tells("q is paused: what runs goes on");
    let _worker = serve.work(&[], "cat", Path::new(HERE));
    let purged = serve.say(["purge", "q", "--state", "ready", "--json"]).with(0).json();
    assert_eq!((&purged["purged"], &purged["state"]), (&1.into(), &"ready".into()));
    assert!(serve.say(["get", id.trim()]).out.contains("purged"));
    serve
        .say(["purge", "q", "--state", "cancelled"])
        .with(0)
        .tells("1 cancelled task of q is forgotten");
    serve.say(["purge", "q"]).with(0).tells("q has no dead tasks\n");
    serve.say(["purge", "q", "--state", "leased"]).with(2);
    serve.say(["purge", "none"]).with(4).tells("error: unknown-queue: there is no queue none");
    serve.say(["resume", "q", "--json"]).with(0);
    assert_eq!(serve.say(["submit", "k", "x", "--queue", "q", "--wait"]).with(0).out, "x");
}

#[test]
fn what_tasks_say_of_their_place_decides_it() {
    let serve = Serve::start();
    serve.say(["queue", "q", "order=priority", "paused=yes"]).with(0);
    let submit = |options: &[&str]| {
        serve.say([&["submit", "k", "--queue", "q"], options].concat()).with(0).out
    };
    let low = submit(&["--priority", "1.5"]);
    let formula = submit(&["--weight", "3", "--time", "4s", "--resource", "2"]);
    let high = submit(&["--priority", "7"]);
    serve.say(["submit", "k", "--priority", "1", "--weight", "2"]).with(2);
    let (mut worker, _) = Peer::worker(serve.addr, "name=raw kinds=k slots=9");
    serve.say(["queue", "q", "paused=no"]).with(0);
    for id in [high, formula, low] {
        worker.expect(&format!("TASK {} 1 k queue=q", id.trim()));
    }
}

#[test]
fn a_task_goes_where_its_needs_are_met() {
    let serve = Serve::start();
    let (_plain, _) = Peer::worker(serve.addr, "name=plain kinds=k slots=9");
    let submitted = serve.say(["submit", "k", "--needs", "gpu,ssd"]).with(0).out;
    let queues = serve.say(["queues", "--json"]).with(0).json();
    assert_eq!(queues["queues"][0]["unroutable"], true);
    let _able = serve.work(&["--tags", "ssd,gpu"], "cat", Path::new(HERE));
    serve.say(["watch", id(&submitted)]).with(0);
    serve.say(["submit", "k", "--needs", "a b"]).with(2).tells("give a name: 1 to 128");
    let many = vec!["x".repeat(128); 40].join(",");
    serve.say(["submit", "k", "--needs", &many]).with(4).tells("more tags or tasks");
}

#[test]
fn serial_tasks_of_a_key_are_given_out_one_by_one() {
    let serve = Serve::start();
    let (mut worker, _) = Peer::worker(serve.addr, "name=raw kinds=k slots=9");
    let submit = || serve.say(["submit", "k", "--key", "x", "--serial"]).with(0).out;
    let (first, second) = (submit(), submit());
    worker.expect(&format!("TASK {} 1 k key=x", id(&first)));
    let blocked = serve.say(["tasks", "--state", "blocked", "--json"]).with(0).json();
    assert_eq!(blocked["tasks"][0]["id"], id(&second));
    serve.say(["submit", "k", "--serial"]).with(2);
    serve.say(["submit", "k", "--serial", "--key", "x", "--priority", "1"]).with(2);
}

#[test]
fn a_task_starts_where_there_is_room_for_it() {
    let serve = Serve::start();
    let submit = |amounts: &str| serve.say(["submit", "k", "x", "--res", amounts]);
    submit("cpu:5").with(0);
    let _worker = serve.work(&["--res", "cpu:4,mem:100", "--slots", "9"], "cat", Path::new(HERE));
    let ended = serve.say(["submit", "k", "x", "--res", "cpu:4,mem:100", "--wait"]).with(0);
    assert_eq!(ended.out, "x");
    let workers = serve.say(["workers", "--json"]).with(0).json();
    assert_eq!(
        (&workers["workers"][0]["res"]["mem"], &workers["workers"][0]["held"]),
        (&100.into(), &json!({}))
    );
    let queues = serve.say(["queues", "--json"]).with(0).json();
    assert_eq!(queues["queues"][0]["unroutable"], true);
    submit("cpu:0").with(2).tells("as in cpu:4");
    submit("cpu:1,cpu:1").with(4).tells("each once");
    serve.say(["work", "--kinds", "k", "--res", "cpu", "--", "cat"]).with(2).tells("as in cpu:4");
}

#[test]
fn a_task_comes_after_those_that_it_names() {
    let serve = Serve::start();
    let (mut worker, _) = Peer::worker(serve.addr, "name=raw kinds=k slots=9");
    let submit = |options: &[&str]| {
        let out = serve.say([&["submit", "k"], options].concat()).with(0).out;
        id(&out).to_owned()
    };
    let first = submit(&[]);
    worker.expect(&format!("TASK {first} 1 k"));
    let second = submit(&["--after", &first]);
    let third = submit(&["--after", &format!("{first},{second}"), "--after-failure", "cancel"]);
    let state = |id: &str| serve.say(["get", id, "--json"]).with(0).json()["state"].clone();
    assert_eq!((state(&second), state(&third)), ("blocked".into(), "blocked".into()));
    serve.say(["cancel", &first]).with(0);
    assert_eq!((state(&second), state(&third)), ("blocked".into(), "cancelled".into()));
    serve.say(["submit", "k", "--after", "7zzzzzzz0007z"]).with(4).tells("was ever submitted");
    serve.say(["submit", "k", "--after", "x"]).with(2).tells("not a task id");
    serve.say(["submit", "k", "--after-failure", "run"]).with(2);
    serve
        .say(["submit", "k", "--after", &first, "--after-failure", "x"])
        .with(2)
        .tells("wait, cancel");
}

#[test]
fn policies_are_compared_in_virtual_time() {
    let simulate = |args: &[&str]| say(&mut ganger([&["simulate", "-n", "300"], args].concat()));
    let played = simulate(&["--order", "sjf", "--route", "hash", "--json"]).with(0).json();
    assert_eq!(played["rows"].as_array().map(Vec::len), Some(1));
    assert!(played["rows"][0]["steady"]["with_owner"].as_f64().unwrap() > 0.8, "{played}");
    let table = simulate(&["--order", "fcfs"]).with(0).out;
    assert!(table.starts_with("ORDER") && table.contains("weighted-random"), "{table}");
    assert_eq!(simulate(&["--order", "fcfs"]).out, table, "the same seed plays the same");
    simulate(&["--order", "lifo"]).with(2).tells("give one of fcfs, sjf");
    simulate(&["--load", "1"]).with(2).tells("give a share");
}

#[test]
fn the_table_of_the_readme_is_what_simulate_prints() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let readme = readme.expect("README.md");
    let one_row = ["simulate", "--order", "sjf", "--route", "fastest"];
    let printed = say(&mut ganger(one_row)).with(0).out;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in printed.lines().map(words) {
        assert!(readme.lines().any(|its| words(its) == line), "not in README.md: {line}");
    }
}

#[test]
fn lists_are_json_when_asked() {
    let serve = Serve::start();
    let _worker = serve.work(&["--tags", "gpu"], "cat", Path::new(HERE));
    serve.say(["submit", "k", "x", "--wait"]).with(0);
    let workers = serve.say(["workers", "--json"]).with(0).json();
    assert_eq!(workers["workers"][0]["name"], "w");
    assert_eq!(serve.say(["queues", "--json"]).with(0).json()["queues"][0]["name"], "default");
    assert_eq!(serve.say(["tasks", "--json"]).with(0).json()["more"], false);
    let stats = serve.say(["stats", "--json"]).with(0).json();
    assert_eq!((&stats["kinds"][0]["kind"], &stats["tasks"]["done"]), (&"k".into(), &1.into()));
    let drained = serve.say(["drain", "w", "--json"]).with(0).json();
    assert_eq!((&drained["worker"], &drained["left"]), (&"w".into(), &true.into()));
    // And tables when not.
    for (command, head) in [("workers", ""), ("stats", "SCHEDULER"), ("queues", "QUEUE")] {
        assert!(serve.say([command]).with(0).out.starts_with(head), "{command}");
    }
    assert!(serve.say(["stats", "--pairs"]).with(0).out.contains("k     w"));
}

#[test]
fn tasks_are_filtered_and_pages_followed() {
    let serve = Serve::start();
    let lines = "x\n".repeat(2500);
    say_to(&mut serve.ganger(["submit", "many", "--lines"]), &lines).with(0);
    serve.say(["submit", "few", "--delay", "1h"]).with(0);
    let count = |args: &[&str]| {
        let said = serve.say(["tasks", "--json"].iter().chain(args).copied()).with(0).json();
        (said["tasks"].as_array().unwrap().len(), said["more"].as_bool().unwrap())
    };
    assert_eq!(count(&[]), (100, true));
    assert_eq!(count(&["--limit", "2400"]), (2400, true));
    assert_eq!(count(&["--limit", "5000"]), (2501, false));
    assert_eq!(count(&["--limit", "5000", "--kind", "few"]), (1, false));
    assert_eq!(count(&["--limit", "5000", "--state", "scheduled"]), (1, false));
    serve.say(["tasks", "--limit", "1"]).with(0).tells("raise --limit");
    serve.say(["tasks", "--limit", "0"]).with(2).tells("give a whole number from 1 on");
}

#[test]
fn done_tasks_are_not_listed_and_it_is_told_where_they_are() {
    let told = "done tasks are not held, only their results: `ganger get TASK` shows one";
    let said = say(&mut ganger(["tasks", "--state", "done"])).with(2).tells(told);
    assert_eq!(said.out, "");
    let states = "[possible values: scheduled, blocked, ready, leased, dead, cancelled]";
    say(&mut ganger(["tasks", "--state", "busy"])).with(2).tells(states);
}

#[test]
fn a_scheduler_that_goes_away_is_exit_code_3() {
    let serve = Serve::start();
    let submitted = serve.say(["submit", "k"]).out;
    let mut watch = serve.ganger(["watch", id(&submitted), "--patience", "0"]);
    let watch = Running::start(&mut watch);
    eventually("the watch", || serve.say(["stats", "--json"]).json()["connections"] == 2);
    serve.running.signal("KILL");
    watch.end().with(3);
}

#[test]
fn a_reader_that_has_enough_ends_it_without_a_word() {
    let serve = Serve::start();
    say_to(&mut serve.ganger(["submit", "k", "--lines"]), &"x\n".repeat(2000)).with(0);
    let mut command = std::process::Command::new("sh");
    let script = "\"$0\" tasks --limit 2000 | head -1";
    command.args(["-c", script, env!("CARGO_BIN_EXE_ganger")]);
    let said = say(command.env("GANGER_CONNECT", serve.addr.to_string())).with(0);
    assert_eq!((said.out.lines().count(), &*said.err), (1, ""));
}
