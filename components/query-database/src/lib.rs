//! Query Database: rows, their index columns and the checkpoints that say how far they are folded.
//!
//! The Event Handler writes through [`RowWriter`], the Query Service reads through [`RowReader`]; all else is private.
//! [`RowScan`] and [`PostgresScan`] read past damage, for whoever verifies rows.

mod checksum; // how a row is known to be what was written
mod error; // why it failed, and whether to try again
mod postgres; // the distributed implementation
mod sqlite; // the embedded implementation
mod store; // the two contracts
mod succession; // which generation may answer in the place of which
mod telemetry; // metrics and spans

pub use self::{
    error::{Error, Source},
    postgres::{PostgresConfig, PostgresQueryDatabase, PostgresReader, PostgresScan, ScannedSlice},
    sqlite::{RowScan, ScannedCheckpoint, ScannedGeneration, ScannedRow, SqliteConfig, SqliteQueryDatabase},
    store::{
        Checkpoint, Commit, CommitOutcome, Comparison, Direction, Filter, Forked, Generation, GenerationStatus,
        HeadSeen, List, ListRead, ListedRow, Owned, OwnerToken, PageStart, PointRead, Row, RowReader, RowWriter,
        Serving,
    },
};
