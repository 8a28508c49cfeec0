//! Drills: every box a real process, clients that keep a history of all they asked, faults, and a table of what held.
//!
//! [`Drill`] names them, [`Drill::run`] runs one on a [`Stage`], [`Report`] is what came of it. What is drilled is the test
//! domain of accounts with its ledger, which shows an event that is missing, comes twice or out of order.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "looks at a system from outside, by the machine's own clock, threads and sockets"
)]

mod audit; // history × log × rows
mod canary; // how old what is read is
mod client;
mod drills; // one file each
mod figures;
mod history; // what clients were told
mod load; // clients that write
mod readers; // clients that read
mod report;
mod stage; // the system, and how to ask its operators' pages
mod tailer; // a reader of the log
mod verify; // the application's own

pub use self::{
    drills::{Drill, Options},
    report::{Finding, Kind, Report},
    stage::{Stage, Trouble},
};
