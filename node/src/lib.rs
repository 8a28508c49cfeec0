//! The process: an application's domain, and every box around it.
//!
//! [`App`] is what a user's `main` builds and runs. [`Dev`] is all boxes in one process on embedded storage, as `dev` runs
//! them and as tests start them; [`Serve`] is some of them, beside others in other processes.

mod admin;
mod app;
mod catching_up;
mod cli;
mod clocks;
mod data_directory;
mod dev;
mod error;
mod free_space;
mod insecure;
mod plain;
mod process;
mod roles;
mod serve;
mod settings;
mod signals;
mod systemd;
mod telemetry;
mod tls;
mod watch;

pub use self::{
    app::{App, Handler},
    cli::Output,
    data_directory::DataDirectory,
    dev::Dev,
    error::Error,
    serve::{Role, Serve},
    settings::{Origin, Settings},
};
