//! What a run is made of. Every seed picks a random subset of the kinds of faults with random rates,
//! random peers and a random pace (swarm testing: A. Groce et al., "Swarm Testing", 2012): a run
//! without crashes reaches states that one with all faults at once never sees, and the other way.

use ganger::core::Settings;

use crate::dice::Dice;

/// Names of kinds. Workers that run the last one tend to die of it.
pub(crate) const KINDS: [&str; 5] = ["resize", "encode", "mail", "report", "crashy"];
/// Names of queues; the first is the one of tasks that name none.
pub(crate) const QUEUES: [&str; 4] = ["default", "photos", "bulk", "night"];

/// Names of tags.
pub(crate) const TAGS: [&str; 2] = ["gpu", "ssd"];

/// The plan of a run. Rates are per thousand occasions, intervals in simulated microseconds; an
/// interval of `None` is a kind of fault that this run does without.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Happenings with faults, before everything is healed.
    pub(crate) steps: u32,
    pub(crate) settings: Settings,
    pub(crate) workers: usize,
    pub(crate) clients: usize,
    pub(crate) links: Links,
    pub(crate) store: Storage,
    pub(crate) scheduler: Outages,
    pub(crate) work: Work,
    pub(crate) ask: Asking,
    /// Between two entries that programs leave in the inbox of the store, about.
    pub(crate) push_us: Option<u64>,
}

/// Connections.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    /// The longest latency.
    pub(crate) latency_us: u64,
    /// How often a stream is cut into pieces.
    pub(crate) chop: u32,
    /// Connections break, both ends learn.
    pub(crate) breaks_us: Option<u64>,
    /// Connections fall silent, and the ends learn late.
    pub(crate) silence_us: Option<u64>,
}

/// The store.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    /// The longest ordinary commit.
    pub(crate) commit_us: u64,
    /// Commits that the store has to try again for a while.
    pub(crate) slow: u32,
    /// Commits whose outcome is unknown, and that are sent again.
    pub(crate) unknown: u32,
    /// It says that it is nearly full, and later no longer.
    pub(crate) pressure_us: Option<u64>,
}

/// The scheduler's process and its clock.
#[derive(Debug, Clone)]
pub(crate) struct Outages {
    /// Crashes at a random moment.
    pub(crate) crash_us: Option<u64>,
    /// Crashes before a batch is applied, after that but before the answer, in the middle of the
    /// deliveries, and during recovery.
    pub(crate) before_commit: u32,
    pub(crate) after_commit: u32,
    pub(crate) mid_delivery: u32,
    pub(crate) in_recovery: u32,
    /// Orderly stops.
    pub(crate) stop_us: Option<u64>,
    /// The wall clock is set.
    pub(crate) wall_us: Option<u64>,
    /// Long stretches in which nobody says anything.
    pub(crate) nap_us: Option<u64>,
    /// The machine stands still for a while.
    pub(crate) hold_up_us: Option<u64>,
}

/// Workers.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// The longest ordinary run.
    pub(crate) run_us: u64,
    /// How runs end that do not end well.
    pub(crate) fail: u32,
    pub(crate) release: u32,
    pub(crate) silent: u32,
    pub(crate) fatal: u32,
    pub(crate) oversized: u32,
    /// Answers that are sent twice.
    pub(crate) twice: u32,
    /// Reports of progress.
    pub(crate) progress: u32,
    /// Other things that a worker does: SLOTS, BYE, SUBMIT, dying, coming back as somebody new.
    pub(crate) whim_us: Option<u64>,
    /// Workers that come back with `session=`.
    pub(crate) faithful: u32,
    /// Workers that have a name that another one has.
    pub(crate) twins: u32,
    /// Workers with heartbeats.
    pub(crate) heartbeat: u32,
    /// Workers that can do some things only.
    pub(crate) picky: u32,
}

