//! What can only be brought about from inside: a full disk, a transaction left open, a failed sync.

use std::sync::atomic::AtomicU32;

use model::{CommandId, EventType, Metadata, NewEvent, Principal, Tenant, TraceContext};
use rusqlite::ffi;

use super::*;
use crate::{Decision, ExpectedVersion, verify_link};

struct Given {
    directory: tempfile::TempDir,
    runtime: Runtime,
}

impl Given {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory for the log"), runtime: Runtime::tokio() }
    }

    fn open(&self, config: SqliteConfig) -> SqliteEventStore {
        SqliteEventStore::open(&self.directory.path().join("log.sqlite3"), &self.runtime, config).expect("it opens")
    }

    /// An event whose stream, type and principal all have the name `name`.
    fn append(&self, name: &str, payload: String) -> Append {
        let command = self.runtime.uuid();
        let event_type = EventType { name: name.into(), version: 1 };
        Append {
            stream: StreamId { tenant: Tenant::new(name), aggregate: name.into(), id: name.into() },
            expected: ExpectedVersion::Any,
            command_id: CommandId(command),
            decision: Decision::Accepted(vec![NewEvent { event_type, payload: payload.into() }]),
            metadata: Metadata {
                principal: Principal::new(name),
                time: Timestamp::UNIX_EPOCH,
                correlation: command,
                causation: command,
                trace: TraceContext::default(),
                tracestate: None,
            },
            idempotency: None,
        }
    }
}

/// Each event's stream, type and principal by name, with the chain checked on the way.
async fn names(store: &SqliteEventStore) -> Vec<String> {
    let events = store.read(None, ReadLimit::default()).await.expect("a read");
    let mut previous = Hash::default();
    for event in &events {
        assert!(verify_link(&previous, event), "position {}", event.position);
        previous = event.hash;
    }
    let all = |event: &Arc<StoredEvent>| {
        let (stream, event_type) = (&event.stream, &event.event_type.name);
        assert!(stream.id == stream.aggregate && *stream.id == **event_type, "{event:?}");
        assert!(*stream.id == *event.metadata.principal.as_str() && *stream.id == *stream.tenant.as_str(), "{event:?}");
        event_type.to_string()
    };
    events.iter().map(all).collect()
}

#[tokio::test]
async fn on_a_full_disk_appends_are_refused_and_reads_go_on_until_there_is_space() {
    let given = Given::new();
    let store = given.open(SqliteConfig::default());
    store.append(vec![given.append("a", "1".into())]).await.expect("an append");
    let limit = |pages: i64| {
        let writer = store.log.writer.lock();
        writer.connection.pragma_update(None, "max_page_count", pages).expect("a limit");
    };
    let pages = store.log.writer.lock().connection.query_row("PRAGMA page_count", [], |row| row.get(0));
    limit(pages.expect("a page count"));
    // It gets as far as to intern its names, and then they must be forgotten again.
    let batch = || vec![given.append("b", "2".into()), given.append("c", "3".repeat(100_000))];
    for _ in 0..3 {
        let error = store.append(batch()).await.expect_err("a refusal");
        assert!(matches!(error, Error::StorageFull { .. }) && error.is_retryable(), "{error:?}");
        assert_eq!(names(&store).await, ["a"]);
    }
    limit(1 << 30);
    // Others get the numbers that were given back.
    store.append(vec![given.append("c", "4".into())]).await.expect("an append");
    store.append(batch()).await.expect("an append");
    store.append(vec![given.append("a", "5".into())]).await.expect("an append");
    assert_eq!(names(&store).await, ["a", "c", "b", "c", "a"]);
}

#[tokio::test]
async fn a_transaction_that_was_left_open_is_undone_by_the_next_append() {
    let given = Given::new();
    let store = given.open(SqliteConfig::default());
    let left = "BEGIN IMMEDIATE; INSERT INTO principals (name) VALUES ('left')";
    store.log.writer.lock().connection.execute_batch(left).expect("it is left open");
    store.append(vec![given.append("a", "1".into())]).await.expect("an append");
    assert_eq!(names(&store).await, ["a"]);
}

#[tokio::test]
async fn what_another_process_wrote_is_built_upon() {
    let given = Given::new();
    let (one, other) = (given.open(SqliteConfig::default()), given.open(SqliteConfig::default()));
    for name in ["a", "b", "a"] {
        one.append(vec![given.append(name, "1".into())]).await.expect("an append");
        other.append(vec![given.append(name, "2".into())]).await.expect("an append");
    }
    assert_eq!(names(&one).await, ["a", "a", "b", "b", "a", "a"]);
}

#[tokio::test]
async fn after_a_failed_sync_nothing_more_is_written() {
    let given = Given::new();
    let told = Arc::new(AtomicU32::new(0));
    let counted = told.clone();
    let on_fatal: OnFatal = Arc::new(move |error| {
        assert!(matches!(error, Error::Commit { .. }), "{error:?}");
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let store = given.open(SqliteConfig { on_fatal, ..SqliteConfig::default() });
    store.append(vec![given.append("a", "1".into())]).await.expect("an append");
    let sync = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None);
    let error = store.log.failure(Failure::Engine(sync), Failure::while_committing);
    assert!(!error.is_retryable());
    assert_eq!(told.load(Ordering::Relaxed), 1);
    let refused = store.append(vec![given.append("b", "2".into())]).await.expect_err("a refusal");
    assert!(matches!(refused, Error::WorkerGone), "{refused:?}");
    assert_eq!(names(&store).await, ["a"], "reads go on");
}
