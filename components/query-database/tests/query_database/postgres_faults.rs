//! A PostgreSQL that is killed, connections that are lost, and standbys.

use std::time::Duration;

use cluster::Postgres;
use query_database::{
    CommitOutcome, Error, Generation, HeadSeen, List, Owned, PostgresConfig, PostgresQueryDatabase, PostgresReader,
    RowReader, RowWriter,
};
use runtime::Runtime;

use crate::{
    server::{fresh_database, migrated, migrated_on, open_at, sql},
    support::{commit, key, position, put, sales},
};

/// Asks until the server has come up and answers.
async fn patiently<T>(runtime: &Runtime, mut ask: impl AsyncFnMut() -> Result<T, Error>) -> T {
    for _ in 0..1_000 {
        match ask().await {
            Ok(answer) => return answer,
            Err(Error::NotMigrated { .. }) => {}
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        runtime.sleep(Duration::from_millis(20)).await;
    }
    panic!("it has not answered")
}

/// Commits until the server is gone; the last position that was acknowledged.
async fn commit_until_it_is_gone(database: &PostgresQueryDatabase, owned: &Owned) -> u64 {
    let mut at = owned.position.map_or(0, |position| position.get());
    loop {
        let rows = (0..10).map(|row| put(&format!("{at}-{row}"), "x", Some(row), at + 1)).collect();
        match database.commit(commit(owned, at, at + 1, rows)).await {
            Ok(outcome) => assert_eq!(outcome, CommitOutcome::Stored),
            Err(error) => {
                assert!(matches!(error, Error::Commit { .. } | Error::Write { .. }), "{error:?}");
                return at;
            }
        }
        at += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_amid_commits_comes_back_with_the_rows_of_its_checkpoint() {
    let mut server = Postgres::new().start().expect("started");
    let url = fresh_database(&server).await;
    PostgresQueryDatabase::migrate(&url, &PostgresConfig::default()).await.expect("made ready");
    let (runtime, database) = (Runtime::tokio(), std::sync::Arc::new(open_at(&url).await));
    let (mut owned, mut unknown) = (database.take(sales()).await.expect("taken"), 0);
    for round in 0..6 {
        let committing = {
            let (database, owned) = (database.clone(), owned.clone());
            runtime.spawn("commits", async move { commit_until_it_is_gone(&database, &owned).await })
        };
        runtime.sleep(Duration::from_millis(40 + 37 * round)).await;
        server.kill().expect("killed");
        let acknowledged = committing.await.expect("it ended");
        server.start().expect("started again");
        owned = patiently(&runtime, async || database.take(sales()).await).await;
        let stored = owned.position.map_or(0, |position| position.get());
        // What was on its way may have been stored; what was acknowledged was.
        assert!(stored == acknowledged || stored == acknowledged + 1, "{acknowledged} acknowledged, {stored} stored");
        unknown += stored - acknowledged;
        let sql = sql(&url).await;
        let found =
            sql.query_one("SELECT count(*), max(position) FROM diptych_rows.rows_1", &[]).await.expect("counted");
        let stored = stored.cast_signed();
        assert_eq!((found.get::<_, i64>(0), found.get::<_, Option<i64>>(1).unwrap_or(0)), (10 * stored, stored));
    }
    assert!(owned.position > Some(position(20)), "{owned:?}, {unknown} of them without an answer");
}

#[tokio::test]
async fn reads_go_on_when_all_their_connections_are_lost_at_once() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("stored");
    let admin = sql(&url).await;
    for _ in 0..10 {
        let a = key("a");
        let reads = (0..8).map(|_| database.point("sales", &a));
        for read in futures_util::future::join_all(reads).await {
            assert!(read.expect("read").row.is_some());
        }
        let ended = admin
            .query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
                &[],
            )
            .await;
        assert!(ended.expect("ended").len() >= 8);
        let page = database.list("sales", whole(owned.generation)).await.expect("read").expect("it serves");
        assert_eq!(page.rows.len(), 1);
        assert!(database.rows(owned.generation, vec![key("a")]).await.expect("read")[0].is_some());
    }
}

fn whole(generation: Generation) -> List {
    let (filters, order) = (Vec::new(), Vec::new());
    List { generation, tenant: Default::default(), filters, order, after: None, rows_max: 100 }
}

/// Suspends the server's processes for this database, or lets them go on.
#[allow(clippy::disallowed_methods, reason = "a signal is sent from outside of what the simulator owns")]
async fn signal(admin: &tokio_postgres::Client, signal: &str) {
    let processes = "SELECT pid::text FROM pg_stat_activity \
                     WHERE datname = current_database() AND application_name = 'diptych-query-database'";
    for process in admin.query(processes, &[]).await.expect("asked") {
        let sent = std::process::Command::new("kill").args(["-s", signal, process.get(0)]).status();
        assert!(sent.expect("there is such a program").success());
    }
}

#[tokio::test]
async fn a_server_without_our_roles_is_one_that_was_not_migrated() {
    let server = Postgres::new().start().expect("started");
    let (url, runtime, config) = (server.url("postgres"), Runtime::tokio(), PostgresConfig::default());
    let opened = PostgresQueryDatabase::open(&url, &[], &runtime, &config).await;
    assert!(matches!(&opened, Err(Error::NotMigrated { database }) if database.contains("postgres@")), "{opened:?}");
    let opened = PostgresReader::open(&[&url], &runtime, &config).await;
    assert!(matches!(&opened, Err(Error::NotMigrated { .. })), "{opened:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_waited_for_so_long_and_no_longer() {
    // Its own: a backend that is stopped may hold what those of other databases wait for, too.
    let server = Postgres::new().start().expect("started");
    let url = migrated_on(&server).await;
    let limit = Duration::from_millis(500);
    let config = PostgresConfig {
        statement_duration_max: limit,
        list_duration_max: limit,
        poll_interval: Duration::from_secs(3_600),
        ..PostgresConfig::default()
    };
    let runtime = Runtime::tokio();
    let database = PostgresQueryDatabase::open(&url, &[], &runtime, &config).await.expect("opened");
    let owned = database.take(sales()).await.expect("taken");
    database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("stored");
    assert!(database.point("sales", &key("a")).await.expect("read").row.is_some());
    let admin = sql(&url).await;
    signal(&admin, "STOP").await;
    let began = runtime.now();
    let read = database.point("sales", &key("a")).await;
    assert!(matches!(&read, Err(error @ Error::Read { .. }) if error.is_retryable()), "{read:?}");
    let unknown = database.commit(commit(&owned, 1, 2, vec![put("a", "b", None, 2)])).await;
    assert!(matches!(&unknown, Err(Error::Commit { .. })), "{unknown:?}");
    assert!(runtime.now() - began < Duration::from_secs(8));
    // Others do not wait for those: neither who reads nor who takes over.
    assert!(database.point("sales", &key("a")).await.expect("read").row.is_some());
    let owned = database.take(sales()).await.expect("taken over");
    assert_eq!(owned.position, Some(position(1)));
    signal(&admin, "CONT").await;
    let stored = database.commit(commit(&owned, 1, 2, vec![put("a", "c", None, 2)])).await.expect("answered");
    assert_eq!(stored, CommitOutcome::Stored);
    let body = database.point("sales", &key("a")).await.expect("read").row.expect("the row").body;
    assert_eq!(body, r#"{"name":"c","sold":null}"#);
}

#[tokio::test]
async fn an_address_that_is_silent_is_left_alone_for_a_while() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("stored");
    // It accepts connections and says nothing.
    #[allow(clippy::disallowed_types, reason = "stands for a server that hangs")]
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let silent = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let limit = Duration::from_millis(300);
    let config = PostgresConfig { connect_duration_max: limit, ..PostgresConfig::default() };
    let runtime = Runtime::tokio();
    let reader = PostgresReader::open(&[&silent, &url], &runtime, &config).await.expect("one of them answers");
    let began = runtime.now();
    for _ in 0..40 {
        assert!(reader.point("sales", &key("a")).await.expect("read").row.is_some());
    }
    let took = runtime.now() - began;
    assert!(took >= limit && took < limit * 3, "{took:?}");
}

#[tokio::test]
async fn of_a_commit_whose_connection_is_lost_nobody_says_that_it_was_stored_or_not() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    let admin = sql(&url).await;
    admin.batch_execute("BEGIN; UPDATE diptych_rows.checkpoints SET owner = owner").await.expect("locked");
    let committing = database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)]));
    let ending = async {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while admin.query(end, &[]).await.expect("asked").is_empty() {}
    };
    let (lost, ()) = futures_util::future::join(committing, ending).await;
    assert!(matches!(&lost, Err(error @ Error::Commit { .. }) if error.is_retryable()), "{lost:?}");
    admin.batch_execute("ROLLBACK").await.expect("let go");
    let owned = database.take(sales()).await.expect("taken over again");
    assert_eq!(owned.position, None);
    let stored = database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("answered");
    assert_eq!(stored, CommitOutcome::Stored);
}

