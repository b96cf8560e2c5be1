//! CRON: what is asked about periodic tasks, and what is chosen of each.

use bytes::BufMut;

use crate::frame::{Writer, decode, number};
use crate::message::schedule::{Calendar, EVERY_MIN_MS, Schedule};
use crate::message::{Code, Refusal, Submit};

/// What is asked about periodic tasks.
#[derive(Clone, PartialEq, Debug)]
pub enum Cron {
    /// A new entry, or another one in the place of that name.
    Add(Box<CronAdd>),
    /// The entries by name, paged.
    List {
        /// Begins behind this name; empty begins at the first.
        cursor: String,
        /// At most so many, 1 to 1000, 100 by default.
        limit: u32,
    },
    /// An entry is forgotten; the tasks that it fired stay.
    Remove(String),
    /// Whether an entry fires.
    Pause {
        /// The entry.
        name: String,
        /// False is RESUME.
        paused: bool,
    },
}

/// CRON ADD: an entry.
#[derive(Clone, PartialEq, Debug)]
pub struct CronAdd {
    /// What it is called.
    pub name: String,
    /// When it fires.
    pub plan: Plan,
    /// The task that it fires. Its frame names the entry in `cron=`.
    pub submit: Box<Submit>,
}

/// When an entry fires, and when it does not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The instants.
    pub schedule: Schedule,
    /// What becomes of an instant while the task of the last fire has not ended.
    pub overlap: Overlap,
    /// What becomes of instants that passed while nobody was there to see them.
    pub missed: Missed,
}

/// What becomes of an instant while the task of the last fire has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overlap {
    /// Nothing is fired.
    #[default]
    Skip,
    /// It is fired when that task has ended.
    Queue,
}

/// What becomes of instants that passed unseen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Missed {
    /// One fire for all of them.
    #[default]
    Once,
    /// Nothing.
    None,
}

impl Overlap {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
        }
    }
}

impl Missed {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::None => "none",
        }
    }
}

impl Plan {
    /// The longest interval, in milliseconds: ten years.
    pub const EVERY_MAX_MS: u64 = 315_360_000_000;
    /// What intervals may be, in milliseconds.
    pub const EVERY_MS: (u64, u64) = (EVERY_MIN_MS, Self::EVERY_MAX_MS);
    /// The zone of expressions that name none.
    pub const ZONE: &'static str = "UTC";

    /// A plan with every choice at its default.
    pub const fn new(schedule: Schedule) -> Self {
        Self { schedule, overlap: Overlap::Skip, missed: Missed::Once }
    }

    /// Reads a plan from options; what `others` gets are no options of plans.
    ///
    /// # Errors
    ///
    /// The refusal that the sender of the options gets, or that of `others`.
    pub fn read<'a>(
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
        mut others: impl FnMut(&'a str, &'a str) -> Result<(), Refusal>,
    ) -> Result<Self, Refusal> {
        let mut given = Given::default();
        for (name, value) in options {
            match given.place(name) {
                None => others(name, value)?,
                Some(Some(_)) => {
                    let text = format!("{name} is given twice");
                    return Err(Refusal::new(Code::UnknownOption, text));
                }
                Some(place) => *place = Some(value),
            }
        }
        given.plan()
    }

    /// Spells what is not at its default.
    pub fn put<'o, B: BufMut>(&self, line: Writer<'o, B>) -> Writer<'o, B> {
        let mut line = match &self.schedule {
            Schedule::Every(every_ms) => line.option_number("every", *every_ms),
            Schedule::Calendar(calendar) if calendar.zone() == Self::ZONE => {
                line.option("schedule", calendar.text())
            }
            Schedule::Calendar(calendar) => {
                line.option("schedule", calendar.text()).option("tz", calendar.zone())
            }
        };
        if self.overlap != Overlap::default() {
            line = line.option("overlap", self.overlap.word());
        }
        if self.missed != Missed::default() {
            line = line.option("missed", self.missed.word());
        }
        line
    }
}

/// The options of a plan as they were given.
#[derive(Default)]
struct Given<'a> {
    schedule: Option<&'a str>,
    every: Option<&'a str>,
    tz: Option<&'a str>,
    overlap: Option<&'a str>,
    missed: Option<&'a str>,
}

impl<'a> Given<'a> {
    fn place(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
        Some(match name {
            "schedule" => &mut self.schedule,
            "every" => &mut self.every,
            "tz" => &mut self.tz,
            "overlap" => &mut self.overlap,
            "missed" => &mut self.missed,
            _ => return None,
        })
    }

    fn plan(self) -> Result<Plan, Refusal> {
        let schedule = match (self.schedule, self.every) {
            (Some(_), Some(_)) => {
                return Err(Refusal::new(Code::Conflict, "schedule and every exclude each other"));
            }
            (None, None) => {
                return Err(Refusal::new(Code::Missing, "schedule or every is missing"));
            }
            (None, Some(_)) if self.tz.is_some() => {
                let text = "every goes by elapsed time, which is the same in every tz";
                return Err(Refusal::new(Code::Conflict, text));
            }
            (None, Some(every)) => Schedule::Every(interval(every)?),
            (Some(text), None) => {
                let text = decode(text).ok_or_else(|| bad("schedule is not percent-encoded"))?;
                let zone = decode(self.tz.unwrap_or(Plan::ZONE));
                let zone = zone.ok_or_else(|| bad("tz is not percent-encoded"))?;
                Schedule::Calendar(Calendar::parse(&text, &zone).map_err(bad)?)
            }
        };
        let overlap = match self.overlap {
            None => Overlap::default(),
            Some("skip") => Overlap::Skip,
            Some("queue") => Overlap::Queue,
            Some(_) => return Err(bad("overlap is skip or queue")),
        };
        let missed = match self.missed {
            None => Missed::default(),
            Some("once") => Missed::Once,
            Some("none") => Missed::None,
            Some(_) => return Err(bad("missed is once or none")),
        };
        Ok(Plan { schedule, overlap, missed })
    }
}

fn interval(every: &str) -> Result<u64, Refusal> {
    let (least, most) = Plan::EVERY_MS;
    let read = number(every.as_bytes()).filter(|every_ms| (least..=most).contains(every_ms));
    read.ok_or_else(|| {
        bad(format!("every is a plain number of milliseconds from {least} to {most}"))
    })
}

fn bad(text: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadValue, text)
}
