//! The address of a Redis, read before anything is connected.

use redis::{ConnectionInfo, IntoConnectionInfo};

/// The scheme of an address that this version can use.
const SUPPORTED: &str = "redis";

/// Whether a scheme names a Redis, if only one that this version refuses.
pub fn is_scheme(scheme: &str) -> bool {
    [SUPPORTED, "rediss", "redis+sentinel", "redis+cluster"].contains(&scheme)
}

/// Checks an address without connecting to it.
///
/// # Errors
///
/// What is wrong with it; without the password that it may hold.
pub fn check_url(url: &str) -> Result<(), String> {
    read(url).map(drop)
}

/// Reads an address: `redis://[user:password@]host[:port][/database]`.
///
/// # Errors
///
/// Those of [`check_url`].
pub(super) fn read(url: &str) -> Result<ConnectionInfo, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    if scheme != SUPPORTED {
        return Err(format!(
            "a Redis address is redis://[user:password@]host[:port][/database]; the scheme \
             {scheme:?} is not supported by this version (TLS, Sentinel and Cluster are not yet)"
        ));
    }
    if let Some(mark) = rest.chars().find(|mark| "?#".contains(*mark)) {
        let code = u32::from(mark);
        return Err(format!(
            "a Redis address has no options, but this one has a {mark:?} (in a password, write \
             %{code:02X}): redis://[user:password@]host[:port][/database]"
        ));
    }
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let (host, database) = place.split_once('/').unwrap_or((place, ""));
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err(format!(
            "{database:?} in the Redis address is no database: that is a number, as in \
             redis://127.0.0.1:6379/0"
        ));
    }
    let port = match host.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => Some(port),
        _ => None,
    };
    if let Some(port) = port.filter(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(format!("{port:?} in the Redis address is no port: that is 1 to 65535"));
    }
    if host.is_empty() || host.starts_with(':') {
        return Err("the Redis address has no host: redis://127.0.0.1:6379".to_owned());
    }
    url.into_connection_info().map_err(|error| format!("the Redis address cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (url, expected) in [
            ("redis://h", ("h:6379", None, 0)),
            ("redis://h/", ("h:6379", None, 0)),
            ("redis://10.0.0.7:7000/5", ("10.0.0.7:7000", None, 5)),
            ("redis://[::1]:7000", ("::1:7000", None, 0)),
            ("redis://[::1]", ("::1:6379", None, 0)),
            ("redis://:a%3Fb%23@h:1", ("h:1", Some("a?b#"), 0)),
            ("redis://me:p@ss@h:1/2", ("h:1", Some("p@ss"), 2)),
        ] {
            let info = read(url).unwrap();
            let settings = info.redis_settings();
            let addr = info.addr().to_string();
            assert_eq!((addr.as_str(), settings.password(), settings.db()), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (url, told) in [
            ("redis:h", "not supported"),
            ("rediss://h", "\"rediss\" is not supported"),
            ("redis://h?foo=1", "no options"),
            ("redis://h:1/0?protocol=resp3", "no options"),
            ("redis://:s?cret@h", "%3F"),
            ("redis://:s#cret@h", "%23"),
            ("redis://h:6379/abc", "\"abc\" in the Redis address is no database"),
            ("redis://h/-1", "no database"),
            ("redis://h/0/1", "no database"),
            ("redis://h:port", "\"port\" in the Redis address is no port"),
            ("redis://h:", "no port"),
            ("redis://h:0", "no port"),
            ("redis://h:65536", "no port"),
            ("redis://", "no host"),
            ("redis://:secret@/0", "no host"),
            ("redis://:6379", "no host"),
            ("redis://0.0.0.0", "cannot be read"),
            ("redis://a b", "cannot be read"),
        ] {
            let error = check_url(url).unwrap_err();
            assert!(error.contains(told) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
