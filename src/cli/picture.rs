//! What the scheduler shows as JSON, cell by cell.

use serde_json::Value;

use super::table::{Cell, Tone};
use super::values;
use crate::task::State;

/// The array of that name; nothing if there is none.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A count; 0 if there is none.
pub(super) fn count(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// A member as text: lists by commas, `-` for what is not there, `*` for a list of everything.
pub(super) fn text(value: &Value, name: &str) -> Cell {
    match value.get(name) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) if text.is_empty() => "-".into(),
        Some(Value::String(text)) => text.clone().into(),
        Some(Value::Array(parts)) if parts.is_empty() => "-".into(),
        Some(Value::Array(parts)) => {
            let parts = parts.iter().map(|part| match part {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            parts.collect::<Vec<_>>().join(",").into()
        }
        Some(other) => other.to_string().into(),
    }
}

/// A member in milliseconds, as people read it.
pub(super) fn ms(value: &Value, name: &str) -> Cell {
    spoken(value, name, 1.0)
}

/// A member in microseconds, as people read it.
pub(super) fn us(value: &Value, name: &str) -> Cell {
    spoken(value, name, 0.001)
}

fn spoken(value: &Value, name: &str, factor: f64) -> Cell {
    match value.get(name).and_then(Value::as_f64) {
        Some(number) => values::spoken_ms(number * factor).into(),
        None => "-".into(),
    }
}

/// A member with so many decimals.
pub(super) fn decimals(value: &Value, name: &str, decimals: usize) -> Cell {
    match value.get(name).and_then(Value::as_f64) {
        Some(number) => format!("{number:.decimals$}").into(),
        None => "-".into(),
    }
}

/// The state of a task in a list.
pub(super) fn state_of(task: &Value) -> Option<State> {
    task.get("state").and_then(Value::as_str).and_then(State::parse)
}

/// A task's state, as a cell.
pub(super) fn state(word: &str) -> Cell {
    let tone = match State::parse(word) {
        Some(State::Done) => Tone::Good,
        Some(State::Leased) => Tone::Busy,
        Some(State::Dead | State::Cancelled) => Tone::Bad,
        Some(State::Ready | State::Scheduled | State::Blocked) | None => Tone::Plain,
    };
    Cell(word.to_owned(), tone)
}
