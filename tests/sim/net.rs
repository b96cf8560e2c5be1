//! Time, what is going to happen, and the connections: links with latency, cut into pieces, broken,
//! silent. Within a direction bytes keep their order; what is lost is lost from a point on, with the
//! connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::Write as _;

use bytes::Bytes;
use ganger::core::Peer;

use crate::dice::Dice;
use crate::happening::{Actor, Happening, Way};
use crate::mutants::Mutant;
use crate::workload::Plan;

/// A connection.
pub(crate) struct Link {
    pub(crate) owner: Actor,
    /// The scheduler's name for it, while it has it.
    pub(crate) peer: Option<Peer>,
    up: Pipe,
    down: Pipe,
}

#[derive(Default)]
struct Pipe {
    pieces: VecDeque<Piece>,
    /// When the last piece arrives.
    last_us: u64,
    /// Nothing gets through any more.
    cut: bool,
    /// Nor does anybody say so: whoever writes learns it late.
    dark: bool,
}

/// What arrives at once.
pub(crate) enum Piece {
    Bytes(Bytes),
    /// Nothing more will come; the other direction may go on.
    Eof,
    /// The connection is over.
    Reset,
}

/// Notes with the time, byte for byte the same for the same seed.
pub(crate) struct Log(pub(crate) Vec<u8>);

/// Adds a line to the log of a run.
macro_rules! note {
    ($net:expr, $($text:tt)*) => { $net.note(format_args!($($text)*)) };
}
pub(crate) use note;

/// Time, links and what is going to happen on them.
pub(crate) struct Net {
    pub(crate) now_us: u64,
    wall_ahead_ms: i64,
    queue: BTreeMap<(u64, u64), Happening>,
    counter: u64,
    pub(crate) dice: Dice,
    pub(crate) plan: Plan,
    pub(crate) mutant: Option<Mutant>,
    links: Vec<Link>,
    live: BTreeSet<usize>,
    /// Whether a scheduler accepts connections.
    pub(crate) listening: bool,
    /// Faults are over: links are quick and whole from now on.
    pub(crate) healed: bool,
    pub(crate) log: Log,
    /// What has been met, and how often.
    pub(crate) marks: BTreeMap<&'static str, u64>,
}

/// Wall time at the start of a run, in Unix milliseconds.
const WALL_START_MS: i64 = 1_790_000_000_000;

/// How long it takes until the end of a silent connection is noticed, in microseconds.
const KEEPALIVE_US: (u64, u64) = (20_000_000, 40_000_000);

impl Net {
    pub(crate) fn new(plan: Plan, dice: Dice, mutant: Option<Mutant>) -> Self {
        Self {
            now_us: 0,
            wall_ahead_ms: 0,
            queue: BTreeMap::new(),
            counter: 0,
            dice,
            plan,
            mutant,
            links: Vec::new(),
            live: BTreeSet::new(),
            listening: false,
            healed: false,
            log: Log(Vec::new()),
            marks: BTreeMap::new(),
        }
    }

    /// Unix milliseconds, as the one wall clock that everybody reads shows them.
    pub(crate) fn wall_ms(&self) -> u64 {
        let run_ms = i64::try_from(self.now_us / 1000).expect("runs are short");
        u64::try_from(WALL_START_MS + run_ms + self.wall_ahead_ms).expect("after 1970")
    }

    /// Simulated microseconds at which the wall clock will show a time.
    pub(crate) fn at_wall(&self, wall_ms: u64) -> u64 {
        let wall_ms = i64::try_from(wall_ms).unwrap_or(i64::MAX / 2000);
        let run_ms = wall_ms.saturating_sub(WALL_START_MS).saturating_sub(self.wall_ahead_ms);
        u64::try_from(run_ms).unwrap_or(0).saturating_mul(1000)
    }

    /// Sets the wall clock.
    pub(crate) fn set_wall(&mut self, by_ms: i64) {
        self.wall_ahead_ms += by_ms;
        note!(self, "the wall clock is set by {by_ms} ms");
    }

    pub(crate) fn note(&mut self, text: fmt::Arguments<'_>) {
        let (seconds, micros) = (self.now_us / 1_000_000, self.now_us % 1_000_000);
        writeln!(self.log.0, "{seconds}.{micros:06} {text}").expect("memory takes it");
    }

    /// Counts that something was met.
    pub(crate) fn mark(&mut self, what: &'static str) {
        *self.marks.entry(what).or_default() += 1;
    }

    pub(crate) fn at(&mut self, at_us: u64, happening: Happening) {
        self.counter += 1;
        self.queue.insert((at_us.max(self.now_us), self.counter), happening);
    }

    pub(crate) fn after(&mut self, us: u64, happening: Happening) {
        self.at(self.now_us + us, happening);
    }

    /// The next thing to happen, and moves the clock there.
    pub(crate) fn next(&mut self) -> Option<Happening> {
        let ((at_us, _), happening) = self.queue.pop_first()?;
        self.now_us = at_us;
        Some(happening)
    }

