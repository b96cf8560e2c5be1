//! Accepts connections, up to the limits.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::core::Event;
use crate::message::{Code, Refusal};
use crate::protocol::put_refusal;
use crate::server::directory::Directory;
use crate::server::outbox::{Backlog, Outbox};
use crate::server::session::{Shared, serve};

/// Connections that the system takes before they are accepted here (or `net.core.somaxconn`, if that is
/// less). A connection beyond them waits a second until it is tried again, as when all workers of a
/// site dial at once.
const BACKLOG: u32 = 4096;

/// Connections from one address that is not this machine's own.
const PER_ADDRESS: usize = 1000;

/// Pause after the system had no room for another connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A connection of which nothing was heard is probed after this time.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// Sent bytes that stay unacknowledged for so long end a connection.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// What bounds the connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections at once.
    pub(super) connections: usize,
    /// Bytes that may wait for one peer, whatever waits for the others.
    pub(super) outbox: usize,
    /// Bytes that may wait for all of them.
    pub(super) backlog: usize,
}

type Addresses = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

/// Listens on an address, also on one whose earlier connections the system has not forgotten yet.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Elsewhere this would share the address with another listener. Where the system chooses the port it
    // comes afterwards: else that might be the port of another socket that is about to listen.
    #[cfg(unix)]
    socket.set_reuseaddr(address.port() != 0)?;
    socket.bind(address)?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.listen(BACKLOG)
}

/// Accepts until it is dropped.
pub(super) async fn accept(
    listener: TcpListener,
    directory: Arc<Directory>,
    shared: Arc<Shared>,
    bounds: Bounds,
) {
    let addresses = Addresses::default();
    let backlog = Arc::new(Backlog::new(bounds.backlog));
    let mut reported = false;
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_peer(&error) => continue,
            Err(error) => {
                if !reported {
                    tracing::warn!(%error, "no further connection can be accepted; trying again");
                }
                reported = true;
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        reported = false;
        let count = count(&addresses, from.ip(), 1);
        if directory.len() >= bounds.connections
            || (count > PER_ADDRESS && !from.ip().is_loopback())
        {
            turn_away(&stream, from);
            self::count(&addresses, from.ip(), -1);
            continue;
        }
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, %from, "a socket option was refused");
        }
        let stream = Arc::new(stream);
        let outbox = Arc::new(Outbox::new(stream.clone(), bounds.outbox, backlog.clone()));
        let peer = directory.add(outbox.clone());
        let session = serve(stream, outbox, peer, shared.clone());
        let (addresses, inbox) = (addresses.clone(), shared.inbox.clone());
        tokio::spawn(async move {
            if to_its_end(session).await.is_err() {
                // A panic while serving a peer ends that peer's session, and no other.
                tracing::error!(%from, "a session has panicked and is over");
                let _ = inbox.send(Event::Left { peer }.into()).await;
            }
            self::count(&addresses, from.ip(), -1);
        });
    }
}

/// Runs a session; an error if it panicked.
async fn to_its_end(session: impl Future<Output = ()>) -> Result<(), ()> {
    let mut session = Box::pin(session);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| session.as_mut().poll(context)));
        polled.map_or(Poll::Ready(Err(())), |polled| polled.map(Ok))
    })
    .await
}

/// Whether only the connection that was being accepted is gone.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | BrokenPipe)
        || error.raw_os_error() == Some(71) // EPROTO
}

fn count(addresses: &Addresses, address: IpAddr, change: isize) -> usize {
    let mut addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
    let count = addresses.entry(address).or_insert(0);
    *count = count.saturating_add_signed(change);
    let now = *count;
    if now == 0 {
        addresses.remove(&address);
    }
    now
}

fn turn_away(stream: &TcpStream, from: SocketAddr) {
    tracing::debug!(%from, "turned away: too many connections");
    let refusal = Refusal {
        retry_ms: Some(1000),
        ..Refusal::new(Code::TooManyConnections, "the scheduler has no room for a connection")
    };
    let mut out = bytes::BytesMut::new();
    put_refusal(&refusal, &mut out);
    // If the peer does not take it, it sees the end all the same.
    let _ = stream.try_write(&out);
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Far more than comes between two looks at the listener, and less than 1024 open files.
    const BURST: usize = 400;

    #[tokio::test]
    async fn a_burst_of_connections_is_taken_before_it_is_accepted() {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let connect =
            |_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(800));
        // Nobody accepts: one that does not fit is tried again by the system after a second.
        let taken: io::Result<Vec<_>> = (0..BURST).map(connect).collect();
        assert_eq!(taken.map(|taken| taken.len()).ok(), Some(BURST));
    }
}
