//! The table of streams lags behind the events, and nobody notices.

use command_database::{
    EventStore, ExpectedVersion, Load, LogScan, Outcome, ReadLimit, SqliteEventStore, SqliteLogScan,
};
use model::{Hash, StreamVersion};
use runtime::Runtime;
use testkit::conformance::event_store::Request;

use crate::given::{FILE, Given, load, stream};

/// As the log would be found if its process were killed now.
fn killed(given: &Given) -> Given {
    let copy = Given::on(Runtime::tokio());
    std::fs::copy(given.path(), copy.path()).expect("the log");
    std::fs::copy(given.write_ahead_log(), copy.write_ahead_log()).expect("its write-ahead log");
    copy
}

fn asked(path: &std::path::Path, question: &str) -> i64 {
    let connection = rusqlite::Connection::open(path).expect("the file opens");
    connection.query_row(question, [], |row| row.get(0)).expect("an answer")
}

async fn version_of(store: &SqliteEventStore, id: &str) -> u64 {
    let loaded = store.load(vec![load(id)], ReadLimit::default()).await.expect("a load");
    assert_eq!(loaded[0].events.len() as u64, StreamVersion::count(loaded[0].version), "{id}");
    StreamVersion::count(loaded[0].version)
}

#[tokio::test]
async fn a_log_whose_process_was_killed_finds_its_streams_again() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    store.append(vec![given.append("a", "1"), given.append("b", "2")]).await.expect("an append");
    store.append(vec![given.append("a", "3"), given.append("a", "4")]).await.expect("an append");
    let killed = killed(&given);
    assert_eq!(asked(&killed.path(), "SELECT count(*) FROM streams"), 0, "the table lags behind");

    let store = killed.open();
    assert_eq!(
        (version_of(&store, "a").await, version_of(&store, "b").await, version_of(&store, "c").await),
        (3, 1, 0)
    );
    let stale =
        Request::new(&killed.runtime, "a").event("5").expecting(ExpectedVersion::of(StreamVersion::new(2))).build();
    let next =
        Request::new(&killed.runtime, "a").event("5").expecting(ExpectedVersion::of(StreamVersion::new(3))).build();
    let outcomes = store.append(vec![next, stale, killed.append("c", "6")]).await.expect("an append");
    assert!(matches!(
        outcomes[..],
        [Outcome::Committed { .. }, Outcome::VersionConflict { .. }, Outcome::Committed { .. }]
    ));
    drop(store);
    assert_eq!(asked(&killed.path(), "SELECT sum(version) FROM streams"), 6, "closed in order it lacks nothing");
    assert_eq!(asked(&killed.path(), "SELECT position FROM stream_index"), 6);
    assert_eq!(asked(&killed.path(), "SELECT count(*) FROM new_streams"), 0);
}

#[tokio::test]
async fn at_any_point_of_a_round_the_streams_are_where_their_events_are() {
    const STREAMS: usize = 6000;
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    let mut expected = vec![0; STREAMS];
    let mut rounds = 0;
    for batch in 0..90_usize {
        // Some streams come often, some once, and the names are in no order.
        let named = (0..150).map(|index| (batch * 150 + index * (1 + batch % 3)) * 7919 % STREAMS);
        let named: Vec<usize> = named.collect();
        named.iter().for_each(|number| expected[*number] += 1);
        let appends = named.iter().map(|number| given.append(&format!("s{number}"), "{}")).collect();
        store.append(appends).await.expect("an append");
        if batch % 9 == 0 {
            let killed = killed(&given);
            rounds = rounds.max(asked(&killed.path(), "SELECT position FROM stream_index"));
            let store = killed.open();
            for number in (batch % 5..STREAMS).step_by(97) {
                assert_eq!(
                    version_of(&store, &format!("s{number}")).await,
                    expected[number],
                    "s{number} in batch {batch}"
                );
            }
        }
    }
    assert!(rounds > 4000, "there were rounds: {rounds}");
    for (number, expected) in expected.iter().enumerate().step_by(7) {
        assert_eq!(version_of(&store, &format!("s{number}")).await, *expected);
    }
    drop(store);
    let total = expected.iter().sum::<u64>();
    assert_eq!(asked(&given.path(), "SELECT sum(version) FROM streams").cast_unsigned(), total);
}

#[tokio::test]
async fn many_streams_are_written_while_appends_go_on() {
    let given = Given::on(Runtime::tokio());
    let store = given.open();
    for batch in 0..40 {
        let appends = (0..300).map(|index| given.append(&format!("{}", (batch * 300 + index) * 7919 % 12_007), "{}"));
        store.append(appends.collect()).await.expect("an append");
    }
    let killed = killed(&given);
    let written = asked(&killed.path(), "SELECT count(*) FROM streams");
    let (position, new) = (
        asked(&killed.path(), "SELECT position FROM stream_index"),
        asked(&killed.path(), "SELECT count(*) FROM new_streams"),
    );
    assert!(written > 4000 && position > 4000 && new < 9000, "{written} written, at {position}, {new} new");
    let store = killed.open();
    for number in (0..12_000).step_by(501) {
        assert_eq!(version_of(&store, &format!("{}", number * 7919 % 12_007)).await, 1);
    }
}

#[tokio::test]
async fn a_log_of_the_first_format_gets_what_it_lacks_and_is_read_without_it() {
    let given = Given::on(Runtime::tokio());
    given.open().append(vec![given.append("a", "1"), given.append("a", "2")]).await.expect("an append");
    given.by_hand("DROP TABLE new_streams; DROP TABLE stream_index; PRAGMA user_version = 1");
    let before = std::fs::read(given.path()).expect("the log");
    let mut scan = SqliteLogScan::open(&given.path()).expect("it can be read");
    assert_eq!(scan.streams_position().expect("a position"), 2);
    drop(scan);
    assert_eq!(std::fs::read(given.path()).expect("the log"), before, "{FILE} is left as it is");

    let store = given.open();
    assert_eq!(version_of(&store, "a").await, 2);
    store.append(vec![given.append("b", "3")]).await.expect("an append");
    let found = store.load(vec![Load { stream: stream("b"), state_shape: Hash::default() }], ReadLimit::default());
    assert_eq!(found.await.expect("a load")[0].version, StreamVersion::new(1));
}

#[tokio::test]
async fn a_table_of_streams_ahead_of_the_log_is_refused() {
    let given = Given::on(Runtime::tokio());
    given.open().append(vec![given.append("a", "1")]).await.expect("an append");
    given.by_hand("UPDATE stream_index SET position = 7");
    let error = given.refusal_to_open();
    assert!(
        error.to_string().contains("index of streams") || format!("{error:?}").contains("index of streams"),
        "{error:?}"
    );
}
