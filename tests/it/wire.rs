//! Bad input at the socket: the rows of the catalogue of framing and protocol faults, P01 to P40,
//! against a real scheduler. After each, the scheduler serves the next peer as if nothing had been.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ganger::server::Config;
use socket2::SockRef;

use crate::support::program::eventually;
use crate::support::{Peer, Server};

/// The scheduler answers a fresh peer and holds no more tasks than it should.
fn assert_serves(addr: SocketAddr, tasks: u64) {
    let mut client = Peer::client(addr);
    client.send("STATS\n");
    let (_, json) = client.expect("OK #");
    let stats: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(stats["submitted"], tasks, "tasks that nobody should have made: {stats}");
}

/// Sends bytes as the first ones of a connection, and expects this code and the end.
fn expect_refused_first(bytes: &[u8], code: &str) {
    let server = Server::start();
    let mut peer = Peer::connect(server.addr());
    peer.try_send(bytes);
    let (line, _) = peer.expect(&format!("ERR {code}"));
    let sent = String::from_utf8_lossy(bytes);
    let echoed = sent.split_whitespace().filter(|word| word.len() > 4).any(|w| line.contains(w));
    assert!(!echoed, "the refusal repeats what it was sent: {line}");
    peer.expect_end();
    assert_serves(server.addr(), 0);
}

/// Sends bytes after HELLO, and expects this code and the end.
fn expect_refused_later(bytes: &[u8], code: &str) {
    let server = Server::start();
    let mut peer = Peer::client(server.addr());
    peer.try_send(bytes);
    peer.expect(&format!("ERR {code}"));
    peer.expect_end();
    assert_serves(server.addr(), 0);
}

#[test]
fn p01_a_connection_without_a_byte_leaves_no_trace() {
    let server = Server::start();
    for _ in 0..50 {
        drop(Peer::connect(server.addr()));
    }
    assert_serves(server.addr(), 0);
}

#[test]
fn p02_hello_is_due_within_two_seconds() {
    let server = Server::start();
    let began = Instant::now();
    let mut silent = Peer::connect(server.addr());
    silent.expect("ERR timeout");
    silent.expect_end();
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(10), "{took:?}");
    assert_serves(server.addr(), 0);
}

#[test]
fn p03_every_other_verb_first_closes_without_effect() {
    for verb in [
        "SUBMIT x",
        "GET 0000000000000",
        "DONE 0000000000000 1",
        "STATS",
        "BYE",
        "PONG",
        "QUEUES",
        "FAIL 0000000000000 1",
        "SLOTS 3",
        "CANCEL 0000000000000",
        "NONSENSE",
        "hello 1 client",
    ] {
        expect_refused_first(format!("{verb}\n").as_bytes(), "unexpected");
    }
    expect_refused_first(b"SUBMIT x #3\nabc\n", "too-large");
}

#[test]
fn p04_a_second_hello_closes() {
    expect_refused_later(b"HELLO 1 client name=again\n", "unexpected");
}

#[test]
fn p05_other_versions_are_told_the_range() {
    for version in ["0", "2", "2-9"] {
        let server = Server::start();
        let mut peer = Peer::connect(server.addr());
        peer.send(format!("HELLO {version} client\n"));
        let (line, _) = peer.expect("ERR version");
        assert!(line.contains("min=1") && line.contains("max=1"), "{line}");
        peer.expect_end();
    }
    for version in ["-1", "99999999999999999999", "01", "1-", "one", "2-1"] {
        let server = Server::start();
        let mut peer = Peer::connect(server.addr());
        peer.send(format!("HELLO {version} client\n"));
        peer.expect("ERR ");
        peer.expect_end();
    }
}

#[test]
fn p06_unknown_options_of_hello_are_passed_over() {
    let server = Server::start();
    let mut peer = Peer::connect(server.addr());
    peer.send("HELLO 1 client name=x colour=green\n");
    peer.expect("OK 1 session=");
}

