//! How many things happened in the last minute, counted exactly and in little memory.

/// The length of the window in seconds.
pub const WINDOW_S: u64 = 60;

/// Seconds held. The spare ones beyond the window keep the count of the last whole second exact while
/// events of the next are already coming in, and a power of two makes the place of a second a mask.
const HELD_S: u64 = 64;

/// The events of each held second, that of second s at s mod [`HELD_S`].
type Buckets = [u32; 64];

/// Counts of events by second: the bucket of an event at `ms` is the second it ends in, ⌈ms ÷ 1000⌉.
///
/// Because the bucket s thus holds just the events in (s − 1, s], the count over (at − 60 s, at] is a
/// sum of whole buckets and exact for every `at` that is a whole second. The buckets are allocated
/// with the first event and given back when the window is empty.
///
/// By hand: of events at 0, 0.001, 59.999 and 60 s, three are in (0, 60 s], so the throughput at 60 s is
/// 3 ÷ 60 = 0.05 per second.
///
/// Time may go backwards: an event that is too old for the buckets is dropped, any other is counted
/// where it belongs.
#[derive(Clone, Debug, Default)]
pub struct Throughput {
    /// The youngest second with an event; buckets reach back from it.
    newest: u64,
    buckets: Option<Box<Buckets>>,
}

impl Throughput {
    /// Counts an event at a wall time in milliseconds.
    pub fn record(&mut self, at_ms: u64) {
        self.add(at_ms.div_ceil(1000), 1);
    }

    /// The number of events in (at − 60 s, at], `at` being the last whole second not after `at_ms`.
    pub fn count(&self, at_ms: u64) -> u64 {
        let last = at_ms / 1000;
        let first = (last + 1).saturating_sub(WINDOW_S);
        (first..=last).map(|second| u64::from(self.held(second))).sum()
    }

    /// Adds the events of another one, second by second.
    pub fn merge(&mut self, other: &Throughput) {
        if other.buckets.is_none() {
            return;
        }
        // The youngest first: it settles which of the older ones are still held.
        for second in ((other.newest + 1).saturating_sub(HELD_S)..=other.newest).rev() {
            match other.held(second) {
                0 => {}
                events => self.add(second, events),
            }
        }
    }

    /// Gives the memory back when no event counts at `at_ms` or later; says whether it did, or had
    /// nothing to give.
    ///
    /// Events further ahead of `at_ms` than the window is long come from a clock that has since been
    /// set back. They go too, or they would keep out all that happens until that time comes again.
    pub fn expire(&mut self, at_ms: u64) -> bool {
        let now = at_ms / 1000;
        if self.newest.abs_diff(now) >= WINDOW_S {
            self.buckets = None;
        }
        self.buckets.is_none()
    }

    fn add(&mut self, second: u64, events: u32) {
        let buckets = match &mut self.buckets {
            Some(buckets) => buckets,
            empty => {
                self.newest = second;
                empty.insert(Box::new([0; 64]))
            }
        };
        if second > self.newest {
            let passed = self.newest + 1..=second.min(self.newest + HELD_S);
            for second in passed {
                if let Some(count) = buckets.get_mut(place(second)) {
                    *count = 0;
                }
            }
            self.newest = second;
        } else if self.newest - second >= HELD_S {
            return;
        }
        if let Some(count) = buckets.get_mut(place(second)) {
            *count = count.saturating_add(events);
        }
    }

    /// The events of a second; 0 for one that is not held.
    fn held(&self, second: u64) -> u32 {
        match &self.buckets {
            Some(buckets) if second <= self.newest && self.newest - second < HELD_S => {
                buckets.get(place(second)).copied().unwrap_or(0)
            }
            _ => 0,
        }
    }
}

/// The bucket of a second.
fn place(second: u64) -> usize {
    (second % HELD_S) as usize
}
