//! The client against a scheduler that says what it is told to.

use std::io::ErrorKind;
use std::time::Duration;

use ganger::client::{Client, Code, Error, NotDone, Outcome, Submission, TaskId};

use super::fake::{Fake, in_time};

const ID: &str = "06fq2v8k3n1zg";
const OTHER: &str = "06fq2v8k3n1zh";

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn task() -> Submission {
    Submission::new("resize", "payload")
}

async fn connect(fake: &Fake) -> Client {
    Client::connect(fake.addr()).await.unwrap()
}

#[tokio::test]
async fn what_arrives_in_pieces_is_put_together() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, hello) = fake.welcome("no").await;
        assert!(hello.starts_with("HELLO 1 client host="), "{hello}");
        let (line, payload) = talk.expect("SUBMIT resize").await;
        assert_eq!((&*line, &*payload), ("SUBMIT resize watch=yes #7", &b"payload"[..]));
        talk.stammer(&format!(
            "OK {ID}\nRESULT {ID} done attempt=2 worker=w ms=12 ended=1 until=2 #5\nsm\nll\n"
        ))
        .await;
        talk
    };
    let client = async { connect(&fake).await.submit(task()).watch().await.unwrap() };
    let (outcome, _talk) = in_time(async { tokio::join!(client, scheduler) }).await;
    let Outcome::Done { result, attempt, worker, ms, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((&*result, attempt, &*worker, ms), (&b"sm\nll"[..], 2, "w", 12));
}

#[tokio::test]
async fn replies_belong_to_requests_in_their_order() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        for verb in ["GET", "CANCEL", "RETRY", "QUEUES"] {
            talk.expect(verb).await;
        }
        talk.say(&format!(
            "OK {ID} state=ready kind=k queue=q attempt=0 used=0\nERR ended it is over\n\
             RESULT {OTHER} cancelled reason=expired ended=1\nPING\nNEWS from=later\n\
             ERR running wait a bit\nOK #13\n{{\"queues\":[]}}\n"
        ))
        .await;
        talk.expect("PONG").await;
        talk
    };
    let client = async {
        let client = connect(&fake).await;
        tokio::join!(
            biased;
            client.get(id(ID)),
            client.cancel(id(ID)),
            client.retry(id(ID)),
            client.queues(),
        )
    };
    let ((got, cancelled, retried, queues), _talk) =
        in_time(async { tokio::join!(client, scheduler) }).await;
    assert_eq!(got.unwrap().state.word(), "ready");
    assert_eq!(cancelled.unwrap_err().code(), Some(Code::Ended));
    assert_eq!(retried.unwrap_err().to_string(), "running: wait a bit");
    assert_eq!(queues.unwrap()["queues"], serde_json::json!([]));
}

#[tokio::test]
async fn a_lost_submission_is_told_and_a_unique_one_is_made_again() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        let (first, _) = talk.expect("SUBMIT ").await;
        let (second, _) = talk.expect("SUBMIT ").await;
        assert_eq!((&*first, &*second), ("SUBMIT resize #7", "SUBMIT resize unique=u%201 #7"));
        drop(talk);
        let (mut talk, _) = fake.welcome("no").await;
        talk.expect("SUBMIT resize unique=u%201 #7").await;
        talk.say(&format!("OK {ID} duplicate=yes\n")).await;
        talk
    };
    let client = async {
        let client = connect(&fake).await;
        tokio::join!(
            biased;
            client.submit(task()).into_future(),
            client.submit(task().unique("u 1")).into_future(),
        )
    };
    let ((plain, unique), _talk) = in_time(async { tokio::join!(client, scheduler) }).await;
    assert!(matches!(plain, Err(Error::Lost)), "{plain:?}");
    let unique = unique.unwrap();
    assert_eq!((unique.id, unique.duplicate), (id(ID), true));
}

