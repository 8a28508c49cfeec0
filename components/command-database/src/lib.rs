//! Command Database: the append-only event store, the only source of truth.
//!
//! Write through [`EventStore::append`], read through [`EventStore::read`]; all else is private.

mod error;
mod store;

pub use self::{
    error::Error,
    store::{
        Append, Decision, EventStore, ExpectedVersion, Head, Idempotency, IdempotencyRecord, Load, Loaded, Outcome,
        ReadLimit, RelayLease, Snapshot, StoredDecision,
    },
};
