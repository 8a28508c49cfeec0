//! The embedded log, from outside.

mod given;
mod sqlite;
