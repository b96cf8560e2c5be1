//! `ganger run`: lines in, outputs out, each line once, whatever comes between.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::program::{Running, Serve, eventually, ganger, say, say_to};

/// Notes and prints its line. Lines over 5 tell that they have begun, and wait until a file is there.
const GATED: &str = "case {} in [1-5]) ;; \
                     *) echo {} >> begun; until [ -e go ]; do sleep 0.01; done ;; esac; \
                     echo {} >> log; echo {}";

/// Prints its line: the first more often than pipes and buffers hold. The second waits for the gate;
/// those behind the third note it if the reader pauses.
const LOUD: &str = "case {} in 1) yes $(printf %01000d 1) | head -n 4000 ;; \
                    2) until [ -e go ]; do sleep 0.01; done; echo {} ;; 3) echo {} ;; \
                    *) [ -e reads ] || echo {} >> early; echo {} ;; esac; echo {} >> log";

fn run(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = ganger(["run"].iter().chain(args).copied());
    command.current_dir(dir.path());
    command
}

fn lines(from: u32, to: u32) -> String {
    (from..=to).map(|number| format!("{number}\n")).collect()
}

fn sorted(text: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn log(dir: &TempDir) -> Vec<u32> {
    sorted(&fs::read_to_string(dir.path().join("log")).unwrap_or_default())
}

/// Starts a run of the gated command whose first five lines are printed, and so many others wait.
fn at_the_gate(dir: &TempDir, args: &[&str], last: u32, waiting: usize) -> Running {
    let mut running = Running::start_open(&mut run(dir, args));
    running.write(&lines(1, 5));
    for _ in 0..5 {
        running.line();
    }
    running.write(&lines(6, last));
    let begun = || fs::read_to_string(dir.path().join("begun")).unwrap_or_default();
    eventually("the gate", || begun().lines().count() == waiting);
    running
}

fn open_the_gate(dir: &TempDir) {
    fs::write(dir.path().join("go"), "").unwrap();
}

fn has_state(dir: &TempDir) -> bool {
    dir.path().join(".ganger-run").exists()
}

#[test]
fn each_line_is_an_argument_and_each_output_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let script = "for i in 1 2 3; do echo \"$1\"; sleep 0.001; done";
    let mut command = run(&dir, &["-w", "4", "--", "sh", "-c", script, "sh"]);
    let input: String = (0..30).map(|number| format!("a line; $HOME '{number}\n")).collect();
    let said = say_to(&mut command, &input).with(0);
    let out: Vec<_> = said.out.lines().collect();
    assert_eq!(out.len(), 90);
    for (place, line) in out.iter().enumerate() {
        assert_eq!(*line, out[place / 3 * 3], "interleaved");
    }
    let mut firsts: Vec<_> = out.iter().step_by(3).copied().collect();
    let mut expected: Vec<_> = input.lines().collect();
    firsts.sort_unstable();
    expected.sort_unstable();
    assert_eq!(firsts, expected);
    assert!(said.err.contains("30 lines in "), "{said:?}");
    assert!(!has_state(&dir));
}

#[test]
fn the_line_stands_where_it_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    for (command, expected) in [
        (&["--", "echo", "<{}>", "{/}"][..], "<a/b c> b c\n"),
        (&["--", "echo", "last"], "last a/b c\n"),
        (&["--shell", "--", "printf '%s|' x {} && echo {/}"], "x|a/b c|b c\n"),
    ] {
        assert_eq!(say_to(&mut run(&dir, command), "a/b c\n\n").with(0).out, expected);
    }
    let said = say_to(&mut run(&dir, &["-0", "-w", "1", "--", "echo"]), "a\nb\0c\0").with(0);
    assert_eq!(said.out, "a\nb\nc\n");
}

#[test]
fn the_order_of_the_input_is_kept_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    // The first lines take longest.
    let script = "n={}; sleep 0.$((12 - n)); echo {}";
    let mut command = run(&dir, &["--keep-order", "-w", "8", "--shell", "--", script]);
    assert_eq!(say_to(&mut command, &lines(3, 11)).with(0).out, lines(3, 11));
}

