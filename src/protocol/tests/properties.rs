//! Round trips of everything that can be said, however it is cut, and bytes that nobody meant.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::wanted::{amounts, id, name, payload, text, wanted};
use super::{observing, read_all, read_pieces};
use crate::frame::{Frame, Word, Writer, decode, put_number};
use crate::message::{
    Code, Fail, Hello, Refusal, Reply, Request, Retry, Role, TaskFilter, TaskInfo,
};
use crate::protocol::answer::{Answer, read_frame};
use crate::protocol::{
    Limits, Parsed, Submission, Terms, Violation, greet, parse_request, parse_submit, put_hello,
    put_request, render, render_stored,
};
use crate::record::{self, Batch, ResultFrame};
use crate::route::Weight;
use crate::task::{SessionId, State, TaskId};

const TERMS: Terms = Terms { version: 1, payload_max: 1 << 20, wall_ms: 1_790_000_000_000 };

fn request() -> impl Strategy<Value = Request> {
    let bytes = || payload().prop_map(Bytes::from);
    let retry = prop_oneof![
        Just(Retry::Backoff),
        Just(Retry::No),
        (0..=86_400_000_u64).prop_map(Retry::After)
    ];
    let filter = (
        option::of(prop::sample::select(State::ALL.to_vec())),
        option::of(name()),
        option::of(name()),
        option::of(name()),
        any::<u64>(),
        1..=1000_u32,
    );
    let policies = prop_oneof![
        Just(vec![]),
        (0..99_u64).prop_map(|spill| vec![
            ("route".to_owned(), "hash".to_owned()),
            ("spill".to_owned(), spill.to_string()),
        ]),
        Just(vec![("spill".to_owned(), "none".to_owned())]),
    ];
    prop_oneof![
        wanted().prop_map(|wanted| { Request::Submit(parse_submit(&wanted.frame()).unwrap()) }),
        id().prop_map(Request::Get),
        id().prop_map(Request::Explain),
        Just(Request::Events(None)),
        observing::filter().prop_map(|filter| Request::Events(Some(Box::new(filter)))),
        id().prop_map(Request::Watch),
        id().prop_map(Request::Cancel),
        id().prop_map(Request::Retry),
        (id(), 1..=u32::MAX, bytes()).prop_map(|(id, attempt, result)| Request::Done {
            id,
            attempt,
            result
        }),
        (id(), 1..=u32::MAX, retry, bytes()).prop_map(|(id, attempt, retry, error)| Request::Fail(
            Fail { id, attempt, retry, error }
        )),
        (id(), 1..=u32::MAX, 0..=86_400_000_u64)
            .prop_map(|(id, attempt, delay_ms)| Request::Release { id, attempt, delay_ms }),
        (id(), 1..=u32::MAX, 0..=100_u8, bytes()).prop_map(|(id, attempt, percent, note)| {
            Request::Progress { id, attempt, percent, note }
        }),
        (0..=65_535_u32).prop_map(Request::Slots),
        Just(Request::Bye),
        Just(Request::Pong),
        Just(Request::Queues),
        Just(Request::Workers),
        (any::<u64>(), 1..=1000u32).prop_map(|(cursor, limit)| Request::Stats { cursor, limit }),
        filter.prop_map(|(state, queue, kind, worker, cursor, limit)| {
            Request::Tasks(TaskFilter { state, queue, kind, worker, cursor, limit })
        }),
        (name(), policies).prop_map(|(name, policies)| Request::Queue { name, policies }),
        name().prop_map(Request::Drain),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    // Few and short enough for one header.
    let names = || prop::collection::btree_set("[a-z0-9._/-]{1,40}", 1..20);
    let list = move || option::of(names().prop_map(|names| names.into_iter().collect::<Vec<_>>()));
    let of_worker = (
        1..=65_535_u32,
        0..=100_000_u32,
        list(),
        list(),
        list().prop_map(Option::unwrap_or_default),
        (0..=1_000_000_000_u32).prop_map(|micros| f64::from(micros) / 1e6),
        amounts(),
    );
    let of_all = (
        name(),
        prop_oneof![Just(String::new()), text()],
        any::<u64>(),
        option::of(1000..=60_000_u64),
        option::of(1024..=u64::MAX),
        option::of(any::<u128>().prop_map(SessionId)),
        option::of(text()),
    );
    let role = prop::sample::select(vec![Role::Worker, Role::Client, Role::Operator]);
    (role, of_worker, of_all).prop_map(|(role, of_worker, of_all)| {
        let (slots, weight, kinds, queues, tags, price, res) = match role {
            Role::Worker => of_worker,
            _ => (1, 1000, None, None, vec![], 0.0, vec![]),
        };
        let (name, host, pid, heartbeat_ms, payload_max, session, token) = of_all;
        let weight = Weight::from_thousandths(weight).unwrap();
        Hello {
            role,
            name,
            host,
            pid,
            slots,
            weight,
            kinds,
            queues,
            tags,
            res,
            heartbeat_ms,
            price,
            payload_max,
            session,
            token,
        }
    })
}

fn sent(reply: &Reply, text: &[u8]) -> Frame {
    let mut out = BytesMut::new();
    render(reply, text, &TERMS, &mut out);
    let (mut frames, violation) = read_all(&out);
    assert!(violation.is_none() && frames.len() == 1, "{out:?}");
    frames.remove(0)
}

fn answered(reply: &Reply) -> Answer {
    read_frame(&sent(reply, b"")).unwrap()
}

proptest! {
    #[test]
    fn every_request_is_read_as_it_was_meant(request in request()) {
        let mut out = Vec::new();
        put_request(&request, &mut out).unwrap();
        let (frames, violation) = read_all(&out);
        prop_assert!(violation.is_none() && frames.len() == 1, "{violation:?}");
        prop_assert_eq!(parse_request(&frames[0]), Parsed::Request(request));
    }

    #[test]
    fn every_hello_is_read_as_it_was_meant(hello in hello()) {
        let mut out = Vec::new();
        match put_hello((1, 3), &hello, &mut out) {
            Err(_) => prop_assert!(out.is_empty()),
            Ok(()) => {
                let frame = Frame::read(out.into()).unwrap();
                prop_assert_eq!(greet(&frame).unwrap(), (1, hello));
            }
        }
    }

    #[test]
    fn a_submission_reaches_the_worker_as_it_was_meant(wanted in wanted(), id in id(), attempt in 1..=u32::MAX) {
        let frame = wanted.frame();
        let record = Arc::from(&frame.bytes()[..]);
        let Answer::Task(task) = answered(&Reply::Run { id, attempt, record }) else { panic!() };
        let meant = wanted.submission();
        prop_assert_eq!((task.id, task.attempt, task.kind()), (id, attempt, meant.kind));
        prop_assert_eq!(task.queue(), meant.queue.unwrap_or("default"));
        let texts = (task.key(), task.trace());
        prop_assert_eq!((texts.0.as_deref(), texts.1.as_deref()), (meant.key, meant.trace));
        prop_assert_eq!((task.timeout_ms, task.max_run_ms), (meant.timeout_ms, meant.max_run_ms));
        prop_assert_eq!(&task.payload()[..], meant.payload);
    }

    #[test]
    fn results_reach_the_watcher_and_get_tells_the_same(
        id in id(), attempt in 1..=u32::MAX, worker in name(), ms: u64, until_ms: u64, payload in payload(),
    ) {
        let mut batch = Batch::default();
        batch.put(|out| out.extend_from_slice(b"another frame\n"));
        let place = batch.put(|out| {
            record::put_result_done(out, id, attempt, &worker, ms, 7, until_ms, &payload);
        });
        let frame = sent(&Reply::Result(place), &batch.text);
        prop_assert_eq!(&frame.bytes()[..], batch.slice(place));
        let Answer::Result(ended) = read_frame(&frame).unwrap() else { panic!() };
        prop_assert_eq!((ended.id, ended.state, ended.attempt), (id, State::Done, attempt));
        prop_assert_eq!((ended.worker.as_deref(), ended.ms), (Some(&*worker), Some(ms)));
        prop_assert_eq!(ended.until_ms, (until_ms > 0).then_some(until_ms));
        prop_assert_eq!(&ended.payload[..], &payload[..]);
        prop_assert_eq!(ResultFrame::read(&frame).unwrap().ended_ms, 7);

        let mut out = BytesMut::new();
        render_stored(id, &frame, &mut out);
        let (frames, _) = read_all(&out);
        let Answer::Ok(ok) = read_frame(&frames[0]).unwrap() else { panic!() };
        prop_assert_eq!((ok.id(), ok.state()), (Some(id), Some(State::Done)));
        prop_assert_eq!((ok.number("ms"), ok.number("ended")), (Some(ms), Some(7)));
        prop_assert_eq!(&ok.payload().unwrap()[..], &payload[..]);
    }

    #[test]
    fn refusals_are_read_whatever_their_text(
        code in prop::sample::select(Code::ALL.to_vec()),
        retry_ms in option::of(any::<u64>()),
        text in any::<String>(),
    ) {
        let refusal = Refusal { retry_ms, ..Refusal::new(code, text.clone()) };
        let Answer::Err(rejected) = answered(&Reply::Refused(refusal)) else { panic!() };
        prop_assert_eq!((rejected.code, rejected.retry_ms), (Some(code), retry_ms));
        prop_assert_eq!(rejected.versions, None);
        let plain = text.split(' ').all(|word| !word.is_empty() && !word.starts_with('#'));
        if plain && text.len() < 500 && !text.contains('=') && !text.contains(char::is_control) {
            prop_assert_eq!(rejected.text, text);
        }
    }

    #[test]
    fn what_get_tells_is_read(
        id in id(),
        state in prop::sample::select(State::ALL.to_vec()),
        names in (name(), name(), option::of(name())),
        numbers in (any::<u32>(), any::<u32>(), option::of(any::<u64>()), option::of(0..=100_u8)),
        history in option::of("([0-9]:failed:[a-z]{9},){0,600}1:lost:x"),
        error in option::of(payload()),
    ) {
        let (attempt, used, due_ms, percent) = numbers;
        let info = TaskInfo {
            id, state, attempt, used, due_ms, percent,
            kind: names.0.into(),
            queue: names.1.into(),
            worker: names.2.map(Arc::from),
            reason: Some("timeout".to_owned()),
            cron: Some("nightly".to_owned()),
            history,
            error: error.map(Arc::from),
        };
        let Answer::Ok(ok) = answered(&Reply::Task(Box::new(info.clone()))) else { panic!() };
        prop_assert_eq!((ok.id(), ok.state()), (Some(id), Some(state)));
        let texts = ["kind", "queue", "worker"].map(|name| ok.option(name).map(Arc::from));
        prop_assert_eq!(texts, [Some(info.kind), Some(info.queue), info.worker]);
        prop_assert_eq!(ok.number("attempt"), Some(u64::from(attempt)));
        prop_assert_eq!((ok.number("due"), ok.number("percent")), (due_ms, percent.map(u64::from)));
        prop_assert_eq!(ok.payload().map(|error| error.to_vec()), info.error.map(|error| error.to_vec()));
        let (told, kept) = (ok.option("history").unwrap_or_default(), info.history.unwrap_or_default());
        prop_assert!(kept.ends_with(&*told) && told.is_empty() == kept.is_empty());
        prop_assert!(told.len() == kept.len() || kept[..kept.len() - told.len()].ends_with(','));
    }

    #[test]
    fn the_small_replies_are_read(id in id(), attempt in 1..=u32::MAX, session: u128, resumed: bool) {
        let Answer::Ok(ok) = answered(&Reply::Welcome { session: SessionId(session), resumed })
            else { panic!() };
        let welcome = ok.welcome().unwrap();
        prop_assert_eq!((welcome.version, welcome.resumed), (1, resumed));
        prop_assert_eq!((welcome.session, welcome.payload_max), (SessionId(session), 1 << 20));
        prop_assert_eq!((welcome.header_max, welcome.time_ms), (4096, TERMS.wall_ms));

        let Answer::Ok(ok) = answered(&Reply::OkTask(id)) else { panic!() };
        prop_assert_eq!((ok.id(), ok.is_duplicate(), ok.welcome()), (Some(id), false, None));
        let Answer::Ok(ok) = answered(&Reply::Duplicate(id)) else { panic!() };
        prop_assert_eq!((ok.id(), ok.is_duplicate()), (Some(id), true));
        let retried = Reply::Retried { id, was: State::Cancelled, reason: "expired" };
        let Answer::Ok(ok) = answered(&retried) else { panic!() };
        prop_assert_eq!(ok.id(), Some(id));
        prop_assert_eq!(ok.option("was").unwrap(), "cancelled");
        prop_assert_eq!(ok.option("reason").unwrap(), "expired");
        let Answer::Ok(ok) = answered(&Reply::Ok) else { panic!() };
        prop_assert_eq!((ok.id(), ok.payload()), (None, None));
        let Answer::Ok(ok) = answered(&Reply::Json(b"{}".to_vec())) else { panic!() };
        prop_assert_eq!(ok.payload().unwrap(), "{}");
        prop_assert_eq!(
            answered(&Reply::Stop { id, attempt, reason: "max-run" }),
            Answer::Cancel { id, attempt, reason: "max-run".to_owned() }
        );
        prop_assert_eq!(
            answered(&Reply::Drain { reason: "restart" }),
            Answer::Drain { reason: "restart".to_owned() }
        );
    }

    #[test]
    fn p09_unit_any_split_of_any_stream_gives_the_same_frames(
        stream in prop_oneof![
            "([A-Z]{1,5}( [a-z=%]{1,4}){0,3}( #[0-9]{1,2})?\n[a-z \n#]{0,12}){0,12}"
                .prop_map(String::into_bytes),
            vec(request(), 0..6).prop_map(|requests| {
                let mut out = Vec::new();
                requests.iter().for_each(|request| put_request(request, &mut out).unwrap());
                out
            }),
            vec(any::<u8>(), 0..300),
        ],
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let limits = Limits::session(1 << 20);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]);
        let (whole, whole_end) = read_pieces(limits, [&stream[..]]);
        let (cut, cut_end) = read_pieces(limits, pieces);
        prop_assert_eq!(whole, cut);
        let told = |end: Option<Violation>| end.map(|violation| violation.to_string());
        prop_assert_eq!(told(whole_end), told(cut_end));
    }

    #[test]
    fn no_frame_makes_any_reader_panic(
        stream in prop_oneof![
            vec(any::<u8>(), 0..300),
            "(HELLO|SUBMIT|DONE|FAIL|RELEASE|PROGRESS|TASKS|QUEUE|OK|ERR|TASK|CANCEL|RESULT|DRAIN)\
             ( 1| 06fq2v8k3n1zg| worker| resize| done| [a-z-]{1,9}=[0-9a-z%,*.-]{0,9}| name=w| kinds=a)\
             {0,9}( #[0-9])?\n[a-z]{0,9}\n".prop_map(String::into_bytes),
        ],
    ) {
        for frame in read_all(&stream).0 {
            let _ = (parse_request(&frame), parse_submit(&frame), greet(&frame), read_frame(&frame));
            let _ = ResultFrame::read(&frame);
            let mut out = BytesMut::new();
            render_stored(TaskId::default(), &frame, &mut out);
            if let Parsed::Refuse(refusal) = parse_request(&frame) {
                prop_assert!(matches!(answered(&Reply::Refused(refusal)), Answer::Err(_)));
            }
        }
    }

    #[test]
    fn p23_unit_payloads_are_opaque(payload in payload(), after in payload()) {
        let mut stream = Vec::new();
        Submission::new("a", &payload).put(&mut stream).unwrap();
        Submission::new("b", &after).put(&mut stream).unwrap();
        let (frames, violation) = read_all(&stream);
        prop_assert!(violation.is_none() && frames.len() == 2);
        prop_assert_eq!(&frames[0].payload().unwrap()[..], &payload[..]);
        prop_assert_eq!(&frames[1].payload().unwrap()[..], &after[..]);
    }

    #[test]
    fn numbers_are_spelled_plainly(bits: u64, shift in 0..64_u32) {
        let mut out = Vec::new();
        put_number(&mut out, bits >> shift);
        prop_assert_eq!(String::from_utf8(out).unwrap(), (bits >> shift).to_string());
    }

    #[test]
    fn what_the_writer_encodes_is_decoded(values in vec(text(), 1..4)) {
        let mut out = Vec::new();
        let mut line = Writer::verb(&mut out, "X");
        for value in &values {
            line = line.option("v", value);
        }
        line.end();
        let frame = Frame::read(out.into()).unwrap();
        let read: Vec<_> = frame.words().map(|word| match word {
            Word::Option("v", value) => decode(value).unwrap().into_owned(),
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(read, values);
    }

    #[test]
    fn nothing_that_is_asked_for_breaks_the_stream(
        kind in any::<String>(), queue in option::of(any::<String>()), key in option::of(any::<String>()),
        token in option::of(any::<String>()), entry in any::<String>(),
    ) {
        let mut out = Vec::new();
        let task = Submission {
            queue: queue.as_deref(), key: key.as_deref(), ..Submission::new(&kind, b"x")
        };
        let put = task.put(&mut out);
        prop_assert_eq!(put.is_ok(), out.ends_with(b"\nx\n"));
        if put.is_ok() {
            parse_submit(&Frame::read(out.into()).unwrap()).unwrap();
        }
        let mut out = Vec::new();
        let (_, mut hello) = greet(&Frame::read("HELLO 1 worker name=w kinds=*\n".into()).unwrap()).unwrap();
        hello.token = token;
        hello.tags = vec![entry];
        if put_hello((1, 1), &hello, &mut out).is_ok() {
            greet(&Frame::read(out.into()).unwrap()).unwrap();
        }
    }
}

#[test]
fn a_record_without_a_payload_becomes_a_task_with_an_empty_one() {
    for record in ["SUBMIT resize watch=yes\n", "SUBMIT resize watch=yes #0\n\n"] {
        let reply =
            Reply::Run { id: TaskId::default(), attempt: 1, record: Arc::from(record.as_bytes()) };
        let frame = sent(&reply, b"");
        assert_eq!(frame.bytes(), &b"TASK 0000000000000 1 resize #0\n\n"[..]);
    }
}

#[test]
fn closing_says_nothing() {
    let mut out = BytesMut::new();
    render(&Reply::Close, b"", &TERMS, &mut out);
    assert!(out.is_empty());
}
