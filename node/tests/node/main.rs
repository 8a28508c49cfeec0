//! A process with every box in it, from outside.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests are the user and the operator: they have sockets and files, and wait by the system's clock"
)]

mod admin;
mod apart;
mod freshness;
mod hops;
mod metrics;
mod system;
mod tls;
