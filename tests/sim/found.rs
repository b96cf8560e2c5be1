//! What the simulator found, each as the shortest course of events that shows it.

use bytes::{Bytes, BytesMut};
use ganger::core::{Core, Effects, Event, Now, Peer, Settings, What};
use ganger::frame::Frame;
use ganger::message::Reply;
use ganger::protocol::{Parsed, Terms, greet, parse_request, render};
use ganger::task::SessionId;

use crate::scheduler::recover;
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
                What::Observe { next, .. } => {
                    render(&Reply::Observing(*next), &[], &terms, &mut out);
                }
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
        let mut disk = Disk::new(None);
        disk.rows = self.rows.clone();
        let engine = recover(Settings::default(), &mut disk, self.now, 2);
        let mut engine = engine.expect("what was written is read");
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

/// Two workers with one slot each, both busy, under `route=hash` with a policy; the second has
/// abilities of its own.
fn two_busy_owners(stage: &mut Stage, policy: &str) -> [String; 2] {
    stage.join(1, "client");
    stage.tell(1, &format!("QUEUE default route=hash {policy}"));
    stage.join(2, "worker name=a kinds=*");
    stage.join(3, "worker name=b kinds=resize");
    let tasks = [(); 16].map(|()| id_of(&stage.tell(1, "SUBMIT resize")));
    let told = |index: u32| {
        let name = format!("{index}: TASK ");
        let task = tasks.iter().find(|id| has(&stage.said, &format!("{name}{id} 1")));
        task.expect("of sixteen keys some are its").clone()
    };
    [told(2), told(3)]
}

/// A worker does what it has and what it is given then, so many tasks in all.
fn works_on(stage: &mut Stage, index: u32, first: String, tasks: u32) {
    let mut next = first;
    for _ in 1..tasks {
        stage.pass(1);
        let said = stage.tell(index, &format!("DONE {next} 1"));
        let task = said.iter().find_map(|text| text.split_once(": TASK "));
        next = task.expect("the next task").1.split(' ').next().expect("an id").to_owned();
    }
}

/// Tasks that came into their line while nothing spilled were not looked at when `spill=` changed.
#[test]
fn a_new_spill_counts_for_tasks_that_wait_already() {
    let mut stage = Stage::new();
    let [_, held] = two_busy_owners(&mut stage, "spill=none");
    stage.tell(1, "QUEUE default spill=0");
    works_on(&mut stage, 3, held, 15);
}

/// The timer of a longer `spill=` stood in the way of that of a shorter one.
#[test]
fn a_shorter_spill_is_not_awaited_as_long_as_the_old_one() {
    let mut stage = Stage::new();
    let [_, held] = two_busy_owners(&mut stage, "spill=1000000");
    stage.tell(1, "QUEUE default spill=1000");
    assert!(stage.core.next_deadline().mono_us.is_some_and(|us| us <= START.mono_us + 1_000_000));
    stage.pass(1000);
    assert!(has(&stage.tell(3, &format!("DONE {held} 1")), "TASK"));
}

/// Workers with abilities of their own changed who could own a key without any task moving.
#[test]
fn keys_move_when_a_worker_with_other_abilities_comes_or_goes() {
    let mut stage = Stage::new();
    let [_, held] = two_busy_owners(&mut stage, "spill=none");
    stage.leave(2);
    works_on(&mut stage, 3, held, 15);
}

/// `timeout=` went on while there was no scheduler to hear of progress: a start ended leases whose
/// workers had reported in time, and charged their tasks for it.
#[test]
fn a_restart_does_not_count_as_silence_of_the_worker() {
    let mut stage = Stage::new();
    stage.join(1, "client");
    stage.join(2, "worker name=w kinds=*");
    let task = id_of(&stage.tell(1, "SUBMIT resize timeout=10000"));
    stage.pass(9_000);
    stage.restart(3_000);
    stage.pass(5_000);
    let said = stage.join(3, &format!("worker name=w kinds=* session={:032x}", 2));
    assert!(has(&said, "resumed=yes") && has(&said, &format!("TASK {task} 1")));
    assert!(!has(&stage.pass(9_900), "CANCEL"));
    assert!(has(&stage.pass(100), &format!("CANCEL {task} 1 reason=timeout")));
}

/// What a lease had lasted before a start was forgotten when the monotonic clock begins near zero.
#[test]
fn a_run_goes_on_over_a_restart() {
    let mut stage = Stage::new();
    stage.join(1, "client");
    stage.join(2, "worker name=w kinds=*");
    let task = id_of(&stage.tell(1, "SUBMIT resize max-run=60000"));
    stage.pass(40_000);
    stage.restart(1_000);
    stage.join(3, &format!("worker name=w kinds=* session={:032x}", 2));
    assert!(!has(&stage.pass(18_000), "CANCEL"));
    assert!(has(&stage.pass(1_000), &format!("CANCEL {task} 1 reason=max-run")));
}

/// The timer of a keyed line stood for its first task alone: when its owner took that, after its
/// time, nobody looked at those behind it any more.
#[test]
fn the_next_task_spills_when_its_owner_took_the_one_before() {
    let mut stage = Stage::new();
    stage.join(1, "client");
    stage.tell(1, "QUEUE default route=hash spill=1000");
    stage.join(2, "worker name=a kinds=*");
    stage.join(3, "worker name=b kinds=*");
    // Keys of the first and of the second, as they show when both are free.
    let mut own = [Vec::new(), Vec::new()];
    for key in 0..40 {
        let id = id_of(&stage.tell(1, &format!("SUBMIT resize key={key}")));
        let owner =
            [2, 3].into_iter().find(|index| has(&stage.said, &format!("{index}: TASK {id} 1")));
        let owner = owner.expect("it is free");
        own[owner as usize - 2].push(key);
        stage.tell(owner, &format!("DONE {id} 1"));
    }
    let mut submit = |stage: &mut Stage, owner: usize| {
        let key = own[owner].pop().expect("a few are each's");
        id_of(&stage.tell(1, &format!("SUBMIT resize key={key}")))
    };
    let (a, b) = (submit(&mut stage, 0), submit(&mut stage, 1));
    let second = submit(&mut stage, 0);
    stage.pass(900);
    let third = submit(&mut stage, 0);
    stage.pass(200);
    assert!(has(&stage.tell(2, &format!("DONE {a} 1")), &format!("TASK {second} 1")));
    assert!(!has(&stage.tell(3, &format!("DONE {b} 1")), "TASK"));
    let due_us = stage.core.next_deadline().mono_us.expect("something waits");
    assert!(due_us <= stage.now.mono_us + 800_000);
    assert!(has(&stage.pass(800), &format!("3: TASK {third} 1")));
}
