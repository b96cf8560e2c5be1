//! Client and worker against a real scheduler, through its restarts and lost connections.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ganger::client::{
    Client, Code, EventFilter, Failure, NotDone, Observed, Outcome, State, Stopped, Stopper,
    Submission, Task, TaskFilter, TaskId, Worker, WorkerBuilder,
};
use ganger::server::Config;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::fake::in_time;
use super::proxy::Proxy;
use crate::support::Server;

/// Keeps its tasks in a directory, at an address that is its again after a restart.
pub(super) fn durable(directory: &Path, addr: Option<SocketAddr>) -> Server {
    let store = format!("file:{}", directory.display());
    let config = Config { store, ..Config::default() };
    Server::with(Config { listen: addr.unwrap_or(config.listen), ..config })
}

/// A worker at work, and what ends it.
pub(super) fn start(builder: WorkerBuilder) -> (JoinHandle<Stopped>, Stopper) {
    let worker = builder.build().unwrap();
    let stopper = worker.stopper();
    (tokio::spawn(async move { worker.run().await.unwrap() }), stopper)
}

pub(super) fn echo(addr: SocketAddr) -> WorkerBuilder {
    Worker::builder(addr)
        .name("echo")
        .slots(64)
        .handle_any(|task: Task| async move { Ok::<_, Failure>(task.payload()) })
}

/// Asks until the answer is yes.
async fn until(client: &Client, id: TaskId, state: State) {
    in_time(async { while client.get(id).await.unwrap().state != state {} }).await;
}

#[tokio::test]
async fn ten_thousand_calls_at_once_share_a_connection() {
    let server = Server::start();
    let client = Client::connect(server.addr()).await.unwrap();
    let (_, _stopper) = start(echo(server.addr()));
    let mut calls = JoinSet::new();
    for number in 0..10_000 {
        let client = client.clone();
        calls.spawn(async move {
            let task = Submission::new("echo", number.to_string());
            let outcome = client.submit(task).watch().await.unwrap();
            let id = outcome.id();
            assert_eq!(outcome.result().unwrap(), number.to_string());
            id
        });
    }
    let ids: HashSet<TaskId> = in_time(calls.join_all()).await.into_iter().collect();
    assert_eq!(ids.len(), 10_000);
    let stats = client.stats().await.unwrap();
    assert_eq!((&stats["submitted"], &stats["connections"]), (&json!(10_000), &json!(2)));
    let ended = client.explain(*ids.iter().next().unwrap()).await.unwrap();
    assert_eq!((&ended["state"], &ended["worker"]), (&json!("done"), &json!("echo")));
    assert_eq!(ended["reasons"][0]["code"], "ended");
}

#[tokio::test]
async fn many_tasks_keep_their_order() {
    let server = Server::start();
    let client = Client::connect(server.addr()).await.unwrap();
    let tasks = (0..10_000).map(|number: u32| {
        let task = Submission::new("k", number.to_string());
        if number % 1000 == 7 { task.key("") } else { task }
    });
    let fates = in_time(client.submit_many(tasks)).await;
    assert_eq!(fates.iter().filter(|fate| fate.is_err()).count(), 10);
    let ids: Vec<TaskId> = fates.into_iter().flatten().map(|submitted| submitted.id).collect();
    assert!(ids.is_sorted());
    let stats = client.stats().await.unwrap();
    assert_eq!(stats["tasks"]["ready"], json!(9990));
}

