//! The embedded log, from outside.

mod chain;
mod conformance;
mod copy;
mod epoch;
mod fatal;
mod given;
mod group_commit;
mod hops;
mod model;
mod postgres;
mod sqlite;
mod stream_index;
