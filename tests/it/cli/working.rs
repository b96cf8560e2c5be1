//! `ganger work` and `ganger drain`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::program::{Running, Serve, eventually, ganger, say};

/// A script that tells its process, and waits until a file is there.
const GATED: &str = "echo started $$ >&2; until [ -e go ]; do sleep 0.01; done; echo done";

fn started(worker: &mut Running) -> String {
    let line = worker.wait_for("started ");
    line.trim_start_matches("started ").to_owned()
}

fn is_alive(process: &str) -> bool {
    Command::new("kill").args(["-0", process]).output().unwrap().status.success()
}

#[test]
fn a_command_knows_its_task() {
    let serve = Serve::start();
    let script = "echo $GANGER_TASK_ID $GANGER_ATTEMPT $GANGER_KIND $GANGER_QUEUE \"$GANGER_KEY\"";
    let _worker = serve.work(&[], script, Path::new("."));
    let json = serve
        .say(["submit", "k/1", "--queue", "q", "--key", "user 42", "--wait", "--json"])
        .with(0)
        .json();
    let expected = format!("{} 1 k/1 q user 42\n", json["id"].as_str().unwrap());
    assert_eq!(json["result"], expected);
    let without = serve.say(["submit", "k", "--wait"]).with(0).out;
    assert!(without.ends_with(" 1 k default \n"), "{without:?}");
}

#[test]
fn exit_code_75_gives_the_task_back() {
    let serve = Serve::start();
    let script = "test $GANGER_ATTEMPT -gt 1 || exit 75; echo $GANGER_ATTEMPT";
    let _first = serve.work(&[], script, Path::new("."));
    // The worker that gave it back is not offered it again for a second; another one is.
    let mut other = serve.ganger(["work", "--kinds", "*", "--name", "v", "--", "sh", "-c", script]);
    let mut other = Running::start(&mut other);
    other.wait_for("connected");
    let json = serve.say(["submit", "k", "--wait", "--json", "--attempts", "1"]).with(0).json();
    assert_eq!((&json["result"], &json["attempt"]), (&"2\n".into(), &2.into()));
}

#[test]
fn cancelling_kills_all_that_a_command_has_started() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::start();
    // The shell waits for a process of its own group; both are to end.
    let script = "test $GANGER_KIND = quick || { echo started $$ >&2; sleep 1000; echo no; }";
    let mut worker = serve.work(&[], script, dir.path());
    let id = serve.say(["submit", "slow"]).out;
    let process = started(&mut worker);
    assert!(is_alive(&process));
    serve.say(["cancel", id.trim()]).with(0);
    // Its slot is free again when the run has ended.
    serve.say(["submit", "quick", "--wait"]).with(0);
    assert!(!is_alive(&process));
    // What it had started is reaped by another process, soon after its end.
    let group = || Command::new("pgrep").args(["-g", &process]).output().unwrap().stdout;
    eventually("the end of the group", || group().is_empty());
}

#[test]
fn a_command_that_does_not_heed_sigterm_is_killed() {
    let serve = Serve::start();
    let script = "test $GANGER_KIND = quick || { trap '' TERM; echo started $$ >&2; \
                  while :; do sleep 0.1; done; }";
    let mut worker = serve.work(&[], script, Path::new("."));
    let slow = serve.say(["submit", "slow"]).out;
    let process = started(&mut worker);
    // Now it heeds no SIGTERM any more.
    serve.say(["cancel", slow.trim()]).with(0);
    serve.say(["submit", "quick", "--wait"]).with(0);
    assert!(!is_alive(&process));
    let got = serve.say(["get", slow.trim(), "--json"]).json();
    assert_eq!((&got["state"], &got["history"]), (&"cancelled".into(), &"1:cancelled:w".into()));
}

#[test]
fn sigint_lets_runs_finish() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::start();
    let mut worker = serve.work(&[], GATED, dir.path());
    let id = serve.say(["submit", "k"]).out;
    started(&mut worker);
    worker.signal("INT");
    worker.wait_for("finishing what runs");
    fs::write(dir.path().join("go"), "").unwrap();
    worker.end().with(0);
    assert_eq!(serve.say(["watch", id.trim()]).with(0).out, "done\n");
}

