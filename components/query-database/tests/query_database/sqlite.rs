//! What only the embedded implementation promises.

use std::{fs, sync::Arc, time::Duration};

use futures_util::FutureExt;
use model::{IndexValue, ReadModel, RowChange};
use query_database::{
    CommitOutcome, Comparison, Direction, Error, Filter, List, RowReader, RowScan, RowWriter, SqliteConfig,
    SqliteQueryDatabase,
};
use runtime::Runtime;

use crate::support::{commit, key, open, position, put, sales};

fn directory() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(SqliteQueryDatabase::FILE_NAME);
    (directory, path)
}

#[tokio::test]
async fn nothing_is_lost_when_it_is_closed_in_order() {
    let (_directory, path) = directory();
    {
        let database = open(&path);
        let owned = database.take(sales()).await.expect("taken");
        let rows = vec![put("a", "Ä", Some(3), 1), put("b", "z", None, 2)];
        let stored = database.commit(commit(&owned, 0, 2, rows)).await.expect("stored");
        assert_eq!(stored, CommitOutcome::Stored);
    }
    let database = open(&path);
    let read = database.point("sales", &key("a")).await.expect("read");
    assert_eq!(read.row.expect("the row").body, r#"{"name":"Ä","sold":3}"#);
    assert_eq!(read.checkpoint.position, Some(position(2)));
    let owned = database.take(sales()).await.expect("taken again");
    assert_eq!(owned.position, Some(position(2)));
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused_and_stays_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let sqlite_of_others = directory.path().join("others.sqlite3");
    let connection = rusqlite::Connection::open(&sqlite_of_others).expect("a database");
    connection.execute_batch("CREATE TABLE theirs (column)").expect("a table");
    drop(connection);
    let no_sqlite = directory.path().join("notes.txt");
    fs::write(&no_sqlite, "nothing but notes").expect("a file");
    for path in [sqlite_of_others, no_sqlite] {
        let before = fs::read(&path).expect("the file");
        let refused = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &SqliteConfig::default());
        assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
        assert_eq!(fs::read(&path).expect("the file"), before);
    }
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 2, "no file was made beside them");
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_refused() {
    let (_directory, path) = directory();
    drop(open(&path));
    rusqlite::Connection::open(&path).and_then(|file| file.pragma_update(None, "user_version", 99)).expect("raised");
    let refused = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &SqliteConfig::default());
    assert!(matches!(refused, Err(Error::Format { found: 99, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_file_of_the_first_builds_gets_what_it_lacks_and_they_can_still_use_it() {
    let (_directory, path) = directory();
    let owned = open(&path).take(sales()).await.expect("taken");
    let old = rusqlite::Connection::open(&path).expect("opened");
    old.execute_batch("ALTER TABLE diptych_checkpoints DROP COLUMN forked").expect("as they made it");
    let scanned = RowScan::open(&path).expect("opened").rows(owned.generation, &sales(), |_| {});
    assert!(!scanned.expect("read").expect("a checkpoint").forked);

    let database = open(&path);
    assert_eq!(database.take(sales()).await.expect("taken again").generation, owned.generation);
    assert!(database.checkpoint("sales").await.expect("read").forked.is_none());
    let insert = "INSERT INTO diptych_generations VALUES (99, 'others', 1, zeroblob(32), '{}');
         INSERT INTO diptych_checkpoints (generation, serving, head_seen_at, clock, owner, hash, read_model)
         VALUES (99, 0, 0, 0, 0, zeroblob(32), 'others')";
    old.execute_batch(insert).expect("as they write it");
}

#[tokio::test]
async fn a_file_with_broken_pages_is_called_damaged_and_not_retried() {
    let (_directory, path) = directory();
    drop(open(&path));
    let mut bytes = fs::read(&path).expect("the file");
    bytes[100..4096].fill(0xa5);
    fs::write(&path, bytes).expect("written");
    let error = match SqliteQueryDatabase::open(&path, &Runtime::tokio(), &SqliteConfig::default()) {
        Err(error) => error,
        Ok(database) => database.take(sales()).await.expect_err("its first page is broken"),
    };
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_commit_without_space_stores_nothing_and_the_next_one_that_fits_is_stored() {
    let (_directory, path) = directory();
    let config = SqliteConfig { file_bytes_max: Some(400_000), ..SqliteConfig::default() };
    let database = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &config).expect("opened");
    let owned = database.take(sales()).await.expect("taken");
    let rows = |count: u64| (0..count).map(|row| put(&format!("{row}"), &"x".repeat(4_000), None, 1)).collect();
    for _ in 0..3 {
        let refused = database.commit(commit(&owned, 0, 1, rows(200))).await;
        assert!(matches!(refused, Err(Error::StorageFull { .. })), "{refused:?}");
        let read = database.point("sales", &key("0")).await.expect("reading goes on");
        assert_eq!((read.row, read.checkpoint.position), (None, None));
    }
    assert_eq!(database.commit(commit(&owned, 0, 1, rows(10))).await.expect("stored"), CommitOutcome::Stored);
    assert!(database.point("sales", &key("9")).await.expect("read").row.is_some());
}

#[tokio::test]
async fn a_commit_that_fails_half_way_stores_nothing() {
    let (_directory, path) = directory();
    let database = open(&path);
    let owned = database.take(sales()).await.expect("taken");
    let mut wrong = put("b", "b", None, 1);
    let index = vec![IndexValue::Integer(1), IndexValue::Text("not a number".to_owned())];
    wrong.change = RowChange::Put { body: "{}".to_owned(), index };
    let failed = database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1), wrong])).await;
    assert!(matches!(failed, Err(Error::Write { .. })), "{failed:?}");
    let read = database.point("sales", &key("a")).await.expect("read");
    assert_eq!((read.row, read.checkpoint.position), (None, None));
    let stored = database.commit(commit(&owned, 0, 1, vec![put("a", "a", None, 1)])).await.expect("stored");
    assert_eq!(stored, CommitOutcome::Stored);
}

