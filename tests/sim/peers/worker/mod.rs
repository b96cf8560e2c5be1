//! Simulated workers: honest ones, slow and silent ones, ones that die of a task or lose their
//! connection, come back as who they were or as somebody new, and answer late or twice.

mod whims;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use ganger::message::{Fail, Hello, Request, Retry, Role};
use ganger::protocol::answer::Task as Pushed;
use ganger::protocol::{Answer, Submission, put_done, put_hello, put_request};
use ganger::route::Weight;
use ganger::task::{Attempt, SessionId, TaskId};

use super::{End, Talk};
use crate::auditor::Auditor;
use crate::happening::{Actor, Chore, Happening, Way};
use crate::net::{Net, Piece, note};
use crate::workload::{KINDS, QUEUES};

/// A lease, by its task and attempt.
type Lease = (TaskId, Attempt);

/// A worker's process, and those after it.
pub(crate) struct Worker {
    index: usize,
    /// Counts its processes and their moods: plans of an earlier one are void.
    life: u32,
    hello: Hello,
    end: Option<End>,
    welcomed: bool,
    session: Option<SessionId>,
    /// Requests that await their replies.
    asked: VecDeque<Asked>,
    runs: BTreeMap<Lease, Run>,
    /// Answers that await their replies, to be sent again.
    unanswered: BTreeMap<Lease, Bytes>,
    drained: bool,
    /// From now on it answers well and soon.
    healthy: bool,
    /// It never comes back.
    pub(crate) retired: bool,
}

#[derive(Debug)]
enum Asked {
    Hello,
    Answer(Lease),
    Submit,
    Plain,
}

#[derive(Debug)]
struct Run {
    outcome: Outcome,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Fail(Retry),
    Release(u64),
    /// Never.
    Silence,
    /// With its worker.
    Death,
    /// With a result that is announced as larger than allowed.
    Oversized,
}

impl Worker {
    pub(crate) fn new(net: &mut Net, index: usize, talk: &mut Talk) -> Self {
        let work = net.plan.work.clone();
        let twin = index > 0 && net.dice.per_mille(work.twins);
        let name = if twin { talk.names[0].clone() } else { format!("worker-{index}") };
        talk.names.push(name.clone());
        let dice = &mut net.dice;
        let picky = dice.per_mille(work.picky);
        let some = |dice: &mut crate::dice::Dice, names: &[&str]| {
            let mut some: Vec<String> =
                names.iter().filter(|_| dice.per_mille(500)).map(|name| (*name).into()).collect();
            some.sort();
            (!some.is_empty()).then_some(some)
        };
        let weight = *dice.pick(&["1", "1", "0.5", "3", "0"]);
        let hello = Hello {
            role: Role::Worker,
            name,
            host: "host".to_owned(),
            pid: 1,
            slots: u32::try_from(dice.spread(1..=8)).expect("few"),
            weight: Weight::parse(weight).expect("a weight"),
            kinds: if picky { some(dice, &KINDS) } else { None },
            queues: if picky && dice.per_mille(400) { some(dice, &QUEUES) } else { None },
            tags: if dice.per_mille(100) { vec!["gpu".to_owned()] } else { Vec::new() },
            heartbeat_ms: dice.per_mille(work.heartbeat).then(|| dice.spread(1000..=20_000)),
            price: 0.0,
            payload_max: dice.per_mille(100).then_some(1 << 16),
            session: None,
            token: dice.per_mille(100).then(|| "secret".to_owned()),
        };
        Self::with(index, hello)
    }

    /// A worker that can do everything, comes at the end and does it well.
    pub(crate) fn healer(index: usize) -> Self {
        let hello = Hello {
            role: Role::Worker,
            name: format!("healer-{index}"),
            host: "host".to_owned(),
            pid: 1,
            slots: 8,
            weight: Weight::default(),
            kinds: None,
            queues: None,
            tags: Vec::new(),
            heartbeat_ms: None,
            price: 0.0,
            payload_max: None,
            session: None,
            token: None,
        };
        Self { healthy: true, ..Self::with(index, hello) }
    }

