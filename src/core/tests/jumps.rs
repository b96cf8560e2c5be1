//! How long a step takes after the wall clock has jumped: what waits in thousands of classes has expired
//! at once, and is met by others before deadlines are looked at.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{Driver, Run};
use crate::core::{Event, Peer};

/// How long a step may take, without optimisation. It takes a twentieth of that; if all classes were
/// looked at for each that is passed over, it would take seconds.
const STEP_MAX: Duration = Duration::from_millis(500);

/// Tasks that expire wait in many classes.
#[derive(Clone, Copy)]
struct Scene {
    classes: u32,
    /// Over how many queues they are spread.
    queues: u32,
    /// In how many more there is one that does not expire, for which there is no room.
    others: u32,
    /// What each task asks for.
    options: &'static str,
    /// Those of the first queue.
    policies: &'static str,
}

const SCENE: Scene =
    Scene { classes: 5000, queues: 1, others: 0, options: "", policies: "order=fcfs" };

impl Scene {
    /// The tasks wait for a worker with two runs; that one of these which ends.
    fn build(self) -> (Driver, Peer, Run) {
        let Self { classes, queues, others, options, policies } = self;
        let mut driver = Driver::new(1);
        let client = driver.join("operator");
        driver.join("worker name=w kinds=* slots=2 res=cpu:8");
        let [run, _] = [(); 2].map(|()| driver.submit(client, "SUBMIT a queue=runs res=cpu:4\n"));
        driver.ask(client, &format!("QUEUE q0 {policies}\n"));
        for n in 0..3 * classes {
            let (kind, queue) = (n % classes / queues, n % queues);
            let submit = format!("SUBMIT k{kind} queue=q{queue} expires=60000{options}\n");
            assert_eq!(driver.ask(client, &submit), []);
        }
        for n in 0..others {
            assert_eq!(driver.ask(client, &format!("SUBMIT a queue=other{n} res=cpu:8\n")), []);
        }
        while !driver.core.is_settled() {
            driver.pass(1);
            driver.settle();
        }
        (driver, client, run)
    }

    /// The longest step after the jump, until what has expired has ended. It begins with the end of the
    /// run or, if that is over, with the first queue's being resumed.
    fn longest_step(self, resume: bool) -> Duration {
        let (mut driver, client, run) = self.build();
        if resume {
            driver.ask(client, "PAUSE q0\n");
            driver.done(run);
        }
        driver.now.wall_ms += 3_600_000;
        let begin = step(&mut driver, |driver| {
            let runs = if resume { driver.ask(client, "RESUME q0\n") } else { driver.done(run) };
            assert_eq!(runs, [], "all have expired");
        });
        let mut steps = vec![begin];
        loop {
            steps.push(step(&mut driver, |driver| assert_eq!(driver.settle(), [])));
            driver.core.check();
            if driver.core.is_settled() && !driver.core.timers.is_wall_due(driver.now) {
                driver.core.check_idle();
                return steps.into_iter().max().unwrap_or_default();
            }
            driver.now.mono_us += 1000;
            steps.push(step(&mut driver, |driver| driver.apply(Event::Due)));
        }
    }
}

/// How long this thread is on a processor for a step.
fn step(driver: &mut Driver, act: impl FnOnce(&mut Driver)) -> Duration {
    let on_processor = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let begin = on_processor();
    act(driver);
    let took = on_processor().saturating_sub(begin);
    driver.fx.clear();
    took
}

#[test]
fn no_step_looks_at_many_classes_for_each_that_has_expired() {
    let bulky = Scene { options: " res=cpu:2", ..SCENE };
    let keyed = Scene { policies: "route=hash", ..SCENE };
    let scenes = [
        ("kinds", SCENE),
        ("queues", Scene { queues: 5000, ..SCENE }),
        ("kinds with amounts", bulky),
        ("queues with amounts", Scene { queues: 5000, others: 4990, ..bulky }),
        ("kinds by key", keyed),
        ("kinds by key with amounts", Scene { options: " res=cpu:2", ..keyed }),
    ];
    for (what, scene) in scenes {
        for resume in [false, true] {
            let longest = scene.longest_step(resume);
            assert!(longest < STEP_MAX, "{what}, resumed: {resume}: a step takes {longest:?}");
        }
    }
}

#[test]
fn no_turn_passes_over_more_classes_than_it_may() {
    let scene = Scene { classes: 12_000, ..SCENE };
    for (options, resume) in [("", false), ("", true), (" res=cpu:2", false), (" res=cpu:2", true)]
    {
        let (mut driver, client, run) = Scene { options, ..scene }.build();
        if resume {
            driver.ask(client, "PAUSE q0\n");
            driver.done(run);
        }
        driver.now.wall_ms += 3_600_000;
        if resume {
            driver.ask(client, "RESUME q0\n");
        } else {
            driver.done(run);
        }
        let mut before = listed(&driver);
        while before > 0 {
            driver.settle();
            let after = listed(&driver);
            assert!(before - after <= 8192, "{options}, resumed: {resume}: {before} to {after}");
            driver.pass(0);
            before = after;
        }
        driver.core.check();
    }
}

/// How many classes have heads.
fn listed(driver: &Driver) -> usize {
    driver.core.queues.classes().filter(|(_, class)| class.listed.is_some()).count()
}
