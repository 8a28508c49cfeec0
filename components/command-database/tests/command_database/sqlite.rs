use command_database::{Error, EventStore, Outcome, ReadLimit, SqliteConfig, SqliteEventStore, verify_link};
use model::Hash;
use runtime::Runtime;

use crate::given::{FILE, append, directory, event, load, open, position, version};

#[tokio::test]
async fn what_was_appended_is_read_loaded_and_chained() {
    let (directory, runtime) = (directory(), Runtime::tokio());
    let store = open(&directory, &runtime);
    let batch = vec![
        append(&runtime, "o-1", vec![event("{\"a\":1}"), event("{\"a\":2}")]),
        append(&runtime, "o-2", vec![event("{}")]),
        append(&runtime, "o-1", vec![event("{\"a\":3}")]),
    ];
    let outcomes = store.append(batch).await.expect("an append");
    let places: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Committed { first, version, head, .. } => (*first, *version, *head),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        places,
        [
            (Some(position(1)), Some(version(2)), Some(position(2))),
            (Some(position(3)), Some(version(1)), Some(position(3))),
            (Some(position(4)), Some(version(3)), Some(position(4))),
        ]
    );
    drop(store);
    let store = open(&directory, &runtime);
    let events = store.read(None, ReadLimit::default()).await.expect("a read");
    assert_eq!(events.iter().map(|event| event.position.get()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let mut previous = Hash::default();
    for event in &events {
        assert!(verify_link(&previous, event), "position {}", event.position);
        previous = event.hash;
    }
    let loaded = store.load(vec![load("o-1"), load("o-9")], ReadLimit::default()).await.expect("a load");
    assert_eq!(loaded[0].events.iter().map(|event| event.position.get()).collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(loaded[0].events, [events[0].clone(), events[1].clone(), events[3].clone()]);
    assert_eq!(loaded[1].version, None);
    assert_eq!(store.head().await.expect("a head").hash, previous);
}

#[tokio::test]
async fn a_long_stream_is_read_in_pieces_from_anywhere() {
    let (directory, runtime) = (directory(), Runtime::tokio());
    let store = open(&directory, &runtime);
    for hundred in 0..12 {
        let events = (0..100).map(|index| event(format!("{{\"n\":{}}}", hundred * 100 + index + 1))).collect();
        store
            .append(vec![append(&runtime, "long", events), append(&runtime, "other", vec![event("{}")])])
            .await
            .expect("an append");
    }
    for (after, most) in [(0, 10), (1, 255), (255, 1), (256, 256), (700, 1000), (1199, 5), (1200, 5), (5000, 5)] {
        let limit = ReadLimit { events_max: most, ..ReadLimit::default() };
        let stream = crate::given::stream("long");
        let events =
            store.read_stream(stream, model::StreamVersion::new(after), limit).await.expect("a read of the stream");
        let versions: Vec<_> = events.iter().map(|event| event.version.get()).collect();
        let expected: Vec<_> = (after + 1..=1200.min(after + most as u64)).collect();
        assert_eq!(versions, expected, "{most} after {after}");
    }
}

#[tokio::test]
async fn foreign_and_newer_files_are_refused_and_left_as_they_are() {
    let (directory, runtime) = (directory(), Runtime::tokio());
    let path = directory.path().join(FILE);
    drop(open(&directory, &runtime));
    let log = std::fs::read(&path).expect("the log's bytes");
    let mut newer = log.clone();
    newer[63] = 2;
    let mut other_application = log.clone();
    other_application[71] = 0;
    for (bytes, is_expected) in [
        (newer, (|error| matches!(error, Error::FormatTooNew { found: 2, format_max: 1, .. })) as fn(&Error) -> bool),
        (other_application, |error| matches!(error, Error::Foreign { .. })),
        (b"no database at all".to_vec(), |error| matches!(error, Error::Foreign { .. })),
        (Vec::new(), |error| matches!(error, Error::Foreign { .. })),
    ] {
        std::fs::write(&path, &bytes).expect("a file in the log's place");
        let error = SqliteEventStore::open(&path, &runtime, SqliteConfig::default()).expect_err("a refusal");
        assert!(is_expected(&error), "{error:?}");
        assert_eq!(std::fs::read(&path).expect("the file"), bytes);
        assert_eq!(std::fs::read_dir(directory.path()).expect("the directory").count(), 1, "{error:?}");
    }
}

#[tokio::test]
async fn a_flipped_byte_of_a_payload_is_reported_by_the_read() {
    let (directory, runtime) = (directory(), Runtime::tokio());
    let store = open(&directory, &runtime);
    let batch = vec![append(&runtime, "o-1", vec![event("{\"amount\":\"needle-in-the-log\"}")])];
    store.append(batch).await.expect("an append");
    drop(store);
    let path = directory.path().join(FILE);
    let mut bytes = std::fs::read(&path).expect("the log's bytes");
    let needle = b"needle-in-the-log";
    let at = bytes.windows(needle.len()).position(|window| window == needle).expect("the payload is in the file");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("the log with a flipped bit");
    // Opening reads the last event already.
    let error = SqliteEventStore::open(&path, &runtime, SqliteConfig::default()).expect_err("the damage is seen");
    assert!(matches!(error, Error::Corrupt { position: 1, .. }), "{error:?}");
}