#[test]
fn p07_a_duplicated_option_of_hello_closes() {
    expect_refused_first(b"HELLO 1 client name=a name=b\n", "bad-hello");
    for (options, named) in [
        ("pid=1 pid=1", "the option pid is given twice"),
        ("trace=%zz", "the option trace is malformed"),
        ("Trace=a", "an option is malformed"),
        ("secret%20word=a", "an option is malformed"),
    ] {
        let server = Server::start();
        let mut peer = Peer::connect(server.addr());
        peer.send(format!("HELLO 1 client {options}\n"));
        peer.expect(&format!("ERR bad-hello {named}"));
    }
}

#[test]
fn p08_a_header_over_the_limit_closes_as_soon_as_it_is_passed() {
    expect_refused_first(&[b'H'; 5000], "too-large");
    let mut long = b"SUBMIT x key=".to_vec();
    long.resize(4200, b'k');
    long.push(b'\n');
    expect_refused_later(&long, "too-large");
}

#[test]
fn p09_one_byte_per_write_is_the_same_as_one_write() {
    let server = Server::start();
    let mut client = Peer::connect(server.addr());
    for byte in b"HELLO 1 client\nSUBMIT x queue=q #5\nhe\nlo\n" {
        client.send([*byte]);
    }
    client.expect("OK 1 ");
    client.expect("OK ");
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=*");
    assert_eq!(worker.expect("TASK ").1, b"he\nlo");
}

#[test]
fn p10_ten_thousand_frames_in_one_write_leave_room_for_others() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    client.send("SUBMIT x\n".repeat(10_000));
    let mut other = Peer::client(server.addr());
    other.submit("SUBMIT y\n");
    for _ in 0..10_000 {
        client.expect("OK ");
    }
    assert_serves(server.addr(), 10_001);
}

#[test]
fn p11_a_carriage_return_closes() {
    expect_refused_first(b"HELLO 1 client\r\n", "bad-frame");
    expect_refused_later(b"STATS\r\n", "bad-frame");
}

#[test]
fn p12_control_characters_close() {
    for byte in [0_u8, 1, 9, 27, 127] {
        expect_refused_later(&[b'G', b'E', b'T', b' ', byte, b'\n'], "bad-frame");
    }
}

#[test]
fn p13_a_header_that_is_not_utf8_closes() {
    expect_refused_later(b"SUBMIT x key=\xff\xfe\n", "bad-frame");
}

#[test]
fn p14_spaces_have_one_form() {
    for line in ["", " ", " STATS", "STATS ", "GET  0000000000000", "GET\t0000000000000"] {
        expect_refused_later(format!("{line}\n").as_bytes(), "bad-frame");
    }
}

#[test]
fn p15_p16_an_unknown_verb_is_answered_and_the_connection_goes_on() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    client.send("FROBNICATE a b=c #4\nSTAT\nsubmit x\nSUBMIT x\n");
    client.expect("ERR unknown-verb");
    client.expect("ERR unknown-verb");
    client.expect("OK ");
}

#[test]
fn p17_what_is_missing_or_too_much_is_answered() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    for (frame, code) in [
        ("SUBMIT\n", "missing"),
        ("GET\n", "missing"),
        ("SUBMIT x flavour=mint\n", "unknown-option"),
        ("SUBMIT x queue=a queue=b\n", "unknown-option"),
        ("GET 0000000000000 #1\nx\n", "unknown-option"),
        ("SUBMIT x delay=1 at=1795176205605\n", "conflict"),
    ] {
        client.send(frame);
        client.expect(&format!("ERR {code}"));
    }
    assert_serves(server.addr(), 0);
}

#[test]
fn p18_a_length_is_plain_digits_and_the_last_word() {
    for length in ["-1", "+5", "05", "0x5", "5.0", "1e3", "", "99999999999999999999999999999"] {
        expect_refused_later(format!("SUBMIT x #{length}\nhello\n").as_bytes(), "bad-frame");
    }
    expect_refused_later(b"SUBMIT x #5 queue=q\nhello\n", "bad-frame");
    for length in ["2147483648", "4294967296", "9223372036854775808"] {
        expect_refused_later(format!("SUBMIT x #{length}\n").as_bytes(), "too-large");
    }
}

