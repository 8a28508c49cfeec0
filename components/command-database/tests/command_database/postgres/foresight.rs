//! What a process knows of the log's end, and sends along.

use std::sync::Arc;

use bytes::Bytes;
use command_database::{Append, EventStore, ExpectedVersion, Outcome, PostgresEventStore, ReadLimit, verify_link};
use model::{Hash, Position, StoredEvent, StreamVersion};
use testkit::conformance::event_store::Request;

use super::given::{Database, append, log, request};

const NO_STREAM: ExpectedVersion = ExpectedVersion::NoStream;

fn version(version: u64) -> ExpectedVersion {
    ExpectedVersion::of(StreamVersion::new(version))
}

fn on(id: &str, expected: ExpectedVersion, event: &'static str) -> Request {
    request(id, event).expecting(expected)
}

/// Nothing can be looked up or worked out by the server any more.
async fn blind(database: &Database) {
    database.by_hand().await.batch_execute("ALTER VIEW diptych.streams RENAME TO gone").await.expect("renamed");
}

async fn accept(store: &PostgresEventStore, batch: Vec<Request>) {
    let outcomes = append(store, batch.into_iter().map(Request::build).collect()).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })), "{outcomes:?}");
}

#[tokio::test]
async fn who_wrote_the_end_of_the_log_leaves_nothing_to_be_looked_up() {
    let database = Database::migrated().await;
    let (store, other) = (database.open().await, database.open().await);
    accept(&store, vec![on("a", NO_STREAM, "1")]).await;
    accept(&store, vec![on("a", version(1), "2")]).await;
    accept(&other, vec![on("b", NO_STREAM, "3")]).await;
    accept(&store, vec![on("c", NO_STREAM, "4")]).await;
    blind(&database).await;
    accept(&store, vec![on("d", NO_STREAM, "5"), on("d", version(1), "6").key("k", "body"), on("e", NO_STREAM, "7")])
        .await;
    accept(&store, vec![on("d", version(2), "8"), on("e", ExpectedVersion::Any, "9")]).await;
    assert_eq!(log(&store).await.len(), 9);
    // The others have not seen it end there.
    other.append(vec![on("b", version(1), "10").build()]).await.expect_err("nothing can be looked up");
    // What is not known has to be.
    store.append(vec![on("a", version(2), "10").build()]).await.expect_err("nothing can be looked up");
}

/// Everything that has a column of its own, or is no event.
fn varied(number: u64) -> Vec<Append> {
    let id = format!("s{}", number / 3);
    let mut plain = on(&id, if number.is_multiple_of(3) { NO_STREAM } else { version(number % 3 * 3) }, "first")
        .event("second")
        .key(&format!("{number}"), "body")
        .build();
    plain.metadata.tracestate = Some("vendor=1".into());
    plain.metadata.trace.sampled = true;
    let next = on(&id, version(number % 3 * 3 + 2), "third");
    let refused = Request::new(&runtime::Runtime::tokio(), &id).refused(b"no").key(&format!("r{number}"), "body");
    vec![plain, next.build(), refused.build(), on(&format!("z\0{number}"), NO_STREAM, "zero").build()]
}

#[tokio::test]
async fn what_is_known_in_memory_is_what_the_log_has() {
    let database = Database::migrated().await;
    let (store, other) = (database.open().await, database.open().await);
    accept(&store, vec![on("before", NO_STREAM, "0")]).await;
    for number in 0..12 {
        append(&store, varied(number)).await;
    }
    let after = Some(Position::FIRST);
    let read = async |store: &PostgresEventStore| -> Vec<Arc<StoredEvent>> {
        store.read(after, ReadLimit::default()).await.expect("a read")
    };
    let (known, read) = (read(&store).await, read(&other).await);
    assert_eq!(known.len(), 12 * 4);
    assert_eq!(known, read);
    let mut previous = Hash::default();
    for event in log(&other).await {
        assert!(verify_link(&previous, &event), "position {}", event.position);
        previous = event.hash;
    }
    for key in ["3", "r3"] {
        let key = request("a", "").key(key, "body").build().idempotency.expect("a key").key;
        let record = other.idempotency(key).await.expect("its checksum fits");
        assert!(record.is_some_and(|record| record.fingerprint != Hash::default()));
    }
    let loaded =
        other.read_stream(super::super::given::stream("s1"), None, ReadLimit::default()).await.expect("a read");
    assert_eq!(loaded.len(), 9);
}

#[tokio::test]
async fn a_name_without_events_is_taken_by_the_first() {
    let database = Database::migrated().await;
    let store = database.open().await;
    accept(&store, vec![on("a", NO_STREAM, "1")]).await;
    let statement = "INSERT INTO diptych.stream_names (stream, tenant, aggregate, id)
        SELECT 7, tenant, aggregate, 'b' FROM diptych.stream_names";
    database.by_hand().await.batch_execute(statement).await.expect("a name");
    accept(&store, vec![on("b", NO_STREAM, "2"), on("c", NO_STREAM, "3")]).await;
    accept(&store, vec![on("b", version(1), "4"), on("c", version(1), "5")]).await;
    assert_eq!(log(&store).await.len(), 5);
}

#[tokio::test]
async fn what_was_not_foreseen_is_worked_out() {
    let database = Database::migrated().await;
    let (store, other) = (database.open().await, database.open().await);
    accept(&other, vec![on("a", NO_STREAM, "1").key("k", "body"), on("b", NO_STREAM, "2")]).await;
    accept(&store, vec![on("own", NO_STREAM, "3")]).await;
    // The end is known, and that `a` and the key are taken is not.
    let batch = vec![
        on("c", NO_STREAM, "4").build(),
        on("a", NO_STREAM, "lost").build(),
        on("a", version(1), "lost with it").build(),
        on("d", NO_STREAM, "5").build(),
    ];
    let outcomes = append(&store, batch).await;
    let is_committed = |outcome: &Outcome| matches!(outcome, Outcome::Committed { .. });
    assert_eq!(outcomes.iter().map(is_committed).collect::<Vec<_>>(), [true, false, false, true], "{outcomes:?}");
    let again = vec![on("e", NO_STREAM, "6").build(), request("a", "1").key("k", "body").expecting(NO_STREAM).build()];
    let outcomes = append(&store, again).await;
    assert!(matches!(outcomes[..], [Outcome::Committed { .. }, Outcome::Replayed(_)]), "{outcomes:?}");
    let stale =
        append(&store, vec![on("b", version(3), "lost").build(), on("b", version(1), "lost with it").build()]).await;
    let current = StreamVersion::new(1);
    assert!(stale.iter().all(|outcome| *outcome == Outcome::VersionConflict { current }), "{stale:?}");
    // Somebody else in between, on a stream that was known.
    accept(&store, vec![on("e", version(1), "7")]).await;
    accept(&other, vec![on("e", version(2), "8")]).await;
    let late = append(&store, vec![on("e", version(2), "lost").build()]).await;
    assert_eq!(late, [Outcome::VersionConflict { current: StreamVersion::new(3) }]);
    accept(&store, vec![on("e", version(3), "9")]).await;
    let events = log(&other).await;
    let payloads: Vec<_> = events.iter().map(|event| event.payload.clone()).collect();
    assert_eq!(payloads, ["1", "2", "3", "4", "5", "6", "7", "8", "9"].map(Bytes::from));
    let mut previous = Hash::default();
    for event in &events {
        assert!(verify_link(&previous, event), "position {}", event.position);
        previous = event.hash;
    }
}
