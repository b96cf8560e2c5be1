//! One peer: handshake, frames to events, signs of life, goodbye.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::RngExt;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::codec::Decoder;

use crate::core::{Event, Peer};
use crate::frame::{Frame, Word, Words, number};
use crate::message::{Code, Grants, Hello, Refusal, Request, Role};
use crate::protocol::{
    Codec, Limits, Parsed, Violation, greet, parse_request, put_ping, put_refusal,
};
use crate::server::batch::{BATCH, BATCHES, Batch, is_last, weight_of};
use crate::server::outbox::{Outbox, Way};
use crate::server::tokens::{Tokens, permit};
use crate::task::{Attempt, SessionId, TaskId};

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Who may do what.
    pub(super) tokens: Tokens,
    /// The largest payload, in bytes.
    pub(super) payload_max: u64,
    /// The way into the engine.
    pub(super) inbox: mpsc::Sender<Batch>,
}

/// HELLO is due within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(2);

/// A frame that has begun is due within this time, and a second more for each [`RATE`] bytes of it
/// that have come.
const FRAME_WITHIN: Duration = Duration::from_secs(10);

/// The slowest that a frame may come, in bytes a second.
const RATE: usize = 16 << 10;

/// A peer that takes nothing for so long is given up.
const STALL: Duration = Duration::from_secs(10);

/// How long a session waits for the peer to take the last words.
const GOODBYE_WITHIN: Duration = Duration::from_secs(10);

/// How long what still comes is read and dropped, so that the peer gets the last words: closing a
/// socket with unread input makes the system throw away what was sent.
const PART_WITHIN: Duration = Duration::from_secs(1);

/// How often a session looks at its deadlines.
const LOOK: Duration = Duration::from_millis(500);

/// Bytes of a usual frame, to judge how many there are in what was read.
const FRAME: usize = 64;

/// What the system keeps for an observer, in bytes: a socket that holds megabytes takes nothing more
/// until a third of them is read.
const OBSERVER_BUFFER: usize = 128 << 10;

/// Room for one read: small for those who say little, up to 256 KiB for those who say much.
const READ: (usize, usize) = (8 << 10, 256 << 10);

/// A session in the making or under way.
struct Session {
    peer: Peer,
    stream: Arc<TcpStream>,
    outbox: Arc<Outbox>,
    shared: Arc<Shared>,
    codec: Codec,
    buffer: BytesMut,
    room: usize,
    /// When the frame that is not whole yet began.
    midway: Option<Instant>,
    /// Whole frames may be left in the buffer.
    more: bool,
    seen: Instant,
    pinged: bool,
    who: Option<Who>,
    ahead: Arc<Semaphore>,
}

/// What HELLO settled.
#[derive(Clone, Copy)]
struct Who {
    role: Role,
    grants: Grants,
    heartbeat: Option<Duration>,
}

