//! What protocol.md says is what the code says: its tables, its numbers, its conversations.

use std::collections::BTreeSet;

use ganger::frame::{Frame, HEADER_MAX};
use ganger::message::observe::{HAPPENINGS, STATS_MS};
use ganger::message::{Code, Order, Plan, Route, Severity, Why, amounts, schedule};
use ganger::protocol::hello::{HEARTBEAT_MS, LIST_MAX, PRICE_MAX};
use ganger::protocol::{
    Answer, Parsed, codec, greet, parse, parse_request, read_entry, read_frame, submit,
};

use crate::transcripts::{self, Direction, Transcript};

const PAGE: &str = include_str!("../../protocol.md");

fn pages_transcripts() -> Vec<Transcript> {
    transcripts::parse(PAGE).unwrap()
}

/// The part of the page from one heading to the next of its level or above.
fn section(heading: &str) -> &str {
    let start = PAGE.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let body = &PAGE[start + 1..];
    let level = heading.split(' ').next().unwrap();
    let levels = (1..=level.len()).map(|length| format!("\n{} ", &level[..length]));
    let ends = levels.filter_map(|level| body[1..].find(&level));
    &body[..ends.min().map_or(body.len(), |end| end + 1)]
}

/// The first cells of the rows of tables, without their backquotes.
fn first_cells(text: &str) -> Vec<&str> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(cell, _)| cell).collect()
}

#[test]
fn the_codes_of_the_page_are_those_of_the_code() {
    let errors = section("## 12 Errors");
    let words: Vec<&str> = Code::ALL.into_iter().map(Code::word).collect();
    assert_eq!(first_cells(errors), words);
    let answers = errors.find("**Answer**").unwrap();
    for code in Code::ALL {
        let at = errors.find(&format!("| `{}` |", code.word())).unwrap();
        let expected = if at < answers { Severity::Close } else { Severity::Answer };
        assert_eq!(code.severity(), expected, "{code:?}");
    }
}

#[test]
fn the_reasons_of_the_page_are_those_of_the_code() {
    let words: BTreeSet<&str> = Why::ALL.into_iter().map(Why::word).collect();
    assert_eq!(words.len(), Why::ALL.len());
    let cells = first_cells(section("### EXPLAIN"));
    assert_eq!(cells.iter().copied().collect::<BTreeSet<_>>(), words);
    assert_eq!(cells.len(), words.len());
}

#[test]
fn the_events_of_the_page_are_those_of_the_code() {
    let cells = first_cells(section("### EVENTS"));
    let options = ["what", "from", "stats"];
    let words: Vec<&str> = cells.into_iter().filter(|cell| !options.contains(cell)).collect();
    assert_eq!(words, HAPPENINGS);
    for word in HAPPENINGS {
        let frame = Frame::read(format!("EVENTS what={word}\n").into()).unwrap();
        assert!(matches!(parse_request(&frame), Parsed::Request(_)), "{word}");
    }
}

#[test]
fn the_numbers_of_the_page_are_those_of_the_code() {
    let numbers = [
        HEADER_MAX as u64,
        parse::SLOTS_MAX,
        parse::PAGE_MAX,
        u64::from(parse::PAGE),
        submit::DURATION_MAX_MS,
        submit::BACKOFF_MAX_MS,
        submit::KEEP_MAX_MS,
        submit::ATTEMPTS_MAX,
        submit::NEEDS_MAX as u64,
        amounts::AMOUNT_MAX,
        amounts::AMOUNTS_MAX as u64,
        submit::AFTER_MAX as u64,
        submit::at_max_ms(),
        HEARTBEAT_MS.0,
        HEARTBEAT_MS.1,
        STATS_MS.0,
        STATS_MS.1,
        LIST_MAX as u64,
        PRICE_MAX,
        schedule::EVERY_MIN_MS,
        Plan::EVERY_MAX_MS,
        ganger::protocol::TEXT_MAX as u64,
        u64::from(ganger::message::Submit::ATTEMPTS),
        ganger::message::Submit::RESULT_TTL_MS,
        codec::PAYLOAD,
    ];
    let digits = |c: char| !c.is_ascii_digit();
    let page: BTreeSet<&str> = PAGE.split(digits).collect();
    for number in numbers {
        assert!(page.contains(number.to_string().as_str()), "{number} is not on the page");
    }
    assert_eq!(codec::PAYLOAD_MAX, 64 << 20);
}

