//! The conversations of protocol.md: taken out of the page, and held with a scheduler.
//!
//! A block begins with a fence marked `transcript NAME`. Its lines are `peer> TEXT` (sent) and `peer< TEXT`
//! (received next, on that peer's connection); `(end)` as TEXT is the end of the connection. In what
//! is received, `<word>` takes a text without spaces, or must equal what it took before; `...` at
//! the end takes any rest. In what is sent, `<word>` stands for what was taken.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// One conversation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// One line of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where it stands, from 1.
    pub(crate) line: usize,
    pub(crate) peer: String,
    pub(crate) direction: Direction,
    pub(crate) text: String,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Direction {
    Sent,
    Received,
}

const END: &str = "(end)";

/// The transcripts of a page. What is marked as one and is none is an error that names the line.
pub(crate) fn parse(page: &str) -> Result<Vec<Transcript>, String> {
    let mut transcripts: Vec<Transcript> = Vec::new();
    let mut lines = page.lines().zip(1..);
    while let Some((fence, line)) = lines.next() {
        let Some(mark) = fence.strip_prefix("```") else { continue };
        let name = mark.strip_prefix("transcript").map(str::trim);
        if name.is_some_and(|name| name.is_empty() || transcripts.iter().any(|t| t.name == name)) {
            return Err(format!("line {line}: a transcript needs a name of its own"));
        }
        let mut steps = Vec::new();
        loop {
            let (text, line) = lines.next().ok_or(format!("line {line}: the block has no end"))?;
            if text == "```" {
                break;
            }
            if name.is_some() {
                steps.push(step(text, line).ok_or(format!("line {line}: no step: {text:?}"))?);
            }
        }
        if let Some(name) = name {
            transcripts.push(Transcript { name: name.to_owned(), steps });
        }
    }
    Ok(transcripts)
}

fn step(text: &str, line: usize) -> Option<Step> {
    let at = text.find(['<', '>'])?;
    let (peer, rest) = text.split_at(at);
    let direction = if rest.starts_with('>') { Direction::Sent } else { Direction::Received };
    let text = match &rest[1..] {
        "" => "",
        text => text.strip_prefix(' ')?,
    };
    let is_peer = !peer.is_empty() && peer.bytes().all(|byte| byte.is_ascii_lowercase());
    is_peer.then(|| Step { line, peer: peer.to_owned(), direction, text: text.to_owned() })
}

/// Holds a conversation. `connect` is called once per peer; it should set no timeouts of its own.
///
/// The error tells the transcript, the line, what was expected and what came.
pub(crate) fn run(
    transcript: &Transcript,
    connect: &mut dyn FnMut() -> TcpStream,
) -> Result<(), String> {
    let mut peers: BTreeMap<&str, Peer> = BTreeMap::new();
    let mut taken = BTreeMap::new();
    for step in &transcript.steps {
        let peer = peers.entry(&step.peer).or_insert_with(|| Peer::new(connect()));
        let held = match step.direction {
            Direction::Sent => peer.send(&step.text, &taken),
            Direction::Received => peer.receive(&step.text, &mut taken),
        };
        held.map_err(|error| {
            format!("{}, line {}, {}: {error}", transcript.name, step.line, step.peer)
        })?;
    }
    for (name, peer) in peers {
        if let Some(line) = peer.payload.front() {
            return Err(format!("{}: {name} has a payload left: {line:?}", transcript.name));
        }
    }
    Ok(())
}

struct Peer {
    reader: BufReader<TcpStream>,
    /// Lines of a payload that have been read and not been expected yet.
    payload: VecDeque<String>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        // Far beyond what any step takes, so that a frame that never comes ends the test.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { reader: BufReader::new(stream), payload: VecDeque::new() }
    }

    fn send(&mut self, text: &str, taken: &BTreeMap<String, String>) -> Result<(), String> {
        let stream = self.reader.get_mut();
        if text == END {
            return stream.shutdown(Shutdown::Both).map_err(|error| error.to_string());
        }
        let mut line = String::new();
        for part in parts(text) {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Word(word) => {
                    line.push_str(taken.get(word).ok_or(format!("<{word}> was never received"))?);
                }
            }
        }
        line.push('\n');
        stream.write_all(line.as_bytes()).map_err(|error| error.to_string())
    }

    fn receive(
        &mut self,
        expected: &str,
        taken: &mut BTreeMap<String, String>,
    ) -> Result<(), String> {
        let came = match self.payload.pop_front() {
            Some(line) => Some(line),
            None => self.header().map_err(|error| format!("expected {expected:?}: {error}"))?,
        };
        match came {
            None if expected == END => Ok(()),
            None => Err(format!("expected {expected:?}, and the connection ended")),
            Some(came) if matches(expected, &came, taken) => Ok(()),
            Some(came) => {
                let mut error = format!("expected {expected:?}, and {came:?} came");
                for (word, text) in taken {
                    let _ = write!(error, "\n  <{word}> is {text}");
                }
                Err(error)
            }
        }
    }

    /// The next header; its payload is put aside as lines. `None` at the end of the stream.
    fn header(&mut self) -> Result<Option<String>, String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => return Ok(None),
            // A peer whose last words were not read may be reset instead of being closed.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error.to_string()),
            Ok(_) => {}
        }
        let header = line.strip_suffix('\n').ok_or("a header without its end")?.to_owned();
        let last = header.rsplit(' ').next().unwrap_or_default();
        if let Some(length) = last.strip_prefix('#') {
            let length: usize = length.parse().map_err(|_| format!("no length: {last:?}"))?;
            let mut payload = vec![0; length + 1];
            self.reader.read_exact(&mut payload).map_err(|error| error.to_string())?;
            if payload.pop() != Some(b'\n') {
                return Err("a payload without its end".to_owned());
            }
            let payload = String::from_utf8_lossy(&payload).into_owned();
            self.payload.extend(payload.split('\n').map(str::to_owned));
        }
        Ok(Some(header))
    }
}

