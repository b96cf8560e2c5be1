//! Periodic tasks of a client against a real scheduler.

use std::time::Duration;

use ganger::client::{Client, Code, Cron, Submission};
use serde_json::json;

use super::fake::in_time;
use super::scheduler::{durable, echo, start};
use crate::support::Server;

#[tokio::test]
async fn a_periodic_task_fires_until_it_is_removed() {
    let server = Server::start();
    let client = Client::builder().operator().connect(server.addr()).await.unwrap();
    let (_, _stopper) = start(echo(server.addr()));
    let task = Submission::new("k", &b"a b=c\n\xff"[..]).queue("bulk").key("user 42").attempts(3);
    let added = client.add_cron(&Cron::every("tick", Duration::from_secs(1), task)).await.unwrap();
    assert_eq!((&added["queue"], &added["replaced"]), (&json!("bulk"), &json!(false)));
    let fired = async {
        loop {
            let crons = client.crons().await.unwrap();
            if let Some(task) = crons[0]["task"].as_str() {
                return task.parse().unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let id = in_time(fired).await;
    let outcome = in_time(client.watch(id)).await.unwrap();
    assert_eq!(outcome.result().unwrap(), &b"a b=c\n\xff"[..]);
    client.pause_cron("tick").await.unwrap();
    assert_eq!(client.crons().await.unwrap()[0]["paused"], true);
    client.resume_cron("tick").await.unwrap();
    client.remove_cron("tick").await.unwrap();
    assert_eq!(client.crons().await.unwrap(), json!([]));
    assert_eq!(client.remove_cron("tick").await.unwrap_err().code(), Some(Code::UnknownCron));
}

#[tokio::test]
async fn all_pages_of_periodic_tasks_are_listed() {
    let server = Server::start();
    let client = Client::connect(server.addr()).await.unwrap();
    let added: Vec<String> = (0..2500).map(|number| format!("tick-{number:04}")).collect();
    for name in &added {
        let task = Submission::new("k", "");
        let cron = Cron::at(name.clone(), "@yearly", task).tz("Europe/Berlin").missed_none();
        client.add_cron(&cron.overlap_queue()).await.unwrap();
    }
    let crons = client.crons().await.unwrap();
    let names: Vec<_> = crons.as_array().unwrap().iter().map(|c| c["name"].as_str()).collect();
    assert_eq!(names, added.iter().map(|name| Some(&**name)).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_makes_no_periodic_task_is_refused() {
    let server = Server::start();
    let client = Client::connect(server.addr()).await.unwrap();
    let task = || Submission::new("k", "");
    let bad = [
        Cron::at("a b", "@daily", task()),
        Cron::at("a", "", task()),
        Cron::at("a", "@daily\n", task()),
        Cron::at("a", "* * * *", task()),
        Cron::at("a", "@daily", task()).tz("x=y z"),
        Cron::at("a", "@daily", Submission::new("no kind", "")),
        Cron::every("a", Duration::from_millis(5), task()),
    ];
    for cron in bad {
        let error = client.add_cron(&cron).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::BadValue), "{cron:?}: {error}");
    }
    for once in [task().delay(Duration::from_secs(1)), task().unique("x")] {
        let error = client.add_cron(&Cron::at("a", "@daily", once)).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::UnknownOption), "{error}");
    }
    assert_eq!(client.crons().await.unwrap(), json!([]));
}

#[tokio::test]
async fn periodic_tasks_are_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let server = durable(directory.path(), None);
    let client = Client::connect(server.addr()).await.unwrap();
    let task = Submission::new("k", &b"\xff\n\x00"[..]).trace("a b");
    client.add_cron(&Cron::at("a", "0 3 1 1 *", task.clone()).tz("Asia/Tokyo")).await.unwrap();
    client.add_cron(&Cron::every("b", Duration::from_secs(86_400), task)).await.unwrap();
    client.pause_cron("b").await.unwrap();
    let before = client.crons().await.unwrap();
    let addr = server.addr();
    drop(server);
    let _server = durable(directory.path(), Some(addr));
    let client = Client::connect(addr).await.unwrap();
    assert_eq!(client.crons().await.unwrap(), before);
}
