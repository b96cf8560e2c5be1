//! Simulated clients and operators: they submit with random options, ask about tasks, cancel and
//! bring back, pipeline, half-close, and send again what was not answered if it is `unique=`.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use ganger::message::{
    AfterFailure, Cron, EventFilter, Hello, Request, Role, Route, Start, TaskFilter,
};
use ganger::protocol::{Answer, Attempts, Submission, put_cron_add, put_hello, put_request};
use ganger::route::Weight;
use ganger::task::TaskId;

use super::{End, Talk};
use crate::auditor::Auditor;
use crate::dice::Dice;
use crate::happening::{Actor, Errand, Happening, Way};
use crate::net::{Net, Piece};
use crate::workload::{KINDS, QUEUES, TAGS};

/// A client.
pub(crate) struct Client {
    index: usize,
    life: u32,
    end: Option<End>,
    welcomed: bool,
    /// It has said all it wanted on this connection.
    half_closed: bool,
    asked: VecDeque<Asked>,
    /// Unique submissions whose connection ended before the answer.
    unanswered: Vec<Bytes>,
    /// It asks for nothing any more.
    pub(crate) quiet: bool,
}

/// What a request was, for the pairing of its reply.
enum Asked {
    Hello,
    Submit { frame: Bytes, unique: bool },
    Task(TaskId),
    Other,
}

