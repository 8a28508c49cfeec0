//! Indexes are made when a generation is filled, and nothing that needs them goes without.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use model::{IndexValue, ReadModel, Tenant};
use query_database::{
    Comparison, Direction, Error, Filter, Generation, List, Owned, RowReader, RowScan, RowWriter, SqliteConfig,
    SqliteQueryDatabase,
};
use runtime::Runtime;

use crate::support::{commit, key, killed, open, position, put, sales};

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(SqliteQueryDatabase::FILE_NAME);
    (directory, path)
}

fn raised() -> Arc<ReadModel> {
    Arc::new(ReadModel { version: 2, ..ReadModel::clone(&sales()) })
}

/// How many of the generation's two indexes the file has.
fn indexes(path: &Path, generation: Generation) -> i64 {
    let file = rusqlite::Connection::open(path).expect("opened");
    let question = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND sql IS NOT NULL";
    file.query_row(question, [format!("sales__g{generation}")], |row| row.get(0)).expect("counted")
}

fn make(path: &Path, generation: Generation, place: usize) {
    let (table, column) = (format!("sales__g{generation}"), ["i_name", "i_sold"][place]);
    let file = rusqlite::Connection::open(path).expect("opened");
    let statement = format!("CREATE INDEX {table}__{place} ON {table} (tenant, {column}, key)");
    file.execute_batch(&statement).expect("made");
}

/// Ten rows, of which the keys and the names go up and what was sold goes down; then two are written again.
async fn fill(database: &SqliteQueryDatabase, owned: &Owned) {
    let row = |number: i64, at| put(&format!("k{number}"), &format!("n{number}"), Some(10 - number), at);
    let rows = (0..10).map(|number| row(number, 1)).collect();
    database.commit(commit(owned, 0, 1, rows)).await.expect("stored");
    database.flush().await.expect("written");
    database.commit(commit(owned, 1, 2, vec![row(3, 2), row(7, 2)])).await.expect("stored");
    database.flush().await.expect("written");
}

/// The names of those of which less than 5 were sold, the least first.
async fn least_sold(database: &SqliteQueryDatabase, generation: Generation) -> Result<Vec<String>, Error> {
    let filters = vec![Filter { index: 1, comparison: Comparison::Lt(IndexValue::Integer(5)) }];
    let order = vec![(1, Direction::Asc)];
    let list = List { generation, tenant: Tenant::default(), filters, order, after: None, rows_max: 10 };
    let page = database.list("sales", list).await?.expect("it serves");
    let name = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).expect("JSON")["name"].clone();
    Ok(page.rows.iter().map(|row| name(&row.body).as_str().expect("text").to_owned()).collect())
}

const LEAST_SOLD: [&str; 4] = ["n9", "n8", "n7", "n6"];

/// Whether the file is in itself right, each index included.
fn is_sound(path: &Path, owned: &Owned) {
    let file = rusqlite::Connection::open(path).expect("opened");
    let check: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
    assert_eq!(check, "ok");
    let mut rows = 0;
    let scan = RowScan::open(path).expect("opened").rows(owned.generation, &sales(), |row| {
        assert!(row.expect("a row").fits_checksum);
        rows += 1;
    });
    scan.expect("read").expect("a checkpoint");
    assert_eq!(rows, 10);
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        Runtime::tokio().sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come");
}

#[tokio::test]
async fn what_is_filled_gets_its_indexes_once_it_is_said_to_be() {
    let (_directory, path) = directory();
    let database = open(&path);
    let owned = database.take(sales()).await.expect("taken");
    fill(&database, &owned).await;
    assert_eq!(indexes(&path, owned.generation), 0);
    database.filled(owned.generation);
    eventually("indexes", || indexes(&path, owned.generation) == 2).await;
    is_sound(&path, &owned);
    let rows = vec![put("k0", "n0", Some(0), 3)];
    database.commit(commit(&owned, 2, 3, rows)).await.expect("stored");
    assert_eq!(least_sold(&database, owned.generation).await.expect("a page")[0], "n0");
    drop(database);
    is_sound(&path, &owned);
}

#[tokio::test]
async fn a_list_waits_for_the_indexes_of_the_generation_that_it_asks() {
    let (_directory, path) = directory();
    let database = open(&path);
    let owned = database.take(sales()).await.expect("taken");
    fill(&database, &owned).await;
    assert_eq!(least_sold(&database, owned.generation).await.expect("a page"), LEAST_SOLD);
    assert_eq!(indexes(&path, owned.generation), 2);
    is_sound(&path, &owned);
}

#[tokio::test]
async fn a_generation_that_begins_to_answer_has_its_indexes() {
    let (_directory, path) = directory();
    let database = open(&path);
    let old = database.take(sales()).await.expect("taken");
    let new = database.take(raised()).await.expect("made");
    fill(&database, &old).await;
    fill(&database, &new).await;
    assert!(database.switch(new.generation, new.owner).await.expect("answered"));
    assert_eq!((indexes(&path, old.generation), indexes(&path, new.generation)), (0, 2));
    assert_eq!(least_sold(&database, new.generation).await.expect("a page"), LEAST_SOLD);
    is_sound(&path, &new);
}

