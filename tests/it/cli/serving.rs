//! `ganger serve`.

use std::fs;

use crate::support::program::{Running, Serve, ganger, say};
use crate::support::redis;

#[test]
fn a_scheduler_tells_where_it_is_and_ends_with_sigterm() {
    let mut serve = Serve::start();
    serve.say(["stats"]).with(0);
    serve.running.signal("TERM");
    serve.running.wait_for("stopping");
    let said = serve.running.end().with(0);
    assert_eq!(said.out, "");
    assert!(said.err.contains("keeps tasks in memory:"), "{said:?}");
}

#[test]
fn programs_are_told_in_json() {
    let args = ["serve", "--json", "--listen", "127.0.0.1:0", "--store", "memory:"];
    let mut running = Running::start(&mut ganger(args));
    let line: serde_json::Value = serde_json::from_str(&running.line()).unwrap();
    assert!(line["listen"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(
        (line["store"].as_str(), line["pid"].as_u64()),
        (Some("memory:"), Some(running.id().into()))
    );
    running.signal("INT");
    running.end().with(0);
}

#[test]
fn tasks_outlive_the_process_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("file:{}", dir.path().join("data").display());
    let mut first = Serve::with(&["--store", &store]);
    let id = first.say(["submit", "resize", "x"]).with(0).out;
    first.running.signal("INT");
    first.running.wait_for("stopping");
    first.running.end().with(0);
    let second = Serve::with(&["--store", &store]);
    let said = second.say(["get", id.trim(), "--json"]).with(0).json();
    assert_eq!(said["state"], "ready");
}

#[test]
fn other_machines_are_refused_without_tokens() {
    let said = say(&mut ganger(["serve", "--listen", "0.0.0.0:0", "--store", "memory:"])).with(2);
    said.tells("--tokens FILE, or --insecure");
    let mut serve = Running::start(&mut ganger([
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--store",
        "memory:",
        "--insecure",
    ]));
    serve.wait_for(" listens on 0.0.0.0:");
    serve.signal("TERM");
    serve.end().with(0);
}

#[test]
fn tokens_say_who_may_do_what() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    fs::write(&path, "shop-secret submit\nboss-secret observe,operate\n").unwrap();
    let serve = Serve::with(&["--store", "memory:", "--tokens", path.to_str().unwrap()]);
    serve.say(["stats"]).with(4).tells("denied").tells("GANGER_TOKEN");
    serve.say(["submit", "resize", "--token", "shop-secret"]).with(0);
    serve.say(["stats", "--token", "shop-secret"]).with(4).tells("forbidden");
    let mut stats = serve.ganger(["stats", "--json"]);
    assert_eq!(say(stats.env("GANGER_TOKEN", "boss-secret")).with(0).json()["submitted"], 1);
}

#[test]
fn bad_tokens_are_told_without_being_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    fs::write(&path, "shop-secret submit\nmuch-too-secret fly\n").unwrap();
    let said = say(&mut ganger(["serve", "--tokens", path.to_str().unwrap()])).with(2);
    let said = said.tells("line 2: \"fly\" is no grant");
    assert!(!said.err.contains("secret"), "{said:?}");
    let said = say(&mut ganger(["serve", "--tokens", "/nonexistent"])).with(2);
    said.tells("/nonexistent cannot be read");
}

#[test]
fn a_token_that_no_hello_can_carry_is_refused_and_the_longest_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    let file = path.to_str().unwrap();
    for longest in ["s".repeat(256), "\u{fc}".repeat(128)] {
        fs::write(&path, format!("{longest} observe\n")).unwrap();
        let serve = Serve::with(&["--store", "memory:", "--tokens", file]);
        serve.say(["stats", "--token", &longest]).with(0);
        fs::write(&path, format!("# of the shop\n{longest}s submit\n")).unwrap();
        let anywhere = ["serve", "--listen", "127.0.0.1:0", "--store", "memory:"];
        let said = say(ganger(anywhere).args(["--tokens", file])).with(2);
        let said = said.tells(&format!("{file}: line 2: a token has at most 256 bytes"));
        assert!(!said.err.contains(&longest), "{said:?}");
    }
}

