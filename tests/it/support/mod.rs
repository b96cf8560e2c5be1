//! What the tests share: schedulers and peers, and the program as a process.

pub mod peer;
pub mod program;
pub mod server;

pub use peer::Peer;
pub use server::Server;