/// Why a session reads no further.
enum End {
    /// The peer sends nothing more.
    Closed,
    /// The connection is to be dropped, for a reason.
    Broken(&'static str),
    /// The last words are written, or are about to be.
    Said,
}

/// Serves a connection to its end, and tells the engine when it is over.
pub(super) async fn serve(
    stream: Arc<TcpStream>,
    outbox: Arc<Outbox>,
    peer: Peer,
    shared: Arc<Shared>,
) {
    let mut session = Session {
        peer,
        stream,
        outbox,
        shared: shared.clone(),
        codec: Codec::new(Limits::GREETING),
        buffer: BytesMut::new(),
        room: READ.0,
        midway: None,
        more: false,
        seen: now(),
        pinged: false,
        who: None,
        ahead: Arc::new(Semaphore::new(BATCHES)),
    };
    let end = match session.greet().await {
        Ok(()) => session.talk().await,
        Err(end) => end,
    };
    let end = match end {
        End::Closed if session.who.is_some() => {
            session.tell(vec![Event::HalfClosed { peer }]).await;
            session.linger(None).await
        }
        End::Said => session.linger(Some(now() + GOODBYE_WITHIN)).await,
        end => end,
    };
    match end {
        End::Broken(reason) => tracing::debug!(peer = peer.serial, reason, "session ended"),
        End::Closed | End::Said => session.part().await,
    }
    // Always told, also for one that never said HELLO: the engine gives the number back.
    let _ = shared.inbox.send(Event::Left { peer }.into()).await;
}

impl Session {
    /// Waits for HELLO and answers it, or hands it to the engine to be answered.
    async fn greet(&mut self) -> Result<(), End> {
        let due = now() + HELLO_WITHIN;
        let frame = loop {
            match self.codec.decode(&mut self.buffer) {
                Ok(Some(frame)) => break frame,
                Ok(None) => {}
                Err(violation) => return Err(self.turn_away(&refusal_of(&violation))),
            }
            let read = tokio::time::timeout_at(due.into(), self.read()).await;
            match read {
                Ok(Ok(0)) => return Err(End::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(End::Broken("the connection is lost")),
                Err(_) => {
                    let refusal = Refusal::new(Code::Timeout, "HELLO is due within 2 seconds");
                    return Err(self.turn_away(&refusal));
                }
            }
        };
        let greeted = greet(&frame).and_then(|(_, hello)| {
            let (grants, credential) = self.shared.tokens.admit(&hello)?;
            Ok((hello, grants, credential))
        });
        let (hello, grants, credential) = match greeted {
            Ok(greeted) => greeted,
            Err(refusal) => return Err(self.turn_away(&refusal)),
        };
        self.join(hello, grants, credential).await;
        Ok(())
    }

    async fn join(&mut self, hello: Hello, grants: Grants, credential: u32) {
        self.codec.set_limits(Limits::session(self.shared.payload_max));
        let heartbeat = hello.heartbeat_ms.map(Duration::from_millis);
        self.who = Some(Who { role: hello.role, grants, heartbeat });
        self.seen = now();
        let (peer, hello, fresh) = (self.peer, Box::new(hello), SessionId(fresh()));
        self.tell(vec![Event::Joined { peer, hello, fresh, credential }]).await;
    }

    /// Nobody waits for earlier replies yet, so the refusal goes straight out.
    fn turn_away(&self, refusal: &Refusal) -> End {
        self.outbox.put(|out| put_refusal(refusal, out));
        self.outbox.end();
        End::Said
    }

    /// Turns what the peer sends into events, until it is over.
    async fn talk(&mut self) -> End {
        loop {
            let events = match self.take_events() {
                Ok(events) => events,
                Err(events) => {
                    self.tell(events).await;
                    return End::Said;
                }
            };
            if !events.is_empty() {
                self.tell(events).await;
            }
            // What was read and not yet taken needs no further read, but must not be taken while
            // the peer does not read either.
            let more = std::mem::take(&mut self.more);
            if let Some(end) = self.wait(more).await {
                return end;
            }
        }
    }

    /// Waits until something was read, or at least may be taken if there is more already; an end if it
    /// is one.
    async fn wait(&mut self, more: bool) -> Option<End> {
        let outbox = self.outbox.clone();
        loop {
            let way = outbox.way();
            let (backlog, pause) = match way {
                Way::Clear => (false, false),
                Way::Backlog { pause, .. } => (true, pause),
                Way::Ended => return Some(End::Said),
                Way::Broken(reason) => return Some(End::Broken(reason)),
            };
            if more && !pause {
                return None;
            }
            let (stream, look_in) = (self.stream.clone(), self.look_in());
            // What has arrived is read before any deadline is looked at: a peer is not late because
            // the scheduler was.
            tokio::select! {
                biased;
                read = self.read(), if !pause => {
                    return match read {
                        Ok(0) => Some(End::Closed),
                        Ok(_) => None,
                        Err(_) => Some(End::Broken("the connection is lost")),
                    };
                }
                _ = stream.writable(), if backlog => outbox.flush(),
                () = outbox.changed.notified() => {}
                () = tokio::time::sleep(look_in) => {
                    if let Some(end) = self.look(way) {
                        return Some(end);
                    }
                }
            }
        }
    }

    /// How long nothing can become overdue.
    fn look_in(&self) -> Duration {
        let heartbeat = self.who.and_then(|who| who.heartbeat);
        match heartbeat {
            None if self.midway.is_none() && self.outbox.way() == Way::Clear => {
                Duration::from_secs(3600)
            }
            _ => LOOK,
        }
    }

    /// Looks at the deadlines.
    fn look(&mut self, way: Way) -> Option<End> {
        if let Way::Backlog { since: Some(since), .. } = way
            && since.elapsed() > STALL
        {
            return Some(End::Broken("the peer does not read what is sent to it"));
        }
        let slack = Duration::from_secs((self.buffer.len() / RATE) as u64);
        if self.midway.is_some_and(|began| began.elapsed() > FRAME_WITHIN + slack) {
            let refusal = Refusal::new(Code::Timeout, "the rest of the frame did not come");
            return Some(self.turn_away(&refusal));
        }
        let heartbeat = self.who.and_then(|who| who.heartbeat)?;
        let silent = self.seen.elapsed();
        if silent > 2 * heartbeat {
            return Some(End::Broken("no sign of life"));
        }
        if silent > heartbeat && !self.pinged {
            self.pinged = true;
            self.outbox.put(put_ping);
        }
        None
    }

    /// Reads once, as much as there is within the room. A session that waits holds no buffer.
    async fn read(&mut self) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            self.buffer.reserve(self.room);
            match self.stream.try_read_buf(&mut self.buffer) {
                Ok(read) => {
                    self.seen = now();
                    self.pinged = false;
                    if read < self.room {
                        self.note_drained();
                    }
                    // Small again when little comes: what is read into is then still in the cache.
                    self.room = match read {
                        _ if read >= self.room => (2 * self.room).min(READ.1),
                        _ if read < self.room / 4 => (self.room / 2).max(READ.0),
                        _ => self.room,
                    };
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Less was there than there was room for: nothing is left, and the next read waits to be told
    /// of more, rather than to ask the system in vain first.
    fn note_drained(&self) {
        let nothing = || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock));
        let _ = self.stream.try_io(Interest::READABLE, nothing);
    }

    /// The events of all whole frames that were read; as an error if they are the last.
    fn take_events(&mut self) -> Result<Vec<Event>, Vec<Event>> {
        let mut events = Vec::with_capacity((self.buffer.len() / FRAME).min(BATCH) + 1);
        let mut weight = 0;
        loop {
            if weight >= BATCH {
                self.more = true;
                return Ok(events);
            }
            match self.codec.decode(&mut self.buffer) {
                Ok(Some(frame)) => {
                    weight += 1;
                    if let Some(event) = self.event(&frame) {
                        weight += weight_of(&event, self.shared.payload_max);
                        let last = is_last(&event);
                        events.push(event);
                        if last {
                            return Err(events);
                        }
                    }
                }
                Ok(None) => break,
                Err(violation) => {
                    if let Some((id, attempt)) = oversized(&violation, &self.buffer) {
                        events.push(Event::Oversized { peer: self.peer, id, attempt });
                    }
                    let refusal = refusal_of(&violation);
                    events.push(Event::Refused { peer: self.peer, refusal });
                    return Err(events);
                }
            }
        }
        if self.buffer.is_empty() {
            self.midway = None;
            // Gives the memory back while nothing is under way.
            self.buffer = BytesMut::new();
        } else if self.midway.is_none() || !events.is_empty() {
            self.midway = Some(now());
        }
        Ok(events)
    }

    fn event(&self, frame: &Frame) -> Option<Event> {
        let peer = self.peer;
        let refused = |refusal| Some(Event::Refused { peer, refusal });
        let who = self.who?;
        match parse_request(frame) {
            Parsed::Request(Request::Pong) | Parsed::Ignore => None,
            Parsed::Request(request) => match permit(who.role, who.grants, &request) {
                Ok(()) => {
                    if let Request::Events(Some(_)) = request {
                        // Without it, it takes longer to see that an observer is slow.
                        let _ = SockRef::from(&*self.stream).set_send_buffer_size(OBSERVER_BUFFER);
                    }
                    Some(Event::Request { peer, request })
                }
                Err(_) if frame.verb() == "PROGRESS" => None,
                Err(refusal) => refused(refusal),
            },
            Parsed::Refuse(refusal) => refused(refusal),
        }
    }

    async fn tell(&self, events: Vec<Event>) {
        let permit = self.ahead.clone().acquire_owned().await.ok();
        // The engine is gone only when the scheduler is.
        let _ = self.shared.inbox.send(Batch { events, permit }).await;
    }

    /// Writes what is still due, until all is said, or a time.
    async fn linger(&mut self, until: Option<Instant>) -> End {
        let far = now() + Duration::from_secs(30 * 86_400);
        loop {
            let way = self.outbox.way();
            let stalled = match way {
                Way::Ended => return End::Said,
                Way::Broken(reason) => return End::Broken(reason),
                Way::Backlog { since, .. } => since.is_some_and(|since| since.elapsed() > STALL),
                Way::Clear => false,
            };
            if stalled {
                return End::Broken("the peer does not read what is sent to it");
            }
            let backlog = matches!(way, Way::Backlog { .. });
            tokio::select! {
                _ = self.stream.writable(), if backlog => self.outbox.flush(),
                () = self.outbox.changed.notified() => {}
                // A peer that is gone altogether looks like one that says no more, until the system
                // has asked it.
                _ = self.stream.ready(Interest::ERROR) => {
                    return End::Broken("the connection is lost");
                }
                () = tokio::time::sleep(LOOK), if backlog => {}
                () = tokio::time::sleep_until(until.unwrap_or(far).into()) => {
                    return End::Broken("the peer took too long to hear the end");
                }
            }
        }
    }
}

impl Session {
    /// Says that nothing more comes, and lets the peer hear it.
    async fn part(&mut self) {
        let _ = SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write);
        let until = now() + PART_WITHIN;
        loop {
            self.buffer.clear();
            match tokio::time::timeout_at(until.into(), self.read()).await {
                // A peer that never stops would otherwise be read for ever.
                Ok(Ok(read)) if read > 0 && now() < until => {}
                _ => return,
            }
        }
    }
}

fn refusal_of(violation: &Violation) -> Refusal {
    Refusal::new(violation.code(), violation.to_string())
}

/// The lease whose result is over the limit: that lease fails, or its worker would send the same
/// again for ever.
fn oversized(violation: &Violation, buffer: &BytesMut) -> Option<(TaskId, Attempt)> {
    let Violation::TooLarge { .. } = violation else { return None };
    let end = memchr::memchr(b'\n', buffer)?;
    let header = std::str::from_utf8(buffer.get(..end)?).ok()?;
    let mut words = Words::of(header.strip_prefix("DONE ")?);
    let (Some(Word::Arg(id)), Some(Word::Arg(attempt))) = (words.next(), words.next()) else {
        return None;
    };
    Some((TaskId::parse(id.as_bytes())?, Attempt::try_from(number(attempt.as_bytes())?).ok()?))
}

/// 128 random bits.
#[expect(clippy::disallowed_methods, reason = "a session is named by the system's randomness")]
fn fresh() -> u128 {
    rand::rng().random()
}

#[expect(clippy::disallowed_methods, reason = "signs of life are judged where the socket is read")]
fn now() -> Instant {
    Instant::now()
}
