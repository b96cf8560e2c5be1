//! A scheduler that says what it is told to.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::peer::PATIENCE;

/// A session id that schedulers do not draw.
pub(super) const SESSION: &str = "0123456789abcdef0123456789abcdef";

pub(super) struct Fake {
    listener: TcpListener,
}

impl Fake {
    pub(super) async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Takes a connection and reads its HELLO.
    pub(super) async fn accept(&self) -> (Talk, String) {
        let (stream, _) = in_time(self.listener.accept()).await.unwrap();
        let mut talk = Talk { stream: BufReader::new(stream) };
        let (hello, _) = talk.expect("HELLO 1 ").await;
        (talk, hello)
    }

    /// Takes a connection and welcomes it.
    pub(super) async fn welcome(&self, resumed: &str) -> (Talk, String) {
        let (mut talk, hello) = self.accept().await;
        talk.say(&format!(
            "OK 1 session={SESSION} resumed={resumed} max-header=4096 max-payload=1000 time=1 \
             server=fake/1\n"
        ))
        .await;
        (talk, hello)
    }
}

/// One connection.
pub(super) struct Talk {
    stream: BufReader<TcpStream>,
}

impl Talk {
    pub(super) async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Says it byte by byte, each in a segment of its own.
    pub(super) async fn stammer(&mut self, text: &str) {
        self.stream.get_ref().set_nodelay(true).unwrap();
        for byte in text.bytes() {
            self.stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    }

    /// The next frame; its header is empty at the end.
    pub(super) async fn frame(&mut self) -> (String, Vec<u8>) {
        let mut line = String::new();
        in_time(self.stream.read_line(&mut line)).await.unwrap();
        let line = line.trim_end_matches('\n').to_owned();
        let length = line.rsplit_once(" #").and_then(|(_, digits)| digits.parse().ok());
        let Some(length) = length else { return (line, Vec::new()) };
        let mut payload = vec![0; length];
        in_time(self.stream.read_exact(&mut payload)).await.unwrap();
        assert_eq!(self.stream.read_u8().await.unwrap(), b'\n', "after the payload of {line}");
        (line, payload)
    }

    /// Asserts that the next frame's header begins so.
    pub(super) async fn expect(&mut self, start: &str) -> (String, Vec<u8>) {
        let frame = self.frame().await;
        assert!(frame.0.starts_with(start), "expected {start:?}, got {:?}", frame.0);
        frame
    }

    /// Asserts that the peer says nothing more and closes.
    pub(super) async fn expect_end(&mut self) {
        assert_eq!(self.frame().await.0, "");
    }
}

/// Fails instead of hanging.
pub(super) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}
