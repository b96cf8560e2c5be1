//! A TCP proxy that does to one exchange what networks do to some.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What happens to the next request and its reply.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The request never arrives, and the connection ends.
    LoseRequest,
    /// The request arrives; its reply does not, and the connection ends.
    LoseReply,
    /// The request arrives; its reply comes only after a [`Proxy::release`].
    HoldReply,
    /// The request arrives only after a [`Proxy::release`]; its reply goes nowhere.
    HoldRequest,
    /// The request never arrives, and this is the reply.
    Answer(Vec<u8>),
    /// The request arrives; the reply is replaced.
    Garble(Vec<u8>),
}

/// Stands between a client and a server.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// For the next requests that hold these bytes, one each.
    faults: Vec<(&'static str, Fault)>,
    /// Connections made so far.
    connections: usize,
    released: bool,
    /// What the server said to requests that were held.
    late: Vec<Vec<u8>>,
    streams: Vec<TcpStream>,
}

/// How a reply is treated, once its request was.
#[derive(Clone)]
enum Reply {
    Pass,
    Lose,
    Hold,
    Late,
    Replace(Vec<u8>),
}

impl Proxy {
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { target, state, changed });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                accepting.serve(client);
            }
        });
        Self { port, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Lets something happen to the next request that calls a script: a commit, a renewal.
    pub(crate) fn next(&self, fault: Fault) {
        self.next_with("EVALSHA", fault);
    }

    /// Lets something happen to the next request that holds this word.
    pub(crate) fn next_with(&self, word: &'static str, fault: Fault) {
        self.shared.state.lock().unwrap().faults.push((word, fault));
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        let streams = std::mem::take(&mut self.shared.state.lock().unwrap().streams);
        streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    /// Lets go what is held.
    pub(crate) fn release(&self) {
        self.shared.state.lock().unwrap().released = true;
        self.shared.changed.notify_all();
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().connections
    }

    /// Waits until so many connections were made.
    pub(crate) fn wait_connections(&self, count: usize) {
        self.wait(|state| (state.connections >= count).then_some(()));
    }

    /// Waits for the server's reply to a request that was held.
    pub(crate) fn wait_late(&self) -> Vec<u8> {
        self.wait(|state| state.late.pop())
    }

    fn wait<T>(&self, mut until: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(found) = until(&mut state) {
                return found;
            }
            let (next, late) =
                self.shared.changed.wait_timeout(state, Duration::from_secs(30)).unwrap();
            assert!(!late.timed_out(), "nothing came through the proxy");
            state = next;
        }
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target)) else { return };
        let copy = |stream: &TcpStream| stream.try_clone().unwrap();
        {
            let mut state = self.state.lock().unwrap();
            state.connections += 1;
            state.streams.extend([copy(&client), copy(&server)]);
        }
        self.changed.notify_all();
        let reply = Arc::new(Mutex::new(Reply::Pass));
        let (shared, there, back) = (Arc::clone(self), Arc::clone(&reply), Arc::clone(self));
        let (client_in, server_out) = (copy(&client), copy(&server));
        std::thread::spawn(move || shared.requests(client_in, server_out, &there));
        std::thread::spawn(move || back.replies(server, client, &reply));
    }

    fn requests(&self, mut client: TcpStream, mut server: TcpStream, reply: &Mutex<Reply>) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(length @ 1..) = client.read(&mut bytes) {
            let fault = {
                let mut state = self.state.lock().unwrap();
                let holds = |word: &str| memchr::memmem::find(&bytes[..length], word.as_bytes());
                let due = state.faults.first().is_some_and(|(word, _)| holds(word).is_some());
                due.then(|| state.faults.remove(0).1)
            };
            let mut forward = true;
            let set = |next| *reply.lock().unwrap() = next;
            match fault {
                None => {}
                Some(Fault::LoseRequest) => break,
                Some(Fault::LoseReply) => set(Reply::Lose),
                Some(Fault::HoldReply) => set(Reply::Hold),
                Some(Fault::Garble(with)) => set(Reply::Replace(with)),
                Some(Fault::HoldRequest) => {
                    set(Reply::Late);
                    self.wait_released();
                }
                Some(Fault::Answer(with)) => {
                    forward = false;
                    let _ = client.write_all(&with);
                }
            }
            if forward && server.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        // A held request is on its way although its sender is gone: the reply is still awaited.
        if !matches!(*reply.lock().unwrap(), Reply::Late | Reply::Lose) {
            let _ = server.shutdown(Shutdown::Both);
        }
        let _ = client.shutdown(Shutdown::Both);
    }

    fn replies(&self, mut server: TcpStream, mut client: TcpStream, reply: &Mutex<Reply>) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(length @ 1..) = server.read(&mut bytes) {
            let treatment = std::mem::replace(&mut *reply.lock().unwrap(), Reply::Pass);
            match treatment {
                Reply::Pass => {}
                Reply::Lose => break,
                Reply::Hold => self.wait_released(),
                Reply::Late => {
                    self.state.lock().unwrap().late.push(bytes[..length].to_vec());
                    self.changed.notify_all();
                    break;
                }
                Reply::Replace(with) => {
                    let _ = client.write_all(&with);
                    continue;
                }
            }
            if client.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }

    fn wait_released(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.released {
            state = self.changed.wait(state).unwrap();
        }
    }
}
