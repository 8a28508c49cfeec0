//! A log that is not what it was begins another life.

use std::fs;

use cluster::Postgres;
use command_database::{EventStore, Outcome, PostgresEventStore};
use model::{Epoch, Lineage, Position};

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
         DELETE FROM diptych.streams WHERE stream NOT IN (SELECT stream FROM diptych.event_rows);
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
