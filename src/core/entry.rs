//! What a worker says of itself, and what is stored of it.

use crate::core::workers::Worker;
use crate::frame::{Word, Words, Writer, decode, number};
use crate::message::Hello;
use crate::message::amounts::{owned_amounts, spell_amounts};
use crate::route::Weight;
use crate::task::SessionId;

/// A worker's entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) host: String,
    pub(super) pid: u64,
    pub(super) slots: u32,
    pub(super) weight: Weight,
    /// `None` is every kind.
    pub(super) kinds: Option<Vec<String>>,
    /// `None` is every queue.
    pub(super) queues: Option<Vec<String>>,
    pub(super) tags: Vec<String>,
    /// What it has, with how much.
    pub(super) res: Vec<(String, u64)>,
    pub(super) heartbeat_ms: Option<u64>,
    pub(super) price: f64,
    pub(super) payload_max: Option<u64>,
    /// Unix milliseconds.
    pub(super) since_ms: u64,
}

impl Entry {
    pub(super) fn of(hello: Hello, since_ms: u64) -> Self {
        Self {
            host: hello.host,
            pid: hello.pid,
            slots: hello.slots,
            weight: hello.weight,
            kinds: hello.kinds,
            queues: hello.queues,
            tags: hello.tags,
            res: hello.res,
            heartbeat_ms: hello.heartbeat_ms,
            price: hello.price,
            payload_max: hello.payload_max,
            since_ms,
        }
    }

    /// The entry of a session of which only a lease is known: it takes nothing new.
    pub(super) fn unknown() -> Self {
        Self {
            host: String::new(),
            pid: 0,
            slots: 0,
            weight: Weight::ZERO,
            kinds: Some(Vec::new()),
            queues: None,
            tags: Vec::new(),
            res: Vec::new(),
            heartbeat_ms: None,
            price: 0.0,
            payload_max: None,
            since_ms: 0,
        }
    }
}

/// An entry as it is stored, with what binds it to its session.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) session: SessionId,
    pub(super) credential: u32,
    /// An operator has it drained, for as long as the session lives.
    pub(super) draining: bool,
    pub(super) entry: Entry,
}

impl Worker {
    /// Spells the entry: `session=… host=… pid=… slots=… weight=… kinds=… … seen=…`.
    pub(super) fn put_entry(&self, out: &mut Vec<u8>, seen_ms: u64) {
        let entry = &self.entry;
        let start = out.len();
        let list = |names: &Option<Vec<String>>| names.as_ref().map_or("*".into(), |n| n.join(","));
        let mut line = Writer::verb(out, "")
            .option("session", &self.session.to_string())
            .option("host", &entry.host)
            .option_number("pid", entry.pid)
            .option_number("slots", entry.slots.into())
            .option("weight", &entry.weight.to_string())
            .option("kinds", &list(&entry.kinds))
            .option("queues", &list(&entry.queues));
        if !entry.tags.is_empty() {
            line = line.option("tags", &entry.tags.join(","));
        }
        if !entry.res.is_empty() {
            line = line.option("res", &spell_amounts(&entry.res));
        }
        if let Some(ms) = entry.heartbeat_ms {
            line = line.option_number("heartbeat", ms);
        }
        if let Some(bytes) = entry.payload_max {
            line = line.option_number("max-payload", bytes);
        }
        if self.draining {
            line = line.option("drain", "yes");
        }
        let _ = line
            .option("price", &entry.price.to_string())
            .option_number("credential", self.credential.into())
            .option_number("since", entry.since_ms)
            .option_number("seen", seen_ms);
        // A line of options alone begins with the first of them.
        out.remove(start);
    }
}

impl Stored {
    /// Reads what [`Worker::put_entry`] spelled.
    pub(super) fn read(line: &str) -> Result<Self, String> {
        let entry = Entry::unknown();
        let mut read =
            Self { session: SessionId::default(), credential: 0, draining: false, entry };
        for word in Words::of(line) {
            let Word::Option(name, value) = word else {
                return Err(format!("{word:?} in {line:?}"));
            };
            read.set(name, value).ok_or_else(|| format!("{name} in {line:?}"))?;
        }
        Ok(read)
    }

    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let number = || number(value.as_bytes());
        let small = || number().and_then(|number| u32::try_from(number).ok());
        let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        let all_or = || (value != "*").then(list);
        let entry = &mut self.entry;
        match name {
            "session" => self.session = SessionId::parse(value)?,
            "credential" => self.credential = small()?,
            "drain" => self.draining = value == "yes",
            "host" => entry.host = decode(value)?.into_owned(),
            "pid" => entry.pid = number()?,
            "slots" => entry.slots = small()?,
            "weight" => entry.weight = Weight::parse(value)?,
            "kinds" => entry.kinds = all_or(),
            "queues" => entry.queues = all_or(),
            "tags" => entry.tags = list(),
            "res" => entry.res = owned_amounts(value)?,
            "heartbeat" => entry.heartbeat_ms = Some(number()?),
            "max-payload" => entry.payload_max = Some(number()?),
            "price" => entry.price = value.parse().ok()?,
            "since" => entry.since_ms = number()?,
            "seen" => {}
            _ => return None,
        }
        Some(())
    }
}

/// Spells a host as an entry does.
pub(super) fn put_host(out: &mut Vec<u8>, host: &str) {
    let start = out.len();
    let _ = Writer::verb(out, "").option("host", host);
    out.drain(start..start + " host=".len());
}
