//! Commits that come at the same time share a transaction, and nothing else.

use std::sync::Arc;

use futures_util::future::join_all;
use model::{IndexValue, ReadModel, RowChange};
use prometheus_client::{encoding::text, registry::Registry};
use query_database::{CommitOutcome, Owned, RowReader, RowWriter, SqliteQueryDatabase};

use crate::support::{commit, key, open, position, put, sales};

/// A database with three read models that are owned.
async fn three() -> (tempfile::TempDir, SqliteQueryDatabase, Vec<Owned>) {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(&directory.path().join("rows.sqlite3"));
    let mut owned = Vec::new();
    for name in ["sales", "stock", "shops"] {
        let read_model = ReadModel { name: name.to_owned(), ..ReadModel::clone(&sales()) };
        owned.push(database.take(Arc::new(read_model)).await.expect("taken"));
    }
    (directory, database, owned)
}

fn transactions(database: &SqliteQueryDatabase) -> u64 {
    let (mut registry, mut encoded) = (Registry::default(), String::new());
    database.register_metrics(&mut registry);
    text::encode(&mut encoded, &registry).expect("text");
    let count =
        |line: &str| line.strip_prefix("diptych_query_database_commit_duration_seconds_count ")?.trim().parse().ok();
    encoded.lines().find_map(count).expect("the metric")
}

#[tokio::test]
async fn one_that_is_fenced_does_not_disturb_those_it_shares_a_transaction_with() {
    let (_directory, database, owned) = three().await;
    // The second one counts on a checkpoint that is not there.
    let commits = owned
        .iter()
        .zip([0, 3, 0])
        .map(|(owned, from)| database.commit(commit(owned, from, 5, vec![put("a", "tea", Some(1), 5)])));
    let outcomes = join_all(commits.collect::<Vec<_>>()).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("an outcome")).collect();
    assert_eq!(outcomes, [CommitOutcome::Stored, CommitOutcome::Fenced, CommitOutcome::Stored]);
    assert_eq!(transactions(&database), 1);
    for (read_model, reached) in [("sales", Some(5)), ("stock", None), ("shops", Some(5))] {
        let read = database.point(read_model, &key("a")).await.expect("read");
        assert_eq!(read.checkpoint.position, reached.map(position), "{read_model}");
        assert_eq!(read.row.is_some(), reached.is_some(), "{read_model}");
    }
}

#[tokio::test]
async fn one_that_cannot_be_stored_fails_alone() {
    let (_directory, database, owned) = three().await;
    let mut misshapen = put("a", "tea", Some(1), 5);
    if let RowChange::Put { index, .. } = &mut misshapen.change {
        index.push(IndexValue::Null);
    }
    let rows = [put("a", "tea", Some(1), 5), misshapen, put("a", "tea", Some(1), 5)];
    let commits = owned.iter().zip(rows).map(|(owned, row)| database.commit(commit(owned, 0, 5, vec![row])));
    let outcomes = join_all(commits.collect::<Vec<_>>()).await;
    assert!(matches!(outcomes[..], [Ok(CommitOutcome::Stored), Err(_), Ok(CommitOutcome::Stored)]), "{outcomes:?}");
    let read = database.point("stock", &key("a")).await.expect("read");
    assert!(read.row.is_none() && read.checkpoint.position.is_none());
    assert_eq!(database.point("shops", &key("a")).await.expect("read").checkpoint.position, Some(position(5)));
}

#[tokio::test]
async fn many_rows_do_not_make_others_wait_in_their_transaction() {
    let (_directory, database, owned) = three().await;
    let many = |name: &str| (0..100).map(|row| put(&format!("k-{row}"), name, Some(row), 5)).collect::<Vec<_>>();
    let commits = owned.iter().map(|owned| database.commit(commit(owned, 0, 5, many("tea"))));
    for outcome in join_all(commits.collect::<Vec<_>>()).await {
        assert_eq!(outcome.expect("an outcome"), CommitOutcome::Stored);
    }
    assert_eq!(transactions(&database), 3);
}
