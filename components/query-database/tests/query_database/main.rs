//! The embedded query database as its neighbours see it.

mod conformance;
mod flush;
mod memtable;
mod sqlite;
mod support;
mod telemetry;
