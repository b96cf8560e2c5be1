//! The core over virtual time, with workers that take as long as the workload says.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::workload::{HANDS, KINDS, Piece, Workload, whole};
use crate::core::{Core, Effects, Event, Now, Peer, Settings, What};
use crate::frame::Frame;
use crate::message::Reply;
use crate::protocol::{Parsed, greet, parse_request};
use crate::route::{Ring, Weight, point};
use crate::task::{Attempt, SessionId, TaskId};

/// Runs of each kind before the play, so that the scheduler knows how long they take.
const WARM_UP: usize = 20;

/// Where the clocks begin.
const START: Now = Now { mono_us: 0, wall_ms: 1_790_000_000_000 };

/// What came of a play.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// From the first submission to the last end, in microseconds.
    pub(super) makespan_us: u64,
    pub(super) mean_wait_us: f64,
    /// From submission to end.
    pub(super) mean_sojourn_us: f64,
    pub(super) p99_wait_us: u64,
    pub(super) max_wait_us: u64,
    /// By how much the last task to begin before another one came later than that, at most.
    pub(super) overtaken_us: u64,
    /// Of all waits, 1 if all are equal (R. Jain, D. Chiu and W. Hawe, 1984): (Σw)² ÷ (n Σw²).
    pub(super) fairness: f64,
    /// The largest difference between a worker's share of the runs and of the weights.
    pub(super) off_weight: f64,
    /// The share of tasks that ran where the ring has their keys.
    pub(super) with_owner: f64,
}

impl Outcome {
    pub(super) fn value(&self) -> Value {
        json!({
            "makespan_us": self.makespan_us,
            "mean_wait_us": self.mean_wait_us,
            "mean_sojourn_us": self.mean_sojourn_us,
            "p99_wait_us": self.p99_wait_us,
            "max_wait_us": self.max_wait_us,
            "overtaken_us": self.overtaken_us,
            "fairness": self.fairness,
            "off_weight": self.off_weight,
            "with_owner": self.with_owner,
        })
    }
}

/// Plays a workload in a queue with these policies.
///
/// # Errors
///
/// What the core refused.
pub(super) fn play(workload: &Workload, policies: &str, seed: u64) -> Result<Outcome, String> {
    let mut stage = Stage::new(seed);
    stage.say(CLIENT, &format!("QUEUE q {policies}\n"))?;
    stage.warm_up()?;
    stage.begin_us = stage.now.mono_us;
    stage.expect(workload);
    while let Some(Reverse((at_us, _, happening))) = stage.future.pop() {
        stage.pass_to(at_us);
        match happening {
            Happening::Submit(number) => {
                let piece = workload.pieces.get(number).ok_or("a piece that is none")?;
                stage.came_us.push(stage.now.mono_us);
                stage.say(CLIENT, &submit(number, piece))?;
            }
            Happening::Done { worker, id, attempt } => {
                stage.say(worker, &format!("DONE {id} {attempt}\n"))?;
            }
        }
        stage.begin_runs(workload)?;
        if stage.future.is_empty() {
            stage.expect(workload);
        }
    }
    stage.outcome(workload)
}

/// Who hands tasks in.
const CLIENT: Peer = Peer { index: 0, serial: 1 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Submit(usize),
    Done { worker: Peer, id: TaskId, attempt: Attempt },
}

struct Stage {
    core: Core,
    fx: Effects,
    now: Now,
    future: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    /// Numbers what is to happen, so that what was said first happens first.
    said: u64,
    begin_us: u64,
    /// When each task came.
    came_us: Vec<u64>,
    /// The runs as they begin.
    runs: Vec<Ran>,
}