#[tokio::test]
async fn what_only_asks_is_asked_again_and_what_changes_is_not() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.expect("STATS").await;
        talk.expect("CANCEL").await;
        drop(talk);
        let (mut talk, _) = fake.welcome("no").await;
        talk.expect("STATS").await;
        talk.say("OK #2\n{}\n").await;
        talk
    };
    let client = async {
        let client = connect(&fake).await;
        tokio::join!(biased; client.stats(), client.cancel(id(ID)))
    };
    let ((stats, cancelled), _talk) = in_time(async { tokio::join!(client, scheduler) }).await;
    assert_eq!(stats.unwrap(), serde_json::json!({}));
    assert!(matches!(cancelled, Err(Error::Lost)), "{cancelled:?}");
}

#[tokio::test]
async fn watches_are_taken_up_again_whatever_they_began_as() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.expect("SUBMIT resize watch=yes").await;
        talk.expect(&format!("WATCH {OTHER}")).await;
        talk.say(&format!("OK {ID}\nOK {OTHER}\n")).await;
        // Two who watch one task need one WATCH.
        talk.expect("WORKERS").await;
        drop(talk);
        let (mut talk, _) = fake.welcome("no").await;
        let mut asked = vec![talk.frame().await.0, talk.frame().await.0, talk.frame().await.0];
        asked.sort();
        assert_eq!(asked, [format!("WATCH {ID}"), format!("WATCH {OTHER}"), "WORKERS".into()]);
        talk.say(&format!(
            "OK {ID}\nOK {OTHER}\nOK #2\n{{}}\n\
             RESULT {OTHER} dead reason=attempts attempt=3 used=3 ended=1 #4\noops\n\
             RESULT {ID} cancelled reason=expired ended=1\n"
        ))
        .await;
        talk
    };
    let client = async {
        let client = connect(&fake).await;
        tokio::join!(
            biased;
            client.submit(task()).watch(),
            client.watch(id(OTHER)),
            client.watch(id(OTHER)),
            client.workers(),
        )
    };
    let ((one, two, three, _), _talk) = in_time(async { tokio::join!(client, scheduler) }).await;
    assert_eq!(one.unwrap(), Outcome::Cancelled { id: id(ID), reason: "expired".into() });
    assert_eq!(two.as_ref().unwrap(), three.as_ref().unwrap());
    let NotDone(outcome) = two.unwrap().result().unwrap_err();
    let Outcome::Dead { reason, error, used, .. } = *outcome else { panic!("{outcome:?}") };
    assert_eq!((&*reason, &*error, used), ("attempts", &b"oops"[..], 3));
}

#[tokio::test]
async fn a_watch_of_nothing_is_refused() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.expect("WATCH").await;
        talk.say("ERR expired it is no longer kept\n").await;
        talk
    };
    let client = async { connect(&fake).await.watch(id(ID)).await };
    let (watched, _talk) = in_time(async { tokio::join!(client, scheduler) }).await;
    assert_eq!(watched.unwrap_err().code(), Some(Code::Expired));
}

