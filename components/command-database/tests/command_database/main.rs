//! The embedded log, from outside.

mod chain;
mod conformance;
mod epoch;
mod fatal;
mod given;
mod group_commit;
mod hops;
mod model;
mod sqlite;
mod stream_index;
