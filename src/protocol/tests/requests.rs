//! Rows of the fault catalogue that concern what well-formed frames ask for.

use super::{code, frame, greeting_code, parsed, refusal, request, submit};
use crate::message::{Code, Fail, Request, Retry, Severity, Start};
use crate::protocol::{Parsed, parse_submit};
use crate::task::State;

const ID: &str = "06fq2v8k3n1zg";

#[test]
fn p04_unit_a_second_hello_closes() {
    for text in ["HELLO 1 client\n", "HELLO\n", "HELLO x y z=1 z=2 #3\nabc\n"] {
        assert_eq!(code(text), Code::Unexpected);
    }
    assert_eq!(Code::Unexpected.severity(), Severity::Close);
}

#[test]
fn p15_p16_unit_unknown_verbs_are_answered_in_any_case_of_letters() {
    for text in ["FROBNICATE\n", "submit resize\n", "Done x #1\nx\n", "FORETELL x\n", "\u{e9}\n"] {
        assert_eq!(code(text), Code::UnknownVerb, "{text:?}");
    }
    assert_eq!(Code::UnknownVerb.severity(), Severity::Answer);
}

#[test]
fn p17_unit_what_is_missing_too_much_or_out_of_order() {
    let rows = [
        ("SUBMIT\n", Code::Missing),
        ("SUBMIT queue=a\n", Code::Missing),
        ("SUBMIT queue=a resize\n", Code::Missing),
        ("SUBMIT resize encode\n", Code::UnknownOption),
        ("SUBMIT resize queue=a encode\n", Code::UnknownOption),
        ("SUBMIT resize prioritty=5\n", Code::UnknownOption),
        ("SUBMIT resize =5\n", Code::UnknownOption),
        ("SUBMIT resize queue=a queue=a\n", Code::UnknownOption),
        ("SUBMIT resize delay=1 at=1\n", Code::Conflict),
        ("SUBMIT resize unique-for=1\n", Code::Missing),
        ("SUBMIT resize after-failure=run\n", Code::Missing),
        ("SUBMIT resize after=06fq2v8k3n1zg after=06fq2v8k3n1zg\n", Code::UnknownOption),
        (
            "SUBMIT resize after=06fq2v8k3n1zg after-failure=wait after-failure=wait\n",
            Code::UnknownOption,
        ),
        ("SUBMIT resize after=06fq2v8k3n1zg after-failure=retry\n", Code::BadValue),
        ("SUBMIT resize res=cpu:1 res=cpu:1\n", Code::UnknownOption),
        ("SUBMIT resize res=cpu\n", Code::BadValue),
        ("SUBMIT resize res=cpu:1,cpu:2\n", Code::BadValue),
        ("SUBMIT resize serial=yes\n", Code::Missing),
        ("SUBMIT resize serial=yes queue=a\n", Code::Missing),
        ("SUBMIT resize serial=maybe key=a\n", Code::BadValue),
        ("SUBMIT resize serial=yes key=a priority=1\n", Code::Conflict),
        ("SUBMIT resize serial=yes serial=yes key=a\n", Code::UnknownOption),
        ("SUBMIT resize needs=a needs=b\n", Code::UnknownOption),
        ("DONE\n", Code::Missing),
        ("DONE 06fq2v8k3n1zg\n", Code::Missing),
        ("DONE 06fq2v8k3n1zg 1 2\n", Code::UnknownOption),
        ("DONE 06fq2v8k3n1zg 1 ms=2\n", Code::UnknownOption),
        ("FAIL 06fq2v8k3n1zg 1 retry=no retry=5\n", Code::UnknownOption),
        ("RELEASE 06fq2v8k3n1zg 1 #0\n\n", Code::UnknownOption),
        ("GET\n", Code::Missing),
        ("GET 06fq2v8k3n1zg #1\nx\n", Code::UnknownOption),
        ("EXPLAIN\n", Code::Missing),
        ("EXPLAIN 06fq2v8k3n1zg 1\n", Code::UnknownOption),
        ("EXPLAIN 06fq2v8k3n1zg why=yes\n", Code::UnknownOption),
        ("EXPLAIN 06fq2v8k3n1zg #1\nx\n", Code::UnknownOption),
        ("CANCEL 06fq2v8k3n1zg 1\n", Code::UnknownOption),
        ("SLOTS\n", Code::Missing),
        ("BYE now\n", Code::UnknownOption),
        ("STATS #2\nab\n", Code::UnknownOption),
        ("TASKS ready\n", Code::UnknownOption),
        ("QUEUE\n", Code::Missing),
        ("QUEUE photos colour=blue\n", Code::UnknownOption),
        ("DRAIN reason=drain\n", Code::Missing),
        ("EVENTS all\n", Code::UnknownOption),
        ("EVENTS off now\n", Code::UnknownOption),
        ("EVENTS off queue=q\n", Code::UnknownOption),
        ("EVENTS off #1\nx\n", Code::UnknownOption),
        ("EVENTS queue=q off\n", Code::UnknownOption),
        ("EVENTS queue=q queue=p\n", Code::UnknownOption),
        ("EVENTS state=dead\n", Code::UnknownOption),
        ("EVENTS what=\n", Code::BadValue),
        ("EVENTS what=done,\n", Code::BadValue),
        ("EVENTS what=done,done\n", Code::BadValue),
        ("EVENTS what=exploded\n", Code::BadValue),
        ("EVENTS from=-1\n", Code::BadValue),
        ("EVENTS from=18446744073709551616\n", Code::BadValue),
        ("EVENTS stats=999\n", Code::BadValue),
        ("EVENTS stats=60001\n", Code::BadValue),
        ("EVENTS queue=a%20b\n", Code::BadValue),
    ];
    for (text, expected) in rows {
        assert_eq!(code(text), expected, "{text:?}");
        assert_eq!(expected.severity(), Severity::Answer);
    }
    assert!(refusal("SUBMIT resize prioritty=5\n").text.contains("prioritty"));
    assert!(!refusal("SUBMIT resize \u{202e}x=5\n").text.contains('\u{202e}'));
    for (text, word) in [
        ("SUBMIT resize key=a b\n", "b"),
        ("GET 06fq2v8k3n1zg why\n", "why"),
        ("SUBMIT resize key=a \u{202e}b\n", "word 4"),
        ("BYE {now}\n", "word 2"),
    ] {
        let told = format!("{word} is an argument too many, or stands behind an option");
        assert_eq!(refusal(text).text, told);
    }
    for text in ["HELLO\n", "HELLO 1\n", "HELLO 1 worker kinds=*\n", "HELLO 1 worker name=w\n"] {
        assert_eq!(greeting_code(text), Code::BadHello, "{text:?}");
    }
    for text in
        ["HELLO 1 boss\n", "HELLO 1 name=x client\n", "HELLO 1 client x\n", "HELLO name=x\n"]
    {
        assert_eq!(greeting_code(text), Code::BadHello, "{text:?}");
    }
}

