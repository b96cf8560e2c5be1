//! Numbers and durations that are out of range: usage errors, told before anybody is asked.

use crate::support::program::{Serve, ganger, say};

const DAYS: &str = "is out of range: give 1ms to 3650d";

#[test]
fn what_is_out_of_range_is_a_usage_error_that_tells_the_range() {
    let submit = [
        ("--delay=3651d", "\"3651d\" is out of range: give 0 to 3650d"),
        ("--expires=0", DAYS),
        ("--timeout=0", "\"0\" is out of range: give 1ms to 3650d, or none"),
        ("--timeout=3650d1ms", DAYS),
        ("--max-run=0s", DAYS),
        ("--time=0", DAYS),
        ("--backoff=25h", "\"25h\" is out of range: give 0 to 1d"),
        ("--result-ttl=31d", "\"31d\" is out of range: give 0 to 30d"),
        ("--unique-for=31d", "\"31d\" is out of range: give 0 to 30d"),
        ("--at=9999-01-01T00:00Z", "is out of range: give a time until 2"),
        ("--attempts=1001", "give a whole number from 1 to 1000, or none"),
        ("--priority=-1", "give a number from 0 to 1000000000 with up to three decimals"),
        ("--weight=1000000001", "give a number from 0 to 1000000000"),
        ("--resource=0", "give a number from 0.001 to 1000000000"),
    ];
    for (option, told) in submit {
        refused(&["submit", "k", "--unique=x", option], told);
    }
    for option in ["--timeout=0", "--backoff=2d", "--attempts=0"] {
        refused(&["cron", "add", "a", "k", "--every=1s", option], " to ");
    }
    let every = "is out of range: give 1s to 3650d";
    refused(&["cron", "add", "a", "k", "--every=999ms"], every);
    refused(&["cron", "add", "a", "k", "--every=3651d"], every);
    refused(&["events", "--stats=10ms"], "\"10ms\" is out of range: give 1s to 1m");
    let work = [
        ("--heartbeat=61s", "\"61s\" is out of range: give 1s to 1m"),
        ("--slots=65536", "give a whole number from 1 to 65535"),
        ("--weight=101", "give 0 to 100"),
        ("--price=1e10", "give a number from 0 to 1000000000"),
        ("--price=NaN", "give a number from 0 to 1000000000"),
    ];
    for (option, told) in work {
        refused(&["work", "--kinds=k", option, "--", "true"], told);
    }
    for option in ["--timeout=0", "--backoff=2d", "--attempts=1001"] {
        refused(&["run", option, "--", "true"], " to ");
    }
}

#[test]
fn what_is_less_than_nothing_is_told_what_can_be_given() {
    let whole = "give a whole number from";
    for (args, told) in [
        (&["submit", "k", "--delay", "-5s"][..], "\"-5s\" is no duration: give 250ms"),
        (&["submit", "k", "--timeout", "-1"], "is no duration: give 250ms"),
        (&["submit", "k", "--at", "-5"], "is no time: give 2031-05-09"),
        (&["submit", "k", "--attempts", "-1"], "give a whole number from 1 to 1000, or none"),
        (&["submit", "k", "--priority", "-1"], "give a number from 0 to 1000000000"),
        (&["cron", "add", "a", "k", "--every", "-1s"], "is no duration"),
        (&["simulate", "--aging", "-1"], "give a number that is not negative"),
        (&["simulate", "--load", "-1"], "give a share"),
        (&["work", "--kinds=k", "--weight", "-1", "--", "true"], "give 0 to 100"),
        (&["work", "--kinds=k", "--price", "-1", "--", "true"], "give a number from 0 to"),
        (&["run", "-w", "-1", "--", "true"], whole),
        (&["serve", "--max-tasks", "-1"], whole),
        (&["serve", "--max-tasks=0"], "give a whole number from 1 on"),
        (&["serve", "--max-connections=0"], "give a whole number from 1 on"),
        (&["serve", "--grace", "-5s"], "is no duration"),
        (&["tasks", "--limit", "-1"], whole),
        (&["events", "--from", "-1"], "give the number of an event"),
        (&["bench", "-n", "-1"], whole),
    ] {
        refused(args, told);
    }
    // What takes no number does not take the next option for its value.
    refused(&["submit", "k", "--key", "--wait"], "a value is required for '--key");
}

