//! When a periodic task fires: an expression in the calendar of a time zone, or every so often.

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// The shortest interval in milliseconds.
pub const EVERY_MIN_MS: u64 = 1000;

/// The version of the time zone database that this program carries.
pub const TZDATA: &str = chrono_tz::IANA_TZDB_VERSION;

/// The most minutes that a clock is ever set forward at once: a day, where a place changes sides of the
/// date line.
const GAP_MAX: usize = 25 * 60;

/// What an expression can be instead of its five fields.
const WORDS: &str = "@hourly, @daily, @weekly, @monthly and @yearly";

/// The fields of an expression, and what stands in each.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, 15W for the weekday next to the 15th, L for the last day"),
    ("month", "1 to 12, JAN to DEC"),
    ("day of the week", "0 to 7 (0 and 7 are Sunday), SUN to SAT, 5#3 for the third Friday, 5L"),
];

/// The instants at which something is due, each a Unix time in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// So many milliseconds after each other, counted from an origin that is not part of this.
    Every(u64),
    /// As a cron expression of five fields says, in a time zone.
    Calendar(Calendar),
}

/// A cron expression and the zone whose clocks it means.
///
/// Where these are set forward and back, it goes as Vixie cron does it. An expression whose minute and
/// hour are no wildcards names *fixed times*: one that is left out when clocks are set forward is made
/// up for at the end of the gap, and one that comes twice when they are set back counts the first
/// time. Any other expression is an *interval* in disguise, and means what the clocks show: what is
/// left out is left out, and what comes twice is due twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    text: Box<str>,
    zone: Tz,
}

impl Calendar {
    /// Reads an expression (`30 2 * * 1-5`, or `@hourly` and the like) and the name of a zone.
    ///
    /// # Errors
    ///
    /// A text for people: the zone is unknown, the expression is none, or no day is ever like that.
    pub fn parse(text: &str, zone: &str) -> Result<Self, String> {
        let zone = zone.parse().map_err(|_| {
            format!("no time zone is called {zone:?} in the time zone database {TZDATA}")
        })?;
        let calendar = Self { text: text.into(), zone };
        let cron = calendar.cron()?;
        // The calendar repeats, so what is not found from any one day on is never found.
        match cron.find_next_occurrence(&DateTime::UNIX_EPOCH.naive_utc(), true) {
            Ok(_) => Ok(calendar),
            Err(_) => Err(format!("{text:?} names no day that ever comes")),
        }
    }

    /// The expression.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone's name.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    fn cron(&self) -> Result<Cron, String> {
        read(&self.text).ok_or_else(|| {
            format!("{:?} is no cron expression: {}", self.text, why_none(&self.text))
        })
    }

    /// The first instant after another.
    fn next_after(&self, after_ms: u64) -> Option<u64> {
        let after = DateTime::from_timestamp_millis(i64::try_from(after_ms).ok()?)?;
        let after = after.with_timezone(&self.zone);
        let cron = self.cron().ok()?;
        let next = match self.is_fixed(&cron) {
            true => self.next_fixed(&cron, &after)?,
            false => cron.find_next_occurrence(&after, false).ok()?,
        };
        u64::try_from(next.timestamp_millis()).ok()
    }

    /// Whether neither its minute nor its hour is a wildcard, with or without a step.
    fn is_fixed(&self, cron: &Cron) -> bool {
        !cron.pattern.minutes.from_wildcard && !cron.pattern.hours.from_wildcard
    }

    /// Goes along the times that clocks show, and asks of each when that is. These instants never
    /// fall, so the first one that is late enough is the next one.
    fn next_fixed(&self, cron: &Cron, after: &DateTime<Tz>) -> Option<DateTime<Tz>> {
        let mut shown = after.naive_local();
        loop {
            shown = cron.find_next_occurrence(&shown, false).ok()?;
            let instant = self.instant(shown)?;
            if instant > *after {
                return Some(instant);
            }
        }
    }

    /// When clocks show a time (the first time), or the end of the gap that it lies in.
    fn instant(&self, shown: NaiveDateTime) -> Option<DateTime<Tz>> {
        let minutes = std::iter::successors(Some(shown), |shown| {
            shown.checked_add_signed(TimeDelta::minutes(1))
        });
        let mut instants = minutes.take(GAP_MAX).map(|at| self.zone.from_local_datetime(&at));
        instants.find_map(chrono::offset::MappedLocalTime::earliest)
    }
}

fn read(text: &str) -> Option<Cron> {
    let parser = CronParser::builder();
    parser.seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(text).ok()
}

