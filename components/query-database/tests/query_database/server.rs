//! Databases on a real PostgreSQL.

use std::{
    process::id,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use cluster::{Postgres, PostgresServer};
use query_database::{PostgresConfig, PostgresQueryDatabase};
use runtime::Runtime;
use tokio_postgres::{Client, NoTls};

/// One for all tests that leave it running.
pub(crate) static SERVER: LazyLock<PostgresServer> =
    LazyLock::new(|| Postgres::new().setting("fsync", "off").start().expect("PostgreSQL starts"));

/// A database that nobody else has; its address as the superuser.
pub(crate) async fn fresh_database(server: &PostgresServer) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", id(), COUNT.fetch_add(1, Ordering::Relaxed));
    sql(&server.url("postgres")).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("made");
    server.url(&name)
}

/// A connection behind the query database's back.
#[allow(clippy::disallowed_methods, reason = "the driver's connection has to run somewhere")]
pub(crate) async fn sql(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connected");
    tokio::spawn(connection);
    client
}

pub(crate) async fn open_at(url: &str) -> PostgresQueryDatabase {
    open_with(url, &PostgresConfig::default()).await
}

pub(crate) async fn open_with(url: &str, config: &PostgresConfig) -> PostgresQueryDatabase {
    PostgresQueryDatabase::open(url, &[], &Runtime::tokio(), config).await.expect("opened")
}

/// A fresh database that is ready to be opened.
pub(crate) async fn migrated() -> String {
    migrated_on(&SERVER).await
}

/// The same, on a server of one's own.
pub(crate) async fn migrated_on(server: &PostgresServer) -> String {
    let url = fresh_database(server).await;
    PostgresQueryDatabase::migrate(&url, &PostgresConfig::default()).await.expect("made ready");
    url
}