#[test]
fn what_is_misspelt_names_its_option_and_what_can_be_given() {
    let name = "give a name: 1 to 128 characters of A-Z a-z 0-9 . _ / -";
    for (args, option, told) in [
        (&["work", "--kinds", "", "--", "true"][..], "--kinds", "/ -; or * for all"),
        (&["work", "--kinds", "a,,b", "--", "true"], "--kinds", name),
        (&["work", "--kinds", "k", "--queues", "a b", "--", "true"], "--queues", name),
        (&["work", "--kinds", "k", "--tags", "a b", "--", "true"], "--tags", name),
        (&["work", "--kinds", "k", "--tags", "*", "--", "true"], "--tags", name),
        (&["work", "--kinds", "k", "--name", "", "--", "true"], "--name", name),
        (&["submit", "a b"], "<KIND>", name),
        (&["submit", "k", "--queue", "*"], "--queue", name),
        (&["submit", "k", "--key", ""], "--key", "give 1 to 256 bytes"),
        (&["submit", "k", "--trace", "a\nb"], "--trace", "without control characters"),
        (&["cron", "add", "a b", "k", "--every", "5s"], "<NAME>", name),
        (&["tasks", "--worker", "a b"], "--worker", name),
        (&["pause", "a b"], "<QUEUE>", name),
        (&["drain", ""], "<WORKER>", name),
        (&["serve", "--listen", "foo"], "--listen", "like 127.0.0.1:7330"),
        (&["serve", "--max-connections", "x"], "--max-connections", "a whole number from 1 on"),
        (&["events", "--from", "x"], "--from", "which stands first in its line"),
    ] {
        refused(args, told);
        refused(args, option);
    }
}

#[test]
fn policies_that_cannot_be_are_usage_errors_that_tell_what_can() {
    for (policy, told) in [
        ("rate=0", "rate is a number from 0.001 to 1000000 with up to three decimals, or none"),
        ("limit=0", "limit is a plain number from 1 to 1000000, or none"),
        ("spill=3651d", "\"3651d\" is out of range: give 0 to 3650d, or none"),
        ("spill=soon", "\"soon\" is no duration"),
        ("spill=99999999999999", "milliseconds from 0 to 315360000000, or none"),
        ("route=best", "route is one of weighted-random"),
        ("colour=red", "a queue has no policy colour"),
    ] {
        refused(&["queue", "q", policy], told);
    }
}

#[track_caller]
fn refused(args: &[&str], told: &str) {
    let said = say(&mut ganger(args.iter().copied())).with(2).tells(told);
    assert_eq!(said.out, "", "{args:?}");
}

#[test]
fn what_lies_at_the_ends_of_ranges_is_taken() {
    let serve = Serve::start();
    let most = [
        "--delay=3650d",
        "--expires=3650d",
        "--timeout=3650d",
        "--max-run=3650d",
        "--time=3650d",
        "--backoff=1d",
        "--result-ttl=30d",
        "--unique-for=30d",
        "--attempts=1000",
        "--weight=1000000000",
        "--resource=1000000000",
    ];
    serve.say(["submit", "k", "--unique=most"].into_iter().chain(most)).with(0);
    let least = [
        "--delay=0",
        "--expires=1ms",
        "--timeout=1ms",
        "--max-run=1ms",
        "--time=1ms",
        "--backoff=0",
        "--result-ttl=0",
        "--unique-for=0",
        "--attempts=1",
        "--weight=0",
        "--resource=0.001",
    ];
    serve.say(["submit", "k", "--unique=least"].into_iter().chain(least)).with(0);
    for every in ["--every=1s", "--every=3650d"] {
        serve.say(["cron", "add", "a", "k", every]).with(0);
    }
    for policy in ["spill=0", "spill=3650d", "spill=none", "limit=1000000", "rate=0.001"] {
        serve.say(["queue", "q", policy]).with(0);
    }
    let told = serve.say(["submit", "k", "--at=9999-01-01T00:00Z"]).with(2).err;
    let last = told.split("until ").nth(1).unwrap().lines().next().unwrap();
    serve.say(["submit", "k", "--at", last]).with(0);
}
