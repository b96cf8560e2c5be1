//! Policies against each other: every order with every route that was asked for, one after the other
//! and round after round, so that what else the machine does falls on all of them alike.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::observer::{self, Pace};
use super::options::Options;
use super::phases::Bench;
use super::report::{Report, grouped};
use super::scheduler::Scheduler;
use crate::message::{Order, Route};

/// What all are held against: no order to keep, no choice to think about.
const BASE: (Order, Route) = (Order::Fcfs, Route::Random);

/// One of those that are compared.
struct Cell {
    order: Order,
    route: Route,
    observer: Option<Pace>,
    /// Tasks a second, and the scheduler's CPU time per task, of each round.
    rounds: Vec<(f64, f64)>,
}

impl Cell {
    fn label(&self) -> String {
        let observer = match self.observer {
            None => "",
            Some(Pace::Fast) => ", observed",
            Some(Pace::Slow) => ", observed slowly",
        };
        format!("{} + {}{observer}", self.order.word(), self.route.word())
    }
}

/// Compares what the options ask for with the baseline.
pub(super) async fn compare(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let options = bench.options;
    let mut cells = cells(options);
    // Events are recorded for a minute after the last observer has gone, and so on schedulers of their own.
    let mut observed = Vec::new();
    for &pace in &options.observers {
        let scheduler = Scheduler::start(options).await?;
        let hearing = observer::follow(scheduler.addr(), &bench.shape, pace).await?;
        let bench = Bench { scheduler, options, shape: bench.shape.clone() };
        observed.push((pace, bench, hearing));
    }
    for bench in observed.iter().map(|(_, bench, _)| bench).chain([bench]) {
        bench.run("warm-up", bench.throughput(options.tasks / 10 + 100)).await?;
    }
    for round in 0..options.rounds {
        for place in 0..cells.len() {
            // Each begins a round in turn.
            let place = (place + usize::from(round)) % cells.len();
            let Some(cell) = cells.get_mut(place) else { continue };
            let own = observed.iter().find(|(pace, ..)| Some(*pace) == cell.observer);
            let bench = own.map_or(bench, |(_, bench, _)| bench);
            cell.rounds.push(measure(bench, cell).await?);
        }
    }
    let heard_all =
        observed.iter().all(|(_, _, hearing): &(_, _, JoinHandle<()>)| !hearing.is_finished());
    ensure!(heard_all, "an observer was disconnected");
    show(&cells, report);
    Ok(())
}

/// The baseline first.
fn cells(options: &Options) -> Vec<Cell> {
    let cell = |order, route, observer| Cell { order, route, observer, rounds: Vec::new() };
    let mut cells = vec![cell(BASE.0, BASE.1, None)];
    let or = |given: bool| if given { None } else { Some(()) };
    let (orders, routes) = (options.orders(), options.routes());
    let orders = or(!orders.is_empty()).map_or(orders, |()| vec![BASE.0]);
    let routes = or(!routes.is_empty()).map_or(routes, |()| vec![BASE.1]);
    for order in orders {
        for route in routes.iter().copied().filter(|route| (order, *route) != BASE) {
            cells.push(cell(order, route, None));
        }
    }
    cells.extend(options.observers.iter().map(|pace| cell(BASE.0, BASE.1, Some(*pace))));
    cells
}

async fn measure(bench: &Bench<'_>, cell: &Cell) -> Result<(f64, f64)> {
    let policy = (Some(cell.order), Some(cell.route));
    bench.scheduler.set_policy(&bench.shape, policy).await?;
    let tasks = bench.options.tasks;
    let taken = bench.run(&cell.label(), bench.throughput(tasks)).await?.whole;
    Ok((tasks as f64 / taken.s, taken.cpu.server_s / tasks as f64))
}

/// Tells the throughput of each, and what share that is of the baseline's of the same round: the
/// median, the least and the most.
fn show(cells: &[Cell], report: &mut Report) {
    let Some(base) = cells.first() else { return };
    let mut rows = Vec::new();
    for cell in cells {
        let ratios = |of: fn(&(f64, f64)) -> f64| {
            let pairs = cell.rounds.iter().zip(&base.rounds);
            sorted(pairs.map(|(its, base)| of(its) / of(base).max(f64::MIN_POSITIVE)).collect())
        };
        let (speed, cpu) = (ratios(|round| round.0), ratios(|round| round.1));
        let tps = median(&sorted(cell.rounds.iter().map(|round| round.0).collect()));
        let (least, most) = (first(&speed), speed.last().copied().unwrap_or_default());
        let percent = |ratio: f64| 100.0 * ratio;
        let text = format!(
            "{} tasks/s  {:.0} % ({:.0} to {:.0})  CPU {:.0} %",
            grouped(tps),
            percent(median(&speed)),
            percent(least),
            percent(most),
            percent(median(&cpu))
        );
        report.row(&cell.label(), text);
        rows.push(json!({
            "order": cell.order.word(),
            "route": cell.route.word(),
            "observer": cell.observer.map(Pace::word),
            "tps": tps.round(),
            "ratio": median(&speed),
            "ratio_least": least,
            "ratio_most": most,
            "cpu_ratio": median(&cpu),
        }));
    }
    report.set("rounds", base.rounds.len());
    report.set("policies", Value::Array(rows));
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn first(values: &[f64]) -> f64 {
    values.first().copied().unwrap_or_default()
}

/// The one in the middle, or the mean of the two.
///
/// By hand: of 1, 2 and 7 it is 2; of 1, 2, 4 and 7 it is 3.
fn median(sorted: &[f64]) -> f64 {
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    (at(sorted.len().saturating_sub(1) / 2) + at(sorted.len() / 2)) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_by_hand() {
        assert_eq!([median(&[1.0, 2.0, 7.0]), median(&[1.0, 2.0, 4.0, 7.0])], [2.0, 3.0]);
        assert_eq!((median(&[5.0]), median(&[])), (5.0, 0.0));
    }
}