#[test]
fn p26_unit_names_and_ids_have_an_alphabet() {
    let long = "a".repeat(129);
    for name in ["", "a{x}", "*", "a%20b", "r\u{e9}size", "a:b", "a,b", "a\u{430}", &long] {
        assert_eq!(submit(&format!("queue={name}")), Some(Code::BadValue), "{name}");
        if !name.is_empty() {
            assert_eq!(code(&format!("SUBMIT {name}\n")), Code::BadValue, "{name}");
            assert_eq!(code(&format!("DRAIN {name}\n")), Code::BadValue, "{name}");
        }
        assert_eq!(greeting_code(&format!("HELLO 1 client name={name}\n")), Code::BadHello);
    }
    // Dots and slashes are letters like any other; no file is ever named after them.
    for name in ["..", "../x", "/", "none", "a".repeat(128).as_str()] {
        assert_eq!(submit(&format!("queue={name}")), None, "{name}");
    }
    for id in
        ["0", "zzzzzzzzzzzzz", "06FQ2V8K3N1ZG", "06fq2v8k3n1zgg", "06fq2v8k3n1zi", "*", "none"]
    {
        assert_eq!(code(&format!("GET {id}\n")), Code::BadValue, "{id}");
    }
    for key in ["", "#x", "a=b", "%", "%4", "%g0", "%E4", &"k".repeat(257), &"%6B".repeat(257)] {
        assert_eq!(submit(&format!("key={key}")), Some(Code::BadValue), "{key}");
    }
    for key in ["x#", "%23x", "a%3Db", "%c3%a4", &"k".repeat(256), &"%6B".repeat(256)] {
        for option in ["key", "unique", "trace"] {
            assert_eq!(submit(&format!("{option}={key}")), None, "{key}");
        }
    }
}

