//! Hands tasks in and prints what became of them.
//!
//! ```text
//! cargo run --example client -- 127.0.0.1:7330 upper "some text" "some more"
//! ```
//!
//! There is a worker for `upper` beside this file, in Rust, in Python and in bash.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::error::Error;

use ganger::client::{Client, Outcome, Submission};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(addr), Some(kind)) = (args.next(), args.next()) else {
        return Err("usage: client HOST:PORT KIND PAYLOAD…".into());
    };
    let client = Client::builder().name("example").connect(addr).await?;

    // All of them are on their way at once, over one connection.
    let payloads: Vec<String> = args.collect();
    let tasks = payloads.iter().map(|text| Submission::new(kind.clone(), text.clone()));
    for (payload, submitted) in payloads.iter().zip(client.submit_many(tasks).await) {
        let id = submitted?.id;
        match client.watch(id).await? {
            Outcome::Done { result, worker, ms, .. } => {
                let result = String::from_utf8_lossy(&result);
                println!("{id} {payload:?} -> {result:?} by {worker} in {ms} ms");
            }
            Outcome::Dead { reason, error, .. } => {
                println!("{id} {payload:?} dead ({reason}): {}", String::from_utf8_lossy(&error));
            }
            Outcome::Cancelled { reason, .. } => println!("{id} {payload:?} cancelled ({reason})"),
            _ => println!("{id} {payload:?} ended in a way that came later than this program"),
        }
    }
    Ok(())
}
