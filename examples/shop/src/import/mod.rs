//! `shop import`: a feed through the front door, one command an invoice.
//!
//! It may be interrupted and run again at any time. Each command's idempotency key is a digest of what it says, so a command
//! that was answered before is answered the same again; and an invoice that is there already refuses to be written twice,
//! and says whether it is the same one.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a client, outside of all boxes: it has the clock and the tasks of its own process"
)]

mod answer;
mod caught_up;
mod cli;
mod error;
mod front_door;
mod report;
mod sending;

pub use self::{
    cli::{command, run},
    error::Error,
};
