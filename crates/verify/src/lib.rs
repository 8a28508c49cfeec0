//! Shows that log, rows and checkpoints agree: beside a running system or on a stopped one, writing nothing.
//!
//! [`run`] reads the rows first, keeping a digest of each, then folds the log once with this binary's code, up to each
//! generation's checkpoint, and compares. What it finds is a list of [`Violation`]s in a [`Report`]; only where a file cannot
//! be read at all is there an [`Error`] instead.
//!
//! It cannot show who wrote an event, that the log was cut off cleanly at its end, or what a client meant.
//!
//! # Memory
//! Some 50 MB, 16 bytes for each stream, and for each row of a generation of this binary about 500 bytes, twice its key, and
//! the row itself as the domain holds it.

mod command;
mod error;
mod findings;
mod fold;
mod generations;
mod guard;
mod log;
mod records;
mod report;
mod run;
mod snapshots;
mod streams;
mod violation;

pub use self::{
    error::Error,
    report::{GenerationReport, LogReport, Report},
    run::run,
    violation::Violation,
};
