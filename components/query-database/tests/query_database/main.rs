//! The embedded query database as its neighbours see it.

mod conformance;
mod shared;
mod sqlite;
mod support;
mod telemetry;
