//! What leaves after a commit, and how a crash cuts it short.

use bytes::BytesMut;
use ganger::core::Peer;
use ganger::protocol::{Codec, Limits};
use ganger::server::engine::{Outboxes, Turn};
use tokio_util::codec::Decoder;

use super::{Fate, Scheduler, Session};
use crate::auditor::Auditor;
use crate::happening::Way;
use crate::mutants;
use crate::net::{Net, note};

/// The buffers of all sessions during one delivery.
struct Buffers<'a> {
    sessions: &'a mut Vec<Option<Session>>,
    touched: Vec<Peer>,
    closed: Vec<Peer>,
}

impl Outboxes for Buffers<'_> {
    fn buffer(&mut self, peer: Peer) -> Option<&mut BytesMut> {
        let session = self.sessions.get_mut(peer.index as usize)?.as_mut();
        let session = session.filter(|session| session.peer == peer)?;
        if !self.touched.contains(&peer) {
            self.touched.push(peer);
        }
        Some(&mut session.out)
    }

    fn close(&mut self, peer: Peer) {
        self.closed.push(peer);
    }
}

impl Scheduler {
    /// Hands out the frames of a turn, all of them or, if the process dies meanwhile, some.
    pub(super) fn deliver(&mut self, net: &mut Net, audit: &mut Auditor, turn: Turn) -> Fate {
        let now = self.now(net);
        let mut out =
            Buffers { sessions: &mut self.sessions, touched: Vec::new(), closed: Vec::new() };
        self.engine.deliver(turn, now, &mut out);
        let (touched, closed) = (out.touched, out.closed);
        let dies = !net.healed && net.dice.per_mille(net.plan.scheduler.mid_delivery);
        let whole = if dies { net.dice.index(touched.len() + 1) } else { touched.len() };
        for (place, peer) in touched.into_iter().enumerate() {
            let session = self.session(peer).expect("it was there when it was written to");
            let (link, bytes) = (session.link, session.out.split());
            let bytes = mutants::spoil_bytes(net, bytes);
            audit_bytes(net, audit, peer, bytes.clone());
            match place.cmp(&whole) {
                std::cmp::Ordering::Less => net.send(link, Way::Down, &bytes),
                std::cmp::Ordering::Equal => {
                    let sent = net.dice.index(bytes.len() + 1);
                    net.send(link, Way::Down, &bytes[..sent]);
                }
                std::cmp::Ordering::Greater => {}
            }
        }
        if dies {
            net.mark("crash in the middle of the deliveries");
            return Fate::Dies;
        }
        for peer in closed {
            self.close(net, peer);
        }
        Fate::Lives
    }
}

fn audit_bytes(net: &mut Net, audit: &mut Auditor, peer: Peer, mut bytes: BytesMut) {
    let mut codec = Codec::new(Limits::session(64 << 20));
    while let Some(frame) = codec.decode(&mut bytes).expect("the scheduler spells well") {
        note!(net, "to {}.{}: {frame:?}", peer.index, peer.serial);
        audit.sent(net, peer, &frame);
    }
    assert!(bytes.is_empty(), "the scheduler sends whole frames");
}
