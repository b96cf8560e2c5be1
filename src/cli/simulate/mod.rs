//! `ganger simulate`: one workload under each order and route, in virtual time.
//!
//! The scheduler's own core is driven, with peers that exist only here, so that what is printed is what
//! the real one would do. The same seed prints the same figures, whatever the machine.
//!
//! - `workload`: who works, and what comes when. `play`: the core over virtual time.

mod play;
mod workload;

use clap::Args;
use serde_json::{Value, json};

use self::play::{Outcome as Played, play};
use self::workload::{Arrival, Workload};
use super::exit::{Exit, Failure, Outcome};
use super::output::Output;
use super::ranges;
use super::table::Table;
use super::values::spoken_ms;
use crate::frame::Decimal;
use crate::message::{Order, Route};

/// Plays a mixed workload under each order and route in virtual time, and compares them.
///
/// 8 workers of unequal speed and slots; kinds that take 20 ms to 2 s in the mean, each lognormal;
/// priorities, deadlines and 1000 keys. Each pair is played three times: all tasks at once; steadily, as
/// they come at --load; and in waves, each of --load × the slots of all workers, and the next when all
/// of it is done.
///
/// MAKESPAN to OFF WEIGHT are of all at once (FAIRNESS is that of the waits, 1 if all are equal; OFF
/// WEIGHT the largest difference of a worker's share of the runs from its share of the weights); STEADY
/// WAIT and STEADY TIME (from submission to end) are means; WITH OWNER is the share of steady tasks that
/// ran where the ring has their keys; WAVES is the makespan.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// Tasks of a play
    #[arg(short = 'n', long, value_name = "N", default_value = "10000")]
    #[arg(value_parser = ranges::number::<u32>((100, 1_000_000)))]
    tasks: u32,

    /// Share of what the workers can do that comes in, and of their slots that a wave takes, up to 0.99
    #[arg(long, default_value = "0.8", value_parser = load)]
    load: Decimal,

    /// aging= of the queue
    #[arg(long, default_value = "0")]
    aging: Decimal,

    /// Only this order; may be given several times [default: all]
    #[arg(long = "order", value_parser = order)]
    orders: Vec<Order>,

    /// Only this route; may be given several times [default: all]
    #[arg(long = "route", value_parser = route)]
    routes: Vec<Route>,

    /// What all random choices come from
    #[arg(long, default_value = "1", value_parser = ranges::number::<u64>(ranges::ANY))]
    seed: u64,
}

impl Simulate {
    pub(super) fn run(&self, output: &Output) -> Outcome {
        let together = Workload::new(self.tasks, Arrival::Together, self.seed);
        let steady = Workload::new(self.tasks, Arrival::Steady(self.load.value()), self.seed);
        let waves = Workload::new(self.tasks, Arrival::Waves(self.load.value()), self.seed);
        let head = [
            "ORDER",
            "ROUTE",
            ">MAKESPAN",
            ">MEAN WAIT",
            ">P99 WAIT",
            ">MAX WAIT",
            ">FAIRNESS",
            ">OFF WEIGHT",
            ">STEADY WAIT",
            ">STEADY TIME",
            ">WITH OWNER",
            ">WAVES",
        ];
        let (mut table, mut rows) = (Table::new(&head), Vec::new());
        for order in chosen(&self.orders, &Order::ALL) {
            for route in chosen(&self.routes, &Route::ALL) {
                let policies = self.policies(order, route);
                let at_once = play(&together, &policies, self.seed).map_err(failed)?;
                let in_time = play(&steady, &policies, self.seed).map_err(failed)?;
                let in_waves = play(&waves, &policies, self.seed).map_err(failed)?;
                table.row(cells(order, route, [&at_once, &in_time, &in_waves]));
                rows.push(row(order, route, [&at_once, &in_time, &in_waves]));
            }
        }
        if output.is_json() {
            output
                .json(&json!({ "tasks": self.tasks, "load": self.load.value(), "rows": rows }))?;
        } else {
            output.table(&table, "")?;
        }
        Ok(Exit::Done)
    }

    fn policies(&self, order: Order, route: Route) -> String {
        format!("order={} route={} aging={}", order.word(), route.word(), self.aging)
    }
}

fn chosen<T: Copy>(given: &[T], all: &[T]) -> Vec<T> {
    if given.is_empty() { all.to_vec() } else { given.to_vec() }
}

fn cells(order: Order, route: Route, [at_once, in_time, in_waves]: [&Played; 3]) -> [String; 12] {
    [
        order.word().to_owned(),
        route.word().to_owned(),
        spoken_ms(at_once.makespan_us as f64 / 1000.0),
        spoken_ms(at_once.mean_wait_us / 1000.0),
        spoken_ms(at_once.p99_wait_us as f64 / 1000.0),
        spoken_ms(at_once.max_wait_us as f64 / 1000.0),
        format!("{:.2}", at_once.fairness),
        format!("{:.1}%", 100.0 * at_once.off_weight),
        spoken_ms(in_time.mean_wait_us / 1000.0),
        spoken_ms(in_time.mean_sojourn_us / 1000.0),
        format!("{:.1}%", 100.0 * in_time.with_owner),
        spoken_ms(in_waves.makespan_us as f64 / 1000.0),
    ]
}

fn row(order: Order, route: Route, [at_once, in_time, in_waves]: [&Played; 3]) -> Value {
    json!({
        "order": order.word(),
        "route": route.word(),
        "together": at_once.value(),
        "steady": in_time.value(),
        "waves": in_waves.value(),
    })
}

fn failed(text: String) -> Failure {
    Failure::machine(format!("the play came to nothing: {text}"))
}

fn order(text: &str) -> Result<Order, String> {
    let known = Order::ALL.into_iter().find(|order| order.word() == text);
    known.ok_or_else(|| format!("give one of {}", Order::ALL.map(Order::word).join(", ")))
}

fn route(text: &str) -> Result<Route, String> {
    let known = Route::ALL.into_iter().find(|route| route.word() == text);
    known.ok_or_else(|| format!("give one of {}", Route::ALL.map(Route::word).join(", ")))
}

fn load(text: &str) -> Result<Decimal, String> {
    let range = Decimal::from_thousandths(1)..=Decimal::from_thousandths(990);
    let load = Decimal::parse(text).filter(|load| range.contains(load));
    load.ok_or_else(|| "give a share from 0.001 to 0.99".to_owned())
}
