//! How people write durations, sizes, times, addresses, names and texts.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use crate::message::amounts::owned_amounts;
use crate::protocol::TEXT_MAX;
use crate::task::is_name;

/// The port that is meant when none is given.
const PORT: u16 = 7330;

/// Reads a duration: `250ms`, `30s`, `5m`, `1h30m`, `7d`, or `0`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let wrong = || format!("{text:?} is no duration: give 250ms, 30s, 5m, 1h30m or 7d");
    let mut total = 0_u64;
    let mut rest = text;
    let mut finest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        if unit_ms >= finest {
            return Err(wrong());
        }
        finest = unit_ms;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = behind;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
}

/// Reads the name of a queue, a kind, a worker, a tag or a periodic task.
pub(super) fn name(text: &str) -> Result<String, String> {
    let rule = "give a name: 1 to 128 characters of A-Z a-z 0-9 . _ / -";
    is_name(text).then(|| text.to_owned()).ok_or_else(|| rule.to_owned())
}

/// Reads a name, or `*`.
pub(super) fn name_or_all(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    name(text).map_err(|error| format!("{error}; or * for all"))
}

/// Reads a text that a task bears.
pub(super) fn text(text: &str) -> Result<String, String> {
    let fits = (1..=TEXT_MAX).contains(&text.len()) && !text.contains(char::is_control);
    let rule = || format!("give 1 to {TEXT_MAX} bytes without control characters");
    fits.then(|| text.to_owned()).ok_or_else(rule)
}

/// An amount of something: `cpu:4`.
pub(super) fn amount(text: &str) -> Result<(String, u64), String> {
    let amount = owned_amounts(text).and_then(|amounts| amounts.into_iter().next());
    amount.ok_or_else(|| "give a name and a whole number from 1 to 10^12, as in cpu:4".to_owned())
}

/// Reads a number of bytes: `4096`, `64KiB`, `1MiB`, `2G`. K, M and G are powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => 64,
    };
    let bytes = number.parse::<u64>().ok();
    let bytes = bytes.and_then(|bytes| bytes.checked_mul(1_u64.checked_shl(shift)?));
    bytes.ok_or_else(|| format!("{text:?} is no size: give 4096, 64KiB, 1MiB or 2GiB"))
}

