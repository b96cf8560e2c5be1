//! What the tests share: schedulers, peers, the program and Redis as processes, and networks that fail
//! when told to.

pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod server;

pub(crate) use peer::Peer;
pub(crate) use server::Server;
