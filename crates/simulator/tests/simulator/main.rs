//! What the simulator promises.

mod domain;
mod forks;
mod process;
mod protocol_model;
mod schedule;
mod time;
mod trace;
mod whole_system;
