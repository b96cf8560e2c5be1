//! Every key, built here and nowhere else. All keys of a shard carry its hash tag, so that they
//! live in one slot and one script may touch them together.

use std::fmt::Write as _;

use crate::task::TaskId;

/// A key and the type that it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) kind: Type,
    /// Its place among those whose rows are counted, if it is one.
    pub(super) counted: Option<usize>,
}

/// The hashes that are read at the start: none may lose a row unseen. In the order of the scripts.
pub(super) const COUNTED: [&str; 10] =
    ["tasks", "state", "dead", "holds", "queues", "workers", "stats", "runs", "crons", "buckets"];

/// The type of a key's value, as the command TYPE names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Hash,
    List,
    Set,
    SortedSet,
    /// A key that programs write to: whatever they made of it.
    Any,
}

impl Type {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Any => "any",
        }
    }
}

/// Builds the keys of one shard.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    counted: [String; COUNTED.len()],
}

impl Keys {
    pub(super) fn new(shard: u8) -> Self {
        let prefix = format!("{{ganger:{shard}}}:");
        Self { counted: COUNTED.map(|word| format!("{prefix}{word}")), prefix }
    }

    /// The names of the keys whose rows are counted, in the order of the scripts.
    pub(super) fn counted(&self) -> &[String] {
        &self.counted
    }

    /// Who may write, and how far the writes have come.
    pub(super) fn fence(&self) -> Key {
        self.key(Type::Hash, "fence")
    }

    /// The channel of events: no key, but named like one.
    pub(super) fn events(&self) -> String {
        format!("{}events", self.prefix)
    }

    /// Identifier to SUBMIT frame, of every unfinished task.
    pub(super) fn tasks(&self) -> Key {
        self.key(Type::Hash, "tasks")
    }

    /// Identifier to state line, of the unfinished tasks that have one.
    pub(super) fn state(&self) -> Key {
        self.key(Type::Hash, "state")
    }

    /// Identifier to state line, line feed, SUBMIT frame, of the buried tasks.
    pub(super) fn dead(&self) -> Key {
        self.key(Type::Hash, "dead")
    }

    /// Identifier to RESULT frame, of the results of one bucket.
    pub(super) fn results(&self, bucket: Bucket) -> Key {
        self.key(Type::Hash, &format!("results:{}", bucket.text()))
    }

    /// Bucket to `until bytes`: when the last result in it is over, and what it holds.
    pub(super) fn buckets(&self) -> Key {
        self.key(Type::Hash, "buckets")
    }

    /// The identifiers that ended last, newest first.
    pub(super) fn finished(&self) -> Key {
        self.key(Type::List, "finished")
    }

    /// Queue, space, value to the line of a held `unique=`.
    pub(super) fn holds(&self) -> Key {
        self.key(Type::Hash, "holds")
    }

    /// Queue to its line of policies: what is loaded.
    pub(super) fn queues(&self) -> Key {
        self.key(Type::Hash, "queues")
    }

    /// The policies of a queue, one a field: for who looks.
    pub(super) fn queue(&self, name: &str) -> Key {
        self.key(Type::Hash, &format!("queue:{}", escaped(name)))
    }

    /// Worker to its entry.
    pub(super) fn workers(&self) -> Key {
        self.key(Type::Hash, "workers")
    }

    /// The names of the workers on a host.
    pub(super) fn machine(&self, host: &str) -> Key {
        self.key(Type::Set, &format!("machine:{}", escaped(host)))
    }

    /// Kind or pair to its line of figures: what is loaded.
    pub(super) fn measured(&self) -> Key {
        self.key(Type::Hash, "stats")
    }

    /// The figures of a kind, or of a pair `kind@worker`, one a field: for who looks.
    pub(super) fn stats(&self, name: &str) -> Key {
        let words = match name.split_once('@') {
            Some((kind, worker)) => format!("stats:{}:{}", escaped(kind), escaped(worker)),
            None => format!("stats:{}", escaped(name)),
        };
        self.key(Type::Hash, &words)
    }

    /// `kind@worker` to its cost.
    pub(super) fn cost(&self) -> Key {
        self.key(Type::SortedSet, "cost")
    }

