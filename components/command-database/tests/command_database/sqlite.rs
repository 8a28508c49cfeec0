use std::time::Duration;

use command_database::{Error, EventStore, Idempotency, ReadLimit, Snapshot, SqliteConfig, SqliteEventStore};
use model::{Hash, StreamVersion};
use runtime::Runtime;
use testkit::conformance::event_store::Request;

use crate::given::{ByHand, FILE, Given, load};

#[tokio::test]
async fn foreign_and_newer_files_are_refused_and_left_as_they_are() {
    let given = Given::on(Runtime::tokio());
    drop(given.open());
    let log = std::fs::read(given.path()).expect("the log's bytes");
    let with = |at: usize, byte| {
        let mut bytes = log.clone();
        bytes[at] = byte;
        bytes
    };
    let is_newer: fn(&Error) -> bool = |error| matches!(error, Error::FormatTooNew { found: 3, format_max: 2, .. });
    let is_foreign: fn(&Error) -> bool = |error| matches!(error, Error::Foreign { .. });
    for (bytes, is_expected) in [
        (with(63, 3), is_newer),
        (with(71, 0), is_foreign),
        (b"no database at all".to_vec(), is_foreign),
        (Vec::new(), is_foreign),
    ] {
        std::fs::write(given.path(), &bytes).expect("a file in the log's place");
        let error = given.refusal_to_open();
        assert!(is_expected(&error), "{error:?}");
        assert_eq!(std::fs::read(given.path()).expect("the file"), bytes);
        assert_eq!(given.files(), [FILE]);
    }
}

#[tokio::test]
async fn a_truncated_log_is_refused_and_left_as_it_is() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    for _ in 0..50 {
        store.append(vec![given.append("a", &"x".repeat(1000))]).await.expect("an append");
    }
    drop(store);
    let log = std::fs::read(given.path()).expect("the log's bytes");
    for kept in [log.len() / 2, 4096, 100] {
        std::fs::write(given.path(), &log[..kept]).expect("half a log");
        let error = given.refusal_to_open();
        assert!(matches!(error, Error::Damaged { .. } | Error::Corrupt { .. }), "{kept} bytes: {error:?}");
        assert_eq!(std::fs::read(given.path()).expect("the file"), log[..kept], "{kept} bytes");
    }
}

#[tokio::test]
async fn what_an_interrupted_creation_left_behind_is_made_anew() {
    let given = Given::on(Runtime::tokio());
    let draft = given.path().with_extension("sqlite3.new");
    std::fs::write(draft, b"half a log").expect("a leftover");
    given.open().append(vec![given.append("a", "1")]).await.expect("an append");
    assert_eq!(given.files(), [FILE]);
}

#[tokio::test]
async fn every_flipped_byte_of_an_event_is_reported_by_the_read() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    let mut append = given.append("the-stream", "{\"amount\":\"needle-in-the-log\"}");
    append.metadata.correlation = given.runtime.uuid();
    store.append(vec![append.clone(), given.append("a", "last")]).await.expect("an append");
    let hash = store.read(None, ReadLimit::default()).await.expect("a read")[0].hash;
    drop(store);
    let log = std::fs::read(given.path()).expect("the log's bytes");
    let needles = [
        &b"needle-in-the-log"[..],
        &hash.0,
        append.command_id.0.as_bytes(),
        append.metadata.correlation.as_bytes(),
        // In tables of their own.
        b"the-stream",
        b"order.noted",
        b"anonymous",
        b"defaultorder",
    ];
    for needle in needles {
        let mut bytes = log.clone();
        let places = bytes.windows(needle.len()).enumerate();
        let places: Vec<_> =
            places.filter(|(_, window)| *window == needle).map(|(at, _)| at + needle.len() / 2).collect();
        assert!(!places.is_empty(), "{needle:?} is in the file");
        for at in places {
            bytes[at] ^= 1;
        }
        std::fs::write(given.path(), bytes).expect("the log with flipped bits");
        let read = match SqliteEventStore::open(&given.path(), &given.runtime, SqliteConfig::default()) {
            Ok(store) => store.read(None, ReadLimit::default()).await,
            Err(error) => Err(error),
        };
        assert!(matches!(read, Err(Error::Corrupt { .. })), "{}: {read:?}", String::from_utf8_lossy(needle));
    }
}

