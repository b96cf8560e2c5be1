//! The store in Redis: the suite, and what its keys look like from outside.

use ganger::store::Store;
use ganger::store::redis::{Options, Redis};
use redis::Commands;

use super::conformance::{self, RESULT_CAP};
use super::model::{Model, START_MS, Turn, id, result_frame, submit_frame};
use crate::support::redis::Server;

/// A store that has loaded.
pub(super) fn open(options: Options) -> Redis {
    let mut store = Redis::new(options).unwrap();
    store.load(&mut |_| Ok(())).unwrap();
    store
}

/// Options for a test's Redis.
pub(super) fn options(server: &Server) -> Options {
    Options::new(server.url(), "test:7330")
}

#[test]
fn redis_conforms() {
    let server = Server::start();
    conformance::exercise(|| {
        redis::cmd("FLUSHALL").exec(&mut server.client()).unwrap();
        let options = Options { result_bytes_max: RESULT_CAP, ..options(&server) };
        Box::new(move || Box::new(Redis::new(options.clone()).unwrap()))
    });
}
