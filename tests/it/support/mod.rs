//! What the tests share: schedulers and peers.

pub mod peer;
pub mod server;

pub use peer::Peer;
pub use server::Server;
