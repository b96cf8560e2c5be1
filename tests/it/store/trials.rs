//! The log beside the database, over many lives: crashes upon crashes, a crash and damage, files of two
//! times, syncs that failed. Rows have all lengths that matter, and the log all paces.
//!
//! A wrong seed is told. `GANGER_TRIALS` is how many are tried, `GANGER_FROM` the first.

use std::ops::Range;

use ganger::store::disk::{Disk, Pace};
use ganger::store::{Error, Options, Store};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

use super::model::{Model, Results};
use super::storage::{Failing, Fault, Storage};
use super::workload::{Choice, Workload};

const STORE: u128 = 7;

#[derive(Clone, Debug)]
struct Knobs {
    pace: Pace,
    /// Targets of the length of a row, beyond the random choices.
    fill: Vec<usize>,
    choices: Range<usize>,
}

fn knobs(random: &mut SmallRng) -> Knobs {
    let tail = *[0, 1, 3 << 10, 12 << 10, 40 << 10, 200 << 10, 1 << 40].choose(random).unwrap();
    let fold = *[1, 1 << 10, 4 << 10, 64 << 10, u64::MAX].choose(random).unwrap();
    let fills: [&[usize]; 8] = [
        &[0],
        &[0, 0, 0, 100],
        &[16_300, 16_310, 16_320, 16_330, 16_340, 16_350],
        &[0, 0, 400, 16_000, 16_360, 40_000],
        &[450, 460, 470, 480, 490, 500],
        &[3000, 4000, 4096, 8192],
        &[0, 0, 0, 0, 0, 0, 70_000],
        &[0, 20_000, 100_000, 5000, 10_000],
    ];
    let fill = fills.choose(random).unwrap().to_vec();
    let choices = [1..2, 1..4, 1..30][random.random_range(0..3)].clone();
    Knobs { pace: Pace { tail, fold }, fill, choices }
}

fn options() -> Options {
    Options { result_cap: 64 << 10, ..Options::default() }
}

#[derive(Clone, Debug)]
struct State {
    changes: usize,
    model: Model,
    results: Results,
    workload: Workload,
}

struct Run {
    storage: Storage,
    disk: Option<Disk>,
    knobs: Knobs,
    states: Vec<State>,
    random: SmallRng,
}

impl Run {
    fn begin(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let knobs = knobs(&mut random);
        let storage = Storage::default();
        let disk = Disk::over(storage.files(), STORE, true, &options(), knobs.pace).unwrap();
        let state = State {
            changes: storage.changes(),
            model: Model::default(),
            results: Results::new(),
            workload: Workload::default(),
        };
        Self { storage, disk: Some(disk), knobs, states: vec![state], random }
    }

