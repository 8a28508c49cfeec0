//! The query databases as their neighbours see them.

mod conformance;
mod flush;
mod indexes;
mod memtable;
mod postgres;
mod postgres_faults;
mod postgres_fences;
mod postgres_figures;
mod postgres_roles;
mod postgres_scan;
mod server;
mod sqlite;
mod support;
mod telemetry;
