//! The worker against a scheduler that says what it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ganger::client::{Code, Error, Failure, Stopped, Task, Worker, WorkerBuilder};
use tokio::sync::{Notify, mpsc};

use super::fake::{Fake, SESSION, Talk, in_time};

const ID: &str = "06fq2v8k3n1zg";
const OTHER: &str = "06fq2v8k3n1zh";

fn builder(fake: &Fake) -> WorkerBuilder {
    Worker::builder(fake.addr()).name("w")
}

/// Runs the worker beside the scheduler.
async fn run<T>(
    worker: WorkerBuilder,
    scheduler: impl Future<Output = T>,
) -> (Result<Stopped, Error>, T) {
    let worker = worker.build().unwrap();
    in_time(async { tokio::join!(worker.run(), scheduler) }).await
}

/// Has the worker leave.
async fn drain(talk: &mut Talk) {
    talk.say("DRAIN reason=drain\n").await;
    talk.expect("SLOTS 0").await;
    talk.say("OK\n").await;
    talk.expect("BYE").await;
    talk.say("OK\n").await;
    talk.expect_end().await;
}

#[tokio::test]
async fn a_worker_that_is_stopped_before_it_runs_does_not_begin() {
    let fake = Fake::bind().await;
    let worker = builder(&fake).handle("k", |_| async { Ok::<_, Failure>("") }).build().unwrap();
    worker.stopper().stop(Duration::from_secs(3600));
    assert_eq!(in_time(worker.run()).await.unwrap(), Stopped::Asked);
}

#[tokio::test]
async fn a_worker_says_who_it_is_and_does_what_it_is_told() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, hello) = fake.welcome("no").await;
        for words in [
            "HELLO 1 worker name=w host=",
            " slots=2 weight=1 kinds=lower,upper ",
            " heartbeat=15000",
        ] {
            assert!(hello.contains(words), "{hello}");
        }
        talk.stammer(&format!("TASK {ID} 1 upper queue=q key=a%20b timeout=50 #3\na\nb\nPING\n"))
            .await;
        // Whichever comes first.
        let said = [talk.frame().await, talk.frame().await];
        assert!(said.contains(&("PONG".into(), Vec::new())), "{said:?}");
        assert!(said.contains(&(format!("DONE {ID} 1 #7"), b"A\nB q a".to_vec())), "{said:?}");
        talk.say(&format!("OK {ID}\n")).await;
        drain(&mut talk).await;
    };
    let worker = builder(&fake)
        .slots(2)
        .handle("lower", |_| async { Ok::<_, Failure>("") })
        .handle("upper", |task: Task| async move {
            assert_eq!(task.timeout(), Some(Duration::from_millis(50)));
            let mut out = task.payload().to_ascii_uppercase();
            out.extend_from_slice(
                format!(" {} {}", task.queue(), &task.key().unwrap()[..1]).as_bytes(),
            );
            Ok::<_, Failure>(out)
        });
    let (stopped, ()) = run(worker, scheduler).await;
    assert_eq!(stopped.unwrap(), Stopped::Drained);
}