    fn turns(&mut self, turns: usize) -> Result<(), Error> {
        for _ in 0..turns {
            self.turn()?;
            if self.random.random_ratio(1, 6) {
                let wall = self.states.last().unwrap().workload.wall_ms;
                self.disk.as_mut().unwrap().sweep(wall)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Error> {
        let choices: Vec<Choice> = (0..self.random.random_range(self.knobs.choices.clone()))
            .map(|_| Choice {
                kind: self.random.random(),
                pick: self.random.random(),
                size: self.random.random_range(0..6000),
            })
            .collect();
        let mut state = State { changes: usize::MAX, ..self.states.last().unwrap().clone() };
        let mut turn = state.workload.turn(&choices);
        let fill = *self.knobs.fill.choose(&mut self.random).unwrap();
        if fill > 0 {
            let fill = fill - self.random.random_range(0..fill.min(20));
            let mut bytes = vec![0; fill];
            self.random.fill_bytes(&mut bytes);
            let (name, line) = (turn.text("filler"), turn.text(&bytes));
            turn.0.writes.push(ganger::record::Write::Queue { name, line });
        }
        state.model.apply(&turn.0, &mut state.results);
        self.states.push(state);
        self.disk.as_mut().unwrap().commit(&turn.0)?;
        self.states.last_mut().unwrap().changes = self.storage.changes();
        Ok(())
    }

    fn allowed(&self, before: usize) -> &[State] {
        let acknowledged = self.states.iter().filter(|state| state.changes <= before).count();
        let last = acknowledged.max(1) - 1;
        &self.states[last..self.states.len().min(last + 2)]
    }

    fn reopen(&self, storage: &Storage) -> Result<Disk, String> {
        Disk::over(storage.files(), STORE, false, &options(), self.knobs.pace)
            .map_err(|error| error.to_string())
    }
}

fn find(disk: &mut Disk, states: &[State], results: bool) -> Result<State, String> {
    let mut found = Model::default();
    let loaded = disk.load(&mut |record| found.take(record)).map_err(|error| error.to_string())?;
    found.last = loaded.last;
    let Some(state) = states.iter().rev().find(|state| state.model == found) else {
        return Err("WRONG: loads what never was".into());
    };
    // A turn that writes nothing moves the time, and leaves no trace of it.
    let (mut forgotten, wall) = (true, state.workload.wall_ms);
    for (&id, (until_ms, frame)) in state.results.iter().filter(|_| results) {
        match disk.result(id).map_err(|error| error.to_string())? {
            Some(result) if result != *frame => return Err(format!("WRONG: result of {id}")),
            Some(_) => forgotten = false,
            None if *until_ms <= wall || forgotten => {}
            None => return Err(format!("WRONG: the result of {id} is missing")),
        }
    }
    Ok(state.clone())
}

fn trials(default: u64) -> Range<u64> {
    let from = std::env::var("GANGER_FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let n = std::env::var("GANGER_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    from..from + n
}

/// Runs trials; tells each that went wrong.
fn all(default: u64, mut trial: impl FnMut(u64) -> Result<(), String>) {
    let mut wrong = Vec::new();
    let mut n = 0;
    for seed in trials(default) {
        n += 1;
        if let Err(what) = trial(seed) {
            wrong.push(format!("seed {seed}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {n} wrong: {wrong:#?}", wrong.len());
}

/// Power cuts and kills in any order, with further turns after each: whatever was acknowledged in
/// any generation is there in the next, and no row that was dropped comes back.
#[test]
fn generations_of_cuts_and_kills() {
    all(20, |seed| {
        let mut run = Run::begin(seed);
        for generation in 0..6 {
            let turns = run.random.random_range(1..14);
            run.turns(turns).map_err(|error| error.to_string())?;
            run.disk = None;
            // At any change of this generation; often the last few.
            let all = run.storage.changes();
            let low = if run.random.random_bool(0.5) { all.saturating_sub(12) } else { 0 };
            let begun = run.states[0].changes.min(all);
            let before = run.random.random_range(low.max(begun)..=all);
            let kill = run.random.random_bool(0.3);
            let storage = if kill {
                // What the killed process wrote is still to be synced.
                run.storage.cut_off(before)
            } else {
                let left = run.storage.power_cut(before, run.random.random());
                Storage::holding(left)
            };
            let allowed = run.allowed(before).to_vec();
            let tell = |what: String| {
                format!(
                    "generation {generation}, kill {kill}, before {before} of {all}: {what}; {:?}",
                    run.knobs
                )
            };
            let mut disk = run.reopen(&storage).map_err(tell)?;
            let mut found = find(&mut disk, &allowed, true).map_err(tell)?;
            found.changes = 0;
            // Cut the power in recovery, too.
            let cut = storage.changes();
            let from = if kill { before } else { 0 };
            let again = run.random.random_range(from..=cut);
            let left = storage.power_cut(again, run.random.random());
            let second = Storage::holding(left);
            let mut once_more = run.reopen(&second).map_err(tell)?;
            let then = find(&mut once_more, &allowed, true).map_err(tell)?;
            if again == cut && then.model != found.model {
                return Err(tell("WRONG: recovered, and lost again".into()));
            }
            if run.random.random_bool(0.3) {
                found = State { changes: 0, ..then };
                run.storage = second;
                run.disk = Some(once_more);
            } else {
                found.changes = storage.changes();
                run.storage = storage;
                run.disk = Some(disk);
            }
            run.states = vec![found];
        }
        Ok(())
    });
}

/// After a power cut or a kill, one sector that holds something is damaged: refused, or all is
/// there.
#[test]
fn a_crash_and_one_damaged_sector() {
    let (mut refused, mut intact) = (0, 0);
    all(20, |seed| {
        let mut run = Run::begin(seed);
        let turns = run.random.random_range(3..30);
        run.turns(turns).map_err(|error| error.to_string())?;
        run.disk = None;
        let all = run.storage.changes();
        let begun = run.states[0].changes;
        for _ in 0..30 {
            let before = run.random.random_range(begun..=all);
            let kill = run.random.random_bool(0.2);
            let mut left = if kill {
                run.storage.at(before)
            } else {
                run.storage.power_cut(before, run.random.random())
            };
            let file = usize::from(run.random.random_bool(0.8));
            let what = damage(&mut left[file], &mut run.random);
            let tell = |text: String| {
                format!(
                    "kill {kill}, before {before} of {all}, file {file}, {what}: {text}; {:?}",
                    run.knobs
                )
            };
            let storage = Storage::holding(left);
            let outcome = run
                .reopen(&storage)
                .and_then(|mut disk| find(&mut disk, run.allowed(before), true));
            match outcome {
                Ok(_) => intact += 1,
                Err(text) if text.starts_with("corrupt: ") => refused += 1,
                Err(text) => return Err(tell(text)),
            }
        }
        Ok(())
    });
    assert!(refused > 0 && intact > 0, "{refused} refused, {intact} intact");
}

/// Damages one sector that holds something, or one bit of it.
fn damage(bytes: &mut [u8], random: &mut SmallRng) -> String {
    let sectors = bytes.len() / 512;
    let at = loop {
        let at = random.random_range(0..sectors) * 512;
        if bytes[at..at + 512].iter().any(|&byte| byte != 0) {
            break at;
        }
    };
    match random.random_range(0..3) {
        0 => {
            let bit = random.random_range(0..4096);
            bytes[at + bit / 8] ^= 1 << (bit % 8);
            format!("bit at {}", at + bit / 8)
        }
        1 => {
            bytes[at..at + 512].fill(0);
            format!("zeroed {at}")
        }
        _ => {
            random.fill_bytes(&mut bytes[at..at + 512]);
            format!("garbage {at}")
        }
    }
}

/// One file of one time, the other of another: refused, or what there was at some time.
#[test]
fn files_of_two_times() {
    let (mut refused, mut was) = (0, 0);
    all(20, |seed| {
        let mut run = Run::begin(seed);
        let turns = run.random.random_range(3..60);
        run.turns(turns).map_err(|error| error.to_string())?;
        let all = run.storage.changes();
        let begun = run.states[0].changes;
        for _ in 0..30 {
            let db = run.random.random_range(begun..=all);
            let log = run.random.random_range(begun..=all);
            let image = [run.storage.at(db)[0].clone(), run.storage.at(log)[1].clone()];
            let tell =
                |text: String| format!("db {db}, log {log} of {all}: {text}; {:?}", run.knobs);
            let storage = Storage::holding(image);
            // Not the newest, maybe, but never what was at no time.
            match run.reopen(&storage).and_then(|mut disk| find(&mut disk, &run.states, false)) {
                Ok(_) => was += 1,
                Err(text) if text.starts_with("corrupt: ") => refused += 1,
                Err(text) => return Err(tell(text)),
            }
        }
        Ok(())
    });
    assert!(refused > 0 && was > 0, "{refused} refused, {was} were");
}

/// A failing change at any place, then a restart on the same machine, and a power cut later.
#[test]
fn a_failing_change_a_restart_and_a_power_cut() {
    let mut failed = 0;
    all(20, |seed| {
        let mut random = SmallRng::seed_from_u64(seed ^ 0x5eed);
        let count = {
            let mut run = Run::begin(seed);
            let turns = run.random.random_range(1..25);
            run.turns(turns).map_err(|error| error.to_string())?;
            run.storage.changes()
        };
        for _ in 0..10 {
            let mut run = Run::begin(seed);
            let at = random.random_range(run.storage.changes()..count);
            let kind = std::io::ErrorKind::StorageFull;
            let fault = Fault { of: Failing::Changes, at, lasting: random.random(), kind };
            let storage = run.storage.clone().failing(fault);
            let turns = run.random.random_range(1..25);
            let ran = run.turns(turns);
            let tell = |text: String| format!("{fault:?}: {text}");
            if ran.is_ok() {
                continue;
            }
            failed += 1;
            run.disk = None;
            let before = storage.changes();
            let allowed = run.allowed(before).to_vec();
            storage.mended();
            let mut disk = run.reopen(&storage).map_err(tell)?;
            let found = find(&mut disk, &allowed, true).map_err(tell)?;
            // A power cut now.
            let left = storage.power_cut(storage.changes(), random.random());
            let mut again = run.reopen(&Storage::holding(left)).map_err(tell)?;
            find(&mut again, std::slice::from_ref(&found), true).map_err(tell)?;
            // Further turns, and one later.
            run.states = vec![State { changes: storage.changes(), ..found }];
            run.disk = Some(disk);
            run.turns(5).map_err(|error| tell(error.to_string()))?;
            let begun = run.states[0].changes;
            let before = random.random_range(begun..=storage.changes());
            let left = storage.power_cut(before, random.random());
            let mut again = run.reopen(&Storage::holding(left)).map_err(tell)?;
            find(&mut again, run.allowed(before), true).map_err(tell)?;
        }
        Ok(())
    });
    assert!(failed > 0, "no change failed");
}

/// A sync fails and what it was to write is clean in the page cache, as on ext4 and XFS; a restart
/// finds it there. A later power cut must not take back what the restart has found.
#[test]
fn a_failed_sync_leaves_pages_that_look_clean() {
    all(20, |seed| {
        let mut random = SmallRng::seed_from_u64(seed ^ 0xfa11);
        let mut run = Run::begin(seed);
        let begun = run.states[0].changes;
        let turns = run.random.random_range(1..25);
        run.turns(turns).map_err(|error| error.to_string())?;
        run.disk = None;
        let syncs: Vec<usize> = (begun..run.storage.changes())
            .filter(|&at| run.storage.change_at(at) == (1, true))
            .collect();
        for _ in 0..10 {
            let before = *syncs.choose(&mut random).unwrap();
            let storage = run.storage.cut_off(before);
            storage.lose_unsynced(1);
            let tell = |text: String| format!("sync {before}: {text}; {:?}", run.knobs);
            let mut disk = run.reopen(&storage).map_err(tell)?;
            let found = find(&mut disk, run.allowed(before), true).map_err(tell)?;
            let left = storage.power_cut(storage.changes(), random.random());
            let mut again = run.reopen(&Storage::holding(left)).map_err(tell)?;
            find(&mut again, &[found], true).map_err(tell)?;
        }
        Ok(())
    });
}
