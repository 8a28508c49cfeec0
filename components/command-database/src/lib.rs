//! Command Database: the append-only event store, the only source of truth.
//!
//! Write through [`EventStore::append`] (many tasks at once: through [`GroupCommit`]), read through [`EventStore::read`];
//! all else is private. [`SqliteEventStore`] is the log of one process, [`PostgresEventStore`] that of many. [`LogScan`]
//! reads past damage, for whoever verifies or copies a log.

mod batch;
mod chain;
mod copy;
mod error;
mod postgres;
mod recent;
mod scan;
mod sqlite;
mod store;
mod telemetry;

pub use self::{
    batch::{Answer, Group, GroupCommit, GroupLimits, Groups},
    chain::{Content, chain, digest, verify_link},
    copy::{
        Backup, BackupReader, Contents, Copied, CopiedEpoch, CopiedEvent, CopiedRecord, CopySource, CopyTarget,
        LogSource, Nowhere, Pace, Progress, Step, copy, verify_copy,
    },
    error::Error,
    postgres::{PostgresConfig, PostgresCopy, PostgresEventStore, PostgresLogScan},
    scan::{
        LogScan, Marks, Previous, Scanned, ScannedEpoch, ScannedEvent, ScannedHead, ScannedMark, ScannedRecord,
        ScannedSlice, ScannedSnapshot, ScannedStream,
    },
    sqlite::{OnFatal, SqliteConfig, SqliteCopy, SqliteEventStore, SqliteLogScan},
    store::{
        Append, Decision, EventStore, ExpectedVersion, Head, Idempotency, IdempotencyRecord, Load, Loaded, Outcome,
        ReadLimit, RelayLease, Snapshot, StoredDecision,
    },
    telemetry::Metrics,
};