#[tokio::test]
async fn a_crash_between_any_two_steps_leaves_what_the_next_process_completes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rows");
    let unhurried = SqliteConfig { flush_after: Duration::from_secs(3600), ..SqliteConfig::default() };
    let database = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &unhurried).expect("opened");
    let owned = database.take(sales()).await.expect("taken");
    let mut copies = Vec::new();
    let mut kill = |step: &str| {
        let copy = directory.path().join(format!("copy {step}"));
        killed(&path, &copy);
        copies.push(copy);
    };
    kill("before the first row");
    let rows = (0..10).map(|number| put(&format!("k{number}"), &format!("n{number}"), Some(10 - number), 1));
    let rows: Vec<_> = rows.collect();
    database.commit(commit(&owned, 0, 1, rows.clone())).await.expect("stored");
    kill("before the flush");
    database.flush().await.expect("written");
    kill("before the first index");
    make(&path, owned.generation, 0);
    kill("before the second index");
    make(&path, owned.generation, 1);
    kill("after both");
    for copy in copies {
        let database = open(&copy);
        let found = database.take(sales()).await.expect("taken again");
        let at = found.position.map_or(0, |position| position.get());
        database.commit(commit(&found, at, at + 1, rows.clone())).await.expect("stored");
        database.flush().await.expect("written");
        assert_eq!(least_sold(&database, found.generation).await.expect("a page"), LEAST_SOLD, "{copy:?}");
        assert_eq!(indexes(&copy, found.generation), 2, "{copy:?}");
        drop(database);
        is_sound(&copy, &found);
    }
}

#[tokio::test]
async fn what_becomes_of_a_row_is_the_same_with_none_one_or_all_of_the_indexes() {
    for there in [vec![], vec![0], vec![1], vec![0, 1]] {
        let (_directory, path) = directory();
        let database = open(&path);
        let owned = database.take(sales()).await.expect("taken");
        for place in &there {
            make(&path, owned.generation, *place);
        }
        fill(&database, &owned).await;
        let gone = model::RowWrite { change: model::RowChange::Delete, ..put("k9", "", None, 3) };
        database.commit(commit(&owned, 2, 3, vec![gone])).await.expect("stored");
        database.flush().await.expect("written");
        let back = put("k9", "n9", Some(1), 4);
        database.commit(commit(&owned, 3, 4, vec![back])).await.expect("stored");
        database.flush().await.expect("written");
        let read = database.point("sales", &key("k3")).await.expect("read");
        assert_eq!(read.row.expect("the row").position, position(2));
        assert_eq!(least_sold(&database, owned.generation).await.expect("a page"), LEAST_SOLD, "{there:?}");
        is_sound(&path, &owned);
    }
}

#[tokio::test]
async fn on_a_full_disk_what_has_no_indexes_refuses_lists_and_goes_on_otherwise() {
    let (_directory, path) = directory();
    let config = SqliteConfig { file_bytes_max: Some(120_000), ..SqliteConfig::default() };
    let database = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &config).expect("opened");
    let owned = database.take(sales()).await.expect("taken");
    let mut at = 0;
    loop {
        let rows = (0..20).map(|row| put(&format!("{at}-{row}"), &"x".repeat(60), Some(row), at + 1)).collect();
        database.commit(commit(&owned, at, at + 1, rows)).await.expect("it is in memory");
        if database.flush().await.is_err() {
            break;
        }
        at += 1;
    }
    for _ in 0..2 {
        let refused = least_sold(&database, owned.generation).await;
        assert!(matches!(refused, Err(Error::StorageFull { .. })), "{refused:?}");
        let read = database.point("sales", &key("0-3")).await.expect("reading goes on");
        assert!(read.row.is_some() && read.checkpoint.position == Some(position(at + 1)));
    }
}

#[tokio::test]
async fn a_list_that_has_no_time_to_wait_for_indexes_leaves_them_to_the_next_one() {
    let (_directory, path) = directory();
    let config = SqliteConfig { list_duration_max: Duration::from_millis(20), ..SqliteConfig::default() };
    let database = SqliteQueryDatabase::open(&path, &Runtime::tokio(), &config).expect("opened");
    let owned = database.take(sales()).await.expect("taken");
    let rows = (0..100_000).map(|row| put(&format!("{row}"), "x", Some(row), 1)).collect();
    database.commit(commit(&owned, 0, 1, rows)).await.expect("stored");
    database.flush().await.expect("written");
    let ended = least_sold(&database, owned.generation).await;
    assert!(matches!(ended, Err(Error::TimeLimit { .. })), "{ended:?}");
    eventually("both indexes", || indexes(&path, owned.generation) == 2).await;
}
