//! Whether a Redis may be used: asked at the start, of every new connection, and each minute.

use super::connect::packed;

/// What is thought of a Redis.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be used.
    Fit,
    /// Not while it is like this, which passes by itself.
    NotNow(String),
    /// Not before somebody changed it.
    Unfit(String),
}

/// The packed command whose reply [`judge`] reads. CONFIG would tell as much, but is often
/// forbidden.
pub(super) fn request() -> Vec<u8> {
    packed("INFO", &[b"server", b"replication", b"memory", b"persistence"])
}

/// Judges a Redis by its INFO.
pub(super) fn judge(info: &str, allow_unsafe: bool) -> Verdict {
    let version = field(info, "redis_version").unwrap_or_default();
    if major(version).is_none_or(|major| major < 7) {
        return Verdict::Unfit(format!("it is version {version:?}; 7.0 or newer is needed"));
    }
    let mode = field(info, "redis_mode").unwrap_or("standalone");
    if mode != "standalone" {
        return Verdict::Unfit(format!(
            "it is a Redis {mode}, which this version does not support"
        ));
    }
    if field(info, "loading").is_some_and(|loading| loading != "0") {
        return Verdict::NotNow("it is still loading its data".to_owned());
    }
    if field(info, "role") != Some("master") {
        let role = field(info, "role").unwrap_or("unknown");
        return Verdict::NotNow(format!("its role is {role}, not master"));
    }
    let limited = field(info, "maxmemory").is_some_and(|bytes| bytes != "0");
    let policy = field(info, "maxmemory_policy").unwrap_or("unknown");
    if limited && policy != "noeviction" {
        return Verdict::Unfit(format!(
            "at maxmemory it throws tasks away (maxmemory-policy {policy}); set \
             `maxmemory-policy noeviction` in redis.conf"
        ));
    }
    if field(info, "aof_enabled") != Some("1") && !allow_unsafe {
        return Verdict::Unfit(
            "it keeps no append-only file, so what is acknowledged is lost when it ends; set \
             `appendonly yes` in redis.conf, or serve with --redis-unsafe"
                .to_owned(),
        );
    }
    Verdict::Fit
}

/// A figure of an INFO reply.
pub(super) fn figure(info: &str, name: &str) -> Option<u64> {
    field(info, name)?.parse().ok()
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "redis_version:7.0.15\r\nloading:0\r\nrole:master\r\nmaxmemory:0\r\n\
                        maxmemory_policy:noeviction\r\naof_enabled:1\r\n";

    #[test]
    fn a_redis_that_may_lose_tasks_is_refused_with_the_line_to_set() {
        assert_eq!(judge(GOOD, false), Verdict::Fit);
        let evicts =
            GOOD.replace("maxmemory:0", "maxmemory:9").replace("noeviction", "volatile-ttl");
        for (info, line) in [
            (evicts.as_str(), "maxmemory-policy noeviction"),
            (&GOOD.replace("aof_enabled:1", "aof_enabled:0"), "appendonly yes"),
            (&GOOD.replace("7.0.15", "6.2.14"), "7.0 or newer"),
            (&format!("{GOOD}redis_mode:cluster\r\n"), "Redis cluster"),
            ("", "7.0 or newer"),
        ] {
            let verdict = judge(info, false);
            assert!(matches!(&verdict, Verdict::Unfit(text) if text.contains(line)), "{verdict:?}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_waited_for() {
        for info in [GOOD.replace("loading:0", "loading:1"), GOOD.replace("master", "slave")] {
            assert!(matches!(judge(&info, false), Verdict::NotNow(_)), "{info}");
        }
    }

    #[test]
    fn losing_data_can_be_allowed() {
        assert_eq!(judge(&GOOD.replace("aof_enabled:1", "aof_enabled:0"), true), Verdict::Fit);
    }
}