#[test]
fn the_routes_and_orders_of_the_page_are_those_of_the_code() {
    let words: Vec<&str> = Route::ALL.into_iter().map(Route::word).collect();
    assert_eq!(first_cells(section("#### Routes")), words);
    let words: Vec<&str> = Order::ALL.into_iter().map(Order::word).collect();
    assert_eq!(first_cells(section("#### Orders")), words);
}

#[test]
fn the_options_of_the_page_are_those_of_the_code() {
    for option in first_cells(section("### SUBMIT")).into_iter().filter(|cell| !cell.contains(' '))
    {
        let value = match option {
            "queue" | "key" | "unique" | "trace" => "x",
            "watch" | "serial" => "yes",
            "after" => "06fq2v8k3n1zg",
            "res" => "cpu:1",
            "after-failure" => "run",
            _ => "1",
        };
        let needed = match option {
            "unique-for" => "unique=x ",
            "serial" => "key=x ",
            "after-failure" => "after=06fq2v8k3n1zg ",
            _ => "",
        };
        let text = format!("SUBMIT resize {needed}{option}={value}\n");
        let parsed = parse_request(&Frame::read(text.into()).unwrap());
        assert!(matches!(parsed, Parsed::Request(_)), "{option}: {parsed:?}");
    }
    let of_tasks =
        section("### CRON").split("of SUBMIT:").nth(1).unwrap().split(". ").next().unwrap();
    let of_tasks: Vec<&str> = of_tasks.split('`').skip(1).step_by(2).collect();
    for option in first_cells(section("### SUBMIT")).into_iter().filter(|cell| !cell.contains(' '))
    {
        let (value, needed) = match option {
            "queue" | "key" | "trace" => ("x", ""),
            "serial" => ("yes", "key=x "),
            "res" => ("cpu:1", ""),
            _ => ("1", ""),
        };
        let text = format!("CRON ADD tick report every=1000 {needed}{option}={value}\n");
        let taken = matches!(parse_request(&Frame::read(text.into()).unwrap()), Parsed::Request(_));
        assert_eq!(taken, of_tasks.contains(&option), "{option} of CRON ADD");
    }
    for (option, value) in [
        ("schedule", "@daily"),
        ("every", "1000"),
        ("tz", "Europe/Berlin"),
        ("overlap", "queue"),
        ("missed", "none"),
    ] {
        assert!(first_cells(section("### CRON")).contains(&option), "{option}");
        let rest = if option == "tz" { " schedule=@daily" } else { " every=5000" };
        let rest = if ["schedule", "every"].contains(&option) { "" } else { rest };
        let text = format!("CRON ADD tick report {option}={value}{rest}\n");
        let parsed = parse_request(&Frame::read(text.into()).unwrap());
        assert!(matches!(parsed, Parsed::Request(_)), "{option}: {parsed:?}");
    }
    let page = section("## 5 The greeting");
    for option in
        ["name", "slots", "weight", "heartbeat", "price", "max-payload", "session", "pid", "res"]
    {
        assert!(first_cells(page).contains(&option), "{option}");
        // A known option is checked; an unknown one would be passed over.
        let text = format!("HELLO 1 client {option}=%20\n");
        assert!(greet(&Frame::read(text.into()).unwrap()).is_err(), "{option}");
    }
}

