//! What the tests share: schedulers, peers, Redis processes, and networks that fail when told to.

pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod server;

pub(crate) use peer::Peer;
pub(crate) use server::Server;
