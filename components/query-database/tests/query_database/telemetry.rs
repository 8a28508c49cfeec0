//! What operators see.

use query_database::{RowWriter, SqliteQueryDatabase};

use crate::{
    server::{migrated, open_at},
    support::{commit, open, put, sales},
};

#[tokio::test]
async fn commits_rows_and_fenced_owners_are_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = open(&directory.path().join(SqliteQueryDatabase::FILE_NAME));
    let mut registry = prometheus_client::registry::Registry::default();
    database.register_metrics(&mut registry);
    let former = database.take(sales()).await.expect("taken");
    database.commit(commit(&former, 0, 1, vec![put("a", "a", None, 1), put("b", "b", None, 1)])).await.expect("stored");
    database.take(sales()).await.expect("taken over");
    database.commit(commit(&former, 1, 2, vec![put("a", "a", None, 2)])).await.expect("fenced");
    let mut shown = String::new();
    prometheus_client::encoding::text::encode(&mut shown, &registry).expect("text");
    for line in [
        "diptych_query_database_rows_written_total{read_model=\"sales\"} 2",
        "diptych_query_database_fenced_total 1",
        "diptych_query_database_commit_duration_seconds_count 2",
        "diptych_query_database_flush_duration_seconds_count 1",
        "diptych_query_database_rows_flushed_total 2",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is missing in\n{shown}");
    }
}

#[tokio::test]
async fn commits_to_a_server_are_counted_as_those_to_a_file_are() {
    let database = open_at(&migrated().await).await;
    let mut registry = prometheus_client::registry::Registry::default();
    database.register_metrics(&mut registry);
    let former = database.take(sales()).await.expect("taken");
    database.commit(commit(&former, 0, 1, vec![put("a", "a", None, 1), put("b", "b", None, 1)])).await.expect("stored");
    database.take(sales()).await.expect("taken over");
    database.commit(commit(&former, 1, 2, vec![put("a", "a", None, 2)])).await.expect("fenced");
    let mut shown = String::new();
    prometheus_client::encoding::text::encode(&mut shown, &registry).expect("text");
    for line in [
        "diptych_query_database_rows_written_total{read_model=\"sales\"} 2",
        "diptych_query_database_fenced_total 1",
        "diptych_query_database_commit_duration_seconds_count 2",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is missing in\n{shown}");
    }
}
