//! What the simulator found, each as the shortest course of events that shows it.

use bytes::{Bytes, BytesMut};
use ganger::core::{Core, Effects, Event, Now, Peer, Settings, What};
use ganger::frame::Frame;
use ganger::protocol::{Parsed, Terms, greet, parse_request, render};
use ganger::server::engine::Engine;
use ganger::task::SessionId;

use crate::scheduler::restore_all;
use crate::store::{Disk, Rows};

/// A core with a store, driven by hand.
struct Stage {
    core: Core,
    rows: Rows,
    now: Now,
    /// Frames that left since the last look, as `peer: text`.
    said: Vec<String>,
}

const START: Now = Now { mono_us: 1 << 40, wall_ms: 1_790_000_000_000 };

fn peer(index: u32) -> Peer {
    Peer { index, serial: index + 1 }
}

fn frame(text: &str) -> Frame {
    Frame::read(Bytes::from(format!("{text}\n"))).expect("a frame")
}

impl Stage {
    fn new() -> Self {
        let core = Core::new(Settings::default(), 1, START);
        Self { core, rows: Rows::default(), now: START, said: Vec::new() }
    }

    /// Lets something happen, as a turn of its own.
    fn happen(&mut self, event: Event) -> Vec<String> {
        let mut effects = Effects::default();
        self.core.handle(self.now, event, &mut effects);
        self.core.check();
        self.core.settle(self.now, &mut effects);
        self.core.check();
        self.core.check_idle();
        self.deliver(&effects)
    }

    fn deliver(&mut self, effects: &Effects) -> Vec<String> {
        self.rows.apply(&effects.batch, usize::MAX);
        let terms = Terms { version: 1, payload_max: 1 << 20, wall_ms: self.now.wall_ms };
        let mut said = Vec::new();
        for send in &effects.sends {
            let mut out = BytesMut::new();
            match &send.what {
                What::Reply(reply) => render(reply, &effects.batch.text, &terms, &mut out),
                What::Lookup { id, ask } => {
                    out.extend_from_slice(format!("{id} {ask:?}").as_bytes())
                }
            }
            let text = String::from_utf8_lossy(&out);
            said.push(format!("{}: {}", send.to.index, text.lines().next().unwrap_or("close")));
        }
        self.said.extend(said.iter().cloned());
        said
    }

    /// A peer says HELLO; its session's number is its index.
    fn join(&mut self, index: u32, hello: &str) -> Vec<String> {
        let (_, hello) = greet(&frame(&format!("HELLO 1 {hello}"))).expect("a good HELLO");
        let (peer, fresh) = (peer(index), SessionId(u128::from(index)));
        self.happen(Event::Joined { peer, hello: Box::new(hello), fresh, credential: 0 })
    }

    fn tell(&mut self, index: u32, text: &str) -> Vec<String> {
        let Parsed::Request(request) = parse_request(&frame(text)) else { panic!("{text}") };
        self.happen(Event::Request { peer: peer(index), request })
    }

    fn leave(&mut self, index: u32) -> Vec<String> {
        self.happen(Event::Left { peer: peer(index) })
    }

    /// Time passes.
    fn pass(&mut self, ms: u64) -> Vec<String> {
        self.now = Now { mono_us: self.now.mono_us + ms * 1000, wall_ms: self.now.wall_ms + ms };
        self.happen(Event::Due)
    }

    /// The scheduler dies and is back after a while; its monotonic clock begins anew.
    fn restart(&mut self, ms: u64) {
        self.now = Now { mono_us: 5, wall_ms: self.now.wall_ms + ms };
        let core = Core::new(Settings::default(), 2, self.now);
        let mut engine = Engine::new(core, 1 << 20);
        let mut disk = Disk::new(None);
        disk.rows = self.rows.clone();
        restore_all(&mut engine, &mut disk, self.now).expect("what was written is read");
        let mut turn = engine.take_turn();
        if let Some(turn) = &mut turn {
            self.rows.apply(turn.batch(), usize::MAX);
        }
        let settings = Settings::default();
        self.core = std::mem::replace(engine.core_mut(), Core::new(settings, 3, self.now));
        self.core.check();
    }
}

/// The task that a reply `OK id` names.
fn id_of(said: &[String]) -> String {
    let ok = said.iter().find_map(|text| text.split_once(": OK ")).expect("an OK");
    ok.1.split(' ').next().expect("an id").to_owned()
}

fn has(said: &[String], text: &str) -> bool {
    said.iter().any(|said| said.contains(text))
}

/// A place that a cancelled task leaves behind in a line stood for it again after RETRY; taking
/// the one left the other listed, and nothing of the queue was served any more.
#[test]
fn a_task_that_comes_back_to_its_line_does_not_block_it() {
    let mut stage = Stage::new();
    stage.join(1, "client");
    stage.join(2, "worker name=w kinds=*");
    let [first, second, third] = [(); 3].map(|()| id_of(&stage.tell(1, "SUBMIT resize")));
    let fourth = id_of(&stage.tell(1, "SUBMIT encode"));
    stage.tell(1, &format!("CANCEL {third}"));
    stage.tell(1, &format!("RETRY {third}"));
    assert!(has(&stage.tell(2, &format!("DONE {first} 1")), &format!("TASK {second} 1")));
    assert!(has(&stage.tell(2, &format!("DONE {second} 1")), &format!("TASK {third} 1")));
    assert!(has(&stage.tell(2, &format!("DONE {third} 1")), &format!("TASK {fourth} 1")));
}
