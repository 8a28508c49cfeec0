//! Command Database: the append-only event store, the only source of truth.
//!
//! Write through [`EventStore::append`] (many tasks at once: through [`GroupCommit`]), read through [`EventStore::read`];
//! all else is private. [`SqliteEventStore`] is the log of one process, [`PostgresEventStore`] that of many. [`LogScan`]
//! reads past damage, for whoever verifies a log.

mod batch;
mod chain;
mod error;
mod postgres;
mod sqlite;
mod store;
mod telemetry;

pub use self::{
    batch::{Answer, Group, GroupCommit, GroupLimits, Groups},
    chain::{Content, chain, digest, verify_link},
    error::Error,
    postgres::{PostgresConfig, PostgresEventStore},
    sqlite::{
        LogScan, OnFatal, Scanned, ScannedEvent, ScannedMark, ScannedRecord, ScannedSlice, ScannedSnapshot,
        ScannedStream, SqliteConfig, SqliteEventStore,
    },
    store::{
        Append, Decision, EventStore, ExpectedVersion, Head, Idempotency, IdempotencyRecord, Load, Loaded, Outcome,
        ReadLimit, RelayLease, Snapshot, StoredDecision,
    },
    telemetry::Metrics,
};
