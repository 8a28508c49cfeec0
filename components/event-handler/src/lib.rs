//! Event Handler: folds events into rows, from the queue or directly from the log.
//!
//! [`EventHandler::start`] runs one feed for the process, which fills an inbox without holes from the queue or the log, and
//! one apply loop for each projection, which takes from the inbox what follows on its checkpoint.

mod apply;
mod backoff;
mod bucket;
mod config;
mod direct;
mod entry;
mod feed;
mod handler;
mod head;
mod history;
mod inbox;
mod mode;
mod ownership;
mod pace;
mod present;
mod process;
mod status;
mod telemetry;
mod watch;

pub use self::{
    config::{Config, HeadPoll},
    handler::{EventHandler, Handle, Parts},
    mode::{Mode, Reason},
    status::{ProjectionStatus, Status, Switch},
    telemetry::Metrics,
};
