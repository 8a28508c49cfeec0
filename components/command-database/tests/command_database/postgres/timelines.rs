//! A log that is not what it was begins another life.

use std::{fs, time::Duration};

use cluster::{Postgres, PostgresServer};
use command_database::{EventStore, Outcome, PostgresEventStore, ReadLimit};
use model::{Epoch, Lineage, Position};
use runtime::Runtime;

use super::given::{Database, append, config, connect, log, open, request};

async fn lineage(store: &PostgresEventStore) -> Vec<Epoch> {
    let Lineage(epochs) = store.lineage().await.expect("the lineage");
    epochs
}

/// What a restore of an older copy looks like from inside: the last `count` events, each of a stream of its own, were never there.
async fn forget_last(database: &Database, count: i64) {
    let statements = format!(
        "BEGIN; SET LOCAL session_replication_role = replica;
         DELETE FROM diptych.event_rows WHERE position > (SELECT position FROM diptych.log_head) - {count};
         DELETE FROM diptych.stream_names WHERE stream NOT IN (SELECT stream FROM diptych.event_rows);
         UPDATE diptych.log_head SET position = position - {count},
            hash = (SELECT hash FROM diptych.event_rows ORDER BY position DESC LIMIT 1); COMMIT"
    );
    database.by_hand().await.batch_execute(&statements).await.expect("forgotten");
}

#[tokio::test]
async fn an_append_on_another_timeline_belongs_to_another_epoch() {
    let database = Database::migrated().await;
    let store = database.open().await;
    append(&store, vec![request("a", "1").build()]).await;
    database
        .by_hand()
        .await
        .batch_execute("UPDATE diptych.log_head SET written_by = '7/00000001'")
        .await
        .expect("another timeline");
    let outcomes = append(&store, vec![request("a", "2").build(), request("a", "3").build()]).await;
    let epochs = lineage(&store).await;
    assert_eq!(epochs.len(), 2);
    assert_eq!(epochs[1].first, Position::FIRST.plus(1));
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed { epoch, .. } if *epoch == epochs[1].id))
    );
    append(&store, vec![request("a", "4").build()]).await;
    assert_eq!(lineage(&store).await, epochs, "once is enough");
    let found: Vec<_> = log(&store).await.iter().map(|event| event.epoch).collect();
    assert_eq!(found, [epochs[0].id, epochs[1].id, epochs[1].id, epochs[1].id]);
}

#[tokio::test]
async fn opening_on_another_timeline_begins_an_epoch_without_an_append() {
    let database = Database::migrated().await;
    append(&database.open().await, vec![request("a", "1").build()]).await;
    database
        .by_hand()
        .await
        .batch_execute("UPDATE diptych.log_head SET written_by = '7/00000001'")
        .await
        .expect("another timeline");
    let store = database.open().await;
    let epochs = lineage(&store).await;
    assert_eq!((epochs.len(), epochs[1].first), (2, Position::FIRST.plus(1)));
    assert_eq!(store.head().await.expect("the head").epoch, epochs[1].id);
    assert_eq!(lineage(&database.open().await).await, epochs);
}

#[tokio::test]
async fn an_end_that_was_further_begins_an_epoch_where_it_is_seen() {
    let database = Database::migrated().await;
    let (one, other) = (database.open().await, database.open().await);
    for stream in ["a", "b", "c"] {
        append(&one, vec![request(stream, "1").build()]).await;
    }
    other.head().await.expect("the head");
    forget_last(&database, 2).await;
    let head = one.head().await.expect("the head");
    let epochs = lineage(&one).await;
    assert_eq!((epochs.len(), epochs[1].first), (2, Position::FIRST.plus(1)));
    assert_eq!(head.epoch, epochs[1].id, "whoever asks is told of the new life");
    // The other one has seen as much, and finds that the new life has begun.
    append(&other, vec![request("d", "1").build()]).await;
    assert_eq!(lineage(&other).await, epochs);
    assert_eq!(log(&other).await.len(), 2);

    append(&one, vec![request("e", "1").build()]).await;
    forget_last(&database, 1).await;
    append(&one, vec![request("f", "1").build()]).await;
    assert_eq!(lineage(&one).await.len(), 3, "an append sees it too");
    log(&one).await;
}