#[test]
fn after_is_a_list_of_ids() {
    let most = vec![ID; 250].join(",");
    for after in [ID, "06fq2v8k3n1zg,06fq2v8k3n1zh", &most] {
        assert_eq!(submit(&format!("after={after}")), None, "{after}");
    }
    let above = most + "," + ID;
    for after in ["", ",", "x", "06fq2v8k3n1zg,", "06fq2v8k3n1zg,,06fq2v8k3n1zg", "none", &above] {
        assert_eq!(submit(&format!("after={after}")), Some(Code::BadValue), "{after}");
    }
}

#[test]
fn needs_are_a_short_list_of_names() {
    let most = ["x"; 16].join(",");
    for needs in ["a", "a,b", "a,a", "none", &"a".repeat(128), &most] {
        assert_eq!(submit(&format!("needs={needs}")), None, "{needs}");
    }
    let above = most + ",x";
    for needs in ["", ",", "a,", ",a", "a,,b", "*", "a%2cb", "a=b", &"a".repeat(129), &above] {
        assert_eq!(submit(&format!("needs={needs}")), Some(Code::BadValue), "{needs}");
    }
}

#[test]
fn p27_unit_numbers_are_checked_against_their_range() {
    let (duration, month) = ("315360000000", "2592000000");
    let ranges = [
        ("delay", "0", duration, "315360000001"),
        ("at", "0", "5975883311103", "5975883311104"),
        ("expires", "1", duration, "315360000001"),
        ("timeout", "1", duration, "315360000001"),
        ("max-run", "1", duration, "315360000001"),
        ("attempts", "1", "1000", "1001"),
        ("backoff", "0", "86400000", "86400001"),
        ("unique=x unique-for", "0", month, "2592000001"),
        ("result-ttl", "0", month, "2592000001"),
    ];
    let never =
        ["", "-1", "+1", "01", "1.0", "1e3", "NaN", "inf", "0x1", "1%30", "18446744073709551616"];
    for (option, min, max, above) in ranges {
        for value in [min, max] {
            assert_eq!(submit(&format!("{option}={value}")), None, "{option}={value}");
        }
        for value in never.into_iter().chain([above]) {
            assert_eq!(
                submit(&format!("{option}={value}")),
                Some(Code::BadValue),
                "{option}={value}"
            );
        }
        if min == "1" {
            assert_eq!(submit(&format!("{option}=0")), Some(Code::BadValue), "{option}");
        }
        let unlimited = ["timeout", "max-run", "attempts"].contains(&option);
        let expected = (!unlimited).then_some(Code::BadValue);
        assert_eq!(submit(&format!("{option}=none")), expected, "{option}=none");
    }
    for attempt in ["0", "4294967296", "-1", "none"] {
        assert_eq!(code(&format!("DONE {ID} {attempt}\n")), Code::BadValue, "{attempt}");
    }
    for (value, expected) in [("yes", None), ("no", None), ("1", Some(Code::BadValue))] {
        assert_eq!(submit(&format!("watch={value}")), expected);
    }
    for text in ["TASKS limit=0\n", "TASKS limit=1001\n", "TASKS cursor=-1\n", "TASKS state=busy\n"]
    {
        assert_eq!(code(text), Code::BadValue, "{text}");
    }
    for text in
        ["QUEUE q order=lifo\n", "QUEUE q route=best\n", "QUEUE q spill=-1\n", "QUEUE q spill=\n"]
    {
        assert_eq!(code(text), Code::BadValue, "{text}");
    }
    for state in State::ALL.map(State::word) {
        assert!(refusal("TASKS state=busy\n").text.contains(state), "{state}");
    }
    let retry = refusal(&format!("FAIL {ID} 1 retry=x\n")).text;
    assert_eq!(retry, "retry is a plain number of milliseconds from 0 to 86400000, or no");
    for retry in ["-1", "86400001", "yes", ""] {
        assert_eq!(code(&format!("FAIL {ID} 1 retry={retry}\n")), Code::BadValue, "{retry}");
        assert_eq!(code(&format!("RELEASE {ID} 1 delay={retry}\n")), Code::BadValue, "{retry}");
    }
}

