//! What workers do beside their work: change their slots, leave, die, come back.

use super::{Asked, Chore, Net, Piece, Request, Run, Submission, Talk, Way, Worker, note};
use super::{BytesMut, KINDS, Lease, Outcome, Retry};

impl Worker {
    pub(super) fn follow_whim(&mut self, net: &mut Net, talk: &mut Talk) {
        self.plan_whim(net);
        if self.healthy || !self.welcomed || self.end.is_none() {
            return;
        }
        match net.dice.below(10) {
            0 | 1 => {
                let slots = u32::try_from(net.dice.below(9)).expect("few");
                net.mark("SLOTS");
                self.hello.slots = slots.max(1);
                self.request(net, Asked::Plain, &Request::Slots(slots));
            }
            2 => self.say_bye(net),
            3 => self.die(net),
            4 | 5 => self.submit(net, talk),
            6 => self.resurrect(net),
            7 => self.drop_connection(net),
            _ => self.answer_late(net, talk),
        }
    }

    /// Submits a further task.
    fn submit(&mut self, net: &mut Net, talk: &mut Talk) {
        let payload = talk.payload(net);
        let kind = *net.dice.pick(&KINDS);
        let mut frame = BytesMut::new();
        Submission::new(kind, &payload).put(&mut frame).expect("a good SUBMIT");
        self.ask(net, Asked::Submit, &frame);
    }

    fn say_bye(&mut self, net: &mut Net) {
        net.mark("BYE");
        self.runs.clear();
        self.unanswered.clear();
        self.request(net, Asked::Plain, &Request::Bye);
        self.session = None;
        self.welcomed = false;
    }

    /// A worker that was told to leave does so when it has nothing left to do.
    pub(super) fn leave_if_done(&mut self, net: &mut Net) {
        if self.drained && self.runs.is_empty() && self.unanswered.is_empty() && self.welcomed {
            self.say_bye(net);
        }
    }

    /// The process dies: its kernel says so with FIN or RST, or nobody does (power, cable).
    pub(super) fn die(&mut self, net: &mut Net) {
        note!(net, "{} dies", self.hello.name);
        self.begin_anew(net);
        let Some(end) = self.end.take() else { return };
        match net.dice.below(3) {
            0 => net.finish(end.link, Way::Up, Piece::Eof),
            1 => net.finish(end.link, Way::Up, Piece::Reset),
            _ => {
                net.mark("a worker dies without a word");
                net.darken(end.link, Way::Up);
                net.darken(end.link, Way::Down);
            }
        }
        net.forget(end.link);
    }

    /// A process takes the place of the one before, while the scheduler may still see that one.
    fn begin_anew(&mut self, net: &mut Net) {
        self.life += 1;
        self.runs.clear();
        self.unanswered.clear();
        self.session = None;
        self.hello.pid += 1;
        let us = net.dice.spread(1_000..=10_000_000);
        self.plan(net, us, Chore::Dial);
        self.plan_whim(net);
    }

    /// Another process with the same name starts while this one is there; this one is gone.
    fn resurrect(&mut self, net: &mut Net) {
        let Some(end) = self.end.take() else { return };
        net.mark("a name is taken over");
        net.darken(end.link, Way::Up);
        net.darken(end.link, Way::Down);
        net.forget(end.link);
        self.begin_anew(net);
        self.plan(net, 0, Chore::Dial);
    }

    /// Its connection is reset; the process goes on.
    fn drop_connection(&mut self, net: &mut Net) {
        let Some(end) = &self.end else { return };
        let link = end.link;
        net.finish(link, Way::Up, Piece::Reset);
        self.on_gone(net);
    }

    /// Answers for a lease that it may never have had, and that is over by now or is not.
    fn answer_late(&mut self, net: &mut Net, talk: &Talk) {
        let Some(id) = talk.some_task(net) else { return };
        let attempt = u32::try_from(net.dice.within(1..=3)).expect("small");
        let lease: Lease = (id, attempt);
        if self.runs.contains_key(&lease) || self.unanswered.contains_key(&lease) {
            return;
        }
        net.mark("an answer for a lease of somebody else");
        self.runs.insert(lease, Run { outcome: Outcome::Done });
        self.finish(net, lease);
    }

    /// Faults are over: it answers what it has, and all that comes.
    pub(crate) fn heal(&mut self, net: &mut Net) {
        self.healthy = true;
        self.hello.token = None;
        if self.end.is_none() {
            return self.plan(net, 1000, Chore::Dial);
        }
        if self.welcomed {
            self.recover(net);
        }
    }

    pub(super) fn recover(&mut self, net: &mut Net) {
        self.request(net, Asked::Plain, &Request::Slots(self.hello.slots.max(1)));
        let runs: Vec<Lease> = self.runs.keys().copied().collect();
        for lease in runs {
            if let Some(run) = self.runs.get_mut(&lease) {
                run.outcome = if run.outcome == Outcome::Fail(Retry::No) {
                    Outcome::Done
                } else {
                    run.outcome
                };
                if matches!(run.outcome, Outcome::Silence | Outcome::Death | Outcome::Oversized) {
                    run.outcome = Outcome::Done;
                }
            }
            self.plan(net, 1000, Chore::Finish(lease.0, lease.1));
        }
    }

    /// Leaves for good.
    pub(crate) fn retire(&mut self, net: &mut Net) {
        if self.welcomed && self.end.is_some() {
            self.say_bye(net);
        } else if let Some(end) = self.end.take() {
            net.finish(end.link, Way::Up, Piece::Reset);
            net.forget(end.link);
        }
        self.retired = true;
    }
}
