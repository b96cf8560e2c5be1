//! What a run tells: a table for people, or JSON.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// The figures of a run, by name, in the order in which they were taken.
#[derive(Debug, Default)]
pub struct Report {
    fields: Map<String, Value>,
    rows: Vec<(String, String)>,
}

impl Report {
    /// Adds what only the JSON tells.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.into(), value.into());
    }

    /// Adds a figure.
    pub(super) fn show(&mut self, name: &str, label: &str, value: f64, unit: &str) {
        self.rows.push((label.into(), format!("{}{unit}", spelled(value))));
        self.set(name, rounded(value));
    }

    /// Adds a line for people.
    pub(super) fn row(&mut self, label: &str, text: String) {
        self.rows.push((label.into(), text));
    }

    /// Adds a distribution of times that were taken in nanoseconds, in microseconds.
    pub(super) fn latencies(&mut self, name: &str, label: &str, times: &Histogram<u64>) {
        let us = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1e3;
        let (p50, p99, p999) = (us(0.5), us(0.99), us(0.999));
        let max = times.max() as f64 / 1e3;
        let texts = [p50, p99, p999, max].map(spelled);
        self.rows.push((format!("{label}, p50 / p99 / p999 / max"), texts.join(" / ") + " µs"));
        let quantiles = [p50, p99, p999, max].map(rounded);
        let [p50, p99, p999, max] = quantiles;
        self.set(name, json!({ "p50": p50, "p99": p99, "p999": p999, "max": max }));
    }

    /// All figures as one JSON object.
    pub fn json(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    /// All figures for people, a line each.
    pub fn text(&self) -> String {
        let width = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let line = |(label, text): &(String, String)| format!("{label:width$}  {text}\n");
        self.rows.iter().map(line).collect()
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A number with about three digits that matter, and thousands apart.
fn spelled(value: f64) -> String {
    let decimals = match value.abs() {
        1000.0.. => return grouped(value),
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// A whole number with thousands apart.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_printed_both_ways() {
        let mut report = Report::default();
        report.set("store", "memory:");
        report.show("e2e_tps", "round trips", 1_234_567.8, " tasks/s");
        report.show("server_cores", "cores", 0.98765, "");
        let mut times = Histogram::new(3).unwrap();
        times.record(1_500_000).unwrap();
        report.latencies("serial_us", "serial", &times);
        let table = report.text();
        let first = table.lines().next().expect("a row");
        assert!(first.starts_with("round trips  ") && first.ends_with("  1 234 568 tasks/s"));
        assert!(table.contains("serial, p50 / p99 / p999 / max  1 500 / "), "{table}");
        let line = report.json();
        assert_eq!(line["store"], "memory:");
        assert_eq!(line["server_cores"], 0.988);
        assert!(line["serial_us"]["p50"].as_f64().is_some_and(|us| (1499.0..1502.0).contains(&us)));
    }
}
