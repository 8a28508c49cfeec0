//! The event handler over a real log, a real queue and real rows, in a directory of its own for each test.
#![allow(clippy::disallowed_methods, reason = "these tests are about real time, and run on the production runtime")]

mod domain;
mod figures;
mod forks;
mod generations;
mod modes;
mod once;
mod poison;
mod world;
