//! What the simulator promises.

mod process;
mod protocol_model;
mod schedule;
mod time;
mod whole_system;
