//! What stands between a peer and its scheduler: it can swallow what the scheduler says, and cut the
//! connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(super) struct Proxy {
    addr: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
}

#[derive(Clone, Copy, Default)]
struct Mode {
    deaf: bool,
    /// Connections are cut whenever it changes.
    cuts: u32,
}

impl Proxy {
    /// A proxy before `to`, until its runtime ends.
    pub(super) async fn before(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mode = Arc::new(watch::Sender::new(Mode::default()));
        let seen = mode.clone();
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((peer, _)) = listener.accept().await {
                connections.spawn(join(peer, to, seen.subscribe()));
            }
        });
        Self { addr, mode }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on the peer hears nothing.
    pub(super) fn deafen(&self) {
        self.mode.send_modify(|mode| mode.deaf = true);
    }

    /// Cuts the connections; the next ones are good.
    pub(super) fn cut(&self) {
        self.mode.send_modify(|mode| *mode = Mode { deaf: false, cuts: mode.cuts + 1 });
    }
}

async fn join(peer: TcpStream, to: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let cuts = mode.borrow_and_update().cuts;
    let Ok(scheduler) = TcpStream::connect(to).await else { return };
    let (from_peer, mut to_peer) = peer.into_split();
    let (mut from_scheduler, mut to_scheduler) = scheduler.into_split();
    let up = async {
        let mut from_peer = from_peer;
        let _ = tokio::io::copy(&mut from_peer, &mut to_scheduler).await;
    };
    let hears = mode.clone();
    let down = async {
        while let Some(bytes) = read(&mut from_scheduler).await {
            if !hears.borrow().deaf && to_peer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = mode.wait_for(|mode| mode.cuts != cuts) => {}
    }
}

async fn read(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 16 << 10];
    let count = from.read(&mut bytes).await.ok().filter(|&count| count > 0)?;
    bytes.truncate(count);
    Some(bytes)
}
