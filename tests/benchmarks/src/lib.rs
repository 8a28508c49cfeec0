//! What the benchmarks share: a closed-loop HTTP client that costs little, the workload, and servers as child processes.
//!
//! Everything runs on loopback and is bounded in count and time.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "benchmarks measure from outside, with the system's own clock, threads and sockets"
)]

mod client;
mod figures;
mod rebuilding;
mod report;
mod server;
mod workload;

pub use self::{
    client::{Blocking, Load, Request, Run},
    figures::{Spread, median, quantile},
    rebuilding::{rebuild, scan_parse_fold},
    report::{asked_for, build, figure, report},
    server::{Server, binary},
    workload::{Journey, get},
};
