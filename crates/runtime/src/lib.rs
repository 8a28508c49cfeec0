//! Time, tasks, randomness and blocking work, as the boxes see them.
//!
//! A component never asks the operating system for any of these: it holds a [`Runtime`] and asks that. In production the
//! engine behind it is tokio ([`Runtime::tokio`]); in a simulation it is one seeded thread with a virtual clock, so that a
//! whole run of the system follows from a seed.
//!
//! Edge adapters, which have sockets of their own, also find here those that were opened before the process
//! ([`inherited_listener`]).

mod engine;
mod give_way;
mod inherited;
mod production;
mod runtime;
mod shutdown;
mod stand_in;
mod worker;

pub use self::{
    engine::{Engine, Job, WorkerQueue},
    give_way::give_way,
    inherited::{inherit_listeners, inherited_listener, left_over_listeners},
    runtime::{Elapsed, Runtime, Task},
    shutdown::Shutdown,
    stand_in::Leave,
    worker::{Worker, WorkerGone},
};
