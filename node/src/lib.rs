//! The process: an application's domain, and every box around it.
//!
//! [`App`] is what a user's `main` builds and runs. [`Dev`] is all boxes in one process on embedded storage, as `dev` runs
//! them and as tests start them.

mod admin;
mod app;
mod catching_up;
mod cli;
mod data_directory;
mod dev;
mod error;
mod free_space;
mod process;
mod roles;
mod settings;
mod telemetry;
mod watch;

pub use self::{
    app::{App, Handler},
    cli::Output,
    data_directory::DataDirectory,
    dev::Dev,
    error::Error,
    settings::{Origin, Settings},
};