#[tokio::test]
async fn failures_are_told_as_they_are_meant() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        let mut round = async |payload: &str, expected: &str, text: &str| {
            let length = payload.len();
            talk.say(&format!("TASK {ID} 1 k #{length}\n{payload}\n")).await;
            let (line, error) = talk.expect(expected).await;
            let error = String::from_utf8(error).unwrap();
            assert!(error.contains(text), "{line}: {error}");
            // Whatever the scheduler says, the worker forgets the task.
            talk.say("ERR stale it is not yours\n").await;
        };
        round("", "FAIL 06fq2v8k3n1zg 1 #", "cannot parse integer from empty string").await;
        round("1", "FAIL 06fq2v8k3n1zg 1 retry=no #9", "for good!").await;
        round("2", "FAIL 06fq2v8k3n1zg 1 retry=86400000 #5", "later").await;
        round("3", "RELEASE 06fq2v8k3n1zg 1 delay=7", "").await;
        round("4", "FAIL 06fq2v8k3n1zg 1 #", "the handler panicked: on 4").await;
        round(
            "5",
            "FAIL 06fq2v8k3n1zg 1 retry=no #",
            "result-too-large: 1001 bytes, and the limit is 1000",
        )
        .await;
        round("6", "FAIL 06fq2v8k3n1zg 1 #4095", "€€").await;
        round("7", "DONE 06fq2v8k3n1zg 1 #1000", "").await;
        drain(&mut talk).await;
    };
    let worker = builder(&fake).handle_any(|task: Task| async move {
        let number: u32 = String::from_utf8(task.payload().to_vec())?.parse()?;
        match number {
            1 => Err(Failure::fatal("for good!")),
            2 => Err(Failure::new("later").retry_after(Duration::from_secs(1 << 40))),
            3 => Err(Failure::release(Duration::from_micros(6001))),
            4 => panic!("on {number}"),
            5 => Ok(vec![b'x'; 1001]),
            6 => Err(Failure::new("€".repeat(2000))),
            _ => Ok(vec![b'x'; 1000]),
        }
    });
    assert_eq!(run(worker, scheduler).await.0.unwrap(), Stopped::Drained);
}

#[tokio::test]
async fn an_answer_without_a_reply_is_sent_again_in_order_and_no_task_is_run_twice() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.say(&format!("TASK {ID} 1 k #1\na\n")).await;
        talk.expect(&format!("DONE {ID} 1 #1")).await;
        talk.say(&format!("TASK {OTHER} 3 k #1\nb\n")).await;
        talk.expect(&format!("DONE {OTHER} 3 #1")).await;
        drop(talk);
        let (mut talk, hello) = fake.welcome("yes").await;
        assert!(hello.contains(&format!(" session={SESSION}")), "{hello}");
        talk.say(&format!("TASK {ID} 1 k #1\na\nTASK {OTHER} 3 k #1\nb\n")).await;
        talk.expect(&format!("DONE {ID} 1 #1")).await;
        talk.expect(&format!("DONE {OTHER} 3 #1")).await;
        talk.say(&format!("OK {ID}\nERR stale too late\n")).await;
        // Acknowledged is forgotten: a later attempt is a new lease.
        talk.say(&format!("TASK {OTHER} 4 k #1\nb\n")).await;
        talk.expect(&format!("DONE {OTHER} 4 #1")).await;
        talk.say(&format!("OK {OTHER}\n")).await;
        drain(&mut talk).await;
    };
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let worker = builder(&fake).slots(2).handle("k", move |task: Task| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, Failure>(task.payload()) }
    });
    run(worker, scheduler).await.0.unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_run_goes_on_without_a_connection_and_is_answered_over_the_next() {
    let fake = Fake::bind().await;
    let (began, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.say(&format!("TASK {ID} 1 k #0\n\n")).await;
        began.notified().await;
        drop(talk);
        let (mut talk, _) = fake.accept().await;
        release.notify_one();
        let greeting =
            format!("OK 1 session={SESSION} resumed=yes max-header=4096 max-payload=9 time=1\n");
        talk.say(&greeting).await;
        talk.say(&format!("TASK {ID} 1 k #0\n\n")).await;
        talk.expect(&format!("DONE {ID} 1 #4")).await;
        talk.say(&format!("OK {ID}\n")).await;
        drain(&mut talk).await;
    };
    let (begins, waits) = (began.clone(), release.clone());
    let worker = builder(&fake).handle("k", move |_| {
        let (begins, waits) = (begins.clone(), waits.clone());
        async move {
            begins.notify_one();
            waits.notified().await;
            Ok::<_, Failure>("once")
        }
    });
    run(worker, scheduler).await.0.unwrap();
}

