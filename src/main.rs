//! The program.
fn main() {
    let store = std::env::args().nth(1).unwrap_or("memory:".into());
    let config = ganger::server::Config { store, ..Default::default() };
    let server = ganger::server::Server::start(config).unwrap();
    eprintln!("{}", server.addr());
    server.wait().unwrap();
}
