//! The embedded log, from outside.

mod conformance;
mod given;
mod sqlite;