#[test]
fn what_this_machine_does_not_allow_is_exit_code_5() {
    let serve = Serve::start();
    let taken = serve.addr.to_string();
    let said = say(&mut ganger(["serve", "--listen", &taken, "--store", "memory:"])).with(5);
    let unknown = ["serve", "--listen", "127.0.0.1:0", "--store", "ftp://x"];
    say(&mut ganger(unknown)).with(2).tells("names no store");
    said.tells(&format!("cannot listen on {taken}"));
    let args = ["serve", "--listen", "127.0.0.1:0", "--store", "file:/proc/none"];
    say(&mut ganger(args)).with(5).tells("the store is unavailable");
}

#[test]
fn fewer_open_files_mean_fewer_connections_and_a_warning() {
    let mut command = std::process::Command::new("sh");
    let script = "ulimit -n 200; exec \"$0\" serve --listen 127.0.0.1:0 --store memory:";
    command.args(["-c", script, env!("CARGO_BIN_EXE_ganger")]);
    let mut serve = Running::start(&mut command);
    serve.wait_for("the limit on open files (200) allows 136 connections instead of 100000");
    serve.wait_for(" listens on ");
    serve.signal("TERM");
    serve.end().with(0);
}

#[test]
fn what_cannot_be_is_told_before_anything_else() {
    for (setting, told) in [
        ("--max-payload=1023", "max-payload is 1024 to"),
        ("--store=redis://u:hunter2@h:99999/", "\"99999\" in the Redis address is no port"),
        ("--store=redis://u:hunter2@h/first", "\"first\" in the Redis address is no database"),
        ("--store=rediss://u:hunter2@h/", "\"rediss\" is not supported"),
    ] {
        let mut command = std::process::Command::new("sh");
        let script = "ulimit -n 200; exec \"$0\" serve --listen 127.0.0.1:0 \"$1\"";
        command.args(["-c", script, env!("CARGO_BIN_EXE_ganger"), setting]);
        let said = say(&mut command).with(2).tells(told);
        assert!(said.err.starts_with("error: ") && said.err.lines().count() == 1, "{said:?}");
        assert!(!said.err.contains("hunter2"), "{said:?}");
    }
}

#[test]
fn a_benchmark_ends_with_the_code_of_what_went_wrong() {
    say(&mut ganger(["bench", "--rate", "0"])).with(2).tells("--rate");
    let nobody = ["bench", "--connect", "127.0.0.1:1"];
    say(&mut ganger(nobody)).with(3).tells("no scheduler answers at 127.0.0.1:1");
    say(&mut ganger(["bench", "--route", "best"])).with(2).tells("give all, or of");
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "long-secret submit,work\n").unwrap();
    let serve = Serve::with(&["--store", "memory:", "--tokens", tokens.to_str().unwrap()]);
    let addr = serve.addr.to_string();
    let denied = ["bench", "--connect", &addr, "--token", "guess"];
    say(&mut ganger(denied)).with(4).tells("denied");
}

#[test]
fn a_directory_is_no_input() {
    for args in [&["run", "--", "true", "{}"][..], &["submit", "k", "--lines"][..]] {
        let (serve, dir) = (Serve::start(), tempfile::tempdir().unwrap());
        let mut command = serve.ganger(args.iter().copied());
        command.current_dir(dir.path()).stdin(std::fs::File::open(dir.path()).unwrap());
        Running::start(&mut command).end().with(5).tells("stdin cannot be read");
    }
}

#[test]
fn an_address_that_cannot_be_one_of_a_redis_is_a_usage_error() {
    for (store, told) in [
        ("redis://h?foo=1", "no options"),
        ("redis://h:6379/abc", "\"abc\" in the Redis address is no database"),
        ("redis://h:port", "no port"),
        ("rediss://h", "not supported"),
        ("redis:h", "not supported"),
    ] {
        let args = ["serve", "--listen", "127.0.0.1:0", "--store", store];
        say(&mut ganger(args)).with(2).tells(told);
    }
}

#[test]
fn a_redis_that_refuses_ends_the_start_and_one_that_is_away_does_not() {
    let mut server = redis::Server::with(&["--requirepass", "secret"]);
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port());
    let serve = |store: &str| ganger(["serve", "--listen", "127.0.0.1:0", "--store", store]);
    say(&mut serve(&url("wrong"))).with(5).tells("WRONGPASS");
    let url = url("secret");
    server.kill9();
    let mut running = Running::start(&mut serve(&url));
    running.wait_for("is not done: Connection refused");
    running.wait_for("is not done for");
    running.wait_for("is not done for");
    server.restart();
    running.wait_for("listens on");
    running.signal("TERM");
    running.end().with(0);
}