#[test]
fn p19_a_length_over_the_limit_is_refused_from_the_header() {
    expect_refused_later(b"SUBMIT x #1048577\n", "too-large");
}

#[test]
fn p19_a_result_over_the_limit_fails_its_lease_for_good() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    let id = client.submit("SUBMIT x watch=yes\n");
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=x");
    worker.expect("TASK ");
    worker.send(format!("DONE {id} 1 #99999999\n"));
    worker.expect("ERR too-large");
    worker.expect_end();
    let (line, _) = client.expect(&format!("RESULT {id} dead"));
    assert!(line.contains("reason=result-too-large"), "{line}");
}

#[test]
fn p20_a_large_length_and_silence_cost_nothing_until_the_time_is_over() {
    let config = Config { store: "memory:".into(), payload_max: 64 << 20, ..Config::default() };
    let server = Server::with(config);
    let before = resident_bytes();
    let mut silent: Vec<Peer> = (0..100).map(|_| Peer::client(server.addr())).collect();
    silent.iter_mut().for_each(|peer| peer.send("SUBMIT x #60000000\n"));
    assert_serves(server.addr(), 0);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for nothing");
    let began = Instant::now();
    silent.iter_mut().for_each(|peer| _ = peer.expect("ERR timeout"));
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn p20_a_frame_that_trickles_in_is_late_like_one_that_does_not_come() {
    let server = Server::start();
    let mut slow = Peer::client(server.addr());
    slow.stream().set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let began = Instant::now();
    slow.send("SUBMIT x #1000\n");
    // A byte goes wherever nothing has come for a while.
    while slow.stream().peek(&mut [0]).is_err() {
        assert!(began.elapsed() < Duration::from_secs(15), "a frame is due within 10 s");
        slow.try_send("x");
    }
    assert!(began.elapsed() >= Duration::from_secs(10), "late before its time");
    slow.expect("ERR timeout");
    assert_serves(server.addr(), 0);
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096
}

#[test]
fn p21_a_payload_cut_short_by_the_end_is_no_task() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    client.send("SUBMIT x #10\nhello");
    client.finish();
    client.expect_end();
    assert_serves(server.addr(), 0);
}

#[test]
fn p22_a_payload_longer_than_declared_closes_and_its_rest_is_no_frame() {
    expect_refused_later(b"SUBMIT x #3\nhello\nSUBMIT y\n", "bad-frame");
}

#[test]
fn p23_a_payload_that_holds_frames_arrives_as_it_is() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    let payload = b"SUBMIT y #1\nz\nBYE\r\n\0\xff HELLO 1 client\n#5\n";
    client.send(format!("SUBMIT x #{}\n", payload.len()));
    client.send(payload);
    client.send("\n");
    client.expect("OK ");
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=*");
    assert_eq!(worker.expect("TASK ").1, payload);
    assert_serves(server.addr(), 1);
}

#[test]
fn p24_an_empty_payload_is_legal() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    client.submit("SUBMIT x #0\n\n");
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=*");
    let (line, payload) = worker.expect("TASK ");
    assert!(line.ends_with(" #0") && payload.is_empty(), "{line}");
}

#[test]
fn p25_a_payload_at_the_limit_is_taken_and_one_byte_more_is_not() {
    let config = Config { store: "memory:".into(), payload_max: 4096, ..Config::default() };
    let server = Server::with(config);
    let mut client = Peer::client(server.addr());
    let payload = "p".repeat(4096);
    client.submit(&format!("SUBMIT x #4096\n{payload}\n"));
    client.try_send(format!("SUBMIT x #4097\n{payload}p\n"));
    client.expect("ERR too-large");
    client.expect_end();
}

