//! Processes are killed in the middle of work, and nothing that was acknowledged is lost or done
//! twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ganger::client::{Client, Outcome, Submission, Task, Worker};
use ganger::task::TaskId;
use tokio::sync::watch;

use crate::support::process::Process;
use crate::support::{Peer, Server, redis};

/// Tasks of a kill test: enough that every kill hits submissions, leases and answers in flight.
const TASKS: u32 = 12_000;

/// Tasks of a long kill test: `make kills`.
const MANY: u32 = 100_000;

/// How often each payload was run.
type Runs = Arc<Mutex<BTreeMap<String, u32>>>;

fn spawn_worker(addr: &str, name: &str, runs: Runs) -> tokio::task::JoinHandle<()> {
    let handler = move |task: Task| {
        let runs = runs.clone();
        async move {
            let text = String::from_utf8(task.payload().to_vec()).expect("a number");
            *runs.lock().unwrap().entry(text.clone()).or_default() += 1;
            Ok::<_, ganger::client::Failure>(Bytes::from(format!("did {text}")))
        }
    };
    let worker = Worker::builder(addr).name(name).slots(16).handle("count", handler);
    let worker = worker.build().expect("a worker");
    tokio::spawn(async move { _ = worker.run().await })
}

/// Submits numbered tasks one after another in windows; those acknowledged, by number. A submission
/// whose answer was lost is made again under the same `unique=`.
async fn submit_all(client: &Client, tasks: u32, done: &AtomicU32) -> BTreeMap<u32, TaskId> {
    let mut acknowledged = BTreeMap::new();
    for window in (0..tasks).collect::<Vec<_>>().chunks(500) {
        let submits: Vec<_> = window
            .iter()
            .map(|number| {
                // Held beyond the end, so that a repeated submission finds its task however late.
                let submission = Submission::new("count", number.to_string())
                    .unique(format!("n{number}"))
                    .unique_for(Duration::from_secs(600));
                (*number, client.submit(submission))
            })
            .collect();
        for (number, submit) in submits {
            let submitted = submit.await.expect("unique submissions are sent again");
            acknowledged.insert(number, submitted.id);
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    acknowledged
}

/// Kills a scheduler three times while tasks flow through it.
async fn survive(store: &str, tasks: u32) {
    let mut process = Process::start(store, &[]);
    let addr = process.addr().to_string();
    let runs = Runs::default();
    let workers: Vec<_> =
        (0..3).map(|n| spawn_worker(&addr, &format!("w{n}"), runs.clone())).collect();
    let patient = Client::builder().patience(Duration::from_secs(120));
    let client = patient.connect(&addr).await.expect("it listens");
    let submitted = Arc::new(AtomicU32::new(0));

    let submitting = {
        let (client, submitted) = (client.clone(), submitted.clone());
        tokio::spawn(async move { submit_all(&client, tasks, &submitted).await })
    };
    for kill in 1..=3 {
        while submitted.load(Ordering::Relaxed) < kill * tasks / 5 && !submitting.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(!submitting.is_finished(), "the submitter has given up");
        process = tokio::task::spawn_blocking(move || {
            process.kill_and_restart();
            process
        })
        .await
        .expect("it starts again");
    }
    let acknowledged = submitting.await.expect("all are submitted");
    assert_eq!(acknowledged.len() as u32, tasks);
    for (number, id) in &acknowledged {
        match client.watch(*id).await.expect("it ends") {
            Outcome::Done { result, .. } => assert_eq!(result, format!("did {number}")),
            other => panic!("task {number} ended as {other:?}"),
        }
    }
    let twice = runs.lock().unwrap().values().filter(|&&times| times > 1).count();
    assert_eq!(twice, 0, "tasks whose workers came back were run again");
    workers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_scheduler_loses_nothing_on_the_embedded_store() {
    let dir = tempfile::tempdir().unwrap();
    survive(&format!("file:{}", dir.path().join("data").display()), TASKS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make kills"]
async fn a_killed_scheduler_loses_none_of_many_on_the_embedded_store() {
    let dir = tempfile::tempdir().unwrap();
    survive(&format!("file:{}", dir.path().join("data").display()), MANY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_scheduler_loses_nothing_on_redis() {
    let redis = redis::Server::start();
    survive(&redis.url(), TASKS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make kills"]
async fn a_killed_scheduler_loses_none_of_many_on_redis() {
    let redis = redis::Server::start();
    survive(&redis.url(), MANY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_outlasts_the_scheduler_is_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("file:{}", dir.path().join("data").display());
    let mut process = Process::start(&store, &[]);
    let addr = process.addr().to_string();
    let runs = Arc::new(AtomicU32::new(0));
    let (started, mut has_started) = watch::channel(false);
    let (release, released) = watch::channel(false);
    let handler = {
        let runs = runs.clone();
        move |_: Task| {
            runs.fetch_add(1, Ordering::Relaxed);
            started.send_replace(true);
            let mut released = released.clone();
            async move {
                released.wait_for(|released| *released).await.expect("the test goes on");
                Ok::<_, ganger::client::Failure>(Bytes::from_static(b"late, but once"))
            }
        }
    };
    let worker = Worker::builder(&addr).name("w").handle("long", handler).build().unwrap();
    let working = tokio::spawn(worker.run());
    let client = Client::connect(&addr).await.unwrap();
    let id = client.submit(Submission::new("long", "")).await.unwrap().id;
    has_started.wait_for(|started| *started).await.unwrap();

    process = tokio::task::spawn_blocking(move || {
        process.kill_and_restart();
        process
    })
    .await
    .unwrap();
    release.send_replace(true);
    let client = Client::connect(process.addr()).await.unwrap();
    let outcome = client.watch(id).await.unwrap();
    let Outcome::Done { result, attempt, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((&result[..], attempt), (&b"late, but once"[..], 1));
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    working.abort();
}

#[test]
fn a_killed_workers_task_runs_elsewhere_and_its_late_answer_is_stale() {
    let server = Server::start();
    let (mut first, _) = Peer::worker(server.addr(), "name=first kinds=x");
    let mut client = Peer::client(server.addr());
    let id = client.submit("SUBMIT x backoff=0 watch=yes\n");
    first.expect(&format!("TASK {id} 1 x"));
    // The kernel closes the socket of a killed process.
    drop(first);
    let (mut second, _) = Peer::worker(server.addr(), "name=second kinds=x");
    second.expect(&format!("TASK {id} 2 x"));
    let (mut late, _) = Peer::worker(server.addr(), "name=first kinds=other");
    late.send(format!("DONE {id} 1 #4\nlate\n"));
    late.expect("ERR stale");
    second.send(format!("DONE {id} 2 #4\ntrue\n"));
    second.expect("OK ");
    assert_eq!(client.expect(&format!("RESULT {id} done attempt=2 worker=second")).1, b"true");
    late.send(format!("DONE {id} 1 #4\nlate\nDONE {id} 2 #4\nlate\n"));
    late.expect("ERR stale");
    late.expect(&format!("OK {id}"));
    client.send(format!("GET {id}\n"));
    assert_eq!(client.expect("OK ").1, b"true", "the recorded result stays");
}