#[tokio::test]
async fn a_commit_that_is_given_up_half_way_leaves_no_transaction_behind() {
    let url = migrated().await;
    let database = open_at(&url).await;
    let owned = database.take(sales()).await.expect("taken");
    let admin = sql(&url).await;
    admin.batch_execute("BEGIN; UPDATE diptych_rows.checkpoints SET owner = owner").await.expect("locked");
    let runtime = Runtime::tokio();
    for _ in 0..12 {
        let committing = database.commit(commit(&owned, 0, 1, vec![put("a", "given up", None, 1)]));
        assert!(runtime.timeout(Duration::from_millis(30), committing).await.is_err());
    }
    admin.batch_execute("ROLLBACK").await.expect("let go");
    let stored = database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("answered");
    assert_eq!(stored, CommitOutcome::Stored);
    let body = database.point("sales", &key("a")).await.expect("read").row.expect("the row").body;
    assert_eq!(body, r#"{"name":"a","sold":null}"#);
}

#[tokio::test]
async fn a_server_that_is_away_may_come_back_and_one_that_refuses_will_not() {
    let url = migrated().await;
    let (runtime, config) = (Runtime::tokio(), PostgresConfig::default());
    let open = async |url: &str| PostgresQueryDatabase::open(url, &[], &runtime, &config).await.expect_err("refused");
    let away = open("postgres://postgres@127.0.0.1:1/postgres").await;
    assert!(matches!(away, Error::Unreachable { .. }) && away.is_retryable(), "{away:?}");
    for other in [format!("{url}_none"), url.replace("postgres@", "nobody@")] {
        let refused = open(&other).await;
        assert!(matches!(refused, Error::Open { .. }) && !refused.is_retryable(), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_answers_by_its_own_checkpoint() {
    let server = Postgres::new().setting("fsync", "off").start().expect("started");
    let url = fresh_database(&server).await;
    let config = PostgresConfig::default();
    PostgresQueryDatabase::migrate(&url, &config).await.expect("made ready");
    let mut standby = server.standby().expect("copied");
    let there = standby.url(url.rsplit('/').next().expect("a database"));
    let runtime = Runtime::tokio();
    let reader = patiently(&runtime, async || PostgresReader::open(&[&there], &runtime, &config).await).await;
    let writer = PostgresQueryDatabase::open(&url, &[&there, &url], &runtime, &config).await.expect("opened");
    let owned = writer.take(sales()).await.expect("taken");
    let counted = |at: u64| put("a", &at.to_string(), None, at);
    writer.commit(commit(&owned, 0, 1, vec![counted(1)])).await.expect("stored");

    let reached = async |at: u64| {
        let reaches = async || loop {
            let changed = reader.changed();
            match reader.point("sales", &key("a")).await {
                Ok(read) if read.checkpoint.position == Some(position(at)) => return read.row.expect("the row").body,
                Ok(_) | Err(Error::NotServing { .. }) => changed.await,
                Err(error) => panic!("{error}"),
            }
        };
        let body = runtime.timeout(Duration::from_secs(10), reaches()).await.expect("it follows");
        assert_eq!(body, format!(r#"{{"name":"{at}","sold":null}}"#));
    };
    reached(1).await;
    // It stands still from now on, and says where.
    let admin = sql(&there).await;
    admin.batch_execute("SELECT pg_wal_replay_pause()").await.expect("paused");
    while admin.query_one("SELECT pg_get_wal_replay_pause_state()", &[]).await.expect("asked").get::<_, &str>(0)
        != "paused"
    {}
    let head = HeadSeen { position: Some(position(2)), age: Duration::ZERO };
    let later = query_database::Commit { head, ..commit(&owned, 1, 2, vec![counted(2)]) };
    writer.commit(later).await.expect("stored");
    reached(1).await;
    let page = reader.list("sales", whole(owned.generation)).await.expect("read").expect("it serves");
    assert_eq!(
        (page.rows[0].body.as_ref(), page.checkpoint.position),
        (br#"{"name":"1","sold":null}"#.as_ref(), Some(position(1)))
    );
    // Of two addresses each answers for itself.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let read = writer.point("sales", &key("a")).await.expect("read");
        let at = read.checkpoint.position.expect("a checkpoint");
        assert_eq!(read.row.expect("the row").position, at);
        seen.insert(at.get());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2]);
    admin.batch_execute("SELECT pg_wal_replay_resume()").await.expect("resumed");
    reached(2).await;
    // Without it the other address answers.
    standby.kill().expect("killed");
    for _ in 0..6 {
        assert!(writer.point("sales", &key("a")).await.expect("read").row.is_some());
    }
}
