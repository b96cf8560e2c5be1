//! What the workers of a run did, counted: the closing table.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::super::table::{Cell, Table, Tone};
use super::super::values::spoken_ms;

/// Runs of commands, by worker.
#[derive(Debug)]
pub(super) struct Tally {
    workers: Vec<(String, Row)>,
}

#[derive(Clone, Debug)]
struct Row {
    /// Microseconds of the runs that went well.
    took: Histogram<u64>,
    failed: u64,
}

impl Row {
    fn new() -> Self {
        // Two digits are as many as anybody reads; it grows with what is recorded.
        let took = Histogram::new(2).unwrap_or_else(|_| unreachable!("2 is 0 to 5"));
        Self { took, failed: 0 }
    }
}

impl Tally {
    /// An empty one, for these workers.
    pub(super) fn new(workers: impl IntoIterator<Item = String>) -> Self {
        Self { workers: workers.into_iter().map(|name| (name, Row::new())).collect() }
    }

    /// Whether nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.workers.iter().all(|(_, row)| row.took.is_empty() && row.failed == 0)
    }

    /// Counts a run of a worker.
    pub(super) fn count(&mut self, worker: usize, took: Duration, well: bool) {
        let Some((_, row)) = self.workers.get_mut(worker) else { return };
        if well {
            let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            // One that grows takes whatever there is.
            let _ = row.took.record(us.max(1));
        } else {
            row.failed += 1;
        }
    }

    /// A row for each worker, and one for the kind: all of them.
    pub(super) fn table(&self, kind: &str) -> Table {
        let head = ["WORKER", "KIND", ">DONE", ">FAILED", ">MEAN", ">P50", ">P99", ">SHARE"];
        let mut table = Table::new(&head);
        let mut all = Row::new();
        for (_, row) in &self.workers {
            // Both grow.
            let _ = all.took.add(&row.took);
            all.failed += row.failed;
        }
        let total = all.took.len() + all.failed;
        for (name, row) in &self.workers {
            table.row(cells(name, kind, row, total));
        }
        table.row(cells("all", kind, &all, total));
        table
    }
}

fn cells(name: &str, kind: &str, row: &Row, total: u64) -> [Cell; 8] {
    let spoken = |us: f64| -> Cell {
        if row.took.is_empty() { "-".into() } else { spoken_ms(us / 1000.0).into() }
    };
    let runs = row.took.len() + row.failed;
    let share = 100.0 * runs as f64 / total.max(1) as f64;
    let failed = match row.failed {
        0 => Cell::from("0"),
        failed => Cell(failed.to_string(), Tone::Bad),
    };
    [
        name.into(),
        kind.into(),
        row.took.len().to_string().into(),
        failed,
        spoken(row.took.mean()),
        spoken(row.took.value_at_quantile(0.5) as f64),
        spoken(row.took.value_at_quantile(0.99) as f64),
        format!("{share:.1}%").into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_add_up() {
        let mut tally = Tally::new(["w1".to_owned(), "w2".to_owned()]);
        for ms in 1..=3 {
            tally.count(0, Duration::from_millis(ms), true);
        }
        tally.count(1, Duration::from_millis(9), false);
        let text = tally.table("wc").text(false);
        let rows: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1][..4], ["w1", "wc", "3", "0"]);
        assert_eq!(rows[1][7], "75.0%");
        assert_eq!(rows[2], ["w2", "wc", "0", "1", "-", "-", "-", "25.0%"]);
        assert_eq!(rows[3][..4], ["all", "wc", "3", "1"]);
    }
}
