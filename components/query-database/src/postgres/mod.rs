//! The distributed implementation: rows and checkpoints in a PostgreSQL of their own, which is told of no other database.
//!
//! A commit is one transaction that begins with the comparison of owner and old checkpoint, and so holds the checkpoint's
//! row until it ends. A read is one statement, or one snapshot, and writes nothing, so that a hot standby answers it as well
//! as the primary does, from its own checkpoint. Rows and checkpoints are in a schema of their own; each generation has a
//! table there.

mod changes;
mod checkpoint;
mod config;
mod connection;
mod database;
mod generations;
mod list;
mod reader;
mod readers;
mod scan;
mod schema;
mod switch;
mod table;
mod trouble;
mod values;
mod write;
mod writer;

pub use self::{
    config::PostgresConfig,
    database::PostgresQueryDatabase,
    readers::PostgresReader,
    scan::{PostgresScan, ScannedSlice},
};
