//! What a flush, or whatever else writes the file, may not do to those who read and commit meanwhile.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use model::ReadModel;
use query_database::{CommitOutcome, Error, Owned, RowReader, RowWriter, SqliteConfig, SqliteQueryDatabase};
use runtime::Runtime;

use crate::support::{commit, key, position, put, sales};

fn unhurried() -> SqliteConfig {
    SqliteConfig { flush_after: Duration::from_secs(3600), ..SqliteConfig::default() }
}

fn open_with(path: &Path, config: &SqliteConfig) -> Arc<SqliteQueryDatabase> {
    Arc::new(SqliteQueryDatabase::open(path, &Runtime::tokio(), config).expect("the database opens"))
}

fn stock() -> Arc<ReadModel> {
    Arc::new(ReadModel { name: "stock".to_owned(), ..ReadModel::clone(&sales()) })
}

/// Lets no row of this table be written, until [`mend`].
fn hide(path: &Path, table: &str) {
    alter(path, table, "elsewhere");
}

fn mend(path: &Path, table: &str) {
    alter(path, "elsewhere", table);
}

fn alter(path: &Path, from: &str, to: &str) {
    let file = rusqlite::Connection::open(path).expect("opened");
    file.execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}")).expect("renamed");
}

async fn store(database: &SqliteQueryDatabase, owned: &Owned, from: u64) {
    let rows = vec![put("a", &"x".repeat(2_000), Some(1), from + 1)];
    let outcome = database.commit(commit(owned, from, from + 1, rows)).await.expect("answered");
    assert_eq!(outcome, CommitOutcome::Stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_go_on_while_generations_are_switched_and_never_go_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open_with(&directory.path().join("rows"), &unhurried());
    let raised = Arc::new(ReadModel { version: 2, ..ReadModel::clone(&sales()) });
    let (mut one, mut other) =
        (database.take(sales()).await.expect("taken"), database.take(raised).await.expect("taken"));
    store(&database, &one, 0).await;
    store(&database, &other, 0).await;
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = Runtime::tokio();
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (database, stop) = (database.clone(), stop.clone());
        readers.push(runtime.spawn("reader", async move {
            let mut reached = None;
            while !stop.load(Ordering::Relaxed) {
                // The second row is in the file alone, the third nowhere.
                for key in [key("a"), key("b"), key("c")] {
                    let read = database.point("sales", &key).await.expect("read");
                    assert!(read.checkpoint.position >= reached, "{reached:?} to {:?}", read.checkpoint.position);
                    reached = read.checkpoint.position;
                }
                let at = database.checkpoint("sales").await.expect("read").position;
                assert!(at >= reached);
                reached = at;
                runtime::give_way().await;
            }
        }));
    }
    for step in 1..400 {
        store(&database, &one, step).await;
        store(&database, &other, step).await;
        assert!(database.switch(other.generation, other.owner).await.expect("answered"));
        std::mem::swap(&mut one, &mut other);
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("a reader that found nothing wrong");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_takes_over_has_all_that_the_former_owner_was_told_is_stored() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open_with(&directory.path().join("rows"), &unhurried());
    let runtime = Runtime::tokio();
    let mut owned = database.take(sales()).await.expect("taken");
    let mut at = 0;
    for _ in 0..60 {
        let stored = Arc::new(AtomicU64::new(at));
        let former = {
            let (database, stored) = (database.clone(), stored.clone());
            runtime.spawn("former owner", async move {
                loop {
                    let from = stored.load(Ordering::Relaxed);
                    let next = commit(&owned, from, from + 1, vec![put("a", "x", None, from + 1)]);
                    match database.commit(next).await.expect("answered") {
                        CommitOutcome::Stored => stored.store(from + 1, Ordering::Relaxed),
                        CommitOutcome::Fenced => return,
                    }
                }
            })
        };
        while stored.load(Ordering::Relaxed) < at + 20 {
            runtime::give_way().await;
        }
        owned = database.take(sales()).await.expect("taken over");
        former.await.expect("it ends");
        at = stored.load(Ordering::Relaxed);
        assert_eq!(owned.position, Some(position(at)));
        assert_eq!(database.checkpoint("sales").await.expect("read").position, Some(position(at)));
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_written_with_what_came_since_once_it_can_be() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rows");
    let database = open_with(&path, &unhurried());
    let owned = database.take(sales()).await.expect("taken");
    store(&database, &owned, 0).await;
    database.flush().await.expect("written");
    hide(&path, "sales__g1");
    for step in 1..5 {
        store(&database, &owned, step).await;
        database.flush().await.expect_err("there is no table");
        let read = database.point("sales", &key("a")).await.expect("read");
        assert_eq!(read.row.expect("the row").position, position(step + 1));
    }
    mend(&path, "sales__g1");
    database.flush().await.expect("written");
    drop(database);
    let read = open_with(&path, &unhurried()).point("sales", &key("a")).await.expect("read");
    assert_eq!((read.row.expect("the row").position, read.checkpoint.position), (position(5), Some(position(5))));
}

#[tokio::test]
async fn a_read_model_that_cannot_be_written_and_fills_memory_leaves_the_others_alone() {
    // Where one commit is much of the memory the others' go into the file at once, where it is little into memory.
    for memtable_bytes_max in [20_000, 200_000] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rows");
        let database = open_with(&path, &SqliteConfig { memtable_bytes_max, ..unhurried() });
        let sold = database.take(sales()).await.expect("taken");
        let broken = database.take(stock()).await.expect("taken");
        store(&database, &sold, 0).await;
        store(&database, &broken, 0).await;
        hide(&path, "stock__g2");
        let refused = loop {
            let from = database.checkpoint("stock").await.expect("read").position.expect("a position").get();
            let rows = vec![put(&from.to_string(), &"x".repeat(2_000), None, from + 1)];
            if let Err(error) = database.commit(commit(&broken, from, from + 1, rows)).await {
                break error;
            }
            assert!(from < 200, "memory is limited");
        };
        assert!(matches!(refused, Error::Write { .. }), "{refused}");
        for step in 1..20 {
            store(&database, &sold, step).await;
        }
        let held = database.hold(sold.generation, sold.owner, Some("it waits".to_owned())).await.expect("answered");
        assert_eq!(held, CommitOutcome::Stored);
        assert_eq!(database.take(sales()).await.expect("taken over").position, Some(position(20)));
        mend(&path, "stock__g2");
        database.flush().await.expect("written");
    }
}
