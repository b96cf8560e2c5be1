//! What every store does, whatever is behind it.
//!
//! [`exercise`] is given a way to make stores. It asks for an empty one per case, opened with
//! [`RESULT_CAP`], and opens that again and again: after an orderly close and after none.

use ganger::store::inbox::Bite;
use ganger::store::{Status, Store};
use ganger::task::TaskId;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::model::{Model, Results, START_MS, Turn, id, result_frame, submit_frame};
use super::workload::{Choice, Workload};

mod results;

pub(super) use results::results_are_bounded_by_commits;

/// Opens one store; each time what was committed through the last handle is there, which is gone
/// by then.
pub(super) type Open = Box<dyn FnMut() -> Box<dyn Store>>;

/// Bytes of results to keep, for the stores that are exercised.
pub(super) const RESULT_CAP: u64 = 4 << 20;

const HOUR_MS: u64 = 3_600_000;

type Case = fn(&mut Fresh<'_>);

/// Makes empty stores.
struct Fresh<'a> {
    make: &'a mut dyn FnMut() -> Open,
    /// Whether what a store holds outlives its handle.
    lasts: bool,
}

/// Runs every case. `fresh` makes an empty store and gives the way to open it.
pub(super) fn exercise(mut fresh: impl FnMut() -> Open) {
    run_cases(&mut Fresh { make: &mut fresh, lasts: true });
}

/// Runs every case without ever opening a store again: for one that lives as long as its process.
pub(super) fn exercise_volatile(mut fresh: impl FnMut() -> Box<dyn Store>) {
    let mut make = || -> Open {
        let mut store = Some(fresh());
        Box::new(move || store.take().expect("it is opened once"))
    };
    run_cases(&mut Fresh { make: &mut make, lasts: false });
}

#[expect(clippy::print_stderr, reason = "the last name printed is the case that failed")]
fn run_cases(fresh: &mut Fresh<'_>) {
    for (name, case) in CASES {
        eprintln!("conformance: {name}");
        case(fresh);
    }
}

const CASES: &[(&str, Case)] = &[
    ("an empty store holds nothing", empty_store),
    ("a task comes back as it was submitted", submit),
    ("a state line replaces the one before", state),
    ("an end takes the task and leaves its result", end),
    ("an end that keeps no result leaves none", end_without_result),
    ("a task begins and ends within one batch", whole_life),
    ("buried, revived, dropped", bury),
    ("named lines are replaced and forgotten", lines),
    ("kinds of lines do not share names", line_kinds),
    ("a periodic task is a line and a frame of bytes", crons),
    ("a periodic task and what it fires are one batch", cron_fires),
    ("the last identifier outlives its task", last),
    ("a batch twice is a batch once", twice),
    ("an empty batch changes nothing", empty_batch),
    ("an inbox that nobody wrote to is empty", empty_inbox),
    ("payloads are bytes: empty, binary, 1 MiB", payloads),
    ("names are bytes: unicode, long", names),
    ("ten thousand tasks, ascending", many),
    ("results end at their time", results::result_time),
    ("results are kept within the cap, the newest", results::result_cap),
    ("sweeping leaves everything else alone", sweep),
    ("figures of a store can be asked for", status),
    ("random turns, reopened in between", random),
];

/// A store and what must be in it.
struct Pair {
    open: Open,
    lasts: bool,
    store: Box<dyn Store>,
    model: Model,
    results: Results,
}

impl Pair {
    fn new(fresh: &mut Fresh<'_>) -> Self {
        let mut open = (fresh.make)();
        let mut store = open();
        assert_eq!(Model::load(store.as_mut()), Model::default(), "a fresh store is empty");
        let (model, results) = (Model::default(), Results::new());
        Self { open, lasts: fresh.lasts, store, model, results }
    }

    fn commit(&mut self, turn: Turn) {
        self.store.commit(&turn.0).unwrap();
        self.model.apply(&turn.0, &mut self.results);
    }