    /// When the next thing happens.
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((at_us, _), _)| *at_us)
    }

    /// The scheduler's machine is held up: everything that was going to happen is late.
    pub(crate) fn hold_up(&mut self, us: u64) {
        self.now_us += us;
        note!(self, "everything is held up for {} ms", us / 1000);
        let late: Vec<_> = self.queue.range(..(self.now_us, 0)).map(|(key, _)| *key).collect();
        for key in late {
            let happening = self.queue.remove(&key).expect("a key of it");
            self.queue.insert((self.now_us, key.1), happening);
        }
    }

    /// Peers and faults pause; the scheduler goes on.
    pub(crate) fn nap(&mut self, us: u64) {
        note!(self, "everybody naps for {} ms", us / 1000);
        let naps = |happening: &Happening| {
            matches!(
                happening,
                Happening::Worker { .. } | Happening::Client { .. } | Happening::Fault(_)
            )
        };
        let napping = self.queue.iter().filter(|(_, happening)| naps(happening));
        let napping: Vec<_> = napping.map(|(key, _)| *key).collect();
        for key in napping {
            let happening = self.queue.remove(&key).expect("a key of it");
            self.queue.insert((key.0 + us, key.1), happening);
        }
    }

    fn latency_us(&mut self) -> u64 {
        if self.healed {
            return 200;
        }
        let most = self.plan.links.latency_us;
        self.dice.spread(50..=most)
    }

    /// Dials the scheduler; nothing answers while there is none.
    pub(crate) fn dial(&mut self, owner: Actor) -> Option<usize> {
        if !self.listening {
            return None;
        }
        let link = self.links.len();
        self.links.push(Link { owner, peer: None, up: Pipe::default(), down: Pipe::default() });
        self.live.insert(link);
        let at_us = self.now_us + self.latency_us();
        self.links[link].up.last_us = at_us;
        self.at(at_us, Happening::Dialled { link });
        Some(link)
    }

    pub(crate) fn link(&mut self, link: usize) -> &mut Link {
        &mut self.links[link]
    }

    /// Whether the peer has its end of the link.
    pub(crate) fn is_live(&self, link: usize) -> bool {
        self.live.contains(&link)
    }

    /// Links that their peers have.
    pub(crate) fn live(&self) -> Vec<usize> {
        self.live.iter().copied().collect()
    }

    fn pipe(&mut self, link: usize, way: Way) -> &mut Pipe {
        let link = &mut self.links[link];
        match way {
            Way::Up => &mut link.up,
            Way::Down => &mut link.down,
        }
    }

    /// Sends bytes; they arrive in one piece or in several.
    pub(crate) fn send(&mut self, link: usize, way: Way, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut rest = Bytes::copy_from_slice(bytes);
        while rest.len() > 1 && self.dice.per_mille(self.plan.links.chop) {
            let piece = rest.split_to(self.dice.index(rest.len() - 1) + 1);
            self.push(link, way, Piece::Bytes(piece));
        }
        self.push(link, way, Piece::Bytes(rest));
    }

    /// Ends a direction after what has been sent.
    pub(crate) fn finish(&mut self, link: usize, way: Way, end: Piece) {
        self.push(link, way, end);
    }

    fn push(&mut self, link: usize, way: Way, piece: Piece) {
        let latency_us = self.latency_us();
        let now_us = self.now_us;
        let pipe = self.pipe(link, way);
        if pipe.cut {
            // The writer is told, unless the other end is silent.
            if !pipe.dark {
                let other = if way == Way::Up { Way::Down } else { Way::Up };
                self.after(latency_us, Happening::Gone { link, way: other });
            }
            return;
        }
        pipe.last_us = pipe.last_us.max(now_us + latency_us);
        let at_us = pipe.last_us;
        pipe.pieces.push_back(piece);
        self.at(at_us, Happening::Arrive { link, way });
    }

    /// The piece that arrives now.
    pub(crate) fn arrived(&mut self, link: usize, way: Way) -> Option<Piece> {
        self.pipe(link, way).pieces.pop_front()
    }

    /// Nothing gets through a direction any more; what is under way is lost if `lose`.
    pub(crate) fn cut(&mut self, link: usize, way: Way, lose: bool) {
        let pipe = self.pipe(link, way);
        pipe.cut = true;
        if lose {
            pipe.pieces.clear();
        }
    }

    /// The peer has given its end up.
    pub(crate) fn forget(&mut self, link: usize) {
        self.live.remove(&link);
        self.cut(link, Way::Down, true);
    }

    /// The connection breaks; both ends learn soon.
    pub(crate) fn snap(&mut self, link: usize) {
        for way in [Way::Up, Way::Down] {
            let lose = self.dice.per_mille(500);
            self.cut(link, way, lose);
            let us = self.latency_us();
            let at_us = self.now_us.max(self.pipe(link, way).last_us) + us;
            self.at(at_us, Happening::Gone { link, way });
        }
    }

    /// A direction goes dark: what is under way is lost, and its reader learns late.
    pub(crate) fn darken(&mut self, link: usize, way: Way) {
        let pipe = self.pipe(link, way);
        (pipe.cut, pipe.dark) = (true, true);
        pipe.pieces.clear();
        let us = self.dice.within(KEEPALIVE_US.0..=KEEPALIVE_US.1);
        self.after(us, Happening::Gone { link, way });
    }

    /// The scheduler's process is gone: every connection breaks.
    pub(crate) fn hang_up(&mut self) {
        self.listening = false;
        // Also of those that their peers have given up: the next process names its own anew.
        self.links.iter_mut().for_each(|link| link.peer = None);
        for link in self.live() {
            self.cut(link, Way::Up, true);
            if self.dice.per_mille(300) {
                self.pipe(link, Way::Down).pieces.clear();
            }
            self.push(link, Way::Down, Piece::Reset);
        }
    }
}
