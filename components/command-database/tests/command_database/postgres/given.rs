//! The server that these tests share, and a database of its own for each.
#![allow(clippy::disallowed_methods, reason = "the driver needs a task for its connection")]

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cluster::{Postgres, PostgresServer};
use command_database::{Append, EventStore, Outcome, PostgresConfig, PostgresEventStore, ReadLimit};
use model::{Hash, Position, StoredEvent};
use runtime::Runtime;
use testkit::conformance::event_store::Request;
use tokio_postgres::{Client, NoTls, error::SqlState};

static SERVER: LazyLock<PostgresServer> = LazyLock::new(|| Postgres::new().start().expect("a server"));
static DATABASES: AtomicU64 = AtomicU64::new(0);

pub(crate) fn config(url: &str) -> PostgresConfig {
    PostgresConfig { connections_max: 3, ..PostgresConfig::new(url) }
}

/// A database on the shared server.
pub(crate) struct Database {
    pub(crate) name: String,
    /// The superuser's.
    pub(crate) url: String,
}

impl Database {
    /// With nothing in it.
    pub(crate) async fn empty() -> Self {
        let name = format!("log_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        connect(&SERVER.url("postgres"))
            .await
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .expect("a database");
        let url = SERVER.url(&name);
        Self { name, url }
    }

    /// With a log in it.
    pub(crate) async fn migrated() -> Self {
        let database = Self::empty().await;
        PostgresEventStore::migrate(&config(&database.url)).await.expect("a log is made");
        database
    }

    /// The address of a new user who is a member of the log's roles of these names.
    pub(crate) async fn user(&self, roles: &[&str]) -> String {
        let user = format!("{}_user_{}", self.name, DATABASES.fetch_add(1, Ordering::Relaxed));
        let by_hand = self.by_hand().await;
        by_hand.batch_execute(&format!("CREATE ROLE {user} LOGIN")).await.expect("a user");
        for role in roles {
            by_hand.batch_execute(&format!("GRANT {}_{role} TO {user}", self.name)).await.expect("a membership");
        }
        SERVER.url_as(&user, &self.name)
    }

    /// A store as a process of its own has it.
    pub(crate) async fn open(&self) -> PostgresEventStore {
        open(&self.url).await
    }

    /// The superuser's connection.
    pub(crate) async fn by_hand(&self) -> Client {
        connect(&self.url).await
    }
}

pub(crate) async fn open(url: &str) -> PostgresEventStore {
    PostgresEventStore::open(config(url), &Runtime::tokio()).await.expect("the log opens")
}

/// A connection; a server that has just been started is waited for.
pub(crate) async fn connect(url: &str) -> Client {
    let runtime = Runtime::tokio();
    for _ in 0..600 {
        match try_connect(url).await {
            Err(error) if error.code() == Some(&SqlState::CANNOT_CONNECT_NOW) => {}
            result => return result.expect("a connection"),
        }
        runtime.sleep(Duration::from_millis(50)).await;
    }
    panic!("{url} does not come up");
}

pub(crate) async fn try_connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) fn request(stream: &str, payload: impl Into<String>) -> Request {
    Request::new(&Runtime::tokio(), stream).event(payload.into())
}

pub(crate) async fn append(store: &PostgresEventStore, batch: Vec<Append>) -> Vec<Outcome> {
    store.append(batch).await.expect("an append")
}

/// The whole log, its chain compared.
pub(crate) async fn log(store: &dyn EventStore) -> Vec<StoredEvent> {
    let mut events: Vec<StoredEvent> = Vec::new();
    loop {
        let after = events.last().map(|event| event.position);
        let read = store.read(after, ReadLimit::default()).await.expect("a read");
        if read.is_empty() {
            break;
        }
        events.extend(read.iter().map(|event| StoredEvent::clone(event)));
    }
    let mut previous = (None, Hash::default());
    for event in &events {
        assert_eq!(event.position, Position::after(previous.0), "positions are dense");
        assert!(
            command_database::verify_link(&previous.1, event),
            "the chain goes through position {}",
            event.position
        );
        previous = (Some(event.position), event.hash);
    }
    events
}