/// A run of a task.
#[derive(Clone, Copy, Debug)]
struct Ran {
    /// The task's place in the workload.
    number: usize,
    /// The worker.
    hand: usize,
    wait_us: u64,
    run_us: u64,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let core = Core::new(Settings::default(), seed, START);
        let (fx, future) = (Effects::default(), BinaryHeap::new());
        let (came_us, runs) = (Vec::new(), Vec::new());
        let mut stage = Self { core, fx, now: START, future, said: 0, begin_us: 0, came_us, runs };
        stage.join(CLIENT, "operator");
        for (number, hand) in HANDS.iter().enumerate() {
            let (slots, weight) = (hand.slots, hand.pace());
            let hello =
                format!("worker name={} kinds=* slots={slots} weight={weight}", name(number));
            stage.join(peer(number), &hello);
        }
        stage
    }

    fn join(&mut self, peer: Peer, hello: &str) {
        let frame = Frame::read(Bytes::from(format!("HELLO 1 {hello}\n")));
        if let Some((_, hello)) = frame.ok().and_then(|frame| greet(&frame).ok()) {
            let (hello, fresh) = (Box::new(hello), SessionId(peer.serial.into()));
            self.apply(Event::Joined { peer, hello, fresh, credential: 0 });
        }
    }

    fn apply(&mut self, event: Event) {
        self.core.handle(self.now, event, &mut self.fx);
        self.core.settle(self.now, &mut self.fx);
    }

    fn say(&mut self, peer: Peer, text: &str) -> Result<(), String> {
        let frame = Frame::read(Bytes::copy_from_slice(text.as_bytes()));
        let frame = frame.map_err(|malformed| malformed.to_string())?;
        match parse_request(&frame) {
            Parsed::Request(request) => self.apply(Event::Request { peer, request }),
            Parsed::Refuse(refusal) => return Err(format!("{text:?}: {}", refusal.text)),
            Parsed::Ignore => {}
        }
        Ok(())
    }

    /// Has tasks come: all, each at its time, or those of the next wave at once.
    fn expect(&mut self, workload: &Workload) {
        let from = self.came_us.len();
        let count = workload.wave.unwrap_or(workload.pieces.len());
        for (number, piece) in workload.pieces.iter().enumerate().skip(from).take(count) {
            let at_us = self.begin_us + piece.at_us;
            self.later(at_us.max(self.now.mono_us), Happening::Submit(number));
        }
    }

    fn later(&mut self, at_us: u64, happening: Happening) {
        self.said += 1;
        self.future.push(Reverse((at_us, self.said, happening)));
    }

    /// Lets time pass, stopping wherever the core wants to be called.
    fn pass_to(&mut self, at_us: u64) {
        loop {
            let deadline = self.core.next_deadline();
            let wall_us = deadline.wall_ms.map(|ms| ms.saturating_sub(START.wall_ms) * 1000);
            let next_us = deadline.mono_us.into_iter().chain(wall_us).min().unwrap_or(u64::MAX);
            if next_us > at_us {
                break;
            }
            self.set(next_us.max(self.now.mono_us));
            self.apply(Event::Due);
        }
        self.set(at_us);
    }

    fn set(&mut self, mono_us: u64) {
        self.now = Now { mono_us, wall_ms: START.wall_ms + mono_us / 1000 };
    }

    /// Lets each kind run a few times, by the route, for as long as it takes a worker in the mean.
    fn warm_up(&mut self) -> Result<(), String> {
        for (kind, mean_us) in KINDS {
            let submit = format!("SUBMIT {kind} queue=q result-ttl=0\n");
            (0..WARM_UP).try_for_each(|_| self.say(CLIENT, &submit))?;
            loop {
                for (worker, id, attempt, _) in self.take_runs() {
                    let done_us = self.now.mono_us + whole(mean_us / speed(hand_of(worker)?));
                    self.later(done_us, Happening::Done { worker, id, attempt });
                }
                let Some(Reverse((at_us, _, happening))) = self.future.pop() else { break };
                self.pass_to(at_us);
                if let Happening::Done { worker, id, attempt } = happening {
                    self.say(worker, &format!("DONE {id} {attempt}\n"))?;
                }
            }
        }
        Ok(())
    }

    /// Has the workers begin what was pushed to them.
    fn begin_runs(&mut self, workload: &Workload) -> Result<(), String> {
        for (worker, id, attempt, number) in self.take_runs() {
            let piece = workload.pieces.get(number).ok_or("a run of something else")?;
            let hand = hand_of(worker)?;
            let came_us = self.came_us.get(number).ok_or("a run of what has not come")?;
            let wait_us = self.now.mono_us - came_us;
            let run_us = whole(piece.work_us / speed(hand));
            self.runs.push(Ran { number, hand, wait_us, run_us });
            let done_us = self.now.mono_us + run_us;
            self.later(done_us, Happening::Done { worker, id, attempt });
        }
        Ok(())
    }

    /// What was pushed to workers: to whom, which lease, and the number that its payload is.
    fn take_runs(&mut self) -> Vec<(Peer, TaskId, Attempt, usize)> {
        let runs = self.fx.sends.iter().filter_map(|send| match &send.what {
            What::Reply(Reply::Run { id, attempt, record }) => {
                let text = std::str::from_utf8(record).unwrap_or_default();
                let number = text.trim_end().rsplit('\n').next().and_then(|n| n.parse().ok());
                Some((send.to, *id, *attempt, number.unwrap_or(usize::MAX)))
            }
            _ => None,
        });
        let runs = runs.collect();
        self.fx.clear();
        runs
    }

    fn outcome(&self, workload: &Workload) -> Result<Outcome, String> {
        let count = workload.pieces.len();
        if self.runs.len() != count {
            return Err(format!("{} of {count} tasks were run", self.runs.len()));
        }
        let mut waits: Vec<u64> = self.runs.iter().map(|ran| ran.wait_us).collect();
        let sojourns: f64 = self.runs.iter().map(|ran| (ran.wait_us + ran.run_us) as f64).sum();
        waits.sort_unstable();
        let sum: f64 = waits.iter().map(|wait| *wait as f64).sum();
        let squares: f64 = waits.iter().map(|wait| (*wait as f64).powi(2)).sum();
        let n = count as f64;
        Ok(Outcome {
            makespan_us: self.now.mono_us - self.begin_us,
            mean_wait_us: sum / n,
            mean_sojourn_us: sojourns / n,
            p99_wait_us: waits.get((count * 99).div_ceil(100) - 1).copied().unwrap_or_default(),
            max_wait_us: waits.last().copied().unwrap_or_default(),
            overtaken_us: self.overtaken_us(),
            fairness: if squares > 0.0 { sum * sum / (n * squares) } else { 1.0 },
            off_weight: self.off_weight(),
            with_owner: self.with_owner(workload),
        })
    }

    fn overtaken_us(&self) -> u64 {
        let came = self.runs.iter().filter_map(|ran| self.came_us.get(ran.number));
        let overtaken = came.scan(0, |last_us, came_us| {
            *last_us = (*last_us).max(*came_us);
            Some(*last_us - came_us)
        });
        overtaken.max().unwrap_or_default()
    }

    fn off_weight(&self) -> f64 {
        let pace: f64 = HANDS.iter().map(|hand| hand.pace()).sum();
        let off = HANDS.iter().enumerate().map(|(number, hand)| {
            let runs = self.runs.iter().filter(|ran| ran.hand == number).count() as f64;
            (runs / self.runs.len() as f64 - hand.pace() / pace).abs()
        });
        off.fold(0.0, f64::max)
    }

    fn with_owner(&self, workload: &Workload) -> f64 {
        let mut ring = Ring::new();
        for (number, hand) in (0..).zip(&HANDS) {
            let weight = Weight::parse(&hand.pace().to_string()).unwrap_or_default();
            ring.set(number, &name(number as usize), Some(weight));
        }
        let with = self.runs.iter().filter(|ran| {
            let key = workload.pieces.get(ran.number).map(|piece| key_of(piece.key));
            let owner = key.and_then(|key| ring.owner(point(key.as_bytes())));
            owner.is_some_and(|owner| owner as usize == ran.hand)
        });
        with.count() as f64 / self.runs.len() as f64
    }
}