#[test]
fn entries_of_the_inbox_take_the_options_that_the_page_says() {
    let taken = |header: String| read_entry(header.into(), 1000).submit.is_ok();
    let inbox = section("## 18 The inbox in Redis");
    assert_eq!(first_cells(inbox), ["reply", "watch"]);
    assert!(taken("SUBMIT x reply=me".into()) && taken("SUBMIT x watch=no".into()));
    assert!(!taken("SUBMIT x watch=yes".into()));
    let options = first_cells(section("### SUBMIT")).into_iter();
    for option in options.filter(|option| !option.contains(' ') && *option != "watch") {
        let text = format!("SUBMIT x {option}=%20");
        let refused = read_entry(text.into(), 1000).submit.map(|_| ()).err().map(|its| its.code);
        // A known option is checked.
        let known = ["key", "unique", "trace"].contains(&option);
        assert_eq!(refused.is_none(), known, "{option}: {refused:?}");
        assert_ne!(refused, Some(Code::UnknownOption), "{option}");
    }
    // Connections may not say it.
    let text = Frame::read("SUBMIT x reply=me\n".into()).unwrap();
    assert!(matches!(parse_request(&text), Parsed::Refuse(_)));
}

/// The text with something for each `<word>`, and without the `...` at its end.
fn filled(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.trim_end_matches("...").trim_end_matches([' ', '/']);
    while let Some((before, after)) = rest.split_once('<') {
        let (word, after) = after.split_once('>').unwrap();
        out.push_str(before);
        out.push_str(match word {
            "id" | "next" | "another" | "first" | "second" | "third" => "06fq2v8k3n1zg",
            "session" => "00000000000000000000000000000000",
            _ => "5",
        });
        rest = after;
    }
    out + rest + "\n"
}

#[test]
fn every_line_of_a_conversation_is_a_frame_that_can_be_said() {
    for transcript in pages_transcripts() {
        let mut greeted = BTreeSet::new();
        let mut payload = BTreeSet::new();
        for step in &transcript.steps {
            let place = (&step.peer, step.direction);
            let key = (step.peer.clone(), step.direction == Direction::Sent);
            if step.text == "(end)" || payload.remove(&key) {
                continue;
            }
            let text = filled(&step.text);
            let told = format!("{} line {}: {place:?} {text:?}", transcript.name, step.line);
            let (line, length) = match text.trim_end().rsplit_once(" #") {
                Some((line, _)) => (format!("{line}\n"), true),
                None => (text.clone(), false),
            };
            if length {
                payload.insert(key);
            }
            let frame = Frame::read(line.into());
            if step.direction == Direction::Received {
                if step.text == "{..." || step.text.starts_with("ERR") {
                    continue;
                }
                let answer = read_frame(&frame.expect(&told)).expect(&told);
                assert_ne!(answer, Answer::Unknown, "{told}");
            } else if greeted.insert(step.peer.as_str()) {
                let is_wrong = ["greeting"].contains(&transcript.name.as_str());
                assert!(greet(&frame.expect(&told)).is_ok() || is_wrong, "{told}");
            }
        }
    }
}

#[test]
fn every_verb_has_a_conversation() {
    let transcripts = pages_transcripts();
    let steps = || transcripts.iter().flat_map(|transcript| &transcript.steps);
    let verbs = |direction| -> BTreeSet<&str> {
        let steps = steps().filter(|step| step.direction == direction);
        steps.map(|step| step.text.split(' ').next().unwrap()).collect()
    };
    let sent = verbs(Direction::Sent);
    for verb in [
        "HELLO", "SUBMIT", "GET", "WATCH", "EXPLAIN", "CANCEL", "RETRY", "DONE", "FAIL", "RELEASE",
        "PROGRESS", "SLOTS", "BYE", "QUEUES", "WORKERS", "TASKS", "STATS", "QUEUE", "DRAIN",
        "CRON", "EVENTS",
    ] {
        assert!(sent.contains(verb), "{verb} is in no transcript");
    }
    let received = verbs(Direction::Received);
    for verb in ["OK", "ERR", "TASK", "CANCEL", "RESULT", "DRAIN", "EVENT", "GAP", "STATS"] {
        assert!(received.contains(verb), "{verb} is in no transcript");
    }
}
