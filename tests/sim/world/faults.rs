//! What breaks while a run has faults, and when.

use super::World;
use crate::happening::{Fault, Happening, Way};
use crate::net::note;
use crate::scheduler::Fate;

impl Fault {
    /// Every kind of fault that comes at intervals.
    pub(super) const ALL: [Self; 8] = [
        Self::Break,
        Self::Silence,
        Self::Crash,
        Self::Stop,
        Self::Wall,
        Self::Pressure,
        Self::Nap,
        Self::HoldUp,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Break => "a connection breaks",
            Self::Silence => "a connection falls silent",
            Self::Crash => "a crash at a random moment",
            Self::Stop => "an orderly stop is asked for",
            Self::Wall => "the wall clock is set",
            Self::Pressure => "the store is nearly full",
            Self::Nap => "a long silence",
            Self::HoldUp => "the machine stands still",
        }
    }
}

impl World {
    pub(super) fn plan_fault(&mut self, fault: Fault) {
        let plan = &self.net.plan;
        let us = match fault {
            Fault::Break => plan.links.breaks_us,
            Fault::Silence => plan.links.silence_us,
            Fault::Crash => plan.scheduler.crash_us,
            Fault::Stop => plan.scheduler.stop_us,
            Fault::Wall => plan.scheduler.wall_us,
            Fault::Pressure => plan.store.pressure_us,
            Fault::Nap => plan.scheduler.nap_us,
            Fault::HoldUp => plan.scheduler.hold_up_us,
        };
        if let Some(us) = us {
            let us = self.net.dice.within(1..=us * 2);
            self.net.after(us, Happening::Fault(fault));
        }
    }

    pub(super) fn on_fault(&mut self, fault: Fault) {
        if self.net.healed {
            return;
        }
        self.plan_fault(fault);
        self.net.mark(fault.word());
        let net = &mut self.net;
        match fault {
            Fault::Break | Fault::Silence => self.break_link(fault),
            Fault::Crash => {
                if self.scheduler.is_some() {
                    self.end_process(Fate::Dies);
                }
            }
            Fault::Stop => {
                if let Some(scheduler) = &mut self.scheduler {
                    scheduler.ask_to_stop(net);
                }
            }
            Fault::Wall => {
                let ms = i64::try_from(net.dice.spread(1..=7_200_000)).expect("small");
                let by_ms = if net.dice.per_mille(500) { -ms } else { ms };
                net.set_wall(by_ms);
                if let Some(scheduler) = &mut self.scheduler {
                    scheduler.on_wall_set(net);
                }
            }
            Fault::Pressure => {
                let us = net.dice.spread(1_000..=5_000_000);
                net.after(0, Happening::Pressure(true));
                net.after(us, Happening::Pressure(false));
            }
            Fault::Nap => {
                let us = net.dice.spread(1_000_000..=9_000_000_000);
                net.nap(us);
            }
            Fault::HoldUp => {
                let us = net.dice.spread(1_000..=30_000_000);
                net.hold_up(us);
                if let Some(scheduler) = &mut self.scheduler {
                    scheduler.on_held_up(us);
                    self.audit.held_up(net.now_us, us);
                }
            }
        }
    }

    fn break_link(&mut self, fault: Fault) {
        let live = self.net.live();
        if live.is_empty() {
            return;
        }
        let link = *self.net.dice.pick(&live);
        let owner = self.net.link(link).owner;
        note!(self.net, "link {link} of {owner:?}: {}", fault.word());
        if fault == Fault::Break {
            self.net.snap(link);
        } else {
            self.net.darken(link, Way::Up);
            self.net.darken(link, Way::Down);
        }
    }
}