enum Part<'a> {
    Text(&'a str),
    Word(&'a str),
}

/// Cuts a line at its `<word>`s.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        let word = after.split_once('>').filter(|(word, _)| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        });
        let Some((word, after)) = word else { break };
        parts.extend([Part::Text(before), Part::Word(word)]);
        rest = after;
    }
    parts.push(Part::Text(rest));
    parts
}

/// Whether a received line is the expected one, taking what its `<word>`s stand for.
fn matches(expected: &str, came: &str, taken: &mut BTreeMap<String, String>) -> bool {
    let (expected, open) = match expected.strip_suffix("...") {
        Some(expected) => (expected, true),
        None => (expected, false),
    };
    let mut rest = came;
    for part in parts(expected) {
        let text = match part {
            Part::Text(text) => text.to_owned(),
            Part::Word(word) => {
                let found = rest.split(' ').next().unwrap_or_default();
                taken.entry(word.to_owned()).or_insert_with(|| found.to_owned()).clone()
            }
        };
        let Some(after) = rest.strip_prefix(text.as_str()) else { return false };
        rest = after;
    }
    open || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const PAGE: &str = "text\n```\nx> not this\n```\n```transcript one\na> HELLO 1 client\na< OK <n> ...\n\
                        b> GET <n>\nb<\nb< (end)\n```\n";

    #[test]
    fn blocks_are_taken_out_of_a_page() {
        let transcripts = parse(PAGE).unwrap();
        assert_eq!(transcripts.len(), 1);
        assert_eq!(transcripts[0].name, "one");
        let steps: Vec<_> = transcripts[0]
            .steps
            .iter()
            .map(|step| (step.line, step.peer.as_str(), step.direction, step.text.as_str()))
            .collect();
        let expected = [
            (6, "a", Direction::Sent, "HELLO 1 client"),
            (7, "a", Direction::Received, "OK <n> ..."),
            (8, "b", Direction::Sent, "GET <n>"),
            (9, "b", Direction::Received, ""),
            (10, "b", Direction::Received, "(end)"),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn what_is_no_transcript_is_an_error_that_names_its_line() {
        let rows = [
            ("```transcript\n```\n", "line 1: a transcript needs a name"),
            ("```transcript a\n```\n```transcript a\n```\n", "line 3: a transcript needs a name"),
            ("```transcript a\nclient> x\n", "the block has no end"),
            ("```transcript a\nclient > x\n```\n", "line 2: no step"),
            ("```transcript a\nclient>x\n```\n", "line 2: no step"),
            ("```transcript a\n\n```\n", "line 2: no step"),
        ];
        for (page, expected) in rows {
            let error = parse(page).unwrap_err();
            assert!(error.contains(expected), "{page:?}: {error}");
        }
    }

    #[test]
    fn words_take_and_compare() {
        let mut taken = BTreeMap::new();
        assert!(matches(
            "OK <id> at=<ms> server=ganger/...",
            "OK 7x at=5 server=ganger/1",
            &mut taken
        ));
        assert_eq!((taken["id"].as_str(), taken["ms"].as_str()), ("7x", "5"));
        assert!(matches("TASK <id> 1 #<n>", "TASK 7x 1 #4", &mut taken));
        assert!(!matches("TASK <id> 1", "TASK 8x 1", &mut taken));
        assert!(!matches("TASK <id>", "TASK 7x 1", &mut taken));
        assert!(matches("...", "", &mut taken) && matches("a<b", "a<b", &mut taken));
    }

    /// A scheduler that says this whatever it is told, and ends.
    fn says(text: &'static str) -> impl FnMut() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    stream.write_all(text.as_bytes()).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    // Until the peer is gone, so that what it sends does not reset what it reads.
                    let _ = stream.read_to_end(&mut Vec::new());
                });
            }
        });
        move || TcpStream::connect(address).unwrap()
    }

    fn held(page: &str, text: &'static str) -> Result<(), String> {
        let page = format!("```transcript t\n{page}```\n");
        run(&parse(&page).unwrap()[0], &mut says(text))
    }

    #[test]
    fn a_conversation_is_held() {
        let page = "a> HELLO\na< OK <s> #<n>\na< one\na<\na> GET <s>\na< PING\na< (end)\nb< OK <s> ...\n\
                    b< one\nb< ...\nb> (end)\n";
        assert_eq!(held(page, "OK 5 #4\none\n\nPING\n"), Ok(()));
    }

    #[test]
    fn a_conversation_that_goes_differently_is_told() {
        let rows = [
            ("a< OK\n", "ERR no\n", "line 2, a: expected \"OK\", and \"ERR no\" came"),
            ("a< OK\n", "", "expected \"OK\", and the connection ended"),
            ("a< (end)\n", "OK\n", "expected \"(end)\", and \"OK\" came"),
            ("a< OK #3\na< abd\n", "OK #3\nabc\n", "\"abc\" came"),
            ("a< OK #3\n", "OK #3\nabc\n", "a has a payload left"),
            ("a< OK #3\n", "OK #3\nabcd\n", "a payload without its end"),
            ("a< OK\n", "OK", "a header without its end"),
            ("a> GET <id>\n", "", "<id> was never received"),
        ];
        for (page, text, expected) in rows {
            let error = held(page, text).unwrap_err();
            assert!(error.contains(expected), "{page:?}: {error}");
        }
    }
}
