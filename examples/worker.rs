//! A worker with two kinds of handlers: one that awaits and one that computes.
//!
//! ```text
//! cargo run --example worker -- 127.0.0.1:7330 NAME
//! ```
#![expect(clippy::print_stdout, reason = "an example says what it does")]

use std::error::Error;
use std::time::Duration;

use ganger::client::{Failure, Task, Worker};

/// How long running tasks may take to finish after Ctrl-C.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(addr), Some(name)) = (args.next(), args.next()) else {
        return Err("usage: worker HOST:PORT NAME".into());
    };
    let worker = Worker::builder(addr)
        .name(name)
        .slots(4)
        .handle("upper", upper)
        .handle_blocking("primes", primes)
        .build()?;

    let stopper = worker.stopper();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopper.stop(LIMIT);
        }
    });
    let stopped = worker.run().await?;
    println!("{stopped:?}");
    Ok(())
}

/// The text in upper case. An error in a handler is a failure of its task, which is tried again.
async fn upper(task: Task) -> Result<String, Failure> {
    let payload = task.payload();
    Ok(std::str::from_utf8(&payload)?.to_uppercase())
}

/// How many primes there are below a number. It computes for long, so it runs on a thread for that,
/// and looks now and then whether anybody still wants to know.
fn primes(task: Task) -> Result<String, Failure> {
    let payload = task.payload();
    let text = std::str::from_utf8(&payload).map_err(|_| Failure::fatal("not a number"))?;
    let bound: u64 = text.trim().parse().map_err(|_| Failure::fatal("not a number"))?;
    let mut count = 0;
    for number in 2..bound {
        if number % 1024 == 0 && task.is_cancelled() {
            return Err(Failure::new("nobody wants to know any more"));
        }
        let roots = (2..).take_while(|root| root * root <= number);
        count += u64::from(roots.into_iter().all(|root| number % root != 0));
    }
    Ok(count.to_string())
}