/// Why a text is no expression, for people. A field that cannot be read beside wildcards is the one
/// that is wrong.
fn why_none(text: &str) -> String {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if let [word] = fields[..]
        && word.starts_with('@')
    {
        return format!("the words for one are {WORDS}");
    }
    if fields.len() != FIELDS.len() {
        let (count, s) = (fields.len(), if fields.len() == 1 { "" } else { "s" });
        return format!(
            "it has {count} field{s} instead of five (minute, hour, day, month, weekday), and is none \
             of {WORDS}"
        );
    }
    let is_wrong = |place: usize| {
        let mut alone = ["*"; FIELDS.len()];
        alone.iter_mut().zip(&fields).skip(place).take(1).for_each(|(at, field)| *at = field);
        read(&alone.join(" ")).is_none()
    };
    let mut known = fields.iter().zip(FIELDS).enumerate();
    match known.find(|(place, _)| is_wrong(*place)) {
        Some((_, (field, (name, values)))) => format!(
            "its {name} cannot be {field:?}: give {values}, * for every one, a range 1-5, a list 1,5 \
             or a step */10"
        ),
        None => "its fields cannot stand together".to_owned(),
    }
}

impl Schedule {
    /// The first instant after another; `None` if there is none that can be expressed.
    pub fn next_after(&self, origin_ms: u64, after_ms: u64) -> Option<u64> {
        match self {
            Self::Every(every_ms) => {
                let passed = after_ms.saturating_sub(origin_ms) / every_ms;
                origin_ms.checked_add(passed.checked_add(1)?.checked_mul(*every_ms)?)
            }
            Self::Calendar(calendar) => calendar.next_after(after_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Offset;
    use proptest::prelude::*;

    use super::*;

    fn calendar(text: &str, zone: &str) -> Schedule {
        Schedule::Calendar(Calendar::parse(text, zone).unwrap())
    }

    fn unix(utc: &str) -> u64 {
        let at = DateTime::parse_from_rfc3339(utc).unwrap();
        u64::try_from(at.timestamp_millis()).unwrap()
    }

    /// The next instants after a time, as clocks in Berlin show them, with their distance from UTC.
    fn berlin(text: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = calendar(text, "Europe/Berlin");
        let mut after_ms = unix(after);
        let mut next = || {
            after_ms = schedule.next_after(0, after_ms).unwrap();
            let at = DateTime::from_timestamp_millis(i64::try_from(after_ms).unwrap()).unwrap();
            let at = at.with_timezone(&Tz::Europe__Berlin);
            format!("{}{}", &at.naive_local().to_string()[5..16], at.offset().fix())
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn d04_a_fixed_time_that_is_left_out_in_spring_comes_at_the_end_of_the_gap() {
        let day_before = "2027-03-27T12:00:00Z";
        assert_eq!(berlin("30 2 * * *", day_before, 2), ["03-28 03:00+02:00", "03-29 02:30+02:00"]);
        // Several that are left out are made up for once.
        assert_eq!(
            berlin("0,30 2,4 * * *", "2027-03-28T00:30:00Z", 3),
            ["03-28 03:00+02:00", "03-28 04:00+02:00", "03-28 04:30+02:00"]
        );
        // And one that comes at the end of the gap anyway is not due twice.
        assert_eq!(
            berlin("30 2,3 * * *", day_before, 3),
            ["03-28 03:00+02:00", "03-28 03:30+02:00", "03-29 02:30+02:00"]
        );
        assert_eq!(
            berlin("0 2,3 * * *", day_before, 2),
            ["03-28 03:00+02:00", "03-29 02:00+02:00"]
        );
    }

    #[test]
    fn d05_a_fixed_time_that_comes_twice_in_autumn_counts_the_first_time() {
        let night = "2027-10-30T22:00:00Z";
        assert_eq!(berlin("30 2 * * *", night, 2), ["10-31 02:30+02:00", "11-01 02:30+01:00"]);
        // Also for who asks between the two.
        assert_eq!(berlin("30 2 * * *", "2027-10-31T01:05:00Z", 1), ["11-01 02:30+01:00"]);
        assert_eq!(
            berlin("15,45 2-3 * * *", "2027-10-31T00:30:00Z", 3),
            ["10-31 02:45+02:00", "10-31 03:15+01:00", "10-31 03:45+01:00"]
        );
    }

    #[test]
    fn intervals_go_by_what_the_clocks_show() {
        assert_eq!(
            berlin("*/30 * * * *", "2027-03-28T00:15:00Z", 3),
            ["03-28 01:30+01:00", "03-28 03:00+02:00", "03-28 03:30+02:00"]
        );
        assert_eq!(berlin("*/30 2 * * *", "2027-03-28T00:15:00Z", 1), ["03-29 02:00+02:00"]);
        assert_eq!(
            berlin("*/30 2 * * *", "2027-10-30T23:00:00Z", 5),
            [
                "10-31 02:00+02:00",
                "10-31 02:30+02:00",
                "10-31 02:00+01:00",
                "10-31 02:30+01:00",
                "11-01 02:00+01:00"
            ]
        );
    }

    #[test]
    fn d05_intervals_of_so_long_go_by_elapsed_time() {
        let hour = Schedule::Every(3_600_000);
        let origin_ms = unix("2027-10-30T22:10:00Z");
        assert_eq!(hour.next_after(origin_ms, origin_ms), Some(origin_ms + 3_600_000));
        assert_eq!(hour.next_after(origin_ms, origin_ms + 3_600_000), Some(origin_ms + 7_200_000));
        // A clock that was set back waits for the same instants.
        assert_eq!(hour.next_after(origin_ms, origin_ms - 5), Some(origin_ms + 3_600_000));
        assert_eq!(Schedule::Every(u64::MAX).next_after(5, u64::MAX), None);
    }

    #[test]
    fn names_of_days_and_months_and_the_usual_words_are_read() {
        for (text, next) in [
            ("@hourly", "2026-11-20T16:00:00Z"),
            ("@daily", "2026-11-21T00:00:00Z"),
            ("@weekly", "2026-11-22T00:00:00Z"),
            ("@monthly", "2026-12-01T00:00:00Z"),
            ("@yearly", "2027-01-01T00:00:00Z"),
            ("0 9 * * MON-FRI", "2026-11-23T09:00:00Z"),
            ("0 0 L FEB *", "2027-02-28T00:00:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("0 12 * * 5#3", "2026-12-18T12:00:00Z"),
            ("0 0 13 * 5", "2026-11-27T00:00:00Z"),
        ] {
            let found = calendar(text, "UTC").next_after(0, unix("2026-11-20T15:30:00Z"));
            assert_eq!(found, Some(unix(next)), "{text}");
        }
    }

    #[test]
    fn d06_an_unknown_zone_is_refused() {
        for zone in ["Mars/Olympus", "", "europe/berlin", "CEST"] {
            let error = Calendar::parse("0 0 * * *", zone).unwrap_err();
            assert!(error.contains(TZDATA), "{zone}: {error}");
        }
    }

    #[test]
    fn d09_what_never_comes_or_is_no_expression_is_refused() {
        for text in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31W 4 *"] {
            let error = Calendar::parse(text, "UTC").unwrap_err();
            assert!(error.contains("ever comes"), "{text}: {error}");
        }
        let long = "1,".repeat(5000);
        let bad = [
            "",
            "* * * *",
            "* * * * * *",
            "0 0 0 * * * *",
            "60 * * * *",
            "* 24 * * *",
            "a b c d e",
            "*/0 * * * *",
            "5-1 * * * *",
            "@reboot",
            "@every 5m",
            "- - - - -",
            &long,
        ];
        for text in bad {
            assert!(Calendar::parse(text, "UTC").is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_expression_is_told() {
        for (text, told) in [
            ("61 * * * *", r#"its minute cannot be "61": give 0 to 59, * for"#),
            ("* 5-24 * * *", r#"its hour cannot be "5-24": give 0 to 23, * for"#),
            ("0 0 0 * *", r#"its day of the month cannot be "0": give 1 to 31, 15W"#),
            ("0 0 1 13 *", r#"its month cannot be "13": give 1 to 12, JAN to DEC, * "#),
            (
                "0 0 * * 8",
                r#"its day of the week cannot be "8": give 0 to 7 (0 and 7 are Sunday),"#,
            ),
            ("*/0 * * * *", r#"its minute cannot be "*/0": give 0 to 59"#),
            ("0 x * 99 *", r#"its hour cannot be "x": give 0 to 23"#),
            ("* * * *", "it has 4 fields instead of five (minute, hour, day, month, weekday)"),
            ("daily", "it has 1 field instead of five"),
            ("* * * * * *", "it has 6 fields instead of five"),
            ("", "it has 0 fields instead of five"),
            ("@reboot", "the words for one are @hourly, @daily, @weekly, @monthly and @yearly"),
        ] {
            let error = Calendar::parse(text, "UTC").unwrap_err();
            let begin = format!("{text:?} is no cron expression: {told}");
            assert!(error.starts_with(&begin), "{error}");
        }
    }

    proptest! {
        #[test]
        fn d09_whatever_is_read_has_a_next_instant(
            text in "([0-9*/,LW#?+@-]{1,6}|[A-Z]{3}|[0-9]{1,2}) ?([0-9*/,-]{1,4} ){0,5}[0-9A-Z*/,#-]{0,4}",
            after_ms in 0..4_000_000_000_000_u64,
        ) {
            if let Ok(read) = Calendar::parse(&text, "America/New_York") {
                let next = Schedule::Calendar(read).next_after(0, after_ms);
                prop_assert!(next.is_some_and(|next| next > after_ms), "{text:?}: {next:?}");
            }
        }

        #[test]
        fn no_text_has_it_panic(text in "\\PC{0,64}") {
            let _ = Calendar::parse(&text, "UTC");
        }

        #[test]
        fn fields_that_can_be_read_alone_can_stand_together(
            text in "[0-9*/,LW#?+@A-Za-z-]{1,5}( [0-9*/,LW#?+@A-Z-]{1,5}){4}",
        ) {
            if let Err(error) = Calendar::parse(&text, "UTC") {
                prop_assert!(!error.contains("stand together"), "{error}");
            }
        }
    }
}
