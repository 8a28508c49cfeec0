//! What only the embedded implementation promises.

use std::fs;

use query_database::{CommitOutcome, Error, RowReader, RowWriter, SqliteConfig, SqliteQueryDatabase};
use runtime::Runtime;

use crate::support::{commit, key, open, position, put, sales};

#[tokio::test]
async fn rows_and_checkpoint_survive_being_closed_and_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(SqliteQueryDatabase::FILE_NAME);
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
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(SqliteQueryDatabase::FILE_NAME);
    drop(open(&path));
    rusqlite::Connection::open(&path).and_then(|file| file.pragma_update(None, "user_version", 99)).expect("raised");
    let refused = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &SqliteConfig::default());
    assert!(matches!(refused, Err(Error::Format { found: 99, .. })), "{refused:?}");
}