/// Clients.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    /// The longest pause between two requests.
    pub(crate) think_us: u64,
    /// The unit of delays and limits, in milliseconds.
    pub(crate) unit_ms: u64,
    /// Options in SUBMIT.
    pub(crate) timed: u32,
    pub(crate) limited: u32,
    pub(crate) unique: u32,
    pub(crate) watch: u32,
    pub(crate) keyed: u32,
    /// Tasks of a key that run one at a time, tasks that come after others, tasks that ask for tags and
    /// amounts.
    pub(crate) serial: u32,
    pub(crate) after: u32,
    pub(crate) needy: u32,
    /// Payloads beyond the size that every worker takes.
    pub(crate) large: u32,
    /// Requests other than SUBMIT.
    pub(crate) question: u32,
    pub(crate) cancel: u32,
    pub(crate) retry: u32,
    /// What operators do, beside looking.
    pub(crate) operate: u32,
    /// Many requests at once, after which the connection may be half-closed.
    pub(crate) burst: u32,
    /// Requests that must be refused.
    pub(crate) wrong: u32,
    /// What is done about periodic tasks.
    pub(crate) cron: u32,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(dice: &mut Dice) -> Self {
        let steps = dice.within(1200..=3600);
        let clients = dice.within(1..=4);
        let think_us = dice.spread(1_000..=1_000_000);
        // A task takes about ten happenings, so that this is how long a run will last.
        let pace = Pace { run_us: steps / 10 * think_us / clients, unit_us: think_us };
        let settings = Settings {
            tasks_max: if dice.per_mille(100) { 40 } else { 10_000 },
            events: dice.per_mille(200),
            payload_max: 128 << 10,
            ..Settings::default()
        };
        let nap_us = pace.every(dice, 150, 2);
        let work = work(dice, pace);
        Self {
            steps: u32::try_from(steps).expect("small"),
            settings,
            workers: dice.index(7) + 1,
            clients: usize::try_from(clients).expect("small"),
            links: Links {
                latency_us: dice.spread(100..=200_000),
                chop: rate(dice, 500),
                breaks_us: pace.every(dice, 600, 30),
                silence_us: pace.every(dice, 400, 10),
            },
            store: Storage {
                commit_us: dice.spread(100..=50_000),
                slow: rate(dice, 50),
                unknown: rate(dice, 100),
                pressure_us: pace.every(dice, 200, 4),
            },
            scheduler: Outages {
                crash_us: pace.every(dice, 400, 8),
                before_commit: rate(dice, 12),
                after_commit: rate(dice, 12),
                mid_delivery: rate(dice, 12),
                in_recovery: rate(dice, 400),
                stop_us: pace.every(dice, 250, 4),
                wall_us: pace.every(dice, 300, 6),
                nap_us,
                hold_up_us: pace.every(dice, 200, 6),
            },
            // Life signs over hours would be all that such a run consists of.
            work: Work { heartbeat: if nap_us.is_some() { 0 } else { work.heartbeat }, ..work },
            ask: asking(dice, pace),
            push_us: pace.every(dice, 400, 100),
        }
    }
}

/// How fast a run goes, in simulated microseconds.
#[derive(Clone, Copy)]
struct Pace {
    /// How long it will last with faults, about.
    run_us: u64,
    /// What a client waits between two requests, about.
    unit_us: u64,
}

impl Pace {
    /// An interval that comes up to so many times in a run, for so many runs in a thousand.
    fn every(self, dice: &mut Dice, runs: u32, most: u64) -> Option<u64> {
        let least_us = 5 * self.unit_us;
        dice.per_mille(runs).then(|| (self.run_us / dice.within(1..=most)).max(least_us))
    }
}

fn work(dice: &mut Dice, pace: Pace) -> Work {
    Work {
        run_us: dice.spread(pace.unit_us / 4..=pace.unit_us * 16).max(1000),
        fail: rate(dice, 400),
        release: rate(dice, 200),
        silent: rate(dice, 100),
        fatal: rate(dice, 60),
        oversized: rate(dice, 20),
        twice: rate(dice, 150),
        progress: rate(dice, 500),
        whim_us: pace.every(dice, 700, 20),
        faithful: *dice.pick(&[0, 500, 900, 1000]),
        twins: rate(dice, 200),
        heartbeat: *dice.pick(&[0, 500, 1000]),
        picky: *dice.pick(&[0, 300, 800]),
    }
}

fn asking(dice: &mut Dice, pace: Pace) -> Asking {
    Asking {
        think_us: pace.unit_us * 2,
        unit_ms: (pace.unit_us / 1000).max(1),
        timed: rate(dice, 500),
        limited: rate(dice, 500),
        unique: rate(dice, 500),
        watch: *dice.pick(&[0, 300, 1000]),
        keyed: *dice.pick(&[0, 500, 1000]),
        large: rate(dice, 30),
        question: rate(dice, 400),
        cancel: rate(dice, 150),
        retry: rate(dice, 200),
        operate: rate(dice, 60),
        burst: rate(dice, 30),
        wrong: rate(dice, 30),
        serial: rate(dice, 600),
        after: rate(dice, 300),
        needy: rate(dice, 400),
        cron: rate(dice, 40),
    }
}

/// A rate up to `most` for half of the runs, none for the others.
fn rate(dice: &mut Dice, most: u32) -> u32 {
    if dice.per_mille(500) {
        0
    } else {
        u32::try_from(dice.within(1..=u64::from(most))).expect("small")
    }
}
