//! Shows that log, rows and checkpoints agree: beside a running system or on a stopped one, writing nothing.
//!
//! [`run`] (of an embedded system) and [`run_on`] (of any) read the rows first, keeping a digest of each, then fold the log once
//! with this binary's code, up to each generation's checkpoint, and compare. What they find is a list of [`Violation`]s in a
//! [`Report`]; only where log or rows cannot be read at all is there an [`Error`] instead.
//!
//! It cannot show who wrote an event, that an embedded log was cut off cleanly at its end, or what a client meant.
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
mod rows;
mod run;
mod snapshots;
mod streams;
mod violation;

pub use self::{
    error::Error,
    report::{GenerationReport, LogReport, Report},
    rows::Rows,
    run::{run, run_on},
    violation::Violation,
};
