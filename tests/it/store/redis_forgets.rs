//! A Redis that dies before its file has everything comes back with an older state: while the
//! scheduler lives, what is missing is written again.

use ganger::store::redis::Redis;
use ganger::store::{Error, Store};
use redis::Commands;
use tempfile::TempDir;

use super::model::{Model, START_MS, Turn, id, result_frame, submit_frame};
use super::redis::{finished, open, options, whole_life};
use crate::support::redis::Server;

const UNTIL_MS: u64 = START_MS + 3_600_000;

/// What is to be remembered must be in the file when the server is killed.
const SYNCED: [&str; 2] = ["--appendfsync", "always"];

/// A store with six batches, of which Redis knows the first two.
fn forgetful() -> (Server, Redis) {
    let mut server = Server::with(&SYNCED);
    let mut store = open(options(server.url()));
    store.commit(&whole_life(0).0).unwrap();
    store.commit(&whole_life(1).0).unwrap();
    let files = kill(&mut server);
    server.restart();
    for n in 2..6 {
        let frame = result_frame(id(n), UNTIL_MS, b"kept");
        let turn = Turn::at(START_MS).submit(id(n), submit_frame(b"")).end(id(n), frame, UNTIL_MS);
        store.commit(&turn.0).unwrap();
    }
    server.kill9();
    server.forget(&files);
    server.restart();
    assert_eq!(finished(&mut server.client()), [id(0), id(1)], "it did forget");
    (server, store)
}

fn kill(server: &mut Server) -> TempDir {
    server.kill9();
    server.remember()
}

fn has_all(server: &Server) {
    let expected: Vec<_> = (0..6).map(id).collect();
    let mut client = server.client();
    assert_eq!(finished(&mut client)[..6], expected);
    let bucket = format!("{{ganger:0}}:results:{}", &id(2).to_string()[..5]);
    assert_eq!(client.hlen::<_, usize>(bucket).unwrap(), 4);
}

#[test]
fn t25_forgotten_batches_are_written_before_the_next_one() {
    let (server, mut store) = forgetful();
    store.commit(&whole_life(6).0).unwrap();
    has_all(&server);
    assert_eq!(finished(&mut server.client()).len(), 7);
    let mut again = Redis::new(options(server.url())).unwrap();
    assert_eq!(Model::load(&mut again).last, id(6));
}

#[test]
fn t25_forgotten_batches_are_written_before_anything_is_read() {
    let (server, mut store) = forgetful();
    let frame = store.result(id(5)).unwrap().unwrap();
    assert_eq!(frame, result_frame(id(5), UNTIL_MS, b"kept"));
    has_all(&server);
}

#[test]
fn t25_forgotten_batches_are_written_by_status_and_at_the_end() {
    let (server, mut store) = forgetful();
    // The first finds the connection broken.
    store.status().unwrap();
    store.status().unwrap();
    has_all(&server);

    let (server, mut store) = forgetful();
    store.status().unwrap();
    store.close().unwrap();
    has_all(&server);
}

#[test]
fn t25_twice_in_a_row() {
    let (mut server, mut store) = forgetful();
    let files = kill(&mut server);
    server.restart();
    store.commit(&whole_life(6).0).unwrap();
    server.kill9();
    server.forget(&files);
    server.restart();
    store.commit(&whole_life(7).0).unwrap();
    has_all(&server);
    assert_eq!(finished(&mut server.client()).len(), 8);
}

#[test]
fn t26_a_forgotten_acquisition_ends_the_scheduler() {
    let mut server = Server::with(&SYNCED);
    open(options(server.url())).commit(&whole_life(0).0).unwrap();
    let files = kill(&mut server);
    server.restart();
    let mut store = open(options(server.url()));
    store.commit(&whole_life(1).0).unwrap();
    server.kill9();
    server.forget(&files);
    server.restart();
    assert!(matches!(store.commit(&whole_life(2).0), Err(Error::Fenced(_))));
    assert_eq!(finished(&mut server.client()), [id(0)]);
}
