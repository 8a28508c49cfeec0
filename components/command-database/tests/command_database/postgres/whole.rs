//! What is stored is what was sent, and the same as the embedded log stores.

use std::sync::Arc;

use command_database::{
    Append, Error, EventStore, Load, Outcome, PostgresConfig, PostgresEventStore, ReadLimit, SqliteConfig,
    SqliteEventStore,
};
use futures_util::FutureExt;
use jiff::Timestamp;
use model::{Hash, Metadata, Position, Principal, StoredEvent, StreamVersion, TraceContext};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use runtime::Runtime;
use testkit::conformance::event_store::{MemoryEventStore, Place, Request, broken::Disks};

use super::given::{Database, append, config, log, request};
use crate::{
    given::{ByHand, Given, stream},
    model::{Command, Step, comparable, steps, without_epoch},
};

fn detailed(runtime: &Runtime, stream: &str) -> Append {
    let metadata = Metadata {
        principal: Principal::new("someone"),
        time: Timestamp::from_microsecond(1_700_000_000_000_001).expect("within range"),
        correlation: runtime.uuid(),
        causation: runtime.uuid(),
        trace: TraceContext { trace_id: 7, parent_id: u64::MAX, sampled: true },
        tracestate: Some("rojo=00f067aa0ba902b7".into()),
    };
    Request::new(runtime, stream).metadata(metadata).event(vec![0, 255, b'{']).event("").of_tenant("tenant").build()
}

#[tokio::test]
async fn the_embedded_log_stores_the_same_events_with_the_same_hashes() {
    let database = Database::migrated().await;
    let store = database.open().await;
    let runtime = Runtime::tokio();
    let batches = [
        vec![request("a", "1").event("2").build(), detailed(&runtime, "a"), request("a", "3").build()],
        vec![request("b", "1").key("k", "body").build(), request("b", "2").key("k", "body").build()],
        vec![request("a", "4").build()],
    ];
    for batch in &batches {
        append(&store, batch.clone()).await;
    }
    let events = log(&store).await;

    let clocks = ByHand::default();
    let given = Given::on(clocks.runtime());
    drop(given.open());
    let epoch = events[0].epoch.0.simple();
    given.by_hand(&format!("UPDATE lineage SET epoch = x'{epoch}'"));
    let embedded =
        SqliteEventStore::open(&given.path(), &given.runtime, SqliteConfig::default()).expect("the log opens");
    for batch in batches {
        clocks.set_wall_clock(events[read_all(&embedded).len()].recorded_at.as_microsecond());
        embedded.append(batch).now_or_never().expect("no waiting").expect("an append");
    }
    let read = read_all(&embedded);
    assert_eq!(read.len(), 7);
    assert_eq!(read, events);
}

fn read_all(store: &SqliteEventStore) -> Vec<StoredEvent> {
    let read = store.read(None, ReadLimit::default()).now_or_never().expect("no waiting").expect("a read");
    read.iter().map(|event| StoredEvent::clone(event)).collect()
}

#[test]
fn the_distributed_log_does_what_the_log_in_memory_does() {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut runner = TestRunner::new(Config::with_cases(12));
    runner.run(&steps(), |steps| tokio.block_on(same_as_in_memory(steps))).expect("the same");
}

async fn same_as_in_memory(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (runtime, database) = (Runtime::tokio(), Database::migrated().await);
    let directory = tempfile::tempdir().expect("a directory");
    let place = Place { directory: directory.path().to_owned(), runtime: runtime.clone() };
    let disks = Disks::default();
    let mut log = database.open().await;
    let model = MemoryEventStore::open(&disks, &place, None);
    let mut number = 0;
    for step in steps {
        let Step::Append(commands) = step else {
            log = database.open().await;
            continue;
        };
        let build = |command: &Command| {
            number += 1;
            command.build(&runtime, number)
        };
        let batch: Vec<_> = commands.iter().map(build).collect();
        let comparable = |outcomes: Vec<Outcome>| outcomes.into_iter().map(without_epoch).collect::<Vec<_>>();
        let outcomes = comparable(log.append(batch.clone()).await.expect("an append"));
        let expected = comparable(model.append(batch).await.expect("an append"));
        prop_assert_eq!(outcomes, expected);
    }
    prop_assert_eq!(timeless(super::given::log(&log).await), timeless(events(&model).await));
    for limit in [ReadLimit::default(), ReadLimit { events_max: 7, bytes_max: 100 }] {
        for id in ["0", "1", "2"] {
            let load = || vec![Load { stream: stream(id), state_shape: Hash::default() }];
            let loaded = log.load(load(), limit).await.expect("a stream").remove(0);
            let expected = model.load(load(), limit).await.expect("a stream").remove(0);
            prop_assert_eq!(loaded.version, expected.version);
            prop_assert_eq!(timeless(loaded.events), timeless(expected.events));
            let after = StreamVersion::new(StreamVersion::count(loaded.version) / 2);
            let read = log.read_stream(stream(id), after, limit).await.expect("a stream");
            let expected = model.read_stream(stream(id), after, limit).await.expect("a stream");
            prop_assert_eq!(timeless(read), timeless(expected));
        }
        let after = Position::new(3);
        let unshared = |events: Vec<Arc<StoredEvent>>| events.into_iter().map(Arc::unwrap_or_clone).collect();
        let read = log.read(after, limit).await.map(unshared).expect("a read");
        let expected = model.read(after, limit).await.map(unshared).expect("a read");
        prop_assert_eq!(timeless(read), timeless(expected));
    }
    Ok(())
}

