//! What the tests put into a log.

use bytes::Bytes;
use command_database::{Append, Decision, ExpectedVersion, Load, SqliteConfig, SqliteEventStore};
use jiff::Timestamp;
use model::{
    CommandId, EventType, Hash, Metadata, NewEvent, Position, Principal, StreamId, StreamVersion, Tenant, TraceContext,
};
use runtime::Runtime;
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) const FILE: &str = "log.sqlite3";

pub(crate) fn open(directory: &TempDir, runtime: &Runtime) -> SqliteEventStore {
    SqliteEventStore::open(&directory.path().join(FILE), runtime, SqliteConfig::default()).expect("the log opens")
}

pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for the log")
}

pub(crate) fn stream(id: &str) -> StreamId {
    StreamId { tenant: Tenant::default(), aggregate: "order".into(), id: id.into() }
}

pub(crate) fn event(payload: impl Into<Bytes>) -> NewEvent {
    NewEvent { event_type: EventType { name: "order.placed".into(), version: 1 }, payload: payload.into() }
}

pub(crate) fn version(number: u64) -> StreamVersion {
    StreamVersion::new(number).expect("not zero")
}

pub(crate) fn position(number: u64) -> Position {
    Position::new(number).expect("not zero")
}

pub(crate) fn metadata(command: Uuid) -> Metadata {
    Metadata {
        principal: Principal::default(),
        time: Timestamp::from_microsecond(1_700_000_000_000_000).expect("a time"),
        correlation: command,
        causation: command,
        trace: TraceContext { trace_id: command.as_u128(), parent_id: 0, sampled: false },
    }
}

/// A command that appends `events` to a stream, whatever its version.
pub(crate) fn append(runtime: &Runtime, id: &str, events: Vec<NewEvent>) -> Append {
    let command = runtime.uuid();
    Append {
        stream: stream(id),
        expected: ExpectedVersion::Any,
        command_id: CommandId(command),
        decision: Decision::Accepted(events),
        metadata: metadata(command),
        idempotency: None,
    }
}

pub(crate) fn load(id: &str) -> Load {
    Load { stream: stream(id), state_shape: Hash::default() }
}
