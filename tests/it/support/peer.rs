//! A peer that speaks bytes: what one would type into `nc`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Peer {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Peer {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the scheduler listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        let reader = BufReader::new(stream.try_clone().expect("a second handle"));
        Self { stream, reader }
    }

    /// A client that has said HELLO.
    pub(crate) fn client(addr: SocketAddr) -> Self {
        let mut peer = Self::connect(addr);
        peer.send("HELLO 1 client name=test\n");
        let line = peer.line();
        assert!(line.starts_with("OK 1 session="), "{line}");
        peer
    }

    /// A worker that has said HELLO with these options, and the OK it got.
    pub(crate) fn worker(addr: SocketAddr, options: &str) -> (Self, String) {
        let mut peer = Self::connect(addr);
        peer.send(format!("HELLO 1 worker {options}\n"));
        let line = peer.line();
        assert!(line.starts_with("OK 1 session="), "{line}");
        (peer, line)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the scheduler reads");
    }

    /// Sends what the scheduler may refuse to read to the end.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("half of a connection");
    }

    /// The next line without its line feed; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line in time");
        line.trim_end_matches('\n').to_owned()
    }

    /// The next frame: its header, and its payload if it has one.
    pub(crate) fn frame(&mut self) -> (String, Vec<u8>) {
        let line = self.line();
        let Some(length) = line.rsplit_once(" #").and_then(|(_, digits)| digits.parse().ok())
        else {
            return (line, Vec::new());
        };
        let mut payload = vec![0; length];
        self.reader.read_exact(&mut payload).expect("a payload in time");
        let mut end = [0];
        self.reader.read_exact(&mut end).expect("a line feed in time");
        assert_eq!(&end, b"\n", "after the payload of {line}");
        (line, payload)
    }

    /// Asserts that the next frame's header begins so; the whole frame.
    pub(crate) fn expect(&mut self, start: &str) -> (String, Vec<u8>) {
        let frame = self.frame();
        assert!(frame.0.starts_with(start), "expected {start:?}, got {:?}", frame.0);
        frame
    }

    /// Asserts that the scheduler closes the connection, saying nothing more.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest)),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }

    /// Submits a task and returns its id.
    pub(crate) fn submit(&mut self, frame: &str) -> String {
        self.send(frame);
        let (line, _) = self.expect("OK ");
        line.split(' ').nth(1).expect("an id").to_owned()
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}
