//! Command Database: the append-only event store, the only source of truth.
