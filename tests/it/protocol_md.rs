//! The conversations of protocol.md, held with a scheduler of their own each.

use std::net::TcpStream;

use crate::support::Server;
use crate::transcripts;

#[test]
fn the_transcripts_of_protocol_md_hold() {
    let transcripts = transcripts::parse(include_str!("../../protocol.md")).unwrap();
    let mut failed = Vec::new();
    for transcript in &transcripts {
        let server = Server::start();
        let mut connect = || TcpStream::connect(server.addr()).unwrap();
        failed.extend(transcripts::run(transcript, &mut connect).err());
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), transcripts.len(), failed.join("\n"));
}
