//! What a batch means for Redis: a few commands of many arguments, never one command per task.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};

use super::commit::Sent;
use super::fence::Fence;
use super::keys::{COUNTED, Key, Keys};
use super::scripts::Script;
use crate::task::TaskId;

/// Arguments of one command at most: Lua unpacks 7999 values and no more.
const ARGS_MAX: usize = 4000;

/// Where the counted keys begin: KEYS counts from 1, and the fence and the channel come first.
const FIRST_COUNTED: usize = 3;

/// Where the keys of a plan begin that are not counted.
const FIRST_KEY: usize = FIRST_COUNTED + COUNTED.len();

/// Commands for one call of the commit script. Values are absolute, and what is written twice has
/// its last value.
#[derive(Default)]
pub(super) struct Plan<'a> {
    /// Those that are not counted.
    keys: Vec<Key>,
    /// The places of those that are; every call is given all of them.
    counted: BTreeSet<usize>,
    steps: Vec<Step>,
    args: Vec<Arg<'a>>,
}

struct Step {
    command: &'static str,
    /// Place in KEYS.
    key: usize,
    /// Arguments, which follow those of the step before.
    count: usize,
}

/// One argument.
pub(super) enum Arg<'a> {
    Id([u8; TaskId::LEN]),
    Text(&'a [u8]),
    Own(Vec<u8>),
}

impl Arg<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Id(id) => id,
            Self::Text(text) => text,
            Self::Own(text) => text,
        }
    }
}

impl From<TaskId> for Arg<'_> {
    fn from(id: TaskId) -> Self {
        Self::Id(id.text())
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(text: &'a [u8]) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.as_bytes())
    }
}

impl From<Vec<u8>> for Arg<'_> {
    fn from(text: Vec<u8>) -> Self {
        Self::Own(text)
    }
}

impl From<String> for Arg<'_> {
    fn from(text: String) -> Self {
        Self::Own(text.into_bytes())
    }
}