#[tokio::test]
async fn runs_that_the_scheduler_gave_up_are_told_keep_their_slot_and_are_not_answered() {
    let fake = Fake::bind().await;
    let (told, mut tells) = mpsc::channel(8);
    let release = Arc::new(Notify::new());
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.say(&format!("TASK {ID} 1 wait #0\n\n")).await;
        assert_eq!(tells.recv().await.unwrap(), "began");
        drop(talk);
        let (mut talk, _) = fake.welcome("no").await;
        assert_eq!(tells.recv().await.unwrap(), "lost");
        // The only slot is taken by the lost run; this waits for it.
        talk.say(&format!("TASK {OTHER} 1 go #0\n\nPING\n")).await;
        talk.expect("PONG").await;
        assert!(tells.try_recv().is_err());
        release.notify_one();
        talk.expect(&format!("DONE {OTHER} 1 #4")).await;
        talk.say(&format!("OK {OTHER}\n")).await;
        drain(&mut talk).await;
    };
    let waits = release.clone();
    let worker = builder(&fake)
        .handle("wait", move |task: Task| {
            let (told, waits) = (told.clone(), waits.clone());
            async move {
                told.send("began".to_owned()).await?;
                told.send(task.cancelled().await.to_owned()).await?;
                waits.notified().await;
                Ok::<_, Failure>("never heard")
            }
        })
        .handle("go", |_| async { Ok::<_, Failure>("went") });
    run(worker, scheduler).await.0.unwrap();
}

#[tokio::test]
async fn a_cancelled_run_is_told_why_and_still_answers() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.say(&format!("TASK {ID} 1 k #0\n\n")).await;
        talk.expect(&format!("PROGRESS {ID} 1 50 #4")).await;
        talk.say(&format!("CANCEL {ID} 1 reason=max-run\n")).await;
        let (_, said) = talk.expect(&format!("DONE {ID} 1 #7")).await;
        assert_eq!(said, b"max-run");
        talk.say(&format!("OK {ID}\n")).await;
        // One that is not known here keeps a slot there until it is answered.
        talk.say(&format!("CANCEL {OTHER} 1 reason=cancelled\n")).await;
        talk.expect(&format!("RELEASE {OTHER} 1")).await;
        talk.say("ERR stale whatever\n").await;
        drain(&mut talk).await;
    };
    let worker = builder(&fake).handle("k", |task: Task| async move {
        assert!(!task.is_cancelled());
        task.progress_note(50, "half").await;
        let reason = task.cancelled().await.to_owned();
        assert!(task.is_cancelled());
        Ok::<_, Failure>(reason)
    });
    run(worker, scheduler).await.0.unwrap();
}

#[tokio::test]
async fn a_handler_that_blocks_keeps_no_ping_waiting() {
    let fake = Fake::bind().await;
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(blocked);
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.say(&format!("TASK {ID} 1 k #0\n\nPING\n")).await;
        talk.expect("PONG").await;
        unblock.send(()).unwrap();
        talk.expect(&format!("DONE {ID} 1 #4")).await;
        talk.say(&format!("OK {ID}\nTASK {ID} 2 k #0\n\n")).await;
        drop(unblock);
        let (_, error) = talk.expect(&format!("FAIL {ID} 2 #")).await;
        assert!(String::from_utf8(error).unwrap().starts_with("the handler panicked: "));
        talk.say(&format!("OK {ID}\n")).await;
        drain(&mut talk).await;
    };
    let worker = builder(&fake).handle_blocking("k", move |_| {
        blocked.lock().unwrap().recv().unwrap();
        Ok::<_, Failure>("done")
    });
    run(worker, scheduler).await.0.unwrap();
}