#[test]
fn p26_names_have_an_alphabet() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    let long = "n".repeat(129);
    for name in ["ä", "*", "{x}", "a:b", "a%20b", "a,b", &long] {
        client.send(format!("SUBMIT {name}\n"));
        client.expect("ERR bad-value");
        client.send(format!("SUBMIT x queue={name}\n"));
        client.expect("ERR bad-value");
    }
    for id in ["x", "000000000000i", "0000000000000z", "0000000000000A"] {
        client.send(format!("GET {id}\n"));
        client.expect("ERR bad-value");
    }
    client.submit("SUBMIT ../a/b.c_d queue=..\n");
    assert_serves(server.addr(), 1);
}

#[test]
fn p27_numbers_are_checked_against_their_range() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    for option in [
        "delay=-1",
        "delay=315360000001",
        "delay=NaN",
        "delay=01",
        "delay=1.5",
        "timeout=0",
        "attempts=0",
        "attempts=1001",
        "max-run=0",
        "expires=0",
        "backoff=86400001",
        "result-ttl=2592000001",
        "watch=maybe",
        "attempts=18446744073709551616",
    ] {
        client.send(format!("SUBMIT x {option}\n"));
        client.expect("ERR bad-value");
    }
    client.submit("SUBMIT x delay=315360000000 attempts=1000 backoff=86400000 timeout=none\n");
    assert_serves(server.addr(), 1);
}

#[test]
fn p28_weight_zero_is_never_routed_to_and_slots_have_bounds() {
    let server = Server::start();
    let (mut idle, _) = Peer::worker(server.addr(), "name=idle kinds=* weight=0");
    let mut client = Peer::client(server.addr());
    let id = client.submit("SUBMIT x\n");
    let (mut busy, _) = Peer::worker(server.addr(), "name=busy kinds=*");
    busy.expect(&format!("TASK {id} 1 x"));
    idle.send("BYE\n");
    idle.expect("OK");
    for options in ["slots=0", "slots=65536", "slots=1000000000", "weight=101", "weight=-1"] {
        let mut peer = Peer::connect(server.addr());
        peer.send(format!("HELLO 1 worker name=w kinds=* {options}\n"));
        peer.expect("ERR bad-hello");
        peer.expect_end();
    }
}

#[test]
fn p29_the_largest_weights_together_still_choose() {
    let server = Server::start();
    let mut workers: Vec<Peer> = (0..20)
        .map(|n| Peer::worker(server.addr(), &format!("name=w{n} kinds=* weight=100")).0)
        .collect();
    let mut client = Peer::client(server.addr());
    for _ in 0..20 {
        client.submit("SUBMIT x\n");
    }
    workers.iter_mut().for_each(|worker| _ = worker.expect("TASK "));
}

#[test]
fn p30_what_a_session_may_not_do_is_answered_without_effect() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    let id = client.submit("SUBMIT x\n");
    for frame in [
        format!("DONE {id} 1 #2\nok\n"),
        format!("FAIL {id} 1\n"),
        format!("RELEASE {id} 1\n"),
        "SLOTS 5\n".to_owned(),
    ] {
        client.send(frame);
        client.expect("ERR forbidden");
    }
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=other");
    worker.send(format!("DONE {id} 1 #2\nno\n"));
    worker.expect("ERR stale");
    client.send(format!("GET {id}\n"));
    let (line, _) = client.expect("OK ");
    assert!(line.contains("state=ready"), "{line}");
}