    /// Task and attempt, to the line of a run whose lease has ended.
    pub(super) fn runs(&self) -> Key {
        self.key(Type::Hash, "runs")
    }

    /// Periodic task to its line, line feed, the SUBMIT frame of the tasks that it fires.
    pub(super) fn crons(&self) -> Key {
        self.key(Type::Hash, "crons")
    }

    /// SUBMITs of programs that have no connection, the next one at the right end.
    pub(super) fn inbox(&self) -> Key {
        self.key(Type::Any, "inbox")
    }

    /// The entries that were refused last, newest first: ERR, line feed, entry.
    pub(super) fn refused(&self) -> Key {
        self.key(Type::Any, "inbox:refused")
    }

    /// What a program is told that named a list, newest first.
    pub(super) fn reply(&self, name: &str) -> Key {
        self.key(Type::Any, &format!("reply:{}", escaped(name)))
    }

    fn key(&self, kind: Type, words: &str) -> Key {
        let counted = COUNTED.iter().position(|&counted| counted == words);
        Key { name: format!("{}{words}", self.prefix), kind, counted }
    }
}

/// The first five characters of a task's identifier: tasks submitted within about nine minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket([u8; Self::LEN]);

impl Bucket {
    const LEN: usize = 5;

    pub(super) fn of(id: TaskId) -> Self {
        let mut bucket = [0; Self::LEN];
        bucket.iter_mut().zip(id.text()).for_each(|(to, from)| *to = from);
        Self(bucket)
    }

    /// Reads the written form; `None` for what no identifier begins with.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let bucket: [u8; Self::LEN] = text.try_into().ok()?;
        let mut lowest = [b'0'; TaskId::LEN];
        lowest.iter_mut().zip(bucket).for_each(|(to, from)| *to = from);
        TaskId::parse(&lowest).map(|_| Self(bucket))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A text with everything percent-encoded that no name may hold. Names stay as they are, a host
/// (free text) can neither leave its place in a key nor meet another host there.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._/-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_carries_the_hash_tag_first() {
        let keys = Keys::new(7);
        let mut all: Vec<String> = keys.counted().to_vec();
        all.extend([keys.fence().name, keys.events(), keys.machine("a}b{c").name]);
        all.extend([keys.queue("q").name, keys.stats("k@w").name]);
        for key in all {
            assert!(
                key.starts_with("{ganger:7}:") && key.matches(['{', '}']).count() == 2,
                "{key}"
            );
        }
    }

    #[test]
    fn the_scripts_count_the_rows_of_these_keys() {
        let keys = Keys::new(0);
        let at = |key: Key| key.counted;
        let all = [keys.tasks(), keys.state(), keys.dead(), keys.holds(), keys.queues()];
        let rest = [keys.workers(), keys.measured(), keys.runs(), keys.crons(), keys.buckets()];
        let places: Vec<_> = all.into_iter().chain(rest).map(at).collect();
        assert_eq!(places, (0..COUNTED.len()).map(Some).collect::<Vec<_>>());
        assert_eq!(at(keys.finished()), None);
        let script = include_str!("lua/rows.lua");
        let words = script.split("'rows:").skip(1).filter_map(|text| text.split('\'').next());
        assert_eq!(words.collect::<Vec<_>>(), COUNTED);
    }

    #[test]
    fn free_text_meets_no_other_key() {
        let keys = Keys::new(0);
        assert_eq!(keys.machine("Büro 1").name, "{ganger:0}:machine:B%C3%BCro%201");
        assert_ne!(keys.machine("a%20b").name, keys.machine("a b").name);
        assert_eq!(keys.stats("img/resize@w-1").name, "{ganger:0}:stats:img/resize:w-1");
    }

    #[test]
    fn buckets_rise_with_identifiers() {
        let (early, late) = (TaskId::from_bits(1 << 40), TaskId::from_bits(5 << 40 | 77));
        assert!(Bucket::of(early) < Bucket::of(late));
        assert_eq!(Bucket::parse(Bucket::of(late).text().as_bytes()), Some(Bucket::of(late)));
        assert_eq!(Bucket::parse(b"zzzzz"), None);
    }
}
