//! Counts the words of text files, with workers that each keep what they know of a directory.
//!
//! ```text
//! cargo run --example wordcount -- 127.0.0.1:7330 DIRECTORY
//! ```
//!
//! A task a file, with the file's directory as its key, in a queue that routes by key: all files of
//! a directory go to one worker, which keeps the directory's words in memory. Nothing is read twice
//! and nothing is merged. A *hit* is a task whose directory the worker knew already; with routing by
//! key, every directory is missed once in all.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ganger::client::{Client, Failure, Submission, Task, Worker};
use tokio::task::JoinSet;

type Failed = Box<dyn Error + Send + Sync>;

const QUEUE: &str = "wordcount";
const WORKERS: [&str; 3] = ["ann", "bob", "cid"];

/// What a worker keeps of a directory.
#[derive(Default)]
struct Directory {
    files: usize,
    words: usize,
    vocabulary: HashSet<String>,
}

/// A worker's memory: directories by their keys.
type Memory = Arc<Mutex<BTreeMap<String, Directory>>>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let (Some(addr), Some(directory)) = (args.next(), args.next()) else {
        return Err("usage: wordcount HOST:PORT DIRECTORY".into());
    };
    let client = Client::builder().name("wordcount").connect(&addr).await?;
    // By key, and however long a worker is busy: its memory is worth more than an idle moment.
    client.set_queue(QUEUE, &[("route", "hash"), ("spill", "none")]).await?;

    let mut stoppers = Vec::new();
    let mut running = JoinSet::new();
    let memories: Vec<Memory> = WORKERS.iter().map(|_| Memory::default()).collect();
    for (name, memory) in WORKERS.into_iter().zip(&memories) {
        let worker = worker(&addr, name, memory.clone())?;
        stoppers.push(worker.stopper());
        running.spawn(worker.run());
    }
    until_all_are_here(&client).await?;

    let mut tasks = Vec::new();
    for file in text_files(Path::new(&directory))? {
        let key = file.parent().unwrap_or(Path::new("")).display().to_string();
        tasks.push(Submission::new("count", file.display().to_string()).queue(QUEUE).key(key));
    }
    for submitted in client.submit_many(tasks).await {
        let outcome = client.watch(submitted?.id).await?;
        outcome.result()?;
    }
    for stopper in stoppers {
        stopper.stop(Duration::from_secs(10));
    }
    while let Some(stopped) = running.join_next().await {
        stopped??;
    }
    for (name, memory) in WORKERS.into_iter().zip(&memories) {
        report(name, memory);
    }
    Ok(())
}

fn worker(addr: &str, name: &str, memory: Memory) -> Result<Worker, Failed> {
    let builder = Worker::builder(addr).name(format!("wordcount-{name}")).queues([QUEUE]).slots(2);
    // Reading files blocks, so it happens on threads that are there for it.
    Ok(builder.handle_blocking("count", move |task: Task| count(&task, &memory)).build()?)
}

/// Counts the words of a file, and keeps them with those of its directory.
fn count(task: &Task, memory: &Memory) -> Result<String, Failure> {
    let payload = task.payload();
    let text = std::fs::read(std::str::from_utf8(&payload)?)?;
    let text = String::from_utf8_lossy(&text);
    let key = task.key().unwrap_or_default().into_owned();
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = memory.entry(key).or_default();
    directory.files += 1;
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        directory.words += 1;
        if !directory.vocabulary.contains(word) {
            directory.vocabulary.insert(word.to_owned());
        }
    }
    Ok(directory.words.to_string())
}

/// The order in which workers come is nobody's business; that all are there before the first task is.
async fn until_all_are_here(client: &Client) -> Result<(), Failed> {
    loop {
        let list = client.workers().await?;
        let workers = list["workers"].as_array().ok_or("a list of workers")?;
        let names = workers.iter().filter_map(|worker| worker["name"].as_str());
        if names.filter(|name| name.starts_with("wordcount-")).count() == WORKERS.len() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// All files below a directory, in order.
fn text_files(directory: &Path) -> Result<Vec<PathBuf>, Failed> {
    let of = |error: &dyn Display| format!("{}: {error}", directory.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| of(&error))? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(text_files(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}

fn report(name: &str, memory: &Memory) {
    let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    let tasks: usize = memory.values().map(|directory| directory.files).sum();
    println!("{name}: {tasks} tasks, {} keys, {} hits", memory.len(), tasks - memory.len());
    for (key, Directory { files, words, vocabulary }) in &*memory {
        println!("  {key}: {files} files, {words} words, {} different", vocabulary.len());
    }
}