impl Client {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            life: 0,
            end: None,
            welcomed: false,
            half_closed: false,
            asked: VecDeque::new(),
            unanswered: Vec::new(),
            quiet: false,
        }
    }

    pub(crate) fn plan(&self, net: &mut Net, us: u64, chore: Errand) {
        net.after(us, Happening::Client { index: self.index, life: self.life, chore });
    }

    fn think(&self, net: &mut Net) {
        let us = net.dice.within(1..=net.plan.ask.think_us);
        self.plan(net, us, Errand::Ask);
    }

    pub(crate) fn do_errand(&mut self, net: &mut Net, talk: &mut Talk, life: u32, chore: Errand) {
        if life != self.life || self.quiet {
            return;
        }
        match chore {
            Errand::Dial => self.dial(net),
            Errand::Ask => {
                self.ask_something(net, talk);
                self.think(net);
            }
        }
    }

    fn dial(&mut self, net: &mut Net) {
        let Some(link) = net.dial(Actor::Client(self.index)) else {
            let us = net.dice.spread(10_000..=2_000_000);
            return self.plan(net, us, Errand::Dial);
        };
        self.end = Some(End::new(link));
        (self.welcomed, self.half_closed) = (false, false);
        self.asked.clear();
        let operator = net.dice.per_mille(300);
        let hello = Hello {
            role: if operator { Role::Operator } else { Role::Client },
            name: format!("client-{}", self.index),
            host: String::new(),
            pid: 0,
            slots: 1,
            weight: Weight::default(),
            kinds: None,
            queues: None,
            tags: Vec::new(),
            res: Vec::new(),
            heartbeat_ms: None,
            price: 0.0,
            payload_max: None,
            session: None,
            token: None,
        };
        let mut frame = BytesMut::new();
        put_hello((1, 1), &hello, &mut frame).expect("a good HELLO");
        self.send(net, Asked::Hello, &frame);
        // What is pipelined behind HELLO is as good as what comes after its answer.
        let frames = std::mem::take(&mut self.unanswered);
        for frame in frames {
            net.mark("a unique SUBMIT is sent again");
            self.send(net, Asked::Submit { frame: frame.clone(), unique: true }, &frame);
        }
        self.think(net);
    }

    fn send(&mut self, net: &mut Net, asked: Asked, frame: &[u8]) {
        let Some(end) = self.end.as_ref().filter(|_| !self.half_closed) else { return };
        self.asked.push_back(asked);
        net.send(end.link, Way::Up, frame);
    }

    fn request(&mut self, net: &mut Net, asked: Asked, request: &Request) {
        let mut frame = BytesMut::new();
        put_request(request, &mut frame).expect("a good request");
        self.send(net, asked, &frame);
    }

    fn ask_something(&mut self, net: &mut Net, talk: &mut Talk) {
        if self.end.is_none() || self.half_closed {
            return;
        }
        let ask = net.plan.ask.clone();
        if net.dice.per_mille(ask.burst) {
            return self.burst(net, talk);
        }
        if net.dice.per_mille(ask.operate) {
            return self.operate(net, talk);
        }
        if net.dice.per_mille(ask.wrong) {
            return self.be_wrong(net);
        }
        if net.dice.per_mille(ask.cron) {
            return self.mind_crons(net, talk);
        }
        let task = talk.some_task(net);
        match task {
            Some(id) if net.dice.per_mille(ask.cancel) => {
                self.request(net, Asked::Task(id), &Request::Cancel(id));
            }
            Some(id) if net.dice.per_mille(ask.retry) => {
                self.request(net, Asked::Task(id), &Request::Retry(id));
            }
            Some(id) if net.dice.per_mille(ask.question) => {
                let (asked, request) = match net.dice.below(1000) {
                    0..500 => (Asked::Task(id), Request::Get(id)),
                    500..850 => (Asked::Task(id), Request::Watch(id)),
                    _ => (Asked::Other, Request::Explain(id)),
                };
                self.request(net, asked, &request);
            }
            _ => self.submit(net, talk, false),
        }
    }

    /// Several requests without waiting, and perhaps nothing more after them.
    fn burst(&mut self, net: &mut Net, talk: &mut Talk) {
        net.mark("a burst");
        for _ in 0..net.dice.within(2..=12) {
            self.submit(net, talk, true);
        }
        if net.dice.per_mille(500) {
            net.mark("a half-closed connection");
            self.half_closed = true;
            if let Some(end) = &self.end {
                let link = end.link;
                net.finish(link, Way::Up, Piece::Eof);
            }
        }
    }

    /// Asks for what nobody may ask for.
    fn be_wrong(&mut self, net: &mut Net) {
        net.mark("a wrong request");
        let frame: &[u8] = match net.dice.below(8) {
            0 => b"FROB 1 2\n",
            1 => b"GET\n",
            2 => b"GET somewhere\n",
            3 => b"SUBMIT resize queue=bulk queue=night #2\nno\n",
            4 => b"QUEUES #3\nabc\n",
            5 => b"SLOTS 3\n",
            6 => b"SUBMIT resize delay=1 at=2\n",
            _ => b"HELLO 1 client\n",
        };
        self.send(net, Asked::Other, frame);
    }

    fn operate(&mut self, net: &mut Net, talk: &Talk) {
        let name = net.dice.pick(&talk.names).clone();
        let queue = (*net.dice.pick(&QUEUES)).to_owned();
        let request = match net.dice.below(9) {
            0 => Request::Drain(name),
            1 if net.now_us.is_multiple_of(2) => {
                let stats_ms = net.now_us.is_multiple_of(4).then_some(1000);
                Request::Events(Some(Box::new(EventFilter { stats_ms, ..EventFilter::default() })))
            }
            1 => Request::Queues,
            2 => Request::Workers,
            3 => Request::Tasks(TaskFilter { limit: 100, ..TaskFilter::default() }),
            4 => Request::Stats { cursor: 0, limit: 1000 },
            5 => Request::Queue { name: queue, policies: Vec::new() },
            _ => {
                net.mark("a queue's policies change");
                Request::Queue { name: queue, policies: policies(&mut net.dice) }
            }
        };
        self.request(net, Asked::Other, &request);
    }

    /// Adds a periodic task, or does something to one that may be there.
    fn mind_crons(&mut self, net: &mut Net, talk: &mut Talk) {
        let name = format!("tick-{}", net.dice.below(4));
        let request = match net.dice.below(8) {
            0 => Cron::List { cursor: String::new(), limit: 10 },
            1 => Cron::Remove(name),
            2 => Cron::Pause { name, paused: true },
            3 => Cron::Pause { name, paused: false },
            _ => return self.add_cron(net, talk, &name),
        };
        self.request(net, Asked::Other, &Request::Cron(request));
    }

    fn add_cron(&mut self, net: &mut Net, talk: &mut Talk, name: &str) {
        net.mark("a periodic task is added");
        let payload = talk.payload(net);
        let unit_ms = net.plan.ask.unit_ms;
        let dice = &mut net.dice;
        let kind = *dice.pick(&KINDS);
        let mut task = Submission::new(kind, &payload);
        task.queue = dice.per_mille(500).then(|| *dice.pick(&QUEUES));
        task.expires_ms = dice.per_mille(100).then(|| dice.spread(1..=100) * unit_ms);
        let every = (dice.spread(1..=100) * unit_ms).max(1000).to_string();
        let mut plan = match dice.below(3) {
            0 => vec![("schedule", "*/2 * * * *"), ("tz", "Europe/Berlin")],
            _ => vec![("every", &*every)],
        };
        plan.extend(dice.per_mille(600).then_some(("overlap", "queue")));
        plan.extend(dice.per_mille(400).then_some(("missed", "none")));
        let mut frame = Vec::new();
        put_cron_add(name, &plan, &task, &mut frame).expect("a good entry");
        self.send(net, Asked::Other, &frame);
    }

    fn submit(&mut self, net: &mut Net, talk: &mut Talk, watch: bool) {
        let ask = net.plan.ask.clone();
        let payload = talk.payload(net);
        let wall_ms = net.wall_ms();
        let unit_ms = ask.unit_ms;
        let dice = &mut net.dice;
        let key = format!("key {}", dice.below(12));
        let unique = format!("order={}", dice.below(20));
        let kind = *dice.pick(&KINDS);
        let mut after = Vec::new();
        if !talk.ids.is_empty() && dice.per_mille(ask.after) {
            let recent = talk.ids.len().saturating_sub(8);
            let count = dice.within(1..=3);
            after.extend((0..count).map(|_| *dice.pick(&talk.ids[recent..])));
        }
        let mut submission = Submission::new(kind, &payload);
        submission.after = &after;
        if !after.is_empty() {
            // What waited for a RETRY would never drain.
            let on_failure = *dice.pick(&[AfterFailure::Cancel, AfterFailure::Run]);
            submission.after_failure = Some(on_failure);
        }
        if dice.per_mille(ask.needy) {
            submission.needs = (*dice.pick(&[&TAGS[..], &TAGS[..1], &[]])).to_vec();
        }
        if dice.per_mille(ask.needy) {
            submission.res.push(("cpu", *dice.pick(&[1, 2, 3, 8])));
            if dice.per_mille(300) {
                submission.res.push(("mem", *dice.pick(&[4, 16])));
            }
        }
        if dice.per_mille(700) {
            submission.queue = Some(*dice.pick(&QUEUES));
        }
        submission.key = dice.per_mille(ask.keyed).then_some(&*key);
        submission.serial = submission.key.is_some() && dice.per_mille(ask.serial);
        if dice.per_mille(ask.timed) {
            submission.start = match dice.below(4) {
                0 => Start::At(wall_ms - 5_000 + dice.spread(0..=60_000)),
                1 => Start::Delay(dice.spread(0..=30_000)),
                _ => Start::Delay(dice.spread(0..=50) * unit_ms),
            };
        }
        if dice.per_mille(ask.timed / 2) {
            submission.expires_ms = Some(dice.spread(1..=100) * unit_ms);
        }
        if dice.per_mille(ask.limited) {
            submission.timeout_ms = Some(dice.spread(4..=64) * unit_ms);
        }
        if dice.per_mille(ask.limited / 2) {
            submission.max_run_ms = Some(dice.spread(4..=128) * unit_ms);
        }
        if dice.per_mille(ask.limited) {
            submission.attempts = Some(match dice.below(6) {
                0 => Attempts::Unlimited,
                _ => Attempts::AtMost(u32::try_from(dice.spread(1..=8)).expect("few")),
            });
            submission.backoff_ms = Some(dice.spread(0..=20) * unit_ms);
        }
        let is_unique = dice.per_mille(ask.unique);
        if is_unique {
            submission.unique = Some(&unique);
            submission.unique_for_ms = dice.per_mille(400).then(|| dice.spread(1..=200) * unit_ms);
        }
        if dice.per_mille(200) {
            submission.result_ttl_ms = Some(*dice.pick(&[0, 1, 500, 10_000, 100_000]));
        }
        submission.watch = watch || dice.per_mille(ask.watch);
        submission.trace = dice.per_mille(50).then_some("trace 1=2");
        let mut frame = BytesMut::new();
        submission.put(&mut frame).expect("a good SUBMIT");
        let frame = frame.freeze();
        self.send(net, Asked::Submit { frame: frame.clone(), unique: is_unique }, &frame);
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
                    self.on_answer(audit, talk, &answer);
                }
            }
            Piece::Eof | Piece::Reset => self.on_gone(net),
        }
    }

    fn on_answer(&mut self, audit: &mut Auditor, talk: &mut Talk, answer: &Answer) {
        match answer {
            Answer::Ok(accepted) => match self.asked.pop_front() {
                Some(Asked::Hello) => self.welcomed = true,
                Some(Asked::Submit { .. }) => {
                    let id = accepted.id().expect("OK to SUBMIT names its task");
                    audit.client_was_told(id);
                    talk.ids.push(id);
                }
                Some(Asked::Task(id)) => {
                    assert_eq!(accepted.id(), Some(id), "R: replies come in order");
                }
                Some(Asked::Other) => {}
                None => panic!("R: a reply to nothing"),
            },
            Answer::Err(_) => {
                self.asked.pop_front().expect("R: a refusal of nothing");
            }
            _ => {}
        }
    }

    /// The connection is over; what was not answered may be sent again if it is unique.
    pub(crate) fn on_gone(&mut self, net: &mut Net) {
        let Some(end) = self.end.take() else { return };
        net.forget(end.link);
        self.life += 1;
        for asked in self.asked.drain(..) {
            if let Asked::Submit { frame, unique: true } = asked {
                self.unanswered.push(frame);
            }
        }
        if !self.quiet {
            let us = net.dice.spread(1_000..=1_000_000);
            self.plan(net, us, Errand::Dial);
        }
    }

    /// Leaves for good, without a word.
    pub(crate) fn retire(&mut self, net: &mut Net) {
        self.quiet = true;
        if let Some(end) = &self.end {
            let link = end.link;
            net.finish(link, Way::Up, Piece::Reset);
            self.on_gone(net);
        }
    }
}

fn policies(dice: &mut Dice) -> Vec<(String, String)> {
    let mut policies = Vec::new();
    if dice.per_mille(700) {
        // Those by key as often as the others together: they have more to go wrong.
        let keyed = [Route::Hash, Route::Hash, Route::Hash, Route::Modulo];
        let route = *dice.pick(&[&keyed[..], &Route::ALL].concat());
        policies.push(("route".to_owned(), route.word().to_owned()));
    }
    let others = [
        ("order", &["fcfs", "sjf", "priority", "deadline"][..]),
        ("aging", &["0", "0.5"]),
        ("weight", &["1", "3", "0.25"]),
        ("limit", &["1", "3", "none", "none"]),
        ("key-limit", &["1", "2", "none"]),
        ("rate", &["300", "2000", "none"]),
    ];
    for (name, values) in others {
        if dice.per_mille(150) {
            policies.push((name.to_owned(), (*dice.pick(values)).to_owned()));
        }
    }
    if policies.is_empty() || dice.per_mille(500) {
        let spill = *dice.pick(&["none", "0", "1", "200", "1000", "20000"]);
        policies.push(("spill".to_owned(), spill.to_owned()));
    }
    policies
}
