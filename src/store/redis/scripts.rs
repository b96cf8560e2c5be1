//! The scripts. Each file under `lua/` tells its KEYS, its ARGV and every reply at its head; but
//! for `rows.lua`, which is put before those that write.

use std::borrow::Cow;

use redis::Cmd;

use super::connect::packed;

/// What the scripts share that write.
const ROWS: &str = include_str!("lua/rows.lua");

/// A script and its name in Redis.
pub(super) struct Script {
    code: Cow<'static, str>,
    script: redis::Script,
}

impl Script {
    /// Writes a batch, if the fence is ours and the batch is the next one.
    pub(super) fn commit() -> Self {
        Self::guarding(include_str!("lua/commit.lua"))
    }

    /// Takes the fence.
    pub(super) fn acquire() -> Self {
        Self::guarding(include_str!("lua/acquire.lua"))
    }

    /// Prolongs the lease, or gives it back.
    pub(super) fn renew() -> Self {
        Self::guarding(include_str!("lua/renew.lua"))
    }

    /// Reads the next entries of the inbox.
    pub(super) fn entries() -> Self {
        Self::new(include_str!("lua/entries.lua").into())
    }

    /// A script with what it shares behind its first line, which Redis reads.
    fn guarding(code: &'static str) -> Self {
        let (flags, rest) = code.split_once('\n').unwrap_or((code, ""));
        Self::new(format!("{flags}\n{ROWS}{rest}").into())
    }

    fn new(code: Cow<'static, str>) -> Self {
        Self { script: redis::Script::new(&code), code }
    }

    /// The packed command that makes Redis know it.
    pub(super) fn load(&self) -> Vec<u8> {
        packed("SCRIPT", &[b"LOAD", self.code.as_bytes()])
    }

    /// The beginning of its call: keys and arguments follow.
    pub(super) fn call(&self, keys: usize) -> Cmd {
        let mut call = Cmd::new();
        call.arg("EVALSHA").arg(self.script.get_hash()).arg(keys);
        call
    }
}

/// All scripts.
pub(super) struct Scripts {
    pub(super) commit: Script,
    pub(super) acquire: Script,
    pub(super) renew: Script,
    pub(super) entries: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            commit: Script::commit(),
            acquire: Script::acquire(),
            renew: Script::renew(),
            entries: Script::entries(),
        }
    }
}
