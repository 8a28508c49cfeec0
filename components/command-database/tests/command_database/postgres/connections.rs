//! Connections that are lost, and how many there may be.

use std::time::Duration;

use cluster::Postgres;
use command_database::{Error, EventStore, Outcome, PostgresConfig, PostgresEventStore, ReadLimit};
use futures_util::future::{join, join_all};
use runtime::Runtime;
use tokio_postgres::Client;

use super::given::{Database, append, config, connect, log, open, request};

/// How many connections of stores there are.
async fn count(by_hand: &Client) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'diptych-command-database'";
    by_hand.query_one(count, &[]).await.expect("counted").get(0)
}

/// Ends them all, those that wait for a lock or only those that do not.
async fn end(by_hand: &Client, condition: &str) -> i64 {
    let end = format!(
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    );
    by_hand.query_one(&end, &[]).await.expect("ended").get(0)
}

/// Until an append waits for the head.
async fn until_one_waits(by_hand: &Client) {
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while by_hand.query_one(waits, &[]).await.expect("counted").get::<_, i64>(0) == 0 {
        Runtime::tokio().sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_has_no_more_connections_than_it_may() {
    let database = Database::migrated().await;
    let config = PostgresConfig { connections_max: 3, ..config(&database.url) };
    let store = PostgresEventStore::open(config, &Runtime::tokio()).await.expect("the log opens");
    let by_hand = database.by_hand().await;
    let reads = join_all((0..200).map(|_| store.read(None, ReadLimit::default())));
    let appends = join_all((0..40).map(|number| append(&store, vec![request("a", number.to_string()).build()])));
    let counts = async {
        let mut most = 0;
        for _ in 0..20 {
            most = count(&by_hand).await.max(most);
            Runtime::tokio().sleep(Duration::from_millis(5)).await;
        }
        most
    };
    let ((reads, _), most) = join(join(reads, appends), counts).await;
    assert!(reads.iter().all(Result::is_ok));
    assert!((1..=3).contains(&most), "{most} connections");
    assert_eq!(log(&store).await.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_connection_ends_before_the_answer_is_unknown_and_its_key_tells() {
    let database = Database::migrated().await;
    let (store, by_hand, holder) = (database.open().await, database.by_hand().await, database.by_hand().await);
    append(&store, vec![request("a", "1").build()]).await;
    holder.batch_execute("BEGIN; SELECT * FROM diptych.log_head FOR UPDATE").await.expect("held");
    let again = || vec![request("a", "2").key("k", "body").build()];
    let cut = async {
        until_one_waits(&by_hand).await;
        end(&by_hand, "wait_event_type = 'Lock'").await
    };
    let (answer, ended) = join(store.append(again()), cut).await;
    assert_eq!(ended, 1);
    let error = answer.expect_err("it is cut off");
    assert!(matches!(error, Error::Commit { .. }) && !error.is_retryable(), "{error}");
    holder.batch_execute("ROLLBACK").await.expect("let go");
    let outcome = append(&store, again()).await.remove(0);
    assert!(matches!(outcome, Outcome::Committed { .. }), "this time it was not committed: {outcome:?}");
    assert_eq!(log(&store).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_were_lost_while_nobody_used_them_are_not_noticed() {
    let database = Database::migrated().await;
    let (store, by_hand) = (database.open().await, database.by_hand().await);
    for number in 0..5 {
        append(&store, vec![request("a", number.to_string()).build()]).await;
        store.head().await.expect("the head");
        assert!(end(&by_hand, "state = 'idle'").await >= 2);
        store.read(None, ReadLimit::default()).await.expect("a read");
        store.lineage().await.expect("the lineage");
    }
    assert_eq!(log(&store).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_nobody_waits_for_any_more_does_no_harm() {
    let database = Database::migrated().await;
    let (store, by_hand, holder) = (database.open().await, database.by_hand().await, database.by_hand().await);
    append(&store, vec![request("a", "1").build()]).await;
    holder.batch_execute("BEGIN; SELECT * FROM diptych.log_head FOR UPDATE").await.expect("held");
    let forgotten = store.append(vec![request("a", "2").build()]);
    futures_util::future::select(forgotten, Box::pin(until_one_waits(&by_hand))).await;
    holder.batch_execute("ROLLBACK").await.expect("let go");
    let outcomes = append(&store, vec![request("a", "3").build(), request("b", "1").build()]).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed { .. })), "{outcomes:?}");
    assert_eq!(log(&store).await.len(), 4, "it was sent, and so it was appended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_replication_nobody_waits_for_is_unknown() {
    let server = Postgres::new().start().expect("a server");
    connect(&server.url("postgres")).await.batch_execute("CREATE DATABASE log").await.expect("a database");
    let url = server.url("log");
    PostgresEventStore::migrate(&config(&url)).await.expect("a log is made");
    let (by_hand, store) = (connect(&url).await, open(&url).await);
    append(&store, vec![request("a", "1").build()]).await;
    // A standby that is not there.
    by_hand.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.expect("set");
    by_hand.batch_execute("SELECT pg_reload_conf()").await.expect("read again");
    let give_up = async {
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while by_hand.query_one(cancel, &[]).await.expect("asked").get::<_, i64>(0) == 0 {
            Runtime::tokio().sleep(Duration::from_millis(10)).await;
        }
    };
    let mut again = Vec::new();
    // Until the session has read the configuration again, it waits for nobody.
    let appending = async {
        loop {
            let append = request("a", "2").key(&format!("key-{}", again.len()), "body").build();
            again.push(append.clone());
            if let Err(error) = store.append(vec![append]).await {
                return error;
            }
        }
    };
    let (error, ()) = join(appending, give_up).await;
    assert!(matches!(error, Error::Commit { .. }), "{error}");
    by_hand.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.expect("set");
    by_hand.batch_execute("SELECT pg_reload_conf()").await.expect("read again");
    assert_eq!(log(&store).await.len(), again.len() + 1, "here it is durable");
}