fn timeless(events: Vec<StoredEvent>) -> Vec<StoredEvent> {
    let timeless = |event| StoredEvent { recorded_at: Timestamp::UNIX_EPOCH, ..comparable(event) };
    events.into_iter().map(timeless).collect()
}

async fn events(store: &dyn EventStore) -> Vec<StoredEvent> {
    let mut all: Vec<StoredEvent> = Vec::new();
    loop {
        let after = all.last().map(|event| event.position);
        let read = store.read(after, ReadLimit::default()).await.expect("a read");
        if read.is_empty() {
            return all;
        }
        all.extend(read.iter().map(|event| StoredEvent::clone(event)));
    }
}

#[tokio::test]
async fn names_with_zero_bytes_come_back_as_they_were() {
    let database = Database::migrated().await;
    let store = database.open().await;
    let names = ["a\0", "\0", "a\u{10FFFF}0", "\u{10FFFF}\0\u{10FFFF}"];
    let mut batch: Vec<_> = names.iter().map(|name| request(name, *name).build()).collect();
    batch[0].metadata.principal = Principal::new("some\0one");
    append(&store, batch).await;
    let events = log(&store).await;
    let found: Vec<_> = events.iter().map(|event| &*event.stream.id).collect();
    assert_eq!(found, names);
    assert_eq!(events[0].metadata.principal.as_str(), "some\0one");
    let read = store.read_stream(stream("a\0"), None, ReadLimit::default()).await.expect("a stream");
    assert_eq!(read, events[..1]);
}

#[tokio::test]
async fn what_was_changed_by_hand_is_refused_by_every_read() {
    let changes = [
        "UPDATE diptych.event_rows SET payload = '{}' WHERE position = 2",
        "UPDATE diptych.event_rows SET version = 4 WHERE position = 2",
        "UPDATE diptych.event_rows SET recorded_at = recorded_at + 1 WHERE position = 2",
        "UPDATE diptych.event_rows SET hash = sha256(hash) WHERE position = 2",
        "UPDATE diptych.event_rows SET principal = 'somebody else' WHERE position = 2",
        "UPDATE diptych.event_rows SET command_index = 5 WHERE position = 2",
        "UPDATE diptych.event_rows SET event_id = gen_random_uuid() WHERE position = 2",
        "UPDATE diptych.event_rows SET stream = 99 WHERE position = 2",
        "UPDATE diptych.event_rows SET checksum = '' WHERE position = 2",
        "UPDATE diptych.stream_names SET tenant = 'other'",
        "UPDATE diptych.event_rows SET trace = '\\x00' WHERE position = 2",
        "DELETE FROM diptych.event_rows WHERE position = 2",
    ];
    for change in changes {
        let database = Database::migrated().await;
        let store = database.open().await;
        append(&store, vec![request("a", "1").event("2").event("3").build()]).await;
        let by_hand = format!("BEGIN; SET LOCAL session_replication_role = replica; {change}; COMMIT");
        database.by_hand().await.batch_execute(&by_hand).await.expect("changed");
        let error = store.read(None, ReadLimit::default()).await.expect_err(change);
        assert!(matches!(error, Error::Corrupt { .. }), "{change}: {error}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_damaged_key_is_told_from_a_free_one() {
    let database = Database::migrated().await;
    let store = database.open().await;
    append(&store, vec![request("a", "1").key("k", "body").build()]).await;
    database.by_hand().await.batch_execute("UPDATE diptych.idempotency SET first = 7").await.expect("changed");
    let key = request("a", "1").key("k", "body").build().idempotency.expect("a key").key;
    let error = store.idempotency(key).await.expect_err("damaged");
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    // Its neighbour is committed, so that nobody may be told that nothing is.
    let batch = vec![request("a", "1").key("k", "body").build(), request("b", "2").build()];
    let error = store.append(batch).await.expect_err("damaged");
    assert!(matches!(error, Error::Commit { .. }), "{error}");
    assert_eq!(log(&store).await.len(), 2);
}

#[tokio::test]
async fn a_batch_beyond_the_limits_is_refused_whole() {
    let database = Database::migrated().await;
    let config = PostgresConfig { append_events_max: 2, append_bytes_max: 10, ..config(&database.url) };
    let store = PostgresEventStore::open(config, &Runtime::tokio()).await.expect("the log opens");
    for payloads in [&["1", "2", "3"][..], &["eleven byte"]] {
        let batch = payloads.iter().map(|payload| request("a", *payload).build()).collect();
        let error = store.append(batch).await.expect_err("too much");
        assert!(matches!(error, Error::BatchTooLarge { .. }), "{error}");
    }
    assert!(log(&store).await.is_empty());
    assert_eq!(append(&store, Vec::new()).await, []);
}