#[tokio::test]
async fn a_recovered_server_has_another_timeline_and_so_another_epoch() {
    let mut server =
        Postgres::new().setting("restore_command", "false").setting("wal_level", "replica").start().expect("a server");
    connect(&server.url("postgres")).await.batch_execute("CREATE DATABASE log").await.expect("a database");
    let url = server.url("log");
    PostgresEventStore::migrate(&config(&url)).await.expect("a log is made");
    let store = open(&url).await;
    append(&store, vec![request("a", "1").build()]).await;
    let before = lineage(&store).await;
    server.kill().expect("killed");
    let signal = server.data().join("recovery.signal");
    fs::write(&signal, "").expect("asked for");
    fs::set_permissions(&signal, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("readable");
    server.start().expect("recovered");
    connect(&url).await;
    // The same store, whose connections are gone.
    let head = store.head().await.expect("the head");
    let epochs = lineage(&store).await;
    assert_eq!(epochs.len(), 2, "{}", server.log());
    assert_eq!((epochs[0], epochs[1].first, head.epoch), (before[0], Position::FIRST.plus(1), epochs[1].id));
    append(&store, vec![request("a", "2").build()]).await;
    assert_eq!(log(&store).await.len(), 2);
}

/// A primary with a log in it, and a standby that follows it; commits wait for the standby where `is_synchronous`.
async fn followed(is_synchronous: bool) -> (PostgresServer, PostgresServer, PostgresEventStore) {
    let mut primary = Postgres::new().start().expect("a server");
    let standby = primary.standby().expect("a standby");
    if is_synchronous {
        primary.set("synchronous_standby_names", "*");
        primary.stop().expect("it ran");
        primary.start().expect("started again");
    }
    let url = primary.url("postgres");
    connect(&url).await;
    PostgresEventStore::migrate(&config(&url)).await.expect("a log is made");
    let store = open(&url).await;
    (primary, standby, store)
}

/// Waits until the standby has everything that was committed so far.
async fn has_all(primary: &PostgresServer, standby: &PostgresServer) {
    let end = "SELECT pg_current_wal_lsn()::text";
    let end: String = connect(&primary.url("postgres")).await.query_one(end, &[]).await.expect("its end").get(0);
    let standby = connect(&standby.url("postgres")).await;
    let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
    while !standby.query_one(&reached, &[]).await.expect("how far it is").get::<_, bool>(0) {
        Runtime::tokio().sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_promoted_standby_that_lacks_the_end_begins_an_epoch_where_its_log_ends() {
    let (mut primary, mut standby, store) = followed(false).await;
    append(&store, vec![request("a", "1").build(), request("b", "1").build()]).await;
    has_all(&primary, &standby).await;
    standby.stop().expect("it ran");
    append(&store, vec![request("a", "2").build(), request("c", "1").build()]).await;
    let lost = log(&store).await.split_off(2);
    primary.kill().expect("killed");
    standby.succeed(&primary).expect("promoted");

    // The same store, which has seen what is gone. On a connection of before, nobody knows what becomes of an append.
    let again = || async { store.append(vec![request("a", "another 2").key("again", "body").build()]).await };
    let outcomes = match again().await {
        Ok(outcomes) => outcomes,
        Err(_) => again().await.expect("an append on another connection"),
    };
    let epochs = lineage(&store).await;
    assert_eq!((epochs.len(), epochs[1].first), (2, Position::FIRST.plus(2)));
    let Outcome::Committed { first, epoch, .. } = &outcomes[0] else { panic!("it is committed: {outcomes:?}") };
    assert_eq!(
        (*first, *epoch),
        (Some(lost[0].position), epochs[1].id),
        "at the place of what was lost, in another life"
    );
    let found = log(&store).await;
    assert_eq!(found.len(), 3);
    assert!(lost.iter().all(|lost| found.iter().all(|event| event.event_id != lost.event_id)));
    assert!(store.read_stream(crate::given::stream("c"), None, ReadLimit::default()).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_promoted_standby_that_commits_waited_for_has_all_that_was_acknowledged() {
    let (mut primary, mut standby, store) = followed(true).await;
    let sending = Runtime::tokio().spawn("sending", {
        let store = store.clone();
        async move {
            let mut acknowledged = 0;
            while store.append(vec![request("a", acknowledged.to_string()).build()]).await.is_ok() {
                acknowledged += 1;
            }
            acknowledged
        }
    });
    while store.head().await.expect("the head").position < Position::new(20) {
        Runtime::tokio().sleep(Duration::from_millis(5)).await;
    }
    primary.kill().expect("killed");
    let acknowledged: usize = sending.await.expect("it ends");
    standby.succeed(&primary).expect("promoted");
    connect(&standby.url("postgres")).await;
    let found = log(&store).await;
    let payloads: Vec<_> = found.iter().map(|event| String::from_utf8_lossy(&event.payload).into_owned()).collect();
    let expected: Vec<_> = (0..payloads.len()).map(|number| number.to_string()).collect();
    assert_eq!(payloads, expected, "each once, in order");
    assert!((acknowledged..=acknowledged + 1).contains(&found.len()), "{acknowledged} acknowledged, {}", found.len());
    assert_eq!(lineage(&store).await.len(), 2, "another timeline is another life all the same");
}
