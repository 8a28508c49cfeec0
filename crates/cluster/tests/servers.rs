//! The servers start, answer, end with their owner, and come back with what they had.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "talks to servers from outside of the boxes")]

use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    path::Path,
};

use cluster::{NatsServer, Postgres};

fn is_alive(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

#[test]
fn a_postgres_is_killed_comes_back_on_its_port_and_ends_with_its_owner() {
    let mut server = Postgres::new().setting("fsync", "off").start().expect("started");
    let (port, data) = (server.port(), server.data().to_owned());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    server.kill().expect("killed");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nobody answers for a killed server");
    assert!(data.exists(), "its files stay");
    server.start().expect("started again");
    assert_eq!(server.port(), port);
    let process = server.process().expect("it runs");
    drop(server);
    assert!(!is_alive(process) && !data.exists(), "neither a process nor a file of it is left");
}

#[test]
fn a_nats_says_that_it_has_jetstream() {
    let says = |server: &NatsServer| {
        let address = server.url().replace("nats://", "");
        let mut said = String::new();
        BufReader::new(TcpStream::connect(address).expect("connected")).read_line(&mut said).expect("it speaks first");
        said
    };
    let mut server = NatsServer::start().expect("started");
    assert!(says(&server).contains("\"jetstream\":true"));
    server.kill().expect("killed");
    server.wipe().expect("wiped");
    server.restart().expect("started again");
    assert!(says(&server).starts_with("INFO "));
    let plain = NatsServer::start_without_jetstream().expect("started");
    assert!(!says(&plain).contains("\"jetstream\":true"));
}

#[test]
fn a_standby_follows_and_ends_alone() {
    let server = Postgres::new().setting("fsync", "off").start().expect("started");
    let standby = server.standby().expect("copied");
    assert!(standby.data().join("standby.signal").exists() && standby.port() != server.port());
    let process = standby.process().expect("it runs");
    drop(standby);
    assert!(!is_alive(process) && is_alive(server.process().expect("it runs")));
}