impl<'a> Plan<'a> {
    /// Adds a command, in pieces if it has many arguments; none at all if it has none.
    pub(super) fn command(
        &mut self,
        command: &'static str,
        key: &Key,
        args: impl IntoIterator<Item = Arg<'a>>,
    ) {
        let start = self.args.len();
        self.args.extend(args);
        let mut left = self.args.len() - start;
        while left > 0 {
            let count = left.min(ARGS_MAX);
            self.step(command, key, count);
            left -= count;
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Adds a command that has no arguments but its key.
    pub(super) fn bare(&mut self, command: &'static str, key: &Key) {
        self.step(command, key, 0);
    }

    /// Sets and removes fields of a hash: of several changes of one field the last one counts.
    pub(super) fn hash<F, V>(&mut self, key: &Key, mut changes: Vec<(F, Option<V>)>)
    where
        F: Ord + Copy + Into<Arg<'a>>,
        V: Into<Arg<'a>>,
    {
        settle(&mut changes);
        let gone: Vec<Arg<'a>> = changes
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|&(field, _)| field.into())
            .collect();
        self.command("HDEL", key, gone);
        let set = changes.into_iter().filter_map(|(field, value)| Some((field, value?)));
        self.command("HSET", key, set.flat_map(|(field, value)| [field.into(), value.into()]));
    }

    /// The place of a key among those of the script.
    pub(super) fn place(&mut self, key: &Key) -> usize {
        if let Some(counted) = key.counted {
            self.counted.insert(FIRST_COUNTED + counted);
            return FIRST_COUNTED + counted;
        }
        if self.keys.last() != Some(key) {
            self.keys.push(key.clone());
        }
        FIRST_KEY + self.keys.len() - 1
    }

    fn step(&mut self, command: &'static str, key: &Key, count: usize) {
        let key = self.place(key);
        self.steps.push(Step { command, key, count });
    }

    /// The call of the commit script that carries this plan out as the next batch.
    pub(super) fn request(&self, script: &Script, keys: &Keys, head: &Head<'_>) -> Sent {
        let digest = self.digest(head);
        let fence = head.fence;
        let next = Fence { seq: fence.seq + 1, digest, ..fence.clone() };
        let mut call = script.call(FIRST_KEY - 1 + self.keys.len());
        call.arg(keys.fence().name).arg(keys.events()).arg(keys.counted());
        for key in &self.keys {
            call.arg(&key.name);
        }
        call.arg(&fence.epoch).arg(&fence.nonce).arg(&fence.lineage);
        call.arg(next.seq).arg(fence.seq).arg(&next.digest).arg(&fence.digest);
        call.arg(&head.last.text()).arg(head.lease_ms).arg(head.events);
        call.arg(self.counted.len()).arg(&self.counted);
        for key in &self.keys {
            call.arg(key.kind.word());
        }
        let mut args = self.args.iter();
        for step in &self.steps {
            call.arg(step.command).arg(step.key).arg(step.count);
            for arg in args.by_ref().take(step.count) {
                call.arg(arg.bytes());
            }
        }
        Sent { request: call.get_packed_command(), before: fence.clone(), after: next }
    }

    /// Tells this batch from every other that could have its number; contains the digest before it.
    /// It is only ever compared with what the same process computed, so any good hash will do.
    fn digest(&self, head: &Head<'_>) -> String {
        let mut hasher = DefaultHasher::new();
        hasher.write(head.fence.digest.as_bytes());
        hasher.write_u64(head.last.bits());
        for key in &self.keys {
            hasher.write(key.name.as_bytes());
        }
        for step in &self.steps {
            hasher.write(step.command.as_bytes());
            hasher.write_usize(step.key);
            hasher.write_usize(step.count);
        }
        for arg in &self.args {
            hasher.write_usize(arg.bytes().len());
            hasher.write(arg.bytes());
        }
        format!("{:016x}", hasher.finish())
    }
}

/// What a call carries besides the plan.
pub(super) struct Head<'a> {
    pub(super) fence: &'a Fence,
    pub(super) last: TaskId,
    pub(super) lease_ms: u64,
    pub(super) events: &'a [u8],
}

/// Sorts by field and keeps the last change of each.
pub(super) fn settle<F: Ord, V>(changes: &mut Vec<(F, V)>) {
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes.reverse();
    changes.dedup_by(|next, kept| next.0 == kept.0);
    changes.reverse();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_a_field_counts() {
        let mut changes = vec![(2, 'a'), (1, 'b'), (2, 'c'), (1, 'd'), (3, 'e')];
        settle(&mut changes);
        assert_eq!(changes, [(1, 'd'), (2, 'c'), (3, 'e')]);
    }

    #[test]
    fn long_commands_are_cut_where_lua_can_take_them() {
        let keys = Keys::new(0);
        let mut plan = Plan::default();
        let ids = (0..9_000).map(TaskId::from_bits);
        plan.hash(&keys.tasks(), ids.map(|id| (id, Some(&b"x"[..]))).collect());
        let counts: Vec<usize> = plan.steps.iter().map(|step| step.count).collect();
        assert_eq!(counts, [4000, 4000, 4000, 4000, 2000]);
        assert!(plan.steps.iter().all(|step| step.key == FIRST_COUNTED) && plan.keys.is_empty());
    }

    #[test]
    fn a_digest_depends_on_what_was_before() {
        let plan = Plan::default();
        let mut fence = Fence {
            epoch: "1".into(),
            nonce: "n".into(),
            lineage: "l".into(),
            seq: 4,
            digest: String::new(),
        };
        let digest = |fence: &Fence| {
            let head = Head { fence, last: TaskId::default(), lease_ms: 1, events: b"" };
            plan.digest(&head)
        };
        let first = digest(&fence);
        fence.digest.clone_from(&first);
        assert_ne!(digest(&fence), first);
    }
}