#[test]
fn p30_unit_notices_without_meaning_are_passed_over() {
    let texts = ["PROGRESS\n", "PROGRESS x 1 50\n", "PONG x\n", "PONG #1\nx\n"];
    for text in texts.into_iter().map(str::to_owned).chain([format!("PROGRESS {ID} 1 101\n")]) {
        assert_eq!(parsed(&text), Parsed::Ignore, "{text:?}");
    }
}

#[test]
fn p31_unit_verbs_of_the_scheduler_close() {
    for verb in ["OK", "ERR", "TASK", "RESULT", "PING", "EVENT", "GAP"] {
        for rest in ["", " 06fq2v8k3n1zg 1 resize", " x=1 x=1", " #1\nx"] {
            assert_eq!(code(&format!("{verb}{rest}\n")), Code::Unexpected, "{verb}{rest}");
        }
    }
}

#[test]
fn submit_reads_every_option_and_knows_the_defaults() {
    let text = "SUBMIT resize queue=photos key=user%2042 at=1790000000000 expires=5000 timeout=none \
                max-run=60000 attempts=none backoff=10 unique=a unique-for=7 result-ttl=0 watch=yes \
                trace=t #5\nhello\n";
    let submit = parse_submit(&frame(text)).unwrap();
    assert_eq!((submit.kind(), submit.queue()), ("resize", "photos"));
    assert_eq!(submit.key.map(|key| submit.text(key)), Some("user%2042"));
    assert_eq!(submit.unique.map(|unique| submit.text(unique)), Some("a"));
    assert_eq!(submit.start, Start::At(1_790_000_000_000));
    assert_eq!((submit.expires_ms, submit.timeout_ms), (Some(5000), None));
    assert_eq!((submit.max_run_ms, submit.attempts), (Some(60_000), None));
    assert_eq!((submit.backoff_ms, submit.unique_for_ms, submit.result_ttl_ms), (10, 7, 0));
    assert!(submit.watch);
    let submit = parse_submit(&frame("SUBMIT resize\n")).unwrap();
    assert_eq!((submit.queue(), submit.attempts), ("default", Some(20)));
    assert_eq!((submit.backoff_ms, submit.result_ttl_ms), (1000, 3_600_000));
    assert_eq!((submit.start, submit.watch), (Start::Now, false));
    assert_eq!(parse_submit(&frame("DONE x\n")).unwrap_err().code, Code::UnknownVerb);
}

#[test]
fn fail_has_three_ways_to_go_on() {
    let retry = |options: &str| match request(&format!("FAIL {ID} 3{options} #4\noops\n")) {
        Request::Fail(Fail { attempt: 3, retry, error, .. }) if error == "oops" => retry,
        other => panic!("{other:?}"),
    };
    assert_eq!(retry(""), Retry::Backoff);
    assert_eq!(retry(" retry=no"), Retry::No);
    assert_eq!(retry(" retry=0"), Retry::After(0));
}
