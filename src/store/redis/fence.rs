//! The fence: what says that we alone may write, and how far our writes have come.

use redis::Value;

use super::failure::Failure;
use crate::store::Error;

/// What the fence held when we took it, and the writes since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    /// Rises with every acquisition.
    pub(super) epoch: String,
    /// 128 random bits, new with every acquisition: what makes the epoch safe.
    pub(super) nonce: String,
    /// Names the data, from their beginning on.
    pub(super) lineage: String,
    /// Batches written so far.
    pub(super) seq: u64,
    /// The digest of the last batch, which contains the one before it.
    pub(super) digest: String,
}

impl Fence {
    /// Whether a stored number and digest are those of this state.
    pub(super) fn is_at(&self, seq: &str, digest: &str) -> bool {
        self.seq.to_string() == seq && self.digest == digest
    }
}

/// The reply of a script: a word, the nonce of the request, and more.
pub(super) struct Reply {
    words: Vec<String>,
}

impl Reply {
    /// Reads a reply and checks that it answers the request with that nonce.
    pub(super) fn read(value: Value, nonce: &str) -> Result<Self, Failure> {
        let shown = format!("{value:?}");
        match redis::from_redis_value::<Vec<String>>(value) {
            Ok(words) if words.get(1).is_some_and(|found| found == nonce) => Ok(Self { words }),
            _ => Err(Failure::garbled(shown)),
        }
    }

    /// What it says.
    pub(super) fn word(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// What follows the nonce, by its place.
    pub(super) fn detail(&self, place: usize) -> &str {
        self.words.get(2 + place).map_or("", String::as_str)
    }

    /// What follows TYPE, ROWS or HELD from such a place on: which keys have other rows than they had.
    pub(super) fn rows(&self, place: usize) -> Option<String> {
        let words = self.words.get(2 + place..).unwrap_or_default();
        let told = words.chunks_exact(3).filter_map(|three| match three {
            [key, found, wanted] => Some(format!("{key} has {found} of {wanted} rows")),
            _ => None,
        });
        Some(told.collect::<Vec<_>>().join(", ")).filter(|told| !told.is_empty())
    }

    /// What ROWS says.
    pub(super) fn lost(&self, fence: &str, place: usize) -> String {
        self.rows(place).unwrap_or_else(|| format!("{fence} does not tell all rows"))
    }

    /// The reply as a failure; `skip` is the number of details before those of the refusal.
    pub(super) fn refusal(&self, fence: &str, skip: usize) -> Failure {
        let detail = |place| self.detail(skip + place);
        Failure::Halt(match self.word() {
            "FENCED" => Error::Fenced(format!(
                "{} took the shard over (epoch {}); this scheduler must not write any more",
                detail(0),
                detail(1)
            )),
            "GONE" => Error::Corrupt(format!(
                "the key {fence} is gone: this Redis was flushed, started empty, or is another one; \
                 check the address and restore the data; a start on an empty Redis begins anew"
            )),
            "LINEAGE" => Error::Corrupt(format!(
                "the key {fence} is of other data (lineage {:?}): this Redis was emptied or is \
                 another one; check the address or restore the data",
                detail(0)
            )),
            "SEQ" => return Self::other_state(fence, detail(0), detail(1)),
            "ROWS" => Error::Corrupt(format!(
                "{}: rows were evicted, deleted or added by somebody, so tasks may be lost; nothing \
                 was written. See that this Redis evicts nothing and who else writes to it; then \
                 restore its data, or go on with what is left by --accept-repair",
                self.lost(fence, skip)
            )),
            "TYPE" => Error::Corrupt(format!(
                "the key {} is a {} where a {} belongs; nothing was written. Remove or rename it, \
                 then start again",
                detail(0),
                detail(1),
                detail(2)
            )),
            "NOPERM" => return Failure::forbidden(detail(0), detail(1)),
            _ => return Failure::garbled(&self.words),
        })
    }

    /// What is stored is not what was stored, and it is not known what is missing.
    pub(super) fn other_state(fence: &str, seq: &str, digest: &str) -> Failure {
        Failure::Halt(Error::Corrupt(format!(
            "Redis holds batch {seq:?} (digest {digest:?}), not the one written last: it started \
             from older data, or somebody wrote to {fence}; start again to go on with what it holds"
        )))
    }
}
