//! Settings: flag, else environment, else file, else default.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::program::{Said, ganger, say};

fn config(dir: &Path, args: &[&str]) -> Command {
    let mut command = ganger(["config", "--json"].iter().chain(args).copied());
    command.current_dir(dir);
    command
}

/// The value of a setting and where it comes from.
#[track_caller]
fn setting(said: &Said, name: &str) -> (Value, String) {
    let json = said.json();
    let settings = json["settings"].as_array().unwrap();
    let setting = settings.iter().find(|setting| setting["setting"] == name).unwrap();
    (setting["value"].clone(), setting["source"].as_str().unwrap().to_owned())
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let max_payload = |command: &mut Command| setting(&say(command).with(0), "max-payload");
    let is = |value: &str, source: &str| (Value::from(value), source.to_owned());

    assert_eq!(max_payload(&mut config(dir.path(), &[])), is("1MiB", "default"));
    fs::write(dir.path().join("ganger.toml"), "max-payload = \"2MiB\"\n").unwrap();
    let in_file = max_payload(&mut config(dir.path(), &[]));
    assert_eq!(in_file, is("2MiB", "file ganger.toml"));
    let mut by_environment = config(dir.path(), &[]);
    by_environment.env("GANGER_MAX_PAYLOAD", "3MiB");
    assert_eq!(max_payload(&mut by_environment), is("3MiB", "environment GANGER_MAX_PAYLOAD"));
    let mut by_flag = config(dir.path(), &["--max-payload", "4MiB"]);
    by_flag.env("GANGER_MAX_PAYLOAD", "3MiB");
    assert_eq!(max_payload(&mut by_flag), is("4MiB", "flag --max-payload"));
}

#[test]
fn a_file_is_named_or_here_or_in_the_users_place() {
    let dir = tempfile::tempdir().unwrap();
    let user = dir.path().join("user");
    fs::create_dir_all(user.join("ganger")).unwrap();
    fs::write(user.join("ganger/config.toml"), "slots = 3\n").unwrap();
    let slots = |command: &mut Command| {
        setting(&say(command.env("XDG_CONFIG_HOME", &user)).with(0), "slots").0
    };
    assert_eq!(slots(&mut config(dir.path(), &[])), "3");
    fs::write(dir.path().join("ganger.toml"), "slots = 4\n").unwrap();
    assert_eq!(slots(&mut config(dir.path(), &[])), "4");
    fs::write(dir.path().join("other.toml"), "slots = 5\nkinds = [\"a\", \"b\"]\n").unwrap();
    let said = say(&mut config(dir.path(), &["--config", "other.toml"])).with(0);
    assert_eq!(setting(&said, "slots").0, "5");
    assert_eq!(setting(&said, "kinds").0, "a,b");
    let said = say(&mut config(dir.path(), &["--config", "none.toml"])).with(2);
    said.tells("none.toml cannot be read");
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for (text, told) in [
        ("lisen = \"127.0.0.1:1\"", "bad.toml: \"lisen\" is no setting"),
        ("json = true", "bad.toml: \"json\" is no setting"),
        ("listen = \"nowhere\"", "bad.toml: listen: invalid value 'nowhere'"),
        ("max-tasks = -1", "bad.toml: max-tasks: "),
        ("[serve]\nlisten = \"127.0.0.1:1\"", "bad.toml: \"serve\" is no setting"),
        ("insecure = true\nslots =", "bad.toml, line 2: "),
    ] {
        fs::write(dir.path().join("bad.toml"), text).unwrap();
        // Whatever the command is, and also if it is not its setting.
        for command in ["config", "stats"] {
            let mut command = ganger([command, "--config", "bad.toml"]);
            say(command.current_dir(dir.path())).with(2).tells(told);
        }
    }
}

#[test]
fn a_level_of_the_log_that_is_none_is_refused_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let told = "'--log <LEVEL>': give one of off, error, warn, info, debug, trace; for a part";
    for wrong in ["foo", "", "ganger=loud"] {
        say(&mut ganger(["stats", "--log", wrong])).with(2).tells(told);
        say(ganger(["stats"]).env("GANGER_LOG", wrong)).with(2).tells(told);
        fs::write(dir.path().join("ganger.toml"), format!("log = \"{wrong}\"\n")).unwrap();
        let said = say(ganger(["stats"]).current_dir(dir.path())).with(2);
        said.tells("ganger.toml: log: ").tells(told);
    }
}

#[test]
fn a_part_of_the_program_can_have_a_level_of_its_own() {
    let serve = |log: &str| {
        let args = ["serve", "--listen", "127.0.0.1:0", "--store", "memory:", "--log", log];
        let mut serve = crate::support::program::Running::start(&mut ganger(args));
        serve.wait_for(" listens on ");
        serve.signal("TERM");
        serve.end().with(0).err
    };
    // Of all else, what is usual is logged.
    assert!(serve("ganger::store=debug").contains("stopping"));
    assert!(!serve("warn,ganger::store=debug").contains("stopping"));
}

#[test]
fn a_file_sets_what_a_command_takes() {
    let dir = tempfile::tempdir().unwrap();
    let file = "listen = \"127.0.0.1:0\"\nstore = \"memory:\"\nlog-format = \"json\"\n";
    fs::write(dir.path().join("ganger.toml"), file).unwrap();
    let mut command = ganger(["serve"]);
    let mut serve = crate::support::program::Running::start(command.current_dir(dir.path()));
    serve.wait_for("keeps tasks in memory:");
    serve.signal("TERM");
    serve.wait_for("\"level\":\"INFO\"");
    serve.end().with(0);
}

#[test]
fn secrets_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let store = "redis://user:pass-secret@redis:6379/0";
    let mut command = config(dir.path(), &["--token", "token-secret", "--store", store]);
    let said = say(&mut command).with(0);
    assert_eq!(setting(&said, "token").0, "***");
    assert_eq!(setting(&said, "store").0, "redis://user:***@redis:6379/0");
    assert!(!said.out.contains("secret"), "{said:?}");
}

#[test]
fn every_setting_is_in_the_table_with_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = ganger(["config"]);
    let said = say(command.current_dir(dir.path()).env("GANGER_SLOTS", "7")).with(0);
    let rows: Vec<Vec<&str>> =
        said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["slots", "7", "environment", "GANGER_SLOTS"]), "{}", said.out);
    assert!(rows.contains(&vec!["connect", "127.0.0.1:7330", "default"]), "{}", said.out);
    assert!(rows.contains(&vec!["token", "-", "default"]), "{}", said.out);
    assert!(rows.len() > 20, "{}", said.out);
}