    /// Ends the handle orderly and compares what the next one loads.
    fn reopen(&mut self) {
        if self.lasts {
            self.store.close().unwrap();
            self.abandon();
        }
    }

    /// Drops the handle without a word, as a killed process does, and compares likewise.
    fn abandon(&mut self) {
        if !self.lasts {
            return;
        }
        self.store = Box::new(Closed);
        self.store = (self.open)();
        assert_eq!(Model::load(self.store.as_mut()), self.model);
    }

    fn result(&mut self, id: TaskId) -> Option<Vec<u8>> {
        self.store.result(id).unwrap().map(Vec::from)
    }

    fn sweep(&mut self, wall_ms: u64) {
        for _ in 0..100_000 {
            if !self.store.sweep(wall_ms).unwrap() {
                return;
            }
        }
        panic!("a sweep comes to an end");
    }

    /// Results that the store must have at a time, and those that it must not.
    fn compare_results(&mut self, wall_ms: u64) {
        for (id, (until_ms, frame)) in self.results.clone() {
            let expected = (until_ms > wall_ms).then_some(frame);
            assert_eq!(self.result(id), expected, "{id} until {until_ms} at {wall_ms}");
        }
    }
}

/// Stands in for a store while there is none.
struct Closed;

impl Store for Closed {
    fn load(
        &mut self,
        _: &mut dyn FnMut(ganger::record::Record<'_>) -> Result<(), String>,
    ) -> Result<ganger::store::Loaded, ganger::store::Error> {
        unreachable!()
    }
    fn commit(&mut self, _: &ganger::record::Batch) -> Result<(), ganger::store::Error> {
        unreachable!()
    }
    fn result(&mut self, _: TaskId) -> Result<Option<bytes::Bytes>, ganger::store::Error> {
        unreachable!()
    }
    fn sweep(&mut self, _: u64) -> Result<bool, ganger::store::Error> {
        unreachable!()
    }
    fn status(&mut self) -> Result<Status, ganger::store::Error> {
        unreachable!()
    }
    fn close(&mut self) -> Result<(), ganger::store::Error> {
        unreachable!()
    }
}

fn empty_store(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    assert_eq!(pair.result(id(1)), None);
    assert_eq!(pair.result(TaskId::default()), None);
    pair.sweep(START_MS);
    pair.reopen();
    pair.abandon();
}

fn submit(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    pair.commit(Turn::at(START_MS).submit(id(1), submit_frame(b"one")));
    pair.reopen();
    pair.commit(
        Turn::at(START_MS)
            .submit(id(2), submit_frame(b"two"))
            .submit(id(3), submit_frame(b"three")),
    );
    pair.abandon();
    assert_eq!(pair.result(id(2)), None, "an unfinished task has no result");
}

fn state(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    pair.commit(
        Turn::at(START_MS).submit(id(1), submit_frame(b"")).submit(id(2), submit_frame(b"")),
    );
    pair.commit(Turn::at(START_MS).state(id(1), "leased at=5 attempt=1 used=0"));
    pair.reopen();
    pair.commit(Turn::at(START_MS).state(id(1), "ready at=6 attempt=1 used=1"));
    pair.commit(Turn::at(START_MS).state(id(2), "leased at=7").state(id(2), "scheduled at=9"));
    pair.abandon();
}

fn end(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let until_ms = START_MS + HOUR_MS;
    let turn =
        Turn::at(START_MS).submit(id(1), submit_frame(b"1")).submit(id(2), submit_frame(b"2"));
    pair.commit(turn.state(id(1), "leased at=5"));
    pair.commit(Turn::at(START_MS).end(id(1), result_frame(id(1), until_ms, b"r"), until_ms));
    pair.compare_results(START_MS);
    pair.reopen();
    pair.commit(Turn::at(START_MS).end(id(2), result_frame(id(2), until_ms, b""), until_ms));
    pair.compare_results(START_MS);
    pair.abandon();
    pair.compare_results(START_MS);
    assert_eq!(pair.result(id(3)), None);
}

fn end_without_result(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    pair.commit(Turn::at(START_MS).submit(id(1), submit_frame(b"1")));
    pair.commit(Turn::at(START_MS).end(id(1), "", 0));
    assert_eq!(pair.result(id(1)), None);
    pair.reopen();
    assert_eq!(pair.result(id(1)), None);
}

fn whole_life(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let until_ms = START_MS + HOUR_MS;
    pair.commit(
        Turn::at(START_MS)
            .submit(id(1), submit_frame(b"1"))
            .state(id(1), "leased at=5")
            .end(id(1), result_frame(id(1), until_ms, b"r"), until_ms)
            .submit(id(2), submit_frame(b"2"))
            .bury(id(2), "dead at=5", submit_frame(b"2"))
            .submit(id(3), submit_frame(b"3"))
            .bury(id(3), "dead at=5", submit_frame(b"3"))
            .revive(id(3), "ready at=6", submit_frame(b"3"))
            .submit(id(4), submit_frame(b"4"))
            .bury(id(4), "cancelled at=5", submit_frame(b"4"))
            .drop(id(4)),
    );
    pair.compare_results(START_MS);
    pair.abandon();
    pair.compare_results(START_MS);
}

fn bury(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let mut turn = Turn::at(START_MS);
    for n in 1..=4 {
        turn = turn.submit(id(n), submit_frame(b"x")).state(id(n), "leased at=1");
    }
    pair.commit(turn);
    let mut turn = Turn::at(START_MS);
    for n in 1..=3 {
        turn = turn.bury(id(n), "dead at=2 reason=attempts", submit_frame(b"x"));
    }
    pair.commit(turn);
    pair.reopen();
    pair.commit(Turn::at(START_MS).revive(id(1), "ready retried=yes", submit_frame(b"x")));
    pair.commit(Turn::at(START_MS).drop(id(2)));
    pair.abandon();
    pair.commit(Turn::at(START_MS).bury(id(1), "dead at=3", submit_frame(b"x")).drop(id(3)));
    pair.reopen();
    assert_eq!(pair.result(id(1)), None, "a buried task has no result");
}

fn lines(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let first = Turn::at(START_MS)
        .hold("default order-1", "id=1 until=2")
        .queue("photos", "route=hash spill=1000")
        .worker("img-7", "host=img pid=1")
        .stats("resize", "succeeded=1")
        .stats("resize@img-7", "succeeded=1");
    pair.commit(first.clone());
    pair.reopen();
    pair.commit(
        Turn::at(START_MS)
            .hold("default order-1", "id=2 until=3")
            .queue("photos", "route=modulo")
            .worker("img-7", "host=other pid=2")
            .stats("resize", "succeeded=2"),
    );
    pair.abandon();
    pair.commit(
        Turn::at(START_MS)
            .unhold("default order-1")
            .unhold("default never-held")
            .worker_gone("img-7", "other")
            .stats_gone("resize@img-7"),
    );
    pair.reopen();
    pair.commit(first);
    pair.abandon();
}

fn line_kinds(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let all = Turn::at(START_MS).hold("a", "1=1").queue("a", "2=2").worker("a", "host=h");
    pair.commit(all.stats("a", "4=4").cron("a", "5=5").run("a", "6=6"));
    pair.reopen();
    pair.commit(Turn::at(START_MS).unhold("a").worker_gone("a", "h"));
    pair.reopen();
    pair.commit(Turn::at(START_MS).run_gone("a").cron_gone("a").run("b 1", "timeout key=%20"));
    pair.reopen();
}

fn crons(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let entry = |seen: u64, payload: &[u8]| {
        [format!("active every=1000 seen={seen}\n").as_bytes(), &submit_frame(payload)].concat()
    };
    let binary: Vec<u8> = (0..=255).collect();
    pair.commit(
        Turn::at(START_MS)
            .cron("tick", entry(1, &binary))
            .cron("a/b.c-d_1", entry(1, b""))
            .cron("large", entry(1, &vec![b'x'; 1 << 20])),
    );
    pair.reopen();
    // Of several lines in one batch the last counts.
    pair.commit(Turn::at(START_MS).cron("tick", entry(2, b"b")).cron("tick", entry(3, &binary)));
    pair.abandon();
    pair.commit(Turn::at(START_MS).cron_gone("large").cron_gone("never-there"));
    pair.commit(Turn::at(START_MS).cron("again", entry(1, b"")).cron_gone("again"));
    pair.commit(Turn::at(START_MS).cron_gone("tick").cron("tick", entry(4, b"c")));
    pair.reopen();
    pair.commit(Turn::at(START_MS).cron_gone("tick").cron_gone("a/b.c-d_1"));
    pair.abandon();
}

fn cron_fires(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    for n in 1..=50 {
        let line = format!("active every=1000 seen={n} task={}\n", id(n));
        let entry = [line.as_bytes(), &submit_frame(b"x")].concat();
        let turn = Turn::at(START_MS + n).submit(id(n), submit_frame(b"x")).cron("tick", &entry);
        pair.commit(if n > 1 { turn.end(id(n - 1), "", 0) } else { turn });
        if n % 10 == 0 {
            pair.abandon();
        }
    }
    pair.reopen();
}

fn last(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    pair.commit(Turn::at(START_MS).submit(id(7), submit_frame(b"")).end(id(7), "", 0));
    pair.reopen();
    assert_eq!(pair.model.last, id(7));
    let mut turn = Turn::at(START_MS).queue("a", "spill=1");
    turn.0.last = id(7);
    pair.commit(turn);
    pair.abandon();
}

fn twice(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let until_ms = START_MS + HOUR_MS;
    let first = Turn::at(START_MS)
        .submit(id(1), submit_frame(b"1"))
        .submit(id(2), submit_frame(b"2"))
        .submit(id(3), submit_frame(b"3"))
        .bury(id(3), "dead at=1", submit_frame(b"3"))
        .hold("a b", "id=1");
    let second = Turn::at(START_MS + 1)
        .state(id(1), "leased at=2")
        .end(id(2), result_frame(id(2), until_ms, b"r"), until_ms)
        .revive(id(3), "ready at=3", submit_frame(b"3"))
        .unhold("a b");
    for turn in [first, second] {
        pair.commit(turn.clone());
        pair.commit(turn);
        pair.abandon();
        pair.compare_results(START_MS);
    }
}

fn empty_inbox(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let bite = Bite { entries: 10, bytes: 1000, entry_max: 1000 };
    assert_eq!(pair.store.entries(bite).unwrap(), []);
    pair.commit(Turn::at(START_MS).submit(id(1), submit_frame(b"")));
    assert_eq!(pair.store.entries(bite).unwrap(), []);
    pair.reopen();
}

fn empty_batch(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    pair.commit(Turn::at(START_MS));
    pair.commit(Turn::at(START_MS).submit(id(1), submit_frame(b"1")));
    let mut empty = Turn::at(START_MS + 1);
    empty.0.last = id(1);
    pair.commit(empty);
    pair.reopen();
}

fn payloads(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let until_ms = START_MS + HOUR_MS;
    let binary: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let all = [vec![], b"\0".to_vec(), b"\n\r\n\xff\xfe \0".to_vec(), binary];
    let mut turn = Turn::at(START_MS);
    for (n, payload) in (1..).zip(&all) {
        turn = turn.submit(id(n), submit_frame(payload));
    }
    pair.commit(turn);
    pair.reopen();
    for (n, payload) in (1..).zip(&all) {
        let frame = result_frame(id(n), until_ms, payload);
        pair.commit(Turn::at(START_MS).end(id(n), frame, until_ms));
    }
    pair.compare_results(START_MS);
    pair.abandon();
    pair.compare_results(START_MS);
    pair.commit(Turn::at(START_MS).submit(id(9), submit_frame(&all[3])));
    pair.commit(Turn::at(START_MS).bury(id(9), "dead at=1", submit_frame(&all[3])));
    pair.reopen();
}

fn names(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let long = format!("default {}", "ü".repeat(300));
    for name in ["default größe", "default %20%3D", "default 任务", "a b\u{10ffff}", &long] {
        let turn = Turn::at(START_MS).hold(name, &format!("id=1 name={name}"));
        pair.commit(turn.queue(name, "spill=1").stats(name, "at=1"));
    }
    pair.commit(Turn::at(START_MS).unhold(&long).worker("größe", "host=ä"));
    pair.reopen();
}

fn many(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let until_ms = START_MS + HOUR_MS;
    for from in (0..10_000).step_by(500) {
        let mut turn = Turn::at(START_MS + from);
        for n in from..from + 500 {
            turn = turn.submit(id(n), submit_frame(&n.to_le_bytes()));
        }
        // Of every three, one ends at once and one is leased by the next turn.
        for n in (from..from + 500).filter(|n| n % 3 == 0) {
            turn = turn.end(id(n), result_frame(id(n), until_ms, b"r"), until_ms);
        }
        pair.commit(turn);
        let mut turn = Turn::at(START_MS + from);
        for n in (from..from + 500).filter(|n| n % 3 == 1) {
            turn = turn.state(id(n), format!("leased at={n}"));
        }
        pair.commit(turn);
    }
    pair.abandon();
    pair.compare_results(START_MS);
    for from in (0..10_000).step_by(1000) {
        let mut turn = Turn::at(START_MS + 10_000);
        for n in (from..from + 1000).filter(|n| n % 3 == 1) {
            turn = turn.end(id(n), "", 0);
        }
        pair.commit(turn);
    }
    pair.reopen();
    pair.compare_results(START_MS);
}

fn sweep(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    let far_ms = START_MS + 10_000 * HOUR_MS;
    let turn =
        Turn::at(START_MS).submit(id(1), submit_frame(b"1")).submit(id(2), submit_frame(b"2"));
    let turn = turn.bury(id(2), "dead at=1", submit_frame(b"2")).hold("a b", "id=1 until=5");
    pair.commit(turn.queue("a", "spill=1").worker("w", "host=h seen=1").stats("k", "at=1"));
    pair.sweep(far_ms);
    pair.reopen();
    pair.sweep(far_ms);
    pair.abandon();
}

fn status(fresh: &mut Fresh<'_>) {
    let mut pair = Pair::new(fresh);
    assert!(!pair.store.status().unwrap().pressure);
    pair.commit(Turn::at(START_MS).submit(id(1), submit_frame(b"1")));
    assert!(!pair.store.status().unwrap().pressure);
}

fn random(fresh: &mut Fresh<'_>) {
    let seed = std::env::var("GANGER_SEED").map_or(1, |seed| seed.parse().unwrap());
    let config = Config {
        cases: 32,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 400,
        ..Config::default()
    };
    let choice = (any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(kind, pick, size)| Choice {
        kind,
        pick,
        size,
    });
    let turns = vec((vec(choice, 0..40), 0..12_u8), 0..40);
    let fresh = std::cell::RefCell::new(fresh);
    TestRunner::new(config)
        .run(&turns, |turns| {
            let mut pair = Pair::new(*fresh.borrow_mut());
            let mut workload = Workload::default();
            for (choices, then) in turns {
                pair.commit(workload.turn(&choices));
                match then {
                    0 => pair.reopen(),
                    1 => pair.abandon(),
                    2 => pair.sweep(workload.wall_ms),
                    3 => pair.compare_results(workload.wall_ms),
                    _ => {}
                }
            }
            pair.abandon();
            pair.sweep(workload.wall_ms);
            pair.compare_results(workload.wall_ms);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("GANGER_SEED={seed}: {error}"));
}