#[tokio::test]
async fn a_commit_wakes_the_readers_that_asked_before_it() {
    let (_directory, path) = directory();
    let database = open(&path);
    let owned = database.take(sales()).await.expect("taken");
    let changed = database.changed();
    database.commit(commit(&owned, 0, 1, Vec::new())).await.expect("stored");
    let asked_after = database.changed();
    assert!(changed.now_or_never().is_some());
    assert!(asked_after.now_or_never().is_none(), "nothing has changed since");
}

#[tokio::test]
async fn names_that_would_clash_are_refused() {
    let (_directory, path) = directory();
    let database = open(&path);
    for name in ["", "diptych_generations", "sqlite_master", "sales__g1", "a-b", "Sales", "a\"; DROP TABLE x; --"] {
        let refused = database.take(Arc::new(ReadModel { name: name.to_owned(), ..(*sales()).clone() })).await;
        assert!(matches!(refused, Err(Error::ReadModel { .. })), "{name:?}: {refused:?}");
    }
    assert!(database.generations().await.expect("read").is_empty());
}

#[tokio::test]
async fn the_view_shows_the_fields_of_the_serving_generation() {
    let (_directory, path) = directory();
    let database = open(&path);
    let old = database.take(sales()).await.expect("taken");
    database.commit(commit(&old, 0, 1, vec![put("a", "it's", Some(3), 1)])).await.expect("stored");
    let shown = |path: &std::path::Path| -> (String, String, Option<i64>) {
        let file = rusqlite::Connection::open(path).expect("opened");
        file.query_row("SELECT _key, name, sold FROM sales", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .expect("a row")
    };
    assert_eq!(shown(&path), ("a".to_owned(), "it's".to_owned(), Some(3)));
    let raised = Arc::new(ReadModel { version: 2, ..(*sales()).clone() });
    let new = database.take(raised).await.expect("made");
    database.commit(commit(&new, 0, 1, vec![put("b", "new", None, 1)])).await.expect("stored");
    assert!(database.switch(new.generation, new.owner).await.expect("answered"));
    assert_eq!(shown(&path), ("b".to_owned(), "new".to_owned(), None));
}

#[tokio::test]
async fn a_list_that_takes_too_long_is_ended_and_the_next_one_is_not() {
    let (_directory, path) = directory();
    let config =
        SqliteConfig { list_duration_max: Duration::from_millis(20), list_workers: 1, ..SqliteConfig::default() };
    let database = open(&path);
    let owned = database.take(sales()).await.expect("taken");
    let rows = (0..100_000).map(|row| put(&format!("{row}"), "x", Some(row % 7), 1)).collect();
    database.commit(commit(&owned, 0, 1, rows)).await.expect("stored");
    // Its indexes are made before it may answer.
    assert!(database.switch(owned.generation, owned.owner).await.expect("answered"));
    drop(database);
    let database = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &config).expect("opened");
    let list = |order, rows_max| List {
        generation: owned.generation,
        tenant: Default::default(),
        filters: vec![Filter { index: 1, comparison: Comparison::Neq(IndexValue::Integer(8)) }],
        order,
        after: None,
        rows_max,
    };
    let costly = list(vec![(0, Direction::Desc), (1, Direction::Asc)], 100_000);
    let ended = database.list("sales", costly).await;
    assert!(matches!(ended, Err(Error::TimeLimit { .. })), "{:?}", ended.map(drop));
    let quick = database.list("sales", list(vec![], 2)).await.expect("a page").expect("it serves");
    assert_eq!(quick.rows.len(), 2);
}

#[tokio::test]
async fn a_list_by_fields_that_are_no_indexes_is_refused() {
    let (_directory, path) = directory();
    let database = open(&path);
    let owned = database.take(sales()).await.expect("taken");
    let list = List {
        generation: owned.generation,
        tenant: Default::default(),
        filters: Vec::new(),
        order: vec![(2, Direction::Asc)],
        after: None,
        rows_max: 1,
    };
    let refused = database.list("sales", list).await;
    assert!(matches!(refused, Err(Error::List { .. })), "{:?}", refused.map(drop));
}

#[tokio::test]
async fn the_wal_starts_over_while_commits_and_reads_go_on() {
    let (_directory, path) = directory();
    let database = open(&path);
    let owned = database.take(sales()).await.expect("taken");
    for from in 0..200 {
        let row =
            |row: u64| put(&format!("{}", (from * 200 + row) * 7919 % 20_011), &"x".repeat(200), Some(1), from + 1);
        let rows = (0..200).map(row).collect();
        database.commit(commit(&owned, from, from + 1, rows)).await.expect("stored");
        // A reader keeps its snapshot for a while, and must not hold up the WAL with it.
        let read = database.point("sales", &key("0")).await.expect("read");
        assert_eq!(read.checkpoint.position, Some(position(from + 1)));
    }
    let wal = fs::metadata(path.with_extension("sqlite3-wal")).expect("the WAL").len();
    assert!(wal < 150 << 20, "the WAL has {wal} bytes");
    assert_eq!(database.checkpoint("sales").await.expect("read").position, Some(position(200)));
}
