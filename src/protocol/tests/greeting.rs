//! Rows of the fault catalogue that concern the greeting.

use bytes::BytesMut;

use super::{code, frame, greeting_code, request};
use crate::frame::Frame;
use crate::message::{Code, Request, Role, Severity};
use crate::protocol::{greet, put_refusal};
use crate::route::Weight;

/// The refusal of a worker's HELLO with these further options; `None` if it is accepted.
fn hello(options: &str) -> Option<Code> {
    let text = format!("HELLO 1 worker name=w kinds=* {options}\n");
    greet(&frame(&text)).err().map(|refusal| refusal.code)
}

#[test]
fn p03_unit_what_is_no_hello_is_not_repeated() {
    for text in ["SUBMIT secret-kind\n", "GET / HTTP/1.1\n", "hello 1 worker\n", "PONG\n"] {
        let refusal = greet(&frame(text)).unwrap_err();
        assert_eq!((refusal.code, &*refusal.text), (Code::Unexpected, "the first frame is HELLO"));
    }
}

#[test]
fn p05_unit_versions_without_overlap_are_told_the_range() {
    let versions = [
        "0",
        "2",
        "2-7",
        "-1",
        "99999999999999999999",
        "1-",
        "-",
        "1-0",
        "01",
        "v1",
        "1.0",
        "1-1-1",
    ];
    for version in versions {
        let refusal = greet(&frame(&format!("HELLO {version} client\n"))).unwrap_err();
        assert_eq!((refusal.code, refusal.versions), (Code::Version, Some((1, 1))), "{version}");
        let mut out = BytesMut::new();
        put_refusal(&refusal, &mut out);
        assert!(out.starts_with(b"ERR version min=1 max=1 "), "{out:?}");
    }
    for version in ["1", "0-1", "1-2", "0-99999999999", "1-1"] {
        let (spoken, _) = greet(&frame(&format!("HELLO {version} client\n"))).unwrap();
        assert_eq!(spoken, 1, "{version}");
    }
}

#[test]
fn p06_unit_unknown_options_of_hello_are_passed_over_if_well_formed() {
    for options in ["colour=blue", "x=", "x-9=%20y", "zone=a b2=c"] {
        assert_eq!(hello(options), None, "{options}");
    }
    for options in ["Colour=blue", "x=%zz", "x=a=b", "=x", "9x=1", "x_y=1", "x=%0A"] {
        assert_eq!(hello(options), Some(Code::BadHello), "{options}");
    }
}

#[test]
fn p07_unit_a_duplicated_option_of_hello_closes() {
    for options in ["name=w", "slots=1 slots=1", "colour=a colour=b", "kinds=a"] {
        assert_eq!(hello(options), Some(Code::BadHello), "{options}");
    }
    assert_eq!(Code::BadHello.severity(), Severity::Close);
}

#[test]
fn p28_unit_slots_weight_heartbeat_and_price_of_a_worker() {
    let rows = [
        ("slots", &["1", "65535"][..], &["0", "65536", "1000000000", "-1", "1.5", ""][..]),
        (
            "weight",
            &["0", "0.001", "100", "100.000"],
            &["100.001", "-1", "NaN", "1e1", "0.0001", ".5"],
        ),
        ("heartbeat", &["1000", "60000"], &["0", "999", "60001", "none"]),
        (
            "price",
            &["0", "0.000001", "1000000000"],
            &["-1", "1e3", "NaN", "0.0000001", "1.", "1000000001"],
        ),
        ("max-payload", &["1024", "18446744073709551615"], &["-1", "1k", "0", "1023"]),
        ("pid", &["0", "4711"], &["-1", "x"]),
        ("tags", &["gpu", "gpu,big"], &["", ",", "gpu,", "a b", "*"]),
        (
            "res",
            &["cpu:4", "cpu:4,mem:1000000000000"],
            &["", "cpu", "cpu:0", "cpu:4,cpu:4", "cpu:1.5"],
        ),
        ("queues", &["*", "a,b", "a,a"], &["", "a,*", "a,,b"]),
        (
            "session",
            &["5f0c0000000000000000000000000000"],
            &["", "5F0C0000000000000000000000000000", "0"],
        ),
        ("token", &["s3cret%3D%3D"], &["", "s3cret==", "%00"]),
        ("host", &["img", "my%20host"], &["", "a=b"]),
    ];
    for (option, good, bad) in rows {
        for value in good {
            assert_eq!(hello(&format!("{option}={value}")), None, "{option}={value}");
        }
        for value in bad {
            let text = format!("HELLO 1 worker name=w kinds=* {option}={value}\n");
            let Ok(frame) = Frame::read(text.into()) else { continue };
            assert_eq!(greet(&frame).unwrap_err().code, Code::BadHello, "{option}={value}");
        }
    }
    assert_eq!(code("SLOTS 65536\n"), Code::BadValue);
    assert_eq!(request("SLOTS 0\n"), Request::Slots(0));
    let list = vec!["k"; 257].join(",");
    assert_eq!(greeting_code(&format!("HELLO 1 worker name=w kinds={list}\n")), Code::BadHello);
}

#[test]
fn p28_unit_hello_says_everything_about_a_worker() {
    let text = "HELLO 1 worker name=img-7 host=img pid=4711 slots=8 weight=2.5 kinds=resize,encode \
                tags=gpu heartbeat=15000 price=0.25 max-payload=4096 token=a%20b\n";
    let (_, hello) = greet(&frame(text)).unwrap();
    assert_eq!((hello.role, &*hello.name, &*hello.host), (Role::Worker, "img-7", "img"));
    assert_eq!((hello.pid, hello.slots), (4711, 8));
    assert_eq!(Some(hello.weight), Weight::parse("2.5"));
    assert_eq!(hello.kinds, Some(vec!["encode".to_owned(), "resize".to_owned()]));
    assert_eq!((hello.queues, hello.tags), (None, vec!["gpu".to_owned()]));
    assert_eq!((hello.heartbeat_ms, hello.payload_max), (Some(15_000), Some(4096)));
    assert!((hello.price - 0.25).abs() < f64::EPSILON);
    assert_eq!(hello.token.as_deref(), Some("a b"));
    let (_, hello) = greet(&frame("HELLO 1 operator\n")).unwrap();
    assert_eq!((&*hello.name, hello.slots, hello.kinds), ("operator", 1, None));
}