#[tokio::test]
async fn a_missing_position_is_reported_by_every_read_that_meets_it() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    for number in 1..=100 {
        store.append(vec![given.append("a", &number.to_string())]).await.expect("an append");
    }
    drop(store);
    given.by_hand("DROP TRIGGER events_stay; DELETE FROM events WHERE position = 50");
    let store = given.open();
    let is_at_50 = |error: Error| matches!(error, Error::Corrupt { position: 50, .. });
    assert!(is_at_50(store.read(None, ReadLimit::default()).await.expect_err("a hole")));
    assert!(is_at_50(store.load(vec![load("a")], ReadLimit::default()).await.expect_err("a hole")));
    let after = StreamVersion::new(45);
    let stream = crate::given::stream("a");
    assert!(is_at_50(store.read_stream(stream, after, ReadLimit::default()).await.expect_err("a hole")));
}

#[tokio::test]
async fn events_are_neither_changed_nor_deleted_by_mistake() {
    let given = Given::on(Runtime::tokio());
    given.open().append(vec![given.append("a", "1")]).await.expect("an append");
    let connection = rusqlite::Connection::open(given.path()).expect("the file opens");
    for statement in ["UPDATE events SET payload = x'00'", "DELETE FROM events"] {
        let error = connection.execute(statement, []).expect_err("a refusal");
        assert!(error.to_string().starts_with("events"), "{error}");
    }
}

#[tokio::test]
async fn a_changed_idempotency_record_is_reported() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    let request = || Request::new(&given.runtime, "a").event("1").key("k", "body").build();
    store.append(vec![request()]).await.expect("an append");
    let Idempotency { key, .. } = request().idempotency.expect("it has a key");
    drop(store);
    given.by_hand("UPDATE idempotency SET version = 7");
    let store = given.open();
    assert!(matches!(store.idempotency(key).await, Err(Error::Corrupt { .. })));
    assert!(store.append(vec![request()]).await.is_err(), "nothing is replayed from it");
}

#[tokio::test]
async fn a_damaged_snapshot_is_as_good_as_none() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    store.append(vec![given.append("a", "1")]).await.expect("an append");
    let snapshot = Snapshot {
        stream: crate::given::stream("a"),
        version: StreamVersion::FIRST,
        state_shape: Hash::default(),
        state: "{\"paid\":false}".into(),
    };
    store.save_snapshot(snapshot).await.expect("a snapshot");
    drop(store);
    given.by_hand("UPDATE snapshots SET state = CAST('{\"paid\":true}' AS BLOB)");
    let loaded = given.open().load(vec![load("a")], ReadLimit::default()).await.expect("a load");
    assert!(loaded[0].snapshot.is_none());
    assert_eq!(loaded[0].events.len(), 1);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_orders_and_expires_nothing() {
    let clock = ByHand::default();
    let given = Given::on(clock.runtime());
    let store = given.open();
    let day: i64 = 24 * 3600 * 1_000_000;
    for (index, wall) in [100, 500 * day, -900 * day, 7].into_iter().enumerate() {
        clock.set_wall_clock(wall);
        let request = Request::new(&given.runtime, "a").event("1").key(&index.to_string(), "body");
        store.append(vec![request.build()]).await.expect("an append");
        assert_eq!(store.expire_idempotency(Duration::from_secs(3600)).await.expect("an expiry"), 0);
    }
    let events = store.read(None, ReadLimit::default()).await.expect("a read");
    let recorded: Vec<_> = events.iter().map(|event| event.recorded_at.as_microsecond()).collect();
    assert_eq!(recorded, [100, 500 * day, 500 * day, 500 * day]);
}

