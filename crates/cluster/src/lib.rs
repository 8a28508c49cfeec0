//! Real servers on this machine: PostgreSQL, NATS and HAProxy for tests, and a whole [`System`] with every box a process, for whoever
//! wants to see one. Each is on a free loopback port, with a folder of its own that is removed in the end.
//!
//! The programs are those of the system ([`Program::find`]); nothing is downloaded. A server ends with the process that
//! started it, however that one ends.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "starts processes, from outside of what the simulator owns"
)]

mod authority;
mod error;
mod folder;
mod haproxy;
mod keeper;
mod nats;
mod port;
mod postgres;
mod program;
mod service;
mod system;

pub use self::{
    authority::{Authority, Issued},
    error::Error,
    haproxy::HaproxyServer,
    keeper::is_running,
    nats::NatsServer,
    postgres::{Postgres, PostgresServer},
    program::Program,
    service::{Role, Service},
    system::{Part, System},
};