#[test]
fn lines_that_are_the_same_are_run_each() {
    let dir = tempfile::tempdir().unwrap();
    let said = say_to(&mut run(&dir, &["--", "echo"]), "a\na\nb\na\n").with(0);
    let mut out: Vec<_> = said.out.lines().collect();
    out.sort_unstable();
    assert_eq!(out, ["a", "a", "a", "b"]);
}

#[test]
fn the_closing_table_counts_by_worker_and_kind() {
    let dir = tempfile::tempdir().unwrap();
    let said = say_to(&mut run(&dir, &["-w", "2", "--", "/bin/echo"]), &lines(1, 20)).with(0);
    let rows: Vec<Vec<&str>> =
        said.err.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["WORKER", "KIND", "DONE", "FAILED", "MEAN", "P50", "P99", "SHARE"]);
    assert_eq!((rows[1][0], rows[2][0], rows[3][0]), ("w1", "w2", "all"));
    assert_eq!((rows[3][1], rows[3][2], rows[3][3], rows[3][7]), ("echo", "20", "0", "100.0%"));
}

#[test]
fn a_line_that_fails_is_tried_again_listed_and_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo {} >> log; echo out of {}; echo no such {} >&2; test {} != 2";
    let args = ["-k", "--attempts", "3", "--backoff", "10ms", "--shell", "--", script];
    let said = say_to(&mut run(&dir, &args), &lines(1, 3)).with(1);
    assert_eq!(log(&dir), [1, 2, 2, 2, 3]);
    // What the last attempt printed is there, once.
    assert_eq!(said.out, "out of 1\nout of 2\nout of 3\n");
    assert!(said.err.contains("failed: 2: exit code 1: no such 2\n"), "{said:?}");
    assert!(said.err.contains("3 lines in ") && said.err.contains(", 1 failed"), "{said:?}");
    assert!(!has_state(&dir), "a run that came to its end leaves nothing");
}

#[test]
fn a_command_that_takes_too_long_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--attempts", "1", "--timeout", "50ms", "--", "sleep"];
    let said = say_to(&mut run(&dir, &args), "0\n1000\n").with(1);
    said.tells("failed: 1000: stopped after 50.0ms");
}

#[test]
fn programs_are_told_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--json", "-k", "--attempts", "1", "--shell", "--", "echo {}; test {} = 1"];
    let said = say_to(&mut run(&dir, &args), &lines(1, 2)).with(1);
    let json: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&json[0]["line"], &json[0]["stdout"]), (&"1".into(), &"1\n".into()));
    assert_eq!((&json[0]["state"], &json[1]["state"]), (&"done".into(), &"failed".into()));
    assert_eq!(json[1]["error"], "exit code 1");
    assert_eq!(
        (&json[2]["summary"]["lines"], &json[2]["summary"]["failed"]),
        (&2.into(), &1.into())
    );
}

#[test]
fn an_interrupted_run_goes_on_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["-w", "2", "--shell", "--", GATED];
    let mut first = at_the_gate(&dir, &args, 20, 2);
    first.signal("INT");
    first.wait_for("finishing 2 commands");
    open_the_gate(&dir);
    let said = first.end().with(130).tells("goes on; --again begins anew");
    // What ran when it was interrupted has finished, and is printed.
    let printed = said.out;
    assert_eq!(printed.lines().count(), 7);
    assert_eq!(log(&dir), sorted(&printed));

    let mut second = run(&dir, &args);
    let said = say_to(&mut second, &lines(1, 20)).with(0);
    assert!(said.err.contains("7 lines were finished earlier"), "{said:?}");
    assert_eq!(said.out.lines().count(), 13);
    assert_eq!(sorted(&(printed + &said.out)), (1..=20).collect::<Vec<_>>());
    assert_eq!(log(&dir), (1..=20).collect::<Vec<_>>());
    assert!(!has_state(&dir));
}

