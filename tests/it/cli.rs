//! The program's commands, as processes: data on stdout, talk on stderr, exit codes.
//!
//! - `cron`: periodic tasks. `ranges`: numbers and durations out of range. `serving`: schedulers. `settings`: flag, environment, file, default.
//! - `tasks`: clients and operators. `working`: workers.

mod cron;
mod ranges;
mod serving;
mod settings;
mod tasks;
mod working;

use crate::support::program::{ganger, say};

#[test]
fn what_is_misspelt_is_told_in_a_line_and_not_in_a_trace() {
    let wrong: [&[&str]; 12] = [
        &[],
        &["srve"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--max-payload", "1.5M"],
        &["serve", "--grace", "5"],
        &["submit"],
        &["submit", "k", "--delay", "5s", "--at", "2031-01-01T00:00Z"],
        &["submit", "k", "--attempts", "0"],
        &["get", "zzz"],
        &["work", "--slots", "0", "--kinds", "k", "--", "true"],
        &["run", "--workers", "0", "--", "true"],
        &["completions", "cobol"],
    ];
    for args in wrong {
        let said = say(&mut ganger(args.iter().copied())).with(2);
        assert_eq!(said.out, "", "{args:?}");
        assert!(!said.err.contains("panicked") && !said.err.contains("RUST_BACKTRACE"), "{said:?}");
    }
}

#[test]
fn help_tells_the_commands_and_the_exit_codes() {
    let said = say(&mut ganger(["--help"])).with(0);
    for text in ["serve", "run", "work", "submit", "drain", "Exit codes", "  130  interrupted"] {
        assert!(said.out.contains(text), "{text}: {}", said.out);
    }
    assert_eq!(said.err, "");
    let version = say(&mut ganger(["--version"])).with(0);
    assert_eq!(version.out, format!("ganger {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_table_of_the_readme_has_every_command() {
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once("\n| command | does |\n").expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let firsts = table.lines().filter_map(|row| row.split('|').nth(1));
    let told: String = firsts.map(|cell| cell.replace(['`', ','], " ") + "\n").collect();
    let help = say(&mut ganger(["--help"])).with(0).out;
    let (_, commands) = help.split_once("\nCommands:\n").expect("the commands");
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 20, "{help}");
    for name in names {
        assert!(told.split_whitespace().any(|word| word == name), "{name} is not in README.md");
    }
}

#[test]
fn a_command_tells_all_of_itself() {
    for (command, told) in [
        ("run", "`{}` in the command stands for the line"),
        ("run", "--keep-order prints them in the order of the input"),
        ("work", "75 gives the task back unrun"),
        ("simulate", "MAKESPAN to OFF WEIGHT are of all at once"),
        ("bench", "Every result is checked"),
        ("serve", "a token of 8 to 256 bytes"),
    ] {
        let help = say(&mut ganger([command, "--help"])).with(0).out;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains(told), "{command}: {help}");
    }
    let help = say(&mut ganger(["cron", "add", "--help"])).with(0).out;
    assert!(help.contains("at most 10 seconds late for is not missed"), "{help}");
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = say(&mut ganger(["completions", shell])).with(0);
        assert!(said.out.contains("ganger") && said.out.contains("serve"), "{shell}");
    }
}

#[test]
fn no_scheduler_is_exit_code_3() {
    // A port that was free a moment ago, and that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let addr = format!("127.0.0.1:{port}");
    for command in ["stats", "queues", "workers", "tasks"] {
        let said = say(&mut ganger([command, "--connect", &addr])).with(3);
        let said = said.tells("error: no scheduler answers at 127.0.0.1:").tells("ganger serve");
        assert_eq!(said.out, "");
    }
    let run = say(&mut ganger(["run", "--connect", &addr, "--", "true"])).with(3);
    run.tells("no scheduler answers");
}
