//! Random turns that an engine could have made: every write is legal when it comes.

use ganger::task::TaskId;

use super::model::{START_MS, Turn, result_frame, submit_frame};

/// One random decision; what it means depends on what there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// Which kind of write.
    pub(super) kind: u8,
    /// Which task, name or lifetime.
    pub(super) pick: u16,
    /// How long a payload.
    pub(super) size: u16,
}

/// What there is to choose from.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) wall_ms: u64,
    last: TaskId,
    open: Vec<TaskId>,
    buried: Vec<TaskId>,
}

const NAMES: [&str; 5] = ["default", "photos", "mail@img-7", "a", "kö%20ln"];

impl Default for Workload {
    fn default() -> Self {
        Self { wall_ms: START_MS, last: TaskId::default(), open: vec![], buried: vec![] }
    }
}

impl Workload {
    /// The turn that some choices make, a while after the last one.
    pub(super) fn turn(&mut self, choices: &[Choice]) -> Turn {
        self.wall_ms += choices.first().map_or(1, |choice| u64::from(choice.pick % 700));
        let mut turn = Turn::at(self.wall_ms);
        turn.0.last = self.last;
        for &choice in choices {
            turn = self.write(turn, choice);
        }
        turn
    }

    fn write(&mut self, turn: Turn, Choice { kind, pick, size }: Choice) -> Turn {
        let line = format!("ready at={} attempt={pick} used={size}", self.wall_ms);
        let name = NAMES[usize::from(pick) % NAMES.len()];
        match kind % 20 {
            5..=8 => match choose(&self.open, pick) {
                Some(at) => turn.state(self.open[at], line),
                None => self.submit(turn, size),
            },
            9..=12 => match choose(&self.open, pick) {
                Some(at) => {
                    let (id, until_ms) = (self.open.swap_remove(at), self.until(size));
                    turn.end(id, result_frame(id, until_ms, &payload(size)), until_ms)
                }
                None => self.submit(turn, size),
            },
            13 => match choose(&self.open, pick) {
                Some(at) => {
                    let id = self.open.swap_remove(at);
                    self.buried.push(id);
                    turn.bury(id, line, submit_frame(&payload(size)))
                }
                None => self.submit(turn, size),
            },
            14 => match choose(&self.buried, pick) {
                Some(at) => {
                    let id = self.buried.swap_remove(at);
                    self.open.push(id);
                    turn.revive(id, line, submit_frame(&payload(size)))
                }
                None => turn,
            },
            15 => match choose(&self.buried, pick) {
                Some(at) => turn.drop(self.buried.swap_remove(at)),
                None => turn,
            },
            16 if size % 4 == 1 => turn.cron(name, &line),
            16 if size % 4 == 2 => turn.run(name, &line),
            16 => turn.hold(name, &line),
            17 if size % 8 == 1 => turn.cron_gone(name),
            17 if size % 8 == 3 => turn.run_gone(name),
            17 if size % 2 == 0 => turn.unhold(name),
            17 => turn.queue(name, &line),
            18 if size % 3 == 0 => turn.worker_gone(name, "host"),
            18 => turn.worker(name, &line),
            19 if size % 3 == 0 => turn.stats_gone(name),
            19 => turn.stats(name, &line),
            _ => self.submit(turn, size),
        }
    }

    fn submit(&mut self, turn: Turn, size: u16) -> Turn {
        self.last = TaskId::next(self.last, self.wall_ms, 0);
        self.open.push(self.last);
        turn.submit(self.last, submit_frame(&payload(size)))
    }

    /// None, a moment, an hour or a month.
    fn until(&self, size: u16) -> u64 {
        match size % 4 {
            0 => 0,
            1 => self.wall_ms + 1 + u64::from(size),
            2 => self.wall_ms + 3_600_000,
            _ => self.wall_ms + 30 * 86_400_000,
        }
    }
}

fn choose(from: &[TaskId], pick: u16) -> Option<usize> {
    usize::from(pick).checked_rem(from.len())
}

/// Mostly small, at times several pages.
fn payload(size: u16) -> Vec<u8> {
    let length = if size.is_multiple_of(50) { size } else { size % 200 };
    (0..length).map(|at| (at.wrapping_mul(31) ^ size) as u8).collect()
}