/// The place of a worker.
fn hand_of(worker: Peer) -> Result<usize, String> {
    (worker.index as usize).checked_sub(1).ok_or_else(|| "a run by the client".to_owned())
}

fn speed(hand: usize) -> f64 {
    HANDS.get(hand).map_or(1.0, |hand| hand.speed)
}

fn peer(hand: usize) -> Peer {
    let index = u32::try_from(hand).unwrap_or(u32::MAX - 1) + 1;
    Peer { index, serial: index + 1 }
}

fn name(hand: usize) -> String {
    format!("w{hand}")
}

fn key_of(key: u32) -> String {
    format!("key-{key}")
}

/// A task whose payload is its number.
fn submit(number: usize, piece: &Piece) -> String {
    let (kind, payload) = (KINDS.get(piece.kind).map_or("", |(kind, _)| kind), number.to_string());
    format!(
        "SUBMIT {kind} queue=q key={} priority={} expires={} result-ttl=0 #{}\n{payload}\n",
        key_of(piece.key),
        piece.priority,
        piece.expires_ms,
        payload.len()
    )
}

#[cfg(test)]
mod tests {
    use super::super::workload::Arrival;
    use super::*;

    fn play_of(policies: &str, arrival: Arrival) -> Outcome {
        play(&Workload::new(3000, arrival, 1), policies, 1).unwrap()
    }

