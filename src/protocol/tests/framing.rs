//! Rows of the fault catalogue that concern frames, whatever they mean.

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use super::{read_all, read_pieces, request, submit, violation};
use crate::frame::{HEADER_MAX, Malformed};
use crate::message::{Code, Request, Severity};
use crate::protocol::{Codec, Limits, Violation, announced_result};

fn malformed(bytes: &[u8]) -> Malformed {
    match violation(bytes) {
        Violation::Malformed(rule) => rule,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn p08_unit_a_header_over_the_limit_is_refused_with_and_without_its_end() {
    let longest = format!("STATS {}\n", "x".repeat(HEADER_MAX - 7));
    assert_eq!(longest.len(), HEADER_MAX);
    assert_eq!(read_all(longest.as_bytes()).0.len(), 1);
    for end in ["\n", ""] {
        let longer = format!("STATS {}{end}", "x".repeat(HEADER_MAX - 6));
        assert_eq!(malformed(longer.as_bytes()), Malformed::HeaderTooLong);
    }
    let endless = vec![b'x'; HEADER_MAX];
    assert_eq!(malformed(&endless), Malformed::HeaderTooLong);
    assert_eq!(Violation::Malformed(Malformed::HeaderTooLong).code(), Code::TooLarge);
}

#[test]
fn p09_unit_one_byte_per_read_is_the_same_as_one_read() {
    let stream = b"HELLO 1 client name=shop\nSUBMIT resize key=%20 #7\nGET x\nz\nBYE\nSTATS #0\n\n";
    let (whole, _) = read_all(stream);
    assert_eq!(whole.len(), 4);
    let (bytewise, _) = read_pieces(Limits::session(64), stream.chunks(1));
    assert_eq!(bytewise, whole);
    for at in 0..stream.len() {
        let (front, back) = stream.split_at(at);
        assert_eq!(read_pieces(Limits::session(64), [front, back]).0, whole, "at {at}");
    }
}

#[test]
fn p10_unit_ten_thousand_frames_in_one_read() {
    let stream = "PONG\n".repeat(10_000);
    assert_eq!(read_all(stream.as_bytes()).0.len(), 10_000);
}

#[test]
fn p11_unit_lines_end_in_lf_alone() {
    for text in ["STATS\r\n", "STATS\r", "\rSTATS\n", "STATS x\ry\n", "STATS #1\r\nx\n"] {
        let stream = format!("{text}\n");
        assert_eq!(malformed(stream.as_bytes()), Malformed::CarriageReturn, "{text:?}");
    }
    assert!(Malformed::CarriageReturn.to_string().contains("LF alone"));
}

#[test]
fn p12_unit_control_characters_are_refused() {
    for byte in (0..0x20).chain([0x7f]).filter(|byte| ![b'\n', b'\r'].contains(byte)) {
        for stream in [[b'A', byte, b'\n'], [byte, b'A', b'\n']] {
            assert_eq!(malformed(&stream), Malformed::Control, "{byte}");
        }
    }
    assert_eq!(malformed("STATS \u{85}\n".as_bytes()), Malformed::Control);
    for escape in ["%00", "%0A", "%0d", "%1b", "%7F", "%C2%85"] {
        assert_eq!(submit(&format!("key=a{escape}b")), Some(Code::BadValue), "{escape}");
    }
}

#[test]
fn p13_unit_headers_are_utf8_and_payloads_are_bytes() {
    for bad in [&b"\xff\n"[..], b"STATS \xc3\n", b"STATS \xc0\xaf\n", b"STATS \xed\xa0\x80\n"] {
        assert_eq!(malformed(bad), Malformed::Utf8);
    }
    let (frames, _) = read_all(b"DONE 06fq2v8k3n1zg 1 #4\n\xff\x00\n\r\n");
    assert_eq!(frames[0].payload().unwrap(), &b"\xff\x00\n\r"[..]);
    assert_eq!(submit("key=%FF"), Some(Code::BadValue));
    assert_eq!(submit("key=Grüße"), None);
}

#[test]
fn p14_unit_there_is_one_form_of_a_line() {
    assert_eq!(malformed(b"\n"), Malformed::Empty);
    for text in [" \n", "  \n", " STATS\n", "STATS \n", "STATS  x\n", "STATS #0 \n"] {
        assert_eq!(malformed(text.as_bytes()), Malformed::Space, "{text:?}");
    }
    assert_eq!(malformed(b"STATS\tx\n"), Malformed::Control);
}

#[test]
fn p14_unit_a_broken_rule_is_found_wherever_it_is() {
    for (length, at) in (1..100).flat_map(|length| (0..length).map(move |at| (length, at))) {
        let line = |bytes: &[u8]| {
            let mut line = [&vec![b'x'; at][..], bytes, &vec![b'x'; length - at - 1]].concat();
            line.push(b'\n');
            line
        };
        let rules = [
            (&b"\r"[..], Malformed::CarriageReturn),
            (b"\x1f", Malformed::Control),
            (b"\x7f", Malformed::Control),
            (b"\xff", Malformed::Utf8),
            (b"  ", Malformed::Space),
            (b" #", Malformed::Length),
        ];
        for (bytes, rule) in rules {
            let rule = if at == 0 && bytes == b" #" { Malformed::Space } else { rule };
            assert_eq!(malformed(&line(bytes)), rule, "{bytes:?} at {at} of {length}");
        }
        let at_an_end = at == 0 || at == length - 1;
        for (byte, is_wrong) in [(b"=", false), (b"#", at == 0), (b" ", at_an_end)] {
            let frames = read_all(&line(byte)).0.len();
            assert_eq!(frames, usize::from(!is_wrong), "{byte:?} at {at} of {length}");
        }
    }
}

#[test]
fn p18_unit_a_length_is_plain_digits() {
    let bad = ["-1", "+5", "05", "00", "0x5", "5.0", "1e3", "", "5a", "\u{661}", "#5"];
    for length in
        bad.into_iter().map(str::to_owned).chain(["9".repeat(30), (1_u128 << 64).to_string()])
    {
        let stream = format!("STATS #{length}\nxxxxx\n");
        assert_eq!(malformed(stream.as_bytes()), Malformed::Length, "{length}");
    }
    assert_eq!(malformed(b"STATS #5 x\n"), Malformed::Length);
    assert_eq!(malformed(b"STATS #5 #5\n"), Malformed::Length);
    assert_eq!(malformed(b"#5\n"), Malformed::Length);
    for shift in [31, 32, 63] {
        let stream = format!("STATS #{}\n", 1_u64 << shift);
        assert_eq!(violation(stream.as_bytes()).code(), Code::TooLarge, "2^{shift}");
    }
}

#[test]
fn p19_unit_a_length_over_the_limit_is_refused_from_the_header() {
    let mut codec = Codec::new(Limits::session(1000));
    let mut buffer = BytesMut::from(&b"SUBMIT resize #1001\n"[..]);
    let capacity = buffer.capacity();
    let violation = codec.decode(&mut buffer).unwrap_err();
    assert_eq!(violation.code(), Code::TooLarge);
    assert_eq!(Code::TooLarge.severity(), Severity::Close);
    assert_eq!(buffer.capacity(), capacity);
    assert_eq!(violation.to_string(), "a payload of 1001 bytes is over the limit of 1000");

    let mut codec = Codec::new(Limits::GREETING);
    let mut buffer = BytesMut::from(&b"HELLO 1 client #0\n\n"[..]);
    assert_eq!(codec.decode(&mut buffer).unwrap_err().code(), Code::TooLarge);
}

#[test]
fn p19_unit_a_result_over_the_limit_still_tells_its_lease() {
    let mut codec = Codec::new(Limits::session(4));
    let mut buffer = BytesMut::from(&b"PONG\nDONE 06fq2v8k3n1zg 3 #5\nsm"[..]);
    assert_eq!(codec.decode(&mut buffer).unwrap().unwrap().verb(), "PONG");
    assert_eq!(codec.decode(&mut buffer).unwrap_err().code(), Code::TooLarge);
    assert_eq!(announced_result(&buffer), Some(("06fq2v8k3n1zg".parse().unwrap(), 3)));
    for other in ["FAIL 06fq2v8k3n1zg 3 #5\n", "DONE 06fq2v8k3n1zg #5\n", "DONE 06fq2v8k3n1zg 3 #5"]
    {
        assert_eq!(announced_result(other.as_bytes()), None, "{other:?}");
    }
}

#[test]
fn p20_unit_a_declared_length_reserves_in_small_steps() {
    let mut codec = Codec::new(Limits::session(1 << 30));
    let mut buffer = BytesMut::from(&b"SUBMIT resize #1073741824\n"[..]);
    assert!(codec.decode(&mut buffer).unwrap().is_none());
    assert!(codec.is_midway(&buffer));
    assert!(buffer.capacity() < 256 << 10, "{}", buffer.capacity());
}

#[test]
fn p21_unit_a_payload_cut_short_is_no_frame() {
    let mut codec = Codec::new(Limits::session(1000));
    for text in ["SUBMIT resize #5\nabc", "SUBMIT resize #5\nabcde", "SUBMIT resi"] {
        let mut buffer = BytesMut::from(text);
        assert!(codec.decode_eof(&mut buffer).unwrap().is_none());
        codec = Codec::new(Limits::session(1000));
    }
}

#[test]
fn p22_unit_a_payload_longer_than_declared_closes_and_its_surplus_is_no_frame() {
    for text in ["SUBMIT resize #4\nabcde\n", "SUBMIT resize #0\nSTATS\n", "SUBMIT a #1\nxSTATS\n"]
    {
        assert_eq!(malformed(text.as_bytes()), Malformed::Terminator, "{text:?}");
    }
}

#[test]
fn p23_unit_a_payload_may_hold_frames() {
    let inner = b"\r\nDONE x 1 #3\nabc\n\nSTATS\nHELLO 1 client\n#5\n";
    let stream =
        [format!("SUBMIT resize #{}\n", inner.len()).as_bytes(), inner, b"\nBYE\n"].concat();
    let (frames, violation) = read_all(&stream);
    assert!(violation.is_none());
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].payload().unwrap(), &inner[..]);
    assert_eq!(frames[1].verb(), "BYE");
}

#[test]
fn p24_unit_an_empty_payload_is_legal() {
    let Request::Done { result, .. } = request("DONE 06fq2v8k3n1zg 1 #0\n\n") else { panic!() };
    assert_eq!(result, "");
    let Request::Done { result, .. } = request("DONE 06fq2v8k3n1zg 1\n") else { panic!() };
    assert_eq!(result, "");
    assert_eq!(submit("#0\n"), None);
}

#[test]
fn p25_unit_the_limit_itself_is_allowed() {
    let limits = Limits::session(5);
    assert_eq!(read_pieces(limits, [&b"STATS #5\nabcde\n"[..]]).0.len(), 1);
    assert_eq!(read_pieces(limits, [&b"STATS #6\n"[..]]).1.unwrap().code(), Code::TooLarge);
}
