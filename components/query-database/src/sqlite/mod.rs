//! The embedded implementation: rows and checkpoints in one SQLite file.
//!
//! Commits go into memory first, and from there into the file. One connection writes, on a worker. Point reads run where
//! they are asked for, on a small pool of connections: handing one to another thread would cost more than reading it. Lists,
//! which may take long, have workers of their own.

mod checkpoint;
mod database;
mod file;
mod flushing;
mod generations;
mod indexes;
mod layers;
mod list;
mod lists;
mod memtable;
mod merge;
#[cfg(test)]
mod plans;
mod pool;
mod reader;
mod row;
mod scan;
mod switch;
mod table;
mod write;
mod writer;

pub use self::{
    database::{SqliteConfig, SqliteQueryDatabase},
    scan::{RowScan, ScannedCheckpoint, ScannedGeneration, ScannedRow},
};