    #[test]
    fn the_same_seed_plays_the_same() {
        let play = || play_of("order=sjf", Arrival::Together).value();
        assert_eq!(play(), play());
    }

    #[test]
    fn shortest_first_halves_the_mean_wait() {
        for order in ["sjf", "sjf aging=0.5"] {
            let [first, shortest] = ["fcfs", order]
                .map(|order| play_of(&format!("order={order}"), Arrival::Together).mean_wait_us);
            assert!(2.0 * shortest < first, "{order}: {shortest} against {first}");
        }
    }

    /// With aging `a` per second no task is overtaken by one that comes later than the difference of
    /// their estimates ÷ a. No estimate is above 4 s: 2 s × (1 + cv), of workers that are quicker.
    #[test]
    fn no_task_is_overtaken_beyond_the_bound_of_aging() {
        let play = |policies: &str| play_of(policies, Arrival::Steady(1.5));
        let [unbounded, aged, fcfs] = ["order=sjf", "order=sjf aging=0.5", "order=fcfs"].map(play);
        assert!(aged.overtaken_us <= 8_000_000, "{aged:?}");
        assert!(unbounded.overtaken_us > 8_000_000, "or else this shows nothing: {unbounded:?}");
        assert_eq!(fcfs.overtaken_us, 0);
    }

    #[test]
    fn fastest_beats_taking_turns() {
        for share in [0.5, 0.8] {
            let [turns, fastest] = ["round-robin", "fastest"]
                .map(|route| play_of(&format!("route={route}"), Arrival::Waves(share)).makespan_us);
            assert!(10 * fastest < 9 * turns, "waves of {share}: {fastest} against {turns}");
            let [turns, fastest] = ["round-robin", "fastest"].map(|route| {
                play_of(&format!("route={route}"), Arrival::Steady(share)).mean_sojourn_us
            });
            assert!(fastest < 0.9 * turns, "{share} of the load: {fastest} against {turns}");
        }
    }

    #[test]
    fn aging_bounds_what_the_shortest_first_makes_others_wait() {
        let policies = ["order=sjf", "order=sjf aging=0.1", "order=fcfs"];
        let [sjf, aged, fcfs] = policies.map(|policies| play_of(policies, Arrival::Steady(0.98)));
        assert!(aged.max_wait_us <= sjf.max_wait_us, "{aged:?} against {sjf:?}");
        assert!(aged.mean_wait_us <= fcfs.mean_wait_us, "{aged:?} against {fcfs:?}");
    }

    #[test]
    fn hash_keeps_tasks_with_their_owners() {
        for order in ["fcfs", "sjf", "priority", "deadline"] {
            let hash = play_of(&format!("order={order} route=hash"), Arrival::Steady(0.8));
            assert!(hash.with_owner >= 0.9, "{order}: {hash:?}");
        }
        assert!(play_of("route=weighted-random", Arrival::Steady(0.8)).with_owner < 0.5);
    }
}