#[tokio::test]
async fn a_watch_and_a_run_outlast_a_restart_of_the_scheduler() {
    let directory = tempfile::tempdir().unwrap();
    let server = durable(directory.path(), None);
    let addr = server.addr();
    let client = Client::connect(addr).await.unwrap();
    let (runs, began, release) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (counts, begins, waits) = (runs.clone(), began.clone(), release.clone());
    let (working, stopper) = start(Worker::builder(addr).name("w").handle("k", move |_| {
        let (counts, begins, waits) = (counts.clone(), begins.clone(), waits.clone());
        async move {
            counts.fetch_add(1, Ordering::Relaxed);
            begins.notify_one();
            waits.notified().await;
            Ok::<_, Failure>("once")
        }
    }));
    let id = client.submit(Submission::new("k", "")).await.unwrap().id;
    let watching = tokio::spawn({
        let client = client.clone();
        async move { client.watch(id).await.unwrap() }
    });
    in_time(began.notified()).await;
    server.stop();
    let server = durable(directory.path(), Some(addr));
    until(&client, id, State::Leased).await;
    release.notify_one();
    let outcome = in_time(watching).await.unwrap();
    let Outcome::Done { result, attempt, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((&*result, attempt, runs.load(Ordering::Relaxed)), (&b"once"[..], 1, 1));
    stopper.stop(Duration::from_secs(10));
    assert_eq!(in_time(working).await.unwrap(), Stopped::Asked);
    server.stop();
}

#[tokio::test]
async fn events_go_on_after_a_restart_of_the_scheduler() {
    let directory = tempfile::tempdir().unwrap();
    let server = durable(directory.path(), None);
    let addr = server.addr();
    let client = Client::connect(addr).await.unwrap();
    let filter = EventFilter { what: vec!["submitted".into()], ..EventFilter::default() };
    let mut events = client.events(&filter).await.unwrap();
    let first = client.submit(Submission::new("k", "x").queue("photos")).await.unwrap().id;
    let Observed::Event(event) = in_time(events.next()).await.unwrap() else { panic!("no event") };
    assert_eq!((event.id, event.attempt, &*event.what), (Some(first), 0, "submitted"));
    assert_eq!(event.option("queue").as_deref(), Some("photos"));
    let next = events.next_seq();
    assert_eq!(next, event.seq + 1);

    drop(server);
    let server = durable(directory.path(), Some(addr));
    let Observed::Gap(from, to) = in_time(events.next()).await.unwrap() else { panic!("no gap") };
    assert!(from == next && to >= from, "{from} to {to}");
    let second = client.submit(Submission::new("k", "x").unique("u")).await.unwrap().id;
    let Observed::Event(event) = in_time(events.next()).await.unwrap() else { panic!("no event") };
    assert_eq!((event.seq, event.id), (to + 1, Some(second)));

    let filter = EventFilter { from: Some(event.seq), ..EventFilter::default() };
    let mut again = client.events(&filter).await.unwrap();
    assert_eq!(in_time(again.next()).await.unwrap(), Observed::Event(event));
    let filter = EventFilter { what: vec!["exploded".into()], ..EventFilter::default() };
    assert_eq!(client.events(&filter).await.unwrap_err().code(), Some(Code::BadValue));
    let filter = EventFilter { stats_ms: Some(1000), ..EventFilter::default() };
    let mut figures = client.events(&filter).await.unwrap();
    let Observed::Stats(stats) = in_time(figures.next()).await.unwrap() else { panic!("none") };
    assert_eq!(stats["submitted"], 1);
    drop(server);
}

#[tokio::test]
async fn a_result_that_was_recorded_unheard_is_recorded_once() {
    let server = Server::start();
    let client = Client::connect(server.addr()).await.unwrap();
    let proxy = Proxy::before(server.addr()).await;
    let (began, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, waits) = (began.clone(), release.clone());
    let (working, stopper) =
        start(Worker::builder(proxy.addr()).name("w").handle("k", move |_| {
            let (begins, waits) = (begins.clone(), waits.clone());
            async move {
                begins.notify_one();
                waits.notified().await;
                Ok::<_, Failure>("heard")
            }
        }));
    let id = client.submit(Submission::new("k", "")).await.unwrap().id;
    in_time(began.notified()).await;
    proxy.deafen();
    release.notify_one();
    until(&client, id, State::Done).await;
    // The OK is swallowed; the worker says it again over the next connection, and is through then.
    proxy.cut();
    stopper.stop(Duration::from_secs(3600));
    assert_eq!(in_time(working).await.unwrap(), Stopped::Asked);
    let status = client.get(id).await.unwrap();
    assert_eq!((status.attempt, &*status.payload), (1, &b"heard"[..]));
    let stats = client.stats().await.unwrap();
    assert_eq!(stats["kinds"][0]["succeeded"], json!(1), "{stats}");
}

#[tokio::test]
async fn a_cut_connection_costs_neither_watches_nor_runs() {
    let server = Server::start();
    let proxy = Proxy::before(server.addr()).await;
    let client = Client::connect(proxy.addr()).await.unwrap();
    let (began, mut begins) = mpsc::channel(8);
    let release = Arc::new(Notify::new());
    let waits = release.clone();
    let (_, _stopper) =
        start(Worker::builder(proxy.addr()).name("w").slots(4).handle("k", move |_| {
            let (began, waits) = (began.clone(), waits.clone());
            async move {
                began.send(()).await?;
                waits.notified().await;
                Ok::<_, Failure>("")
            }
        }));
    let mut watches = JoinSet::new();
    for _ in 0..4 {
        let client = client.clone();
        watches
            .spawn(async move { client.submit(Submission::new("k", "")).watch().await.unwrap() });
        in_time(begins.recv()).await.unwrap();
    }
    // A task may begin before its client has heard that it is taken. Answers come in the order of what
    // was asked: when this one is there, those of all submissions are.
    assert_eq!(client.stats().await.unwrap()["tasks"]["leased"], json!(4));
    for _ in 0..3 {
        proxy.cut();
        assert_eq!(client.stats().await.unwrap()["tasks"]["leased"], json!(4));
    }
    release.notify_waiters();
    for outcome in in_time(watches.join_all()).await {
        assert!(matches!(outcome, Outcome::Done { attempt: 1, .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_stopped_worker_s_tasks_go_to_others_at_no_cost() {
    let server = Server::start();
    let client = Client::connect(server.addr()).await.unwrap();
    let began = Arc::new(Notify::new());
    let begins = began.clone();
    let (working, stopper) =
        start(Worker::builder(server.addr()).name("w").handle("k", move |_| {
            begins.notify_one();
            async { std::future::pending::<Result<&str, Failure>>().await }
        }));
    let id = client.submit(Submission::new("k", "")).await.unwrap().id;
    in_time(began.notified()).await;
    stopper.stop(Duration::ZERO);
    assert_eq!(in_time(working).await.unwrap(), Stopped::Asked);
    until(&client, id, State::Ready).await;
    assert_eq!(client.get(id).await.unwrap().used, 0);
    let (_, _stopper) = start(echo(server.addr()));
    let outcome = in_time(client.watch(id)).await.unwrap();
    assert!(matches!(outcome, Outcome::Done { attempt: 2, .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_drained_worker_finishes_and_leaves() {
    let server = Server::start();
    let client = Client::builder().operator().connect(server.addr()).await.unwrap();
    let (began, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, waits) = (began.clone(), release.clone());
    let (working, _stopper) =
        start(Worker::builder(server.addr()).name("w").handle("k", move |_| {
            let (begins, waits) = (begins.clone(), waits.clone());
            async move {
                begins.notify_one();
                waits.notified().await;
                Ok::<_, Failure>("")
            }
        }));
    let id = client.submit(Submission::new("k", "")).await.unwrap().id;
    in_time(began.notified()).await;
    client.drain("w").await.unwrap();
    release.notify_one();
    assert_eq!(in_time(working).await.unwrap(), Stopped::Drained);
    until(&client, id, State::Done).await;
    assert_eq!(client.workers().await.unwrap()["workers"], json!([]));
    assert_eq!(client.drain("w").await.unwrap_err().code(), Some(Code::UnknownWorker));
}

#[tokio::test]
async fn a_worker_of_the_same_name_takes_over() {
    let server = Server::start();
    let client = Client::connect(server.addr()).await.unwrap();
    let (first, _stopper) = start(echo(server.addr()));
    client.submit(Submission::new("k", "")).watch().await.unwrap();
    let (_, _stopper) = start(echo(server.addr()));
    assert_eq!(in_time(first).await.unwrap(), Stopped::Superseded);
    let outcome = in_time(client.submit(Submission::new("k", "again")).watch()).await.unwrap();
    assert_eq!(outcome.result().unwrap(), "again");
}

#[tokio::test]
async fn a_cancelled_run_is_told_and_frees_its_slot() {
    let server = Server::start();
    let client = Client::connect(server.addr()).await.unwrap();
    let (told, mut tells) = mpsc::channel(8);
    let (_, _stopper) =
        start(Worker::builder(server.addr()).name("w").handle("k", move |task: Task| {
            let told = told.clone();
            async move {
                told.send("began".to_owned()).await?;
                told.send(task.cancelled().await.to_owned()).await?;
                Ok::<_, Failure>("unwanted")
            }
        }));
    let id = client.submit(Submission::new("k", "")).await.unwrap().id;
    assert_eq!(in_time(tells.recv()).await.unwrap(), "began");
    client.cancel(id).await.unwrap();
    let outcome = client.watch(id).await.unwrap();
    assert_eq!(outcome, Outcome::Cancelled { id, reason: "cancelled".into() });
    assert_eq!(in_time(tells.recv()).await.unwrap(), "cancelled");
    let late = Submission::new("k", "").max_run(Duration::from_millis(1)).attempts(1);
    let NotDone(outcome) =
        in_time(client.submit(late).watch()).await.unwrap().result().unwrap_err();
    assert!(matches!(*outcome, Outcome::Dead { used: 1, .. }), "{outcome:?}");
    assert_eq!(in_time(tells.recv()).await.unwrap(), "began");
    assert_eq!(in_time(tells.recv()).await.unwrap(), "max-run");
}

#[tokio::test]
async fn a_panic_is_a_failure_of_the_task_alone() {
    let server = Server::start();
    let client = Client::connect(server.addr()).await.unwrap();
    let (_, _stopper) =
        start(Worker::builder(server.addr()).name("w").handle("k", |task: Task| async move {
            assert!(task.attempt() > 1, "the first attempt fails");
            Ok::<_, Failure>(task.attempt().to_string())
        }));
    let fragile = || Submission::new("k", "").backoff(Duration::ZERO);
    let outcome = in_time(client.submit(fragile()).watch()).await.unwrap();
    assert_eq!(outcome.result().unwrap(), "2");
    let dead = in_time(client.submit(fragile().attempts(1)).watch()).await.unwrap();
    let id = dead.id();
    let error = dead.result().unwrap_err();
    assert!(
        error.to_string().ends_with("the handler panicked: the first attempt fails"),
        "{error}"
    );
    let retried = client.retry(id).await.unwrap();
    assert_eq!((retried.was, &*retried.reason), (State::Dead, "attempts"));
    assert_eq!(in_time(client.watch(id)).await.unwrap().result().unwrap(), "2");
}

#[tokio::test]
async fn a_full_scheduler_is_waited_for() {
    let config = Config { store: "memory:".into(), tasks_max: 1, ..Config::default() };
    let server = Server::with(config);
    let client = Client::connect(server.addr()).await.unwrap();
    client.submit(Submission::new("k", "")).await.unwrap();
    let hasty = Client::builder().patience(Duration::ZERO).connect(server.addr()).await.unwrap();
    let refused = hasty.submit(Submission::new("k", "")).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Busy), "{refused}");
    let waiting =
        tokio::spawn(async move { client.submit(Submission::new("k", "2")).watch().await });
    let (_, _stopper) = start(echo(server.addr()));
    assert_eq!(in_time(waiting).await.unwrap().unwrap().result().unwrap(), "2");
}

#[tokio::test]
async fn operators_see_and_set_what_there_is() {
    let server = Server::start();
    let client = Client::builder().name("boss").operator().connect(server.addr()).await.unwrap();
    assert_eq!(client.queue("q").await.unwrap_err().code(), Some(Code::UnknownQueue));
    let queue = client.set_queue("q", &[("route", "hash"), ("spill", "none")]).await.unwrap();
    assert_eq!(queue["route"], json!("hash"));
    assert_eq!(client.queue("q").await.unwrap(), queue);
    let refused = client.set_queue("q", &[("route", "sideways")]).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::BadValue));
    let task = Submission::new("k", "").queue("q").delay(Duration::from_secs(1000));
    let id = client.submit(task.clone()).await.unwrap().id;
    client.submit(Submission::new("other", "")).await.unwrap();
    let filter = TaskFilter { queue: Some("q".into()), ..TaskFilter::default() };
    let page = client.tasks(&filter).await.unwrap();
    let ids: Vec<&Value> = page["tasks"].as_array().unwrap().iter().map(|t| &t["id"]).collect();
    assert_eq!(ids, [&json!(id.to_string())]);
    let status = client.get(id).await.unwrap();
    assert_eq!((status.state, status.kind.as_deref()), (State::Scheduled, Some("k")));
    assert_eq!(client.queues().await.unwrap()["queues"].as_array().unwrap().len(), 2);
    let (last, of_shard_0) = (u64::MAX, !(0xff << 13));
    let watched = client.watch(TaskId::from_bits(last & of_shard_0)).await;
    assert_eq!(watched.unwrap_err().code(), Some(Code::UnknownTask));
    let watched = client.watch(TaskId::from_bits(last)).await;
    assert_eq!(watched.unwrap_err().code(), Some(Code::WrongShard));
}