#[tokio::test]
async fn keys_age_only_while_the_log_is_open() {
    let clock = ByHand::default();
    let given = Given::on(clock.runtime());
    let store = given.open();
    store.append(vec![Request::new(&given.runtime, "a").event("1").key("k", "body").build()]).await.expect("an append");
    let hour = Duration::from_secs(3600);
    clock.pass(hour);
    assert_eq!(store.expire_idempotency(2 * hour).await.expect("an expiry"), 0);
    drop(store);
    clock.pass(100 * hour);
    let store = given.open();
    assert_eq!(store.expire_idempotency(2 * hour).await.expect("an expiry"), 0, "an hour old");
    clock.pass(hour + Duration::from_secs(1));
    assert_eq!(store.expire_idempotency(2 * hour).await.expect("an expiry"), 1, "two hours and a second old");
}

#[tokio::test]
async fn many_keys_expire_in_slices() {
    let clock = ByHand::default();
    let given = Given::on(clock.runtime());
    let store = given.open();
    let keyed = |number: u32| Request::new(&given.runtime, "a").key(&number.to_string(), "body").build();
    store.append((0..9000).map(keyed).collect()).await.expect("an append");
    clock.pass(Duration::from_secs(10));
    store.append((9000..9010).map(keyed).collect()).await.expect("an append");
    assert_eq!(store.expire_idempotency(Duration::from_secs(5)).await.expect("an expiry"), 9000);
    assert_eq!(store.expire_idempotency(Duration::from_secs(5)).await.expect("an expiry"), 0);
}

#[tokio::test]
async fn the_write_ahead_log_stays_bounded_under_constant_writing() {
    for runtime in [Runtime::tokio(), ByHand::default().runtime()] {
        let given = Given::on(runtime);
        let store = given.open_with(SqliteConfig { wal_pages_max: 200, ..SqliteConfig::default() });
        let reader = store.clone();
        for number in 0..600 {
            let batch = (0..8).map(|index| given.append(&format!("{number}-{index}"), &"x".repeat(500))).collect();
            store.append(batch).await.expect("an append");
            reader.read(None, ReadLimit { events_max: 10, ..ReadLimit::default() }).await.expect("a read");
        }
        let pages = std::fs::metadata(given.write_ahead_log()).expect("it is there").len() / 4096;
        // All in all some 3000 pages were written, and many more times the same ones.
        assert!(pages < 1200, "{pages} pages");
    }
}

#[tokio::test]
async fn a_batch_over_the_limits_is_refused_whole() {
    let given = Given::on(Runtime::tokio());
    let limits = SqliteConfig { append_events_max: 3, append_bytes_max: 10, ..SqliteConfig::default() };
    let store = given.open_with(limits);
    for batch in [vec![given.append("a", "1"); 4], vec![given.append("a", "six by"), given.append("b", "twelve")]] {
        let error = store.append(batch).await.expect_err("a refusal");
        assert!(matches!(error, Error::BatchTooLarge { events_max: 3, bytes_max: 10, .. }), "{error:?}");
    }
    assert_eq!(store.head().await.expect("a head").position, None);
}

#[tokio::test]
async fn the_metrics_say_what_was_appended() {
    let given = Given::on(Runtime::tokio());
    let config = SqliteConfig::default();
    let mut registry = prometheus_client::registry::Registry::default();
    config.metrics.register(&mut registry);
    let store = given.open_with(config);
    store.append(vec![given.append("a", "1"), given.append("b", "2")]).await.expect("an append");
    store.append(vec![given.append("a", "3")]).await.expect("an append");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    for line in [
        "diptych_command_database_events_appended_total{event=\"order.noted\"} 3",
        "diptych_command_database_commit_commands_sum 3.0",
        "diptych_command_database_commit_commands_count 2",
        "diptych_command_database_commit_duration_seconds_count 2",
        "diptych_command_database_head_position 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
    }
}