#[test]
fn p30_tokens_grant_what_they_say() {
    let tokens = "submitter submit\nworker-token work\nonlooker observe\n";
    let tokens = ganger::server::Tokens::parse(tokens).expect("tokens");
    let server = Server::with(Config { store: "memory:".into(), tokens, ..Config::default() });
    let hello = |role: &str, token: &str| {
        let mut peer = Peer::connect(server.addr());
        peer.send(format!("HELLO 1 {role} name=n kinds=* token={token}\n"));
        peer
    };
    for (role, token) in [("client", "wrong"), ("client", "worker-token"), ("worker", "submitter")]
    {
        let mut peer = hello(role, token);
        peer.expect("ERR denied");
        peer.expect_end();
    }
    let mut submitter = hello("client", "submitter");
    submitter.expect("OK 1 ");
    let id = submitter.submit("SUBMIT x\n");
    submitter.send(format!("STATS\nEVENTS\nEXPLAIN {id}\n"));
    submitter.expect("ERR forbidden");
    submitter.expect("ERR forbidden");
    submitter.expect("OK #");
    let mut onlooker = hello("operator", "onlooker");
    onlooker.expect("OK 1 ");
    onlooker.send(format!("SUBMIT x\nCANCEL {id}\nGET {id}\nEXPLAIN {id}\nEVENTS\n"));
    onlooker.expect("ERR forbidden");
    onlooker.expect("ERR forbidden");
    onlooker.expect(&format!("OK {id} state=ready"));
    onlooker.expect("OK #");
    onlooker.expect("OK next=");
    for action in ["ADD a x every=1000", "REMOVE a", "PAUSE a", "RESUME a", "LIST"] {
        submitter.send(format!("CRON {action}\n"));
        submitter.expect("ERR forbidden");
        onlooker.send(format!("CRON {action}\n"));
        onlooker.expect(if action == "LIST" { "OK #" } else { "ERR forbidden" });
    }
}

#[test]
fn p31_verbs_that_only_the_scheduler_speaks_close() {
    for frame in ["OK", "ERR stale no", "TASK 0000000000000 1 x #0", "RESULT 0000000000000 done"] {
        let payload = if frame.ends_with("#0") { "\n\n" } else { "\n" };
        expect_refused_later(format!("{frame}{payload}").as_bytes(), "unexpected");
    }
    expect_refused_later(b"PING\n", "unexpected");
}

#[test]
fn p32_an_unanswered_submit_that_is_sent_again_is_one_task_if_it_is_unique() {
    let server = Server::start();
    let mut first = Peer::client(server.addr());
    let id = first.submit("SUBMIT x unique=order-17 #3\nabc\n");
    let mut again = Peer::client(server.addr());
    again.send("SUBMIT x unique=order-17 watch=yes #3\nabc\n");
    again.expect(&format!("OK {id} duplicate=yes"));
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=*");
    worker.expect(&format!("TASK {id} 1 x"));
    worker.send(format!("DONE {id} 1 #2\nok\n"));
    again.expect(&format!("RESULT {id} done"));
    assert_serves(server.addr(), 1);
}

#[test]
fn p33_a_client_that_pipelines_without_reading_is_not_read_and_others_are_served() {
    let server = Server::start();
    let client = Peer::client(server.addr());
    let mut stream = client.stream().try_clone().expect("a handle");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    SockRef::from(&stream).set_recv_buffer_size(4096).expect("an option");
    let many = "STATS\n".repeat(10_000);
    let mut sent = 0;
    // The scheduler stops reading, so that the socket takes no more.
    while stream.write_all(many.as_bytes()).is_ok() {
        sent += 10_000;
        assert!(sent < 10_000_000, "the scheduler takes any number of requests unread");
    }
    assert_serves(server.addr(), 0);
}

#[test]
fn an_observer_that_is_slow_is_told_of_gaps_and_nobody_waits_for_it() {
    const BATCHES: u64 = 40;
    let server = Server::start();
    let mut observer = Peer::connect(server.addr());
    SockRef::from(observer.stream()).set_recv_buffer_size(128 << 10).expect("an option");
    observer.send("HELLO 1 operator\nEVENTS what=submitted\n");
    observer.expect("OK 1 ");
    let (line, _) = observer.expect("OK next=");
    let first: u64 = line["OK next=".len()..].parse().expect("a number");
    // Long names, so that far more is to be told than any buffer between the two holds.
    let submit = format!("SUBMIT {} queue={}\n", "k".repeat(128), "q".repeat(128)).repeat(1000);
    let mut client = Peer::client(server.addr());
    let (mut next, mut gaps) = (first, 0);
    let mut read = |observer: &mut Peer| {
        let (line, _) = observer.frame();
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| words[place].parse::<u64>().expect("a number");
        assert_eq!(number(1), next, "no number is left out: {line}");
        next = match words[0] {
            "EVENT" => next + 1,
            "GAP" => {
                gaps += 1;
                number(2) + 1
            }
            _ => panic!("{line}"),
        };
        (next, gaps)
    };
    for _ in 0..BATCHES {
        client.send(&submit);
        (0..1000).for_each(|_| drop(client.expect("OK ")));
        // Slowly, but not so slowly that it would be given up.
        for _ in 0..20 {
            read(&mut observer);
        }
    }
    let end = first + 1000 * BATCHES;
    loop {
        let (next, gaps) = read(&mut observer);
        if next == end {
            assert!(gaps > 0, "it was told everything");
            break;
        }
    }
    observer.send("EVENTS off\n");
    observer.expect(&format!("OK next={end}"));
    assert_serves(server.addr(), 1000 * BATCHES);
}