#[tokio::test]
async fn a_stopped_worker_finishes_gives_back_what_comes_late_and_says_bye() {
    let fake = Fake::bind().await;
    let release = Arc::new(Notify::new());
    let waits = release.clone();
    let worker = builder(&fake)
        .slots(2)
        .handle("k", move |_| {
            let waits = waits.clone();
            async move {
                waits.notified().await;
                Ok::<_, Failure>("")
            }
        })
        .build()
        .unwrap();
    let stopper = worker.stopper();
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.say(&format!("TASK {ID} 1 k #0\n\nPING\n")).await;
        talk.expect("PONG").await;
        stopper.stop(Duration::from_secs(3600));
        talk.expect("SLOTS 0").await;
        talk.say(&format!("TASK {OTHER} 1 k #0\n\n")).await;
        talk.expect(&format!("RELEASE {OTHER} 1")).await;
        talk.say(&format!("OK\nOK {OTHER}\n")).await;
        release.notify_one();
        talk.expect(&format!("DONE {ID} 1 #0")).await;
        talk.say(&format!("OK {ID}\n")).await;
        talk.expect("BYE").await;
        talk.say("OK\n").await;
    };
    let (stopped, ()) = in_time(async { tokio::join!(worker.run(), scheduler) }).await;
    assert_eq!(stopped.unwrap(), Stopped::Asked);
}

#[tokio::test]
async fn a_stop_at_its_limit_ends_runs_and_gives_their_tasks_back() {
    let fake = Fake::bind().await;
    let (dropped, mut drops) = mpsc::channel::<()>(1);
    let worker = builder(&fake)
        .handle("k", move |_| {
            let held = dropped.clone();
            async move {
                std::future::pending::<()>().await;
                drop(held);
                Ok::<_, Failure>("")
            }
        })
        .build()
        .unwrap();
    let stopper = worker.stopper();
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.say(&format!("TASK {ID} 1 k #0\n\nPING\n")).await;
        talk.expect("PONG").await;
        stopper.stop(Duration::ZERO);
        talk.expect("SLOTS 0").await;
        talk.expect("BYE").await;
        talk.say("OK\nOK\n").await;
    };
    let (stopped, ()) = in_time(async { tokio::join!(worker.run(), scheduler) }).await;
    assert_eq!(stopped.unwrap(), Stopped::Asked);
    assert!(drops.recv().await.is_none(), "the run is over");
}

#[tokio::test]
async fn a_superseded_worker_leaves_and_does_not_come_back() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.say("DRAIN reason=restart\n").await;
        drop(talk);
        let (mut talk, hello) = fake.welcome("yes").await;
        assert!(hello.contains(&format!(" session={SESSION}")), "{hello}");
        talk.say(&format!("TASK {ID} 1 k #0\n\nPING\n")).await;
        talk.expect("PONG").await;
        talk.say("DRAIN reason=superseded\n").await;
        talk.expect("SLOTS 0").await;
        drop(talk);
    };
    let worker = builder(&fake).handle("k", |_| async {
        std::future::pending::<()>().await;
        Ok::<_, Failure>("")
    });
    assert_eq!(run(worker, scheduler).await.0.unwrap(), Stopped::Superseded);
}

#[tokio::test]
async fn a_worker_that_is_not_wanted_gives_up_and_one_that_is_too_many_does_not() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.accept().await;
        talk.say("ERR too-many-connections retry=1 wait\n").await;
        drop(talk);
        let (mut talk, _) = fake.accept().await;
        talk.say("ERR denied the name is in use\n").await;
    };
    let worker = builder(&fake).handle("k", |_| async { Ok::<_, Failure>("") });
    assert_eq!(run(worker, scheduler).await.0.unwrap_err().code(), Some(Code::Denied));
}

#[test]
fn a_worker_that_cannot_be_is_not_built() {
    let kind = |kind: &str| Worker::builder("x").handle(kind, |_| async { Ok::<_, Failure>("") });
    for builder in [Worker::builder("x"), kind("no name"), kind("k").name("#"), kind("k").token("")]
    {
        assert!(matches!(builder.build(), Err(Error::Refused(_))));
    }
}
