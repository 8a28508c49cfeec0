//! Each role may do what its box does, and nothing else.

use std::time::Duration;

use command_database::{EventStore, Load, PostgresEventStore, ReadLimit, Snapshot};
use model::{Hash, Position, StreamVersion};
use runtime::Runtime;
use tokio_postgres::error::SqlState;

use super::given::{Database, append, config, connect, log, open, request, try_connect};
use crate::given::stream;

const CHANGES: [&str; 8] = [
    "UPDATE diptych.event_rows SET payload = ''",
    "DELETE FROM diptych.event_rows",
    "TRUNCATE diptych.event_rows",
    "UPDATE diptych.log_head SET position = 0",
    "UPDATE diptych.lineage SET first = 7",
    "DELETE FROM diptych.lineage",
    "UPDATE diptych.streams SET version = 7",
    "UPDATE diptych.stream_names SET stream = 7",
];
const INSERT: &str = "INSERT INTO diptych.event_rows SELECT * FROM diptych.event_rows";
const READS: [&str; 3] = ["TABLE diptych.events", "TABLE diptych.log_head", "TABLE diptych.lineage"];

async fn refused(url: &str, statements: &[&str]) {
    let client = connect(url).await;
    for statement in statements {
        let error = client.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {error:?}");
    }
}

async fn allowed(url: &str, statements: &[&str]) {
    let client = connect(url).await;
    for statement in statements {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

async fn with_an_event() -> Database {
    let database = Database::migrated().await;
    append(&database.open().await, vec![request("a", "1").key("k", "body").build()]).await;
    database
}

#[tokio::test]
async fn who_appends_may_write_through_the_function_alone() {
    let database = with_an_event().await;
    let user = database.user(&["append"]).await;
    refused(&user, &CHANGES).await;
    refused(&user, &[INSERT, "INSERT INTO diptych.idempotency SELECT * FROM diptych.idempotency"]).await;
    refused(&user, &["UPDATE diptych.relay SET token = 7", "SELECT diptych.begin_epoch(gen_random_uuid(), 0)"]).await;
    refused(&user, &["SET ROLE postgres", "CREATE TABLE diptych.mine ()", "CREATE TEMPORARY TABLE mine ()"]).await;
    allowed(&user, &READS).await;
    let store = open(&user).await;
    append(&store, vec![request("a", "2").key("l", "body").build()]).await;
    let snapshot = Snapshot {
        stream: stream("a"),
        version: StreamVersion::FIRST,
        state_shape: Hash::default(),
        state: "{}".into(),
    };
    store.save_snapshot(snapshot.clone()).await.expect("a snapshot");
    let load = Load { stream: stream("a"), state_shape: Hash::default() };
    let loaded = store.load(vec![load], ReadLimit::default()).await.expect("a stream").remove(0);
    assert_eq!(loaded.snapshot, Some(snapshot));
    Runtime::tokio().sleep(Duration::from_millis(5)).await;
    assert_eq!(store.expire_idempotency(Duration::ZERO).await.expect("expired"), 2);
}

#[tokio::test]
async fn who_relays_may_move_the_cursor_and_read() {
    let database = with_an_event().await;
    let user = database.user(&["relay"]).await;
    refused(&user, &CHANGES).await;
    refused(&user, &[INSERT, "TABLE diptych.idempotency", "TABLE diptych.snapshots"]).await;
    refused(&user, &["SELECT diptych.recognise(NULL, 0, gen_random_uuid(), 0)"]).await;
    allowed(&user, &READS).await;
    let store = open(&user).await;
    let holder = Runtime::tokio().uuid();
    let lease = store.lease_relay(holder, Duration::from_secs(60)).await.expect("answered").expect("granted");
    assert!(store.store_relay_cursor(lease.token, Position::FIRST).await.expect("stored"));
    assert_eq!(log(&store).await.len(), 1);
    store.append(vec![request("a", "2").build()]).await.expect_err("it may not append");
}

#[tokio::test]
async fn who_handles_may_read_events_head_and_lineage() {
    let database = with_an_event().await;
    let user = database.user(&["handler"]).await;
    refused(&user, &CHANGES).await;
    let others = ["idempotency", "snapshots", "relay", "clock", "streams", "stream_names", "event_rows"];
    for table in others {
        refused(&user, &[&format!("TABLE diptych.{table}")]).await;
    }
    refused(&user, &[INSERT, "SELECT diptych.recognise(NULL, 0, gen_random_uuid(), 0)"]).await;
    allowed(&user, &READS).await;
    let store = open(&user).await;
    assert_eq!(log(&store).await.len(), 1);
    assert_eq!(store.head().await.expect("the head").position, Some(Position::FIRST));
    assert_eq!(store.lineage().await.expect("the lineage").0.len(), 1);
    store.append(vec![request("a", "2").build()]).await.expect_err("it may not append");
    store.idempotency(Hash::default()).await.expect_err("it may not read keys");
}

#[tokio::test]
async fn who_answers_queries_cannot_even_connect() {
    let database = with_an_event().await;
    for roles in [&["query"][..], &[]] {
        let user = database.user(roles).await;
        let error = try_connect(&user).await.expect_err("nobody is let in");
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{error:?}");
        PostgresEventStore::open(config(&user), &Runtime::tokio()).await.expect_err("nobody is let in");
    }
}

#[tokio::test]
async fn the_owner_cannot_change_an_event_either() {
    let database = with_an_event().await;
    let user = database.user(&["migrator"]).await;
    let (owner, superuser) = (connect(&user).await, database.by_hand().await);
    owner.batch_execute(&format!("SET ROLE {}_migrator", database.name)).await.expect("the owner");
    for client in [owner, superuser] {
        for statement in
            CHANGES.iter().filter(|statement| !statement.contains("log_head") && !statement.contains("stream"))
        {
            let error = client.batch_execute(statement).await.expect_err(statement);
            assert_eq!(error.code(), Some(&SqlState::RAISE_EXCEPTION), "{statement}: {error:?}");
        }
    }
    // A migration that is due later takes no more than this.
    PostgresEventStore::migrate(&config(&user)).await.expect("nothing to do");
    open(&user).await.begin_epoch().await.expect("another life");
}

#[tokio::test]
async fn a_log_is_made_by_an_ordinary_user_who_owns_the_database_and_may_make_roles() {
    let database = Database::empty().await;
    let user = database.user(&[]).await;
    let name = user.split(['/', '@']).nth(2).expect("a name");
    let statement = format!("ALTER ROLE {name} CREATEROLE; ALTER DATABASE {} OWNER TO {name}", database.name);
    database.by_hand().await.batch_execute(&statement).await.expect("made owner");
    PostgresEventStore::migrate(&config(&user)).await.expect("a log is made");
    let store = open(&database.user(&["append"]).await).await;
    append(&store, vec![request("a", "1").build()]).await;
    assert_eq!(log(&store).await.len(), 1);
}
