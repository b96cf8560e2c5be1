//! Numbers and durations that must lie in a range: one that does not is refused with the range, in the
//! units that people write, before a scheduler is asked. The ranges are those of the protocol.

use std::any::TypeId;
use std::time::Duration;

use clap::Command;

use super::values;
use crate::client::Weight;
use crate::frame::Decimal;
use crate::protocol::submit::at_max_ms;

/// A reader of durations from one to another, given in milliseconds.
pub(super) fn duration(
    range_ms: (u64, u64),
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let read = values::duration(text)?;
        let ms = u64::try_from(read.as_millis()).unwrap_or(u64::MAX);
        within(ms, range_ms).then_some(read).ok_or_else(|| {
            format!("{text:?} is out of range: give {} to {}", exact(range_ms.0), exact(range_ms.1))
        })
    }
}

/// A reader of such durations, or `none`.
pub(super) fn limit(
    range_ms: (u64, u64),
) -> impl Fn(&str) -> Result<Limit, String> + Clone + Send + Sync + 'static {
    let duration = duration(range_ms);
    move |text| match text {
        "none" => Ok(Limit(None)),
        _ => duration(text)
            .map(|duration| Limit(Some(duration)))
            .map_err(|error| format!("{error}, or none")),
    }
}

/// A duration, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(pub(super) Option<Duration>);

/// Of [`number`]: whatever is not 0.
pub(super) const POSITIVE: (u64, u64) = (1, u64::MAX);
/// Of [`number`]: whatever there is.
pub(super) const ANY: (u64, u64) = (0, u64::MAX);

/// A reader of whole numbers.
pub(super) fn number<T: TryFrom<u64> + 'static>(
    range: (u64, u64),
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let read = text.parse().ok().filter(|number| within(*number, range));
        read.and_then(|number| T::try_from(number).ok()).ok_or_else(|| match range {
            (least, u64::MAX) => format!("give a whole number from {least} on"),
            (least, most) => format!("give a whole number from {least} to {most}"),
        })
    }
}

/// A reader of whole numbers, or `none`.
pub(super) fn number_or_none(
    range: (u64, u64),
) -> impl Fn(&str) -> Result<Bound, String> + Clone + Send + Sync + 'static {
    let number = number::<u32>(range);
    move |text| match text {
        "none" => Ok(Bound(None)),
        _ => number(text)
            .map(|number| Bound(Some(number)))
            .map_err(|error| format!("{error}, or none")),
    }
}

/// A whole number, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound(pub(super) Option<u32>);

/// A reader of numbers with up to three decimals.
pub(super) fn decimal(
    (least, most): (Decimal, Decimal),
) -> impl Fn(&str) -> Result<Decimal, String> + Clone + Send + Sync + 'static {
    move |text| {
        let read = Decimal::parse(text).filter(|number| (least..=most).contains(number));
        read.ok_or_else(|| {
            format!("give a number from {least} to {most} with up to three decimals")
        })
    }
}

/// Reads a time for which there can be a task, in Unix milliseconds.
pub(super) fn time(text: &str) -> Result<u64, String> {
    let (read, last) = (values::time(text)?, at_max_ms());
    (read <= last)
        .then_some(read)
        .ok_or_else(|| format!("{text:?} is out of range: give a time until {}", values::utc(last)))
}

/// A command whose options that take numbers, durations and times take a word that begins with a minus,
/// too: it is then refused with what can be given, and not as an option that there is not.
pub(super) fn with_negative(command: Command) -> Command {
    let measures = [
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<f64>(),
        TypeId::of::<Decimal>(),
        TypeId::of::<Weight>(),
        TypeId::of::<Bound>(),
        TypeId::of::<Duration>(),
        TypeId::of::<Limit>(),
    ];
    let command = command.mut_args(|arg| {
        let type_id = arg.get_value_parser().type_id();
        let is_measure = measures.iter().any(|measure| type_id == *measure);
        if is_measure && arg.get_long().is_some() { arg.allow_hyphen_values(true) } else { arg }
    });
    command.mut_subcommands(with_negative)
}

fn within(number: u64, (least, most): (u64, u64)) -> bool {
    (least..=most).contains(&number)
}

/// A duration as [`values::duration`] reads it, in the largest unit that leaves no rest.
fn exact(ms: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match units.into_iter().find(|(_, unit_ms)| ms.is_multiple_of(*unit_ms)) {
        _ if ms == 0 => "0".to_owned(),
        Some((unit, unit_ms)) => format!("{}{unit}", ms / unit_ms),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::submit::{DELAY_MS, DURATION_MS};

    #[test]
    fn what_is_out_of_range_is_told_with_the_range() {
        let wait = duration(DELAY_MS);
        assert_eq!(wait("0"), Ok(Duration::ZERO));
        assert_eq!(wait("3650d"), Ok(Duration::from_secs(315_360_000)));
        let error = wait("3650d1ms").unwrap_err();
        assert_eq!(error, "\"3650d1ms\" is out of range: give 0 to 3650d");
        let error = limit(DURATION_MS)("0").unwrap_err();
        assert_eq!(error, "\"0\" is out of range: give 1ms to 3650d, or none");
        assert_eq!(limit(DURATION_MS)("none"), Ok(Limit(None)));
        assert!(wait("soon").unwrap_err().contains("is no duration"));
        assert_eq!(number((1, 7))("7"), Ok(7_u32));
        for text in ["0", "8", "-1", "1.5", "", "99999999999"] {
            let error = number::<u32>((1, 7))(text).unwrap_err();
            assert_eq!(error, "give a whole number from 1 to 7");
        }
        assert_eq!(number::<u16>(POSITIVE)("0").unwrap_err(), "give a whole number from 1 on");
        assert_eq!(number_or_none((1, 7))("none"), Ok(Bound(None)));
        let share = decimal((Decimal::from_thousandths(1), Decimal::whole(10)));
        assert_eq!(
            share("0").unwrap_err(),
            "give a number from 0.001 to 10 with up to three decimals"
        );
        assert!(time("9999-01-01T00:00Z").unwrap_err().contains("give a time until 2"));
    }

    #[test]
    fn a_range_is_told_in_units_that_can_be_given() {
        for (ms, text) in
            [(0, "0"), (1, "1ms"), (1500, "1500ms"), (60_000, "1m"), (5_400_000, "90m")]
        {
            assert_eq!(exact(ms), text);
            assert_eq!(values::duration(text), Ok(Duration::from_millis(ms)));
        }
    }
}
