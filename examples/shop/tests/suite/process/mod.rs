//! The shop as a process of its own, over real sockets and files: started, loaded, killed, started again.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "these tests look at the process from outside, with the system's own clock, threads and sockets"
)]

mod apart;
mod backing_up;
mod bad_start;
mod beside;
mod client;
mod command_line;
mod feed_over_http;
mod haproxy;
mod kill;
mod moving;
mod odd_requests;
mod outage;
mod system;
mod systemd;
mod tampering;
mod users;

/// Held by each test here: what one measures, another would disturb.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
