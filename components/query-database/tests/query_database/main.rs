//! The embedded query database as its neighbours see it.

mod conformance;
mod flush;
mod indexes;
mod memtable;
mod sqlite;
mod support;
mod telemetry;