    fn with(index: usize, hello: Hello) -> Self {
        Self {
            index,
            life: 0,
            hello,
            end: None,
            welcomed: false,
            session: None,
            asked: VecDeque::new(),
            runs: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            drained: false,
            healthy: false,
            retired: false,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.hello.name
    }

    /// Begins its first process.
    pub(crate) fn begin(&mut self, net: &mut Net) {
        let us = net.dice.below(200_000);
        self.plan(net, us, Chore::Dial);
        self.plan_whim(net);
    }

    fn plan(&self, net: &mut Net, us: u64, chore: Chore) {
        net.after(us, Happening::Worker { index: self.index, life: self.life, chore });
    }

    fn plan_whim(&self, net: &mut Net) {
        if let Some(us) = net.plan.work.whim_us.filter(|_| !self.healthy) {
            let us = net.dice.within(1..=us * 2);
            self.plan(net, us, Chore::Whim);
        }
    }

    pub(crate) fn do_chore(&mut self, net: &mut Net, talk: &mut Talk, life: u32, chore: Chore) {
        if life != self.life || self.retired {
            return;
        }
        match chore {
            Chore::Dial => self.dial(net),
            Chore::Finish(id, attempt) => self.finish(net, (id, attempt)),
            Chore::Progress(id, attempt) => self.progress(net, (id, attempt)),
            Chore::Whim => self.follow_whim(net, talk),
        }
    }

    fn dial(&mut self, net: &mut Net) {
        if self.end.is_some() {
            return;
        }
        let Some(link) = net.dial(Actor::Worker(self.index)) else {
            let us = net.dice.spread(10_000..=2_000_000);
            return self.plan(net, us, Chore::Dial);
        };
        self.end = Some(End::new(link));
        self.welcomed = false;
        self.asked.clear();
        self.hello.session = self.session;
        let mut frame = BytesMut::new();
        put_hello((1, 1), &self.hello, &mut frame).expect("a good HELLO");
        self.ask(net, Asked::Hello, &frame);
    }

    fn ask(&mut self, net: &mut Net, asked: Asked, frame: &[u8]) {
        let Some(end) = &self.end else { return };
        self.asked.push_back(asked);
        net.send(end.link, Way::Up, frame);
    }

    fn request(&mut self, net: &mut Net, asked: Asked, request: &Request) {
        let mut frame = BytesMut::new();
        put_request(request, &mut frame).expect("a good request");
        self.ask(net, asked, &frame);
    }

    fn notice(&mut self, net: &mut Net, request: &Request) {
        let Some(end) = &self.end else { return };
        let mut frame = BytesMut::new();
        put_request(request, &mut frame).expect("a good notice");
        net.send(end.link, Way::Up, &frame);
    }

    /// Whether this is the link that it has now.
    pub(crate) fn has(&self, link: usize) -> bool {
        self.end.as_ref().is_some_and(|end| end.link == link)
    }

    pub(crate) fn on_piece(
        &mut self,
        net: &mut Net,
        audit: &mut Auditor,
        talk: &mut Talk,
        piece: Piece,
    ) {
        let Some(end) = &mut self.end else { return };
        match piece {
            Piece::Bytes(bytes) => {
                for answer in end.read(&bytes) {
                    self.on_answer(net, audit, talk, answer);
                }
            }
            Piece::Eof | Piece::Reset => self.on_gone(net),
        }
    }

    /// The connection is over; its process goes on, and comes back.
    pub(crate) fn on_gone(&mut self, net: &mut Net) {
        let Some(end) = self.end.take() else { return };
        net.forget(end.link);
        let plan = net.plan.work.faithful;
        if !self.healthy && !net.dice.per_mille(plan) {
            net.mark("a worker comes back as somebody new");
            self.session = None;
            if net.dice.per_mille(500) {
                self.runs.clear();
            }
        }
        let us = net.dice.spread(1_000..=if self.healthy { 10_000 } else { 8_000_000 });
        self.plan(net, us, Chore::Dial);
    }

    fn on_answer(&mut self, net: &mut Net, audit: &mut Auditor, talk: &mut Talk, answer: Answer) {
        match answer {
            Answer::Ok(accepted) => match self.asked.pop_front() {
                Some(Asked::Hello) => {
                    let welcome = accepted.welcome().expect("a welcome");
                    self.session = Some(welcome.session);
                    self.on_welcome(net);
                }
                Some(Asked::Answer(lease)) => {
                    assert_eq!(accepted.id(), Some(lease.0), "R: replies come in order");
                    self.unanswered.remove(&lease);
                    self.leave_if_done(net);
                }
                Some(Asked::Submit) => {
                    let id = accepted.id().expect("an id");
                    audit.client_was_told(id);
                    talk.ids.push(id);
                }
                Some(Asked::Plain) => {}
                None => panic!("R: a reply to nothing"),
            },
            Answer::Err(_) => match self.asked.pop_front() {
                Some(Asked::Hello) => self.be_refused(net),
                Some(Asked::Answer(lease)) => {
                    self.unanswered.remove(&lease);
                    self.leave_if_done(net);
                }
                Some(_) => {}
                None => panic!("R: a refusal of nothing"),
            },
            Answer::Task(task) => self.on_task(net, audit, &task),
            Answer::Cancel { id, attempt, .. } => self.on_cancel(net, (id, attempt)),
            Answer::Ping => {
                if self.healthy || !net.dice.per_mille(30) {
                    self.notice(net, &Request::Pong);
                }
            }
            Answer::Drain { reason } => {
                if reason != "restart" {
                    net.mark("a worker is told to leave");
                    self.drained = true;
                    self.leave_if_done(net);
                }
            }
            Answer::Result(_)
            | Answer::Event(_)
            | Answer::Gap(..)
            | Answer::Stats(_)
            | Answer::Unknown => {}
        }
    }

    /// Another token has the name: it tries another one.
    fn be_refused(&mut self, net: &mut Net) {
        net.mark("a name is in use under another token");
        self.hello.token = None;
        self.session = None;
        self.hello.name = format!("worker-{}-again", self.index);
    }

    fn on_welcome(&mut self, net: &mut Net) {
        self.welcomed = true;
        self.drained = false;
        let frames: Vec<(Lease, Bytes)> =
            self.unanswered.iter().map(|(lease, frame)| (*lease, frame.clone())).collect();
        for (lease, frame) in frames {
            net.mark("an unacknowledged answer is sent again");
            self.ask(net, Asked::Answer(lease), &frame);
        }
        if self.healthy {
            self.recover(net);
        }
    }

    fn on_task(&mut self, net: &mut Net, audit: &mut Auditor, task: &Pushed) {
        let lease = (task.id, task.attempt);
        audit.worker_got(task.id, &task.payload());
        if self.runs.contains_key(&lease) || self.unanswered.contains_key(&lease) {
            return;
        }
        let outcome = self.outcome(net, task);
        let most = if self.healthy { 5_000 } else { net.plan.work.run_us };
        let us = net.dice.spread(100..=most);
        self.runs.insert(lease, Run { outcome });
        if outcome != Outcome::Silence {
            self.plan(net, us, Chore::Finish(lease.0, lease.1));
        }
        if !self.healthy && net.dice.per_mille(net.plan.work.progress) {
            self.plan(net, us / 2, Chore::Progress(lease.0, lease.1));
        }
    }

    fn outcome(&self, net: &mut Net, task: &Pushed) -> Outcome {
        if self.healthy {
            return Outcome::Done;
        }
        let work = net.plan.work.clone();
        let dice = &mut net.dice;
        let fatal = if task.kind() == KINDS[4] { work.fatal * 16 } else { work.fatal / 8 };
        if dice.per_mille(fatal) {
            Outcome::Death
        } else if dice.per_mille(work.silent) {
            Outcome::Silence
        } else if dice.per_mille(work.oversized) {
            Outcome::Oversized
        } else if dice.per_mille(work.release) {
            Outcome::Release(*dice.pick(&[0, 0, 300, 5_000]))
        } else if dice.per_mille(work.fail) {
            let later = Retry::After(dice.spread(0..=20_000));
            Outcome::Fail(*dice.pick(&[Retry::Backoff, Retry::Backoff, later, Retry::No]))
        } else {
            Outcome::Done
        }
    }

    fn on_cancel(&mut self, net: &mut Net, lease: Lease) {
        if !self.runs.contains_key(&lease) && !self.unanswered.contains_key(&lease) {
            // Its TASK was lost with a connection.
            net.mark("a CANCEL for a lease that its worker knows nothing of");
            self.runs.insert(lease, Run { outcome: Outcome::Release(0) });
            return self.finish(net, lease);
        }
        let Some(run) = self.runs.get_mut(&lease) else { return };
        // Some stop at once, some go on to the end, silent ones never say anything.
        if self.healthy || (run.outcome != Outcome::Silence && net.dice.per_mille(600)) {
            run.outcome = Outcome::Fail(Retry::Backoff);
            self.finish(net, lease);
        }
    }

    fn progress(&mut self, net: &mut Net, lease: Lease) {
        if self.runs.contains_key(&lease) {
            let percent = u8::try_from(net.dice.below(101)).expect("small");
            let (id, attempt) = lease;
            self.notice(net, &Request::Progress { id, attempt, percent, note: Bytes::new() });
            let us = net.dice.spread(1_000..=2_000_000);
            if !self.healthy && net.dice.per_mille(700) {
                self.plan(net, us, Chore::Progress(lease.0, lease.1));
            }
        }
    }

    fn finish(&mut self, net: &mut Net, lease: Lease) {
        let Some(run) = self.runs.remove(&lease) else { return };
        let (id, attempt) = lease;
        let mut frame = BytesMut::new();
        match run.outcome {
            Outcome::Done | Outcome::Silence => {
                let result = format!("result of {id} by {} {attempt}", self.index);
                put_done(id, attempt, result.as_bytes(), &mut frame);
            }
            Outcome::Fail(retry) => {
                let error = Bytes::from(format!("error of {id} {attempt}: 50% = #1\n"));
                let request = Request::Fail(Fail { id, attempt, retry, error });
                put_request(&request, &mut frame).expect("a good FAIL");
            }
            Outcome::Release(delay_ms) => {
                let request = Request::Release { id, attempt, delay_ms };
                put_request(&request, &mut frame).expect("a good RELEASE");
            }
            Outcome::Death => return self.die(net),
            Outcome::Oversized => return self.send_too_much(net, lease),
        }
        self.unanswered.insert(lease, frame.clone().freeze());
        if !self.welcomed || self.end.is_none() {
            return;
        }
        self.ask(net, Asked::Answer(lease), &frame);
        if !self.healthy && net.dice.per_mille(net.plan.work.twice) {
            net.mark("an answer is sent twice");
            let mut again = BytesMut::new();
            put_done(id, attempt, b"another result", &mut again);
            let again = if net.dice.per_mille(300) { again } else { frame };
            self.ask(net, Asked::Answer(lease), &again);
        }
    }

    fn send_too_much(&mut self, net: &mut Net, lease: Lease) {
        let Some(end) = self.end.as_ref().filter(|_| self.welcomed) else { return };
        let length = net.plan.settings.payload_max + 1;
        let frame = format!("DONE {} {} #{length}\nxxxxxxxx", lease.0, lease.1);
        net.send(end.link, Way::Up, frame.as_bytes());
    }
}