#[test]
fn p33_a_client_that_reads_may_ask_for_any_number_of_large_results() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    let id = client.submit("SUBMIT x\n");
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=*");
    worker.expect("TASK ");
    let result = vec![b'x'; 1 << 20];
    worker.send([format!("DONE {id} 1 #{}\n", result.len()).as_bytes(), &result, b"\n"].concat());
    worker.expect("OK ");
    client.send(format!("GET {id}\n").repeat(150));
    for _ in 0..150 {
        assert_eq!(client.expect("OK ").1.len(), result.len());
    }
}

#[test]
fn observers_are_bounded_and_a_place_is_given_back() {
    let server = Server::start();
    let observe = || {
        let mut peer = Peer::client(server.addr());
        peer.send("EVENTS\n");
        peer
    };
    let mut observers: Vec<Peer> = (0..64).map(|_| observe()).collect();
    observers.iter_mut().for_each(|peer| drop(peer.expect("OK next=")));
    let mut late = observe();
    late.expect("ERR busy retry=10000");
    observers[0].send("EVENTS what=done\n");
    observers[0].expect("OK next=");
    observers[0].send("EVENTS off\n");
    observers[0].expect("OK next=");
    late.send("EVENTS\n");
    late.expect("OK next=");
    assert_serves(server.addr(), 0);
}

#[test]
fn p33_a_worker_that_reads_in_its_own_time_gets_all_that_it_has_slots_for() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    let payload = vec![b'x'; 1 << 20];
    for _ in 0..90 {
        client
            .send([format!("SUBMIT x #{}\n", payload.len()).as_bytes(), &payload, b"\n"].concat());
        client.expect("OK ");
    }
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=* slots=90");
    // All of it waits for the worker by now.
    client.send("QUEUE default\n");
    let (_, queue) = client.expect("OK #");
    let queue: serde_json::Value = serde_json::from_slice(&queue).expect("JSON");
    assert_eq!(queue["tasks"]["leased"], 90);
    for _ in 0..90 {
        assert_eq!(worker.expect("TASK ").1.len(), payload.len());
    }
}

#[test]
fn p34_half_a_connection_is_enough_for_the_answers_that_are_due() {
    let server = Server::start();
    let mut client = Peer::client(server.addr());
    client.send("SUBMIT x watch=yes\nSTATS\n");
    client.finish();
    let (line, _) = client.expect("OK ");
    client.expect("OK #");
    let id = line.split(' ').nth(1).expect("an id").to_owned();
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=*");
    worker.expect("TASK ");
    worker.send(format!("DONE {id} 1 #2\nok\n"));
    client.expect(&format!("RESULT {id} done"));
    client.expect_end();
}

#[test]
fn p34_half_a_connection_whose_peer_is_gone_is_given_back() {
    let server = Server::start();
    let mut watcher = Peer::client(server.addr());
    watcher.send("SUBMIT x delay=86400000 watch=yes\n");
    watcher.expect("OK ");
    watcher.finish();
    SockRef::from(watcher.stream()).set_linger(Some(Duration::ZERO)).expect("an option");
    let mut other = Peer::client(server.addr());
    let mut connections = || {
        other.send("STATS\n");
        let (_, stats) = other.expect("OK #");
        let stats: serde_json::Value = serde_json::from_slice(&stats).expect("JSON");
        stats["connections"].as_u64()
    };
    assert_eq!(connections(), Some(2));
    drop(watcher);
    eventually("its connection is given back", || connections() == Some(1));
}

