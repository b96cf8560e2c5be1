//! Schedulers for tests, each on a free port.

use std::net::SocketAddr;

use ganger::server::{Config, Server as Scheduler};

/// A scheduler inside the test's own process. It ends with the value.
pub(crate) struct Server {
    scheduler: Option<Scheduler>,
    addr: SocketAddr,
}

impl Server {
    /// One that keeps nothing.
    pub(crate) fn start() -> Self {
        Self::with(Config { store: "memory:".into(), ..Config::default() })
    }

    /// One with a configuration, but for the port, which is a free one if `listen` is the default.
    pub(crate) fn with(config: Config) -> Self {
        let mut config = config;
        if config.listen == Config::default().listen {
            config.listen.set_port(0);
        }
        let scheduler = Scheduler::start(config).expect("the scheduler starts");
        let addr = scheduler.addr();
        Self { scheduler: Some(scheduler), addr }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops it orderly.
    pub(crate) fn stop(mut self) {
        self.scheduler.take().expect("it runs").stop().expect("it stops");
    }
}
