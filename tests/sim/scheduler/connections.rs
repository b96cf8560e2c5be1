//! The scheduler's ends of the connections: bytes to events, life signs, ends.

use bytes::BytesMut;
use ganger::core::{Event, Peer};
use ganger::frame::Frame;
use ganger::protocol::{Codec, Limits, Parsed, Violation, greet, parse_request, put_ping};
use ganger::task::{SessionId, TaskId};
use tokio_util::codec::Decoder;

use super::{Scheduler, Session};
use crate::happening::{Happening, Way};
use crate::net::{Net, Piece, note};

impl Scheduler {
    pub(crate) fn on_dialled(&mut self, net: &mut Net, link: usize) {
        let reused = self.sessions.iter().skip(1).position(Option::is_none).map(|at| at + 1);
        let index = reused.unwrap_or(self.sessions.len());
        self.serial += 1;
        let peer = Peer { index: u32::try_from(index).expect("few"), serial: self.serial };
        let session = Session {
            peer,
            link,
            codec: Codec::new(Limits::GREETING),
            buffer: BytesMut::new(),
            out: BytesMut::new(),
            role: None,
            heartbeat_us: None,
            heard_us: net.now_us,
            pinged: false,
        };
        if index == self.sessions.len() {
            self.sessions.push(None);
        }
        self.sessions[index] = Some(session);
        net.link(link).peer = Some(peer);
    }

    pub(super) fn session(&mut self, peer: Peer) -> Option<&mut Session> {
        let session = self.sessions.get_mut(peer.index as usize)?.as_mut();
        session.filter(|session| session.peer == peer)
    }

    /// Something arrived from a peer.
    pub(crate) fn on_piece(&mut self, net: &mut Net, peer: Peer, piece: Piece) {
        let Some(session) = self.session(peer) else { return };
        let greeted = session.role.is_some();
        match piece {
            Piece::Bytes(bytes) => {
                session.buffer.extend_from_slice(&bytes);
                self.read(net, peer);
            }
            Piece::Eof if greeted => self.inform(net, Event::HalfClosed { peer }),
            Piece::Eof | Piece::Reset => self.on_gone(net, peer),
        }
    }

    /// A connection is over.
    pub(crate) fn on_gone(&mut self, net: &mut Net, peer: Peer) {
        let Some(session) = self.session(peer) else { return };
        let (link, greeted) = (session.link, session.role.is_some());
        self.sessions[peer.index as usize] = None;
        net.link(link).peer = None;
        if greeted {
            self.inform(net, Event::Left { peer });
        }
    }

    pub(super) fn close(&mut self, net: &mut Net, peer: Peer) {
        if let Some(session) = self.session(peer) {
            let link = session.link;
            net.finish(link, Way::Down, Piece::Eof);
            self.on_gone(net, peer);
        }
    }

    fn read(&mut self, net: &mut Net, peer: Peer) {
        while let Some(session) = self.session(peer) {
            match session.codec.decode(&mut session.buffer) {
                Ok(Some(frame)) => {
                    session.heard_us = net.now_us;
                    session.pinged = false;
                    self.on_frame(net, peer, &frame);
                }
                Ok(None) => return,
                Err(Violation::TooLarge { .. }) => return self.on_oversized(net, peer),
                Err(violation) => panic!("the harness broke the grammar: {violation}"),
            }
        }
    }

    fn on_oversized(&mut self, net: &mut Net, peer: Peer) {
        let Some(session) = self.session(peer) else { return };
        let line = String::from_utf8_lossy(&session.buffer).into_owned();
        let mut words = line.split([' ', '\n']);
        let verb = words.next();
        let id = words.next().and_then(|word| TaskId::parse(word.as_bytes()));
        let attempt = words.next().and_then(|word| word.parse().ok());
        if let (Some("DONE"), Some(id), Some(attempt)) = (verb, id, attempt) {
            net.mark("a result over the limit");
            self.inform(net, Event::Oversized { peer, id, attempt });
        }
        self.close(net, peer);
    }

    fn on_frame(&mut self, net: &mut Net, peer: Peer, frame: &Frame) {
        let session = self.session(peer).expect("it has just been read");
        if session.role.is_some() {
            match parse_request(frame) {
                Parsed::Request(request) => self.inform(net, Event::Request { peer, request }),
                Parsed::Ignore => {}
                Parsed::Refuse(refusal) => self.inform(net, Event::Refused { peer, refusal }),
            }
            return;
        }
        let (_, hello) = greet(frame).expect("the harness spells HELLO well");
        session.role = Some(hello.role);
        session.codec.set_limits(Limits::session(net.plan.settings.payload_max));
        session.heartbeat_us = hello.heartbeat_ms.map(|ms| ms * 1000);
        if let Some(us) = session.heartbeat_us {
            net.after(us, Happening::Beat { life: self.life, peer });
        }
        let fresh = SessionId(u128::from(net.dice.bits()) << 64 | u128::from(net.dice.bits()));
        let credential =
            hello.token.as_ref().map_or(0, |token| u32::try_from(token.len()).unwrap_or(0));
        let hello = Box::new(hello);
        self.inform(net, Event::Joined { peer, hello, fresh, credential });
    }

    /// Silent for one period, a worker is asked; for two, it is lost.
    pub(crate) fn on_beat(&mut self, net: &mut Net, peer: Peer) {
        let (life, now_us) = (self.life, net.now_us);
        let Some(session) = self.session(peer) else { return };
        let Some(period_us) = session.heartbeat_us else { return };
        let silent_us = now_us - session.heard_us;
        if silent_us >= 2 * period_us {
            net.mark("a worker is lost for its silence");
            note!(net, "{peer:?} is silent");
            return self.close(net, peer);
        }
        let mut next_us = session.heard_us + period_us;
        if silent_us >= period_us {
            next_us = session.heard_us + 2 * period_us;
            if !session.pinged {
                session.pinged = true;
                let mut ping = BytesMut::new();
                put_ping(&mut ping);
                let link = session.link;
                net.send(link, Way::Down, &ping);
            }
        }
        net.at(next_us, Happening::Beat { life, peer });
    }
}