#[test]
fn a_second_sigint_stops_what_runs_and_that_is_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["-w", "3", "--shell", "--", GATED];
    let mut first = at_the_gate(&dir, &args, 9, 3);
    first.signal("INT");
    first.wait_for("finishing 3 commands");
    first.signal("INT");
    first.end().with(130);
    assert_eq!(log(&dir), [1, 2, 3, 4, 5]);
    open_the_gate(&dir);
    let said = say_to(&mut run(&dir, &args), &lines(1, 9)).with(0);
    assert_eq!(sorted(&said.out), [6, 7, 8, 9]);
    assert_eq!(log(&dir), (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_killed_run_goes_on_and_runs_nothing_twice_that_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["-w", "2", "--shell", "--", "echo {} >> log; echo {}"];
    let mut first = Running::start_open(&mut run(&dir, &args));
    first.write(&lines(1, 5));
    let mut printed: String = (0..5).map(|_| first.line() + "\n").collect();
    first.signal("KILL");
    first.end();
    let said = say_to(&mut run(&dir, &args), &lines(1, 8)).with(0);
    printed.push_str(&said.out);
    let mut all = sorted(&printed);
    // What was printed just before it was killed may be printed again; nothing is run again.
    all.dedup();
    assert_eq!(all, (1..=8).collect::<Vec<_>>());
    assert_eq!(log(&dir), (1..=8).collect::<Vec<_>>());
}

#[test]
fn lines_that_are_gone_from_the_input_are_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["-w", "2", "--shell", "--", GATED];
    let mut first = at_the_gate(&dir, &args, 20, 2);
    first.signal("INT");
    first.wait_for("finishing 2 commands");
    open_the_gate(&dir);
    let finished = sorted(&first.end().with(130).out);
    // 17 to 20 wait in the store, and are not asked for any more; the order is another one.
    let input: String = (1..=16).rev().map(|number| format!("{number}\n")).collect();
    let said = say_to(&mut run(&dir, &args), &input).with(0);
    assert_eq!(said.out.lines().count(), 16 - finished.len());
    assert_eq!(log(&dir), (1..=16).collect::<Vec<_>>());
}

#[test]
fn again_forgets_an_interrupted_run() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["-w", "2", "--shell", "--", "echo {} >> log; echo {}"];
    let mut first = Running::start_open(&mut run(&dir, &args));
    first.write(&lines(1, 5));
    for _ in 0..5 {
        first.line();
    }
    first.signal("INT");
    // Its input ends only after it has heard that, or it would be an orderly end.
    first.wait_for("interrupted");
    first.end().with(130);
    let again = [&["--again"], &args[..]].concat();
    let said = say_to(&mut run(&dir, &again), &lines(1, 5)).with(0);
    assert!(!said.err.contains("earlier"), "{said:?}");
    assert_eq!(sorted(&said.out), [1, 2, 3, 4, 5]);
    assert_eq!(log(&dir), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
}

#[test]
fn another_command_is_another_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Running::start_open(&mut run(&dir, &["--", "echo", "a"]));
    first.write("1\n");
    assert_eq!(first.line(), "a 1");
    // The same one cannot run twice at a time, another one can.
    let said = say(&mut run(&dir, &["--", "echo", "a"])).with(5);
    said.tells("the same command is running in this directory");
    assert_eq!(say_to(&mut run(&dir, &["--", "echo", "b"]), "1\n").with(0).out, "b 1\n");
    first.end().with(0);
    assert!(!has_state(&dir));
}

#[test]
fn a_reader_that_has_enough_ends_the_run_which_can_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let script = "(seq 200; cat) | \"$0\" run -w 2 -- echo | head -1; echo";
    command.args(["-c", script, env!("CARGO_BIN_EXE_ganger")]).current_dir(dir.path());
    let said = say(&mut command);
    said.tells("stdout was closed before the end").tells("goes on; --again begins anew");
    let said = say_to(&mut run(&dir, &["-w", "2", "--", "echo"]), &lines(1, 200)).with(0);
    assert!(!said.out.is_empty() && said.err.contains("going on with an interrupted run"));
}