#[tokio::test]
async fn a_busy_scheduler_is_asked_again_within_the_client_s_patience() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.expect("SUBMIT resize #7").await;
        talk.say("ERR busy retry=1 try later\n").await;
        talk.expect("SUBMIT resize #7").await;
        talk.say("ERR busy retry=1 try later\n").await;
        talk.expect("SUBMIT resize #7").await;
        talk.say(&format!("OK {ID}\n")).await;
        talk.expect("SUBMIT resize #7").await;
        talk.say("ERR busy retry=3600000 try tomorrow\n").await;
        talk
    };
    let client = async {
        let client = connect(&fake).await;
        let patient = client.submit(task()).await;
        (patient, client.submit(task()).await)
    };
    let ((patient, hopeless), _talk) = in_time(async { tokio::join!(client, scheduler) }).await;
    assert_eq!(patient.unwrap().id, id(ID));
    let Err(Error::Refused(refused)) = hopeless else { panic!("{hopeless:?}") };
    assert_eq!(refused.retry, Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn of_many_each_has_its_own_fate() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        for kind in ["a", "b", "c", "d", "e"] {
            talk.expect(&format!("SUBMIT {kind} ")).await;
        }
        talk.say(&format!("OK {ID}\nERR bad-value no such thing\nERR busy retry=1 later\n")).await;
        drop(talk);
        let (mut talk, _) = fake.welcome("no").await;
        // What was busy or is unique comes again; what was lost does not.
        talk.expect("SUBMIT c ").await;
        talk.expect("SUBMIT e ").await;
        talk.say(&format!("OK {OTHER}\nOK {ID} duplicate=yes\n")).await;
        talk
    };
    let client = async {
        let plain = |kind: &'static str| Submission::new(kind, "x");
        let tasks = [
            plain("a"),
            plain("b"),
            plain("not a name"),
            plain("c"),
            plain("d"),
            plain("e").unique("e"),
            Submission::new("large", vec![0; 1001]),
        ];
        connect(&fake).await.submit_many(tasks).await
    };
    let (fates, _talk) = in_time(async { tokio::join!(client, scheduler) }).await;
    let told: Vec<String> = fates
        .into_iter()
        .map(|fate| match fate {
            Ok(submitted) => format!("{} {}", submitted.id, submitted.duplicate),
            Err(error) => error.code().map_or("lost".into(), |code| code.word().to_owned()),
        })
        .collect();
    let (one, three, six) = (format!("{ID} false"), format!("{OTHER} false"), format!("{ID} true"));
    assert_eq!(told, [&one, "bad-value", "bad-value", &three, "lost", &six, "too-large"]);
}

#[tokio::test]
async fn a_reply_to_nothing_ends_a_connection_that_cannot_be_trusted() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, _) = fake.welcome("no").await;
        talk.say("OK\n").await;
        talk.expect_end().await;
        let (mut talk, _) = fake.welcome("no").await;
        talk.expect("STATS").await;
        talk.say("OK #2\n{}\n").await;
        talk
    };
    let client = async {
        let client = connect(&fake).await;
        client.stats().await
    };
    let (stats, _talk) = in_time(async { tokio::join!(client, scheduler) }).await;
    assert_eq!(stats.unwrap(), serde_json::json!({}));
}

#[tokio::test]
async fn who_is_not_wanted_is_told_at_once() {
    let fake = Fake::bind().await;
    let scheduler = async {
        let (mut talk, hello) = fake.accept().await;
        assert!(hello.ends_with(" token=wrong"), "{hello}");
        talk.say("ERR denied this token is not known\n").await;
        talk
    };
    let client = Client::builder().token("wrong").connect(fake.addr());
    let (connected, _talk) = in_time(async { tokio::join!(client, scheduler) }).await;
    assert_eq!(connected.unwrap_err().code(), Some(Code::Denied));
}

#[tokio::test]
async fn nobody_there_is_told_at_once_and_later_after_the_patience() {
    let fake = Fake::bind().await;
    let addr = fake.addr();
    let builder = || Client::builder().patience(Duration::ZERO);
    let (client, welcomed) =
        in_time(async { tokio::join!(builder().connect(addr), fake.welcome("no")) }).await;
    let client = client.unwrap();
    drop((welcomed, fake));
    // The first may be on its way when the end is noticed.
    let told = in_time(client.cancel(id(ID))).await.unwrap_err();
    assert!(matches!(told, Error::Lost | Error::Io(_)), "{told:?}");
    let told = in_time(client.cancel(id(ID))).await.unwrap_err();
    let Error::Io(error) = &told else { panic!("{told:?}") };
    assert!(
        matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotConnected),
        "{error}"
    );
    let refused = in_time(builder().connect(addr)).await.unwrap_err();
    assert!(matches!(refused, Error::Io(_)), "{refused:?}");
}