#[test]
fn p35_a_reset_at_every_byte_has_no_partial_effect() {
    let server = Server::start();
    let hello = b"HELLO 1 client name=c\n";
    let submit = b"SUBMIT x unique=u #4\nwork\n";
    let stream = [&hello[..], &submit[..]].concat();
    for cut in 0..stream.len() {
        let mut peer = Peer::connect(server.addr());
        peer.send(&stream[..cut]);
        SockRef::from(peer.stream()).set_linger(Some(Duration::ZERO)).expect("an option");
    }
    assert_serves(server.addr(), 0);
}

#[test]
fn p36_other_protocols_are_closed_without_an_echo() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"POST /SUBMIT HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x03\x00\x00\x13\x0e\xe0\x00\x00\nCookie: mstshash=x\r\n",
    ] {
        expect_refused_first(bytes, "bad-frame");
    }
}

#[test]
fn p37_a_greeting_of_tls_is_no_frame_and_ends_at_once() {
    // There is no TLS port yet; its bytes on the plain one hold no line feed, and end in time.
    let server = Server::start();
    let mut peer = Peer::connect(server.addr());
    peer.send(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03");
    peer.expect("ERR ");
    peer.expect_end();
    assert_serves(server.addr(), 0);
}

#[test]
fn p38_silent_once_gets_a_ping_and_twice_is_lost() {
    let config = Config { store: "memory:".into(), grace_ms: 100, ..Config::default() };
    let server = Server::with(config);
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=* heartbeat=1000");
    worker.send("PONG\nPONG\n");
    let mut client = Peer::client(server.addr());
    let id = client.submit("SUBMIT x\n");
    worker.expect("TASK ");
    worker.expect("PING");
    worker.send("PONG\n");
    worker.expect("PING");
    let (mut other, _) = Peer::worker(server.addr(), "name=other kinds=*");
    worker.expect_end();
    other.expect(&format!("TASK {id} 2 x"));
}

#[test]
fn p38_a_worker_without_heartbeat_gets_no_ping() {
    let server = Server::start();
    let (mut worker, _) = Peer::worker(server.addr(), "name=w kinds=*");
    let (mut other, _) = Peer::worker(server.addr(), "name=o kinds=none heartbeat=1000");
    other.expect("PING");
    other.send("PONG\n");
    other.expect("PING");
    let mut client = Peer::client(server.addr());
    let id = client.submit("SUBMIT x\n");
    worker.expect(&format!("TASK {id} 1 x"));
}

#[test]
fn p39_the_fastest_peer_leaves_the_others_their_turn() {
    let server = Server::start();
    let addr = server.addr();
    let flood = std::thread::spawn(move || {
        let mut peer = Peer::client(addr);
        for _ in 0..50 {
            peer.send("GET 0000000000000\n".repeat(1000));
            for _ in 0..1000 {
                peer.expect("ERR ");
            }
        }
    });
    let mut client = Peer::client(addr);
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let began = Instant::now();
        client.submit("SUBMIT x\n");
        slowest = slowest.max(began.elapsed());
    }
    flood.join().expect("the flood ends");
    assert!(slowest < Duration::from_secs(2), "one answer took {slowest:?}");
}

#[test]
fn p40_a_task_is_not_sent_to_a_worker_that_takes_no_payload_so_large() {
    let server = Server::start();
    let (mut small, _) = Peer::worker(server.addr(), "name=small kinds=* max-payload=65536");
    let mut client = Peer::client(server.addr());
    let large = client.submit(&format!("SUBMIT x #100000\n{}\n", "p".repeat(100_000)));
    let little = client.submit("SUBMIT x\n");
    small.expect(&format!("TASK {little} 1 x"));
    let (mut able, _) = Peer::worker(server.addr(), "name=able kinds=*");
    able.expect(&format!("TASK {large} 1 x"));
}