#[test]
fn a_reader_that_pauses_holds_up_what_has_not_begun_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::with(&["--store", "memory:", "--max-payload", "8MiB"]);
    let args = ["-w", "2", "--connect", &serve.addr.to_string(), "--shell", "--", LOUD];
    let mut running = Running::start_paused(&mut run(&dir, &args));
    running.write(&lines(1, 9));
    assert_eq!(running.line().len(), 1000);
    // It is being printed, and the rest of it is not read.
    open_the_gate(&dir);
    let done = || serve.say(["stats", "--json"]).json()["kinds"][0]["succeeded"].as_u64();
    eventually("the end of what ran", || done() >= Some(2));
    fs::write(dir.path().join("reads"), "").unwrap();
    let numbers = sorted(&running.end().with(0).out);
    assert_eq!(numbers.iter().filter(|number| **number == 1).count(), 4000);
    assert_eq!(numbers[4000..], (2..=9).collect::<Vec<_>>());
    assert_eq!(log(&dir), (1..=9).collect::<Vec<_>>());
    assert_eq!(fs::read_to_string(dir.path().join("early")).unwrap_or_default(), "");
}

#[test]
fn a_reader_that_pauses_does_not_hold_up_ctrl_c() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["-w", "2", "--shell", "--", LOUD];
    let mut running = Running::start_paused(&mut run(&dir, &args));
    running.write("1\n");
    running.line();
    eventually("the end", || {
        running.signal("INT");
        !running.is_running()
    });
    running.end().with(130);
    // What was not printed to its end is printed, and not run again.
    let out = say_to(&mut run(&dir, &args), "1\n").with(0).out;
    assert_eq!((out.lines().count(), log(&dir)), (4000, vec![1]));
}

#[test]
fn files_of_the_state_itself_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let input = "./.ganger-run/x/ledger\na\n.ganger-run\n";
    assert_eq!(say_to(&mut run(&dir, &["--", "echo"]), input).with(0).out, "a\n");
}

#[test]
fn commands_that_cannot_be_run_are_told_before_or_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let said = say_to(&mut run(&dir, &["--", "no-such-command"]), "1\n").with(2);
    said.tells("there is no command no-such-command").tells("--shell");
    let said = say_to(&mut run(&dir, &["--", "{}"]), "no-such-command\n").with(1);
    said.tells("failed: no-such-command: no-such-command cannot be run");
    assert!(!has_state(&dir));
}

#[test]
fn a_running_scheduler_is_used_when_named() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::start();
    let addr = serve.addr.to_string();
    let args = ["-w", "2", "--connect", &addr, "--shell", "--", GATED];
    let mut first = at_the_gate(&dir, &args, 12, 2);
    assert_eq!(serve.say(["workers", "--json"]).json()["workers"].as_array().unwrap().len(), 2);
    first.signal("INT");
    first.wait_for("finishing 2 commands");
    open_the_gate(&dir);
    let finished = sorted(&first.end().with(130).out);
    assert_eq!(finished.len(), 7);
    // Nothing waits there for workers that do not come.
    let tasks = serve.say(["stats", "--json"]).json()["tasks"].clone();
    assert_eq!((&tasks["ready"], &tasks["leased"]), (&0.into(), &0.into()), "{tasks}");
    let said = say_to(&mut run(&dir, &args), &lines(1, 12)).with(0);
    assert_eq!(said.out.lines().count(), 5);
    assert_eq!(log(&dir), (1..=12).collect::<Vec<_>>());
}

#[test]
fn an_input_that_is_empty_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let said = say(&mut run(&dir, &["--", "echo"])).with(0);
    assert_eq!(said.out, "");
    assert!(!has_state(&dir) && Path::new(dir.path()).exists());
}