/// Reads a time: Unix seconds or milliseconds, or UTC as `2031-05-09T08:30[:00]Z`. Gives Unix
/// milliseconds.
pub(super) fn time(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time: give 2031-05-09T08:30:00Z or Unix seconds");
    if let Ok(number) = text.parse::<u64>() {
        // Seconds until the year 5138, milliseconds from 1973 on.
        return Ok(if number < 100_000_000_000 { number * 1000 } else { number });
    }
    let (date, clock) = text.split_once('T').ok_or_else(wrong)?;
    let clock = clock.strip_suffix('Z').ok_or_else(wrong)?;
    let date = numbers(date, '-').filter(|date| date.len() == 3).ok_or_else(wrong)?;
    let mut clock = numbers(clock, ':').ok_or_else(wrong)?;
    if clock.len() == 2 {
        clock.push(0);
    }
    let (&[year, month, day], &[hour, minute, second]) = (&date[..], &clock[..]) else {
        return Err(wrong());
    };
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !fits {
        return Err(wrong());
    }
    Ok((((days_before(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

/// Unix milliseconds as UTC, as [`time`] reads it.
pub(super) fn utc(unix_ms: u64) -> String {
    let (mut days, seconds) = (unix_ms / 86_400_000, unix_ms / 1000 % 86_400);
    let mut year = 1970;
    while days >= days_before(year + 1, 1, 1) - days_before(year, 1, 1) {
        days -= days_before(year + 1, 1, 1) - days_before(year, 1, 1);
        year += 1;
    }
    let mut month = 1;
    while days >= days_of(year, month) {
        days -= days_of(year, month);
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

fn numbers(text: &str, between: char) -> Option<Vec<u64>> {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    text.split(between).map(|part| part.parse().ok().filter(|_| digits(part))).collect()
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day from then on.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400 - 477;
    let months: u64 = (1..month).map(|month| days_of(year, month)).sum();
    (year - 1970) * 365 + leap_days + months + day - 1
}

/// Reads where a scheduler is: `HOST:PORT`, or `HOST` with the usual port.
pub(super) fn address(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no address: give HOST:PORT");
    if text.is_empty() || text.contains(char::is_whitespace) || text.contains("//") {
        return Err(wrong());
    }
    match text.rsplit_once(':') {
        // An IPv6 address without a port.
        Some((host, _)) if host.contains(':') && !host.ends_with(']') => {
            Ok(format!("[{text}]:{PORT}"))
        }
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.into()),
        None => Ok(format!("{text}:{PORT}")),
        Some(_) => Err(wrong()),
    }
}

/// Reads where to listen.
pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    let rule = "give an IP address and a port, like 127.0.0.1:7330 or [::1]:7330";
    text.parse().map_err(|_| rule.to_owned())
}

/// A duration in milliseconds, as people read it: three significant digits and a unit.
pub(super) fn spoken_ms(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{:.0}us", ms * 1000.0),
        ms if ms < 10.0 => format!("{ms:.2}ms"),
        ms if ms < 100.0 => format!("{ms:.1}ms"),
        ms if ms < 1000.0 => format!("{ms:.0}ms"),
        ms if ms < 10_000.0 => format!("{:.2}s", ms / 1000.0),
        ms if ms < 60_000.0 => format!("{:.1}s", ms / 1000.0),
        ms if ms < 3_600_000.0 => {
            format!("{:.0}m{:02.0}s", (ms / 60_000.0).floor(), (ms / 1000.0 % 60.0).floor())
        }
        ms if ms < 172_800_000.0 => {
            format!("{:.0}h{:02.0}m", (ms / 3_600_000.0).floor(), (ms / 60_000.0 % 60.0).floor())
        }
        ms => format!("{:.0}d", (ms / 86_400_000.0).floor()),
    }
}

/// So many of something, whose plural has an s.
pub(super) fn counted<N: Display + From<u8> + PartialEq>(count: N, what: &str) -> String {
    format!("{count} {what}{}", if count == N::from(1) { "" } else { "s" })
}

/// A store's URL without the password that it may hold.
pub(super) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((credentials, place)) => {
            let user = credentials.split_once(':').map_or("", |(user, _)| user);
            format!("{scheme}://{user}:***@{place}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let ms = |text| duration(text).map(|duration| duration.as_millis());
        let good = [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000)];
        for (text, expected) in good.into_iter().chain([("7d", 604_800_000), ("0", 0), ("0s", 0)]) {
            assert_eq!(ms(text), Ok(expected), "{text}");
        }
        let bad = ["", "5", "s", "5 s", "-5s", "1.5s", "5s5s", "5s1m", "5x", "99999999999999999d"];
        for text in bad {
            assert!(ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        let good =
            [("0", 0), ("4096", 4096), ("64KiB", 65_536), ("1M", 1 << 20), ("2GiB", 2 << 30)];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1MB ", "-1", "1.5M", "1kb", "99999999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_read_and_written() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799_000),
            ("2026-11-20T12:00:00Z", 1_795_176_000_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
        ] {
            assert_eq!(time(text), Ok(ms), "{text}");
            assert_eq!(utc(ms), text);
        }
        assert_eq!(time("2026-11-20T12:00Z"), Ok(1_795_176_000_000));
        assert_eq!(time("1795176000"), Ok(1_795_176_000_000));
        assert_eq!(time("1795176000000"), Ok(1_795_176_000_000));
        for text in ["", "tomorrow", "2026-02-29T00:00Z", "2026-11-20", "2026-11-20T24:00Z"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_get_the_usual_port() {
        for (text, full) in [
            ("localhost", "localhost:7330"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("::1", "[::1]:7330"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(address(text).as_deref(), Ok(full));
        }
        for text in ["", "a b", "host:", "host:x", ":80", "host:99999", "tcp://host:1"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_spoken_short() {
        for (ms, text) in [
            (0.25, "250us"),
            (1.234, "1.23ms"),
            (12.34, "12.3ms"),
            (432.1, "432ms"),
            (1500.0, "1.50s"),
            (61_000.0, "1m01s"),
            (5_400_000.0, "1h30m"),
            (864_000_000.0, "10d"),
        ] {
            assert_eq!(spoken_ms(ms), text);
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([0_usize, 1, 2].map(|n| counted(n, "line")), ["0 lines", "1 line", "2 lines"]);
    }

    #[test]
    fn passwords_are_left_out() {
        assert_eq!(redacted("redis://u:se@cret@h:1/0"), "redis://u:***@h:1/0");
        assert_eq!(redacted("redis://:secret@h"), "redis://:***@h");
        assert_eq!(redacted("file:a@b"), "file:a@b");
    }
}