#[test]
fn a_second_sigint_stops_runs_and_gives_their_tasks_back() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::start();
    let mut worker = serve.work(&[], GATED, dir.path());
    let id = serve.say(["submit", "k"]).out;
    let process = started(&mut worker);
    worker.signal("INT");
    worker.wait_for("finishing what runs");
    worker.signal("INT");
    worker.end().with(130);
    assert!(!is_alive(&process));
    let got = serve.say(["get", id.trim(), "--json"]).json();
    assert_eq!((&got["history"], &got["used"]), (&"1:released:w".into(), &0.into()));
}

#[test]
fn a_reader_that_pauses_holds_up_what_commands_say_and_not_the_worker() {
    let serve = Serve::start();
    let mut worker = paused_worker(&serve);
    let loud = serve.say(["submit", "loud"]).out;
    worker.wait_for("00001");
    // The rest of it is not read.
    assert_eq!(serve.say(["submit", "quick", "--wait"]).with(0).out, "1\n");
    worker.signal("TERM");
    let said = worker.end().with(0);
    assert_eq!(said.err.matches("00001\n").count(), 10_000);
    assert_eq!(serve.say(["watch", loud.trim()]).with(0).out, "1\n");
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let serve = Serve::start();
    let mut worker = paused_worker(&serve);
    let loud = serve.say(["submit", "loud"]).out;
    worker.wait_for("00001");
    // The worker logs that it stops the run, where the run's own words wait to be read.
    serve.say(["cancel", loud.trim()]).with(0);
    assert_eq!(serve.say(["submit", "quick", "--wait"]).with(0).out, "1\n");
    worker.signal("TERM");
    worker.end().with(0);
}

/// A worker whose stderr is read as far as it is asked for. All but quick tasks say more there than is
/// held between it and its reader.
fn paused_worker(serve: &Serve) -> Running {
    let script = "test $GANGER_KIND = quick || yes $(printf %01000d 1) | head -n 10000 >&2; \
                  echo $GANGER_ATTEMPT";
    let args = ["work", "--kinds", "*", "--slots", "2", "--", "sh", "-c", script];
    Running::start_paused(&mut serve.ganger(args))
}

#[test]
fn draining_waits_for_what_the_worker_has() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::start();
    let mut worker = serve.work(&[], GATED, dir.path());
    let id = serve.say(["submit", "k"]).out;
    started(&mut worker);
    serve.say(["drain", "w", "--no-wait"]).with(0).tells("w gets nothing new");
    let mut drain = Running::start(&mut serve.ganger(["drain", "w"]));
    drain.wait_for("w gets nothing new");
    assert!(drain.is_running() && worker.is_running());
    fs::write(dir.path().join("go"), "").unwrap();
    drain.wait_for("w has finished and left");
    drain.end().with(0);
    worker.end().with(0);
    assert_eq!(serve.say(["watch", id.trim()]).with(0).out, "done\n");
}

#[test]
fn a_worker_that_is_superseded_is_told() {
    let serve = Serve::start();
    let first = serve.work(&[], "cat", Path::new("."));
    let _second = serve.work(&[], "cat", Path::new("."));
    first.end().with(4).tells("another worker has come under the same name");
}

#[test]
fn a_worker_waits_for_its_scheduler_as_long_as_it_is_told() {
    let args = ["work", "--kinds", "k", "--connect", "127.0.0.1:1", "--patience", "100ms"];
    let said = say(ganger(args).args(["--", "true"])).with(3);
    said.tells("no scheduler answers at 127.0.0.1:1");
}

#[test]
fn a_worker_needs_kinds_and_a_command_that_is_there() {
    say(&mut ganger(["work", "--", "true"])).with(2).tells("--kinds resize,encode");
    let said = say(&mut ganger(["work", "--kinds", "k", "--", "no-such-command"])).with(2);
    said.tells("there is no command no-such-command");
    say(&mut ganger(["work", "--kinds", "k"])).with(2);
}
