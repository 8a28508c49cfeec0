//! The two contracts on top of connections.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::{Lineage, ReadModel, RowKey};
use prometheus_client::registry::Registry;
use runtime::Runtime;
use tokio_postgres::error::SqlState;
use tracing::Instrument;

use super::{
    changes::Changes,
    config::Role,
    connection::Connections,
    reader::Address,
    schema::{self, named},
    trouble::Trouble,
    writer::Writer,
};
use crate::{
    Checkpoint, Commit, CommitOutcome, Error, Forked, Generation, GenerationStatus, HeadSeen, List, ListRead, Owned,
    OwnerToken, PointRead, PostgresConfig, RowReader, RowWriter, Serving,
    telemetry::{OfReadModel, Telemetry, commit_span, read_span},
};

/// Rows and checkpoints in a PostgreSQL, written on its primary and read there or on its standbys.
///
/// Needs PostgreSQL 14 or later, and connections of its own: what its transactions rely on is set when they are opened, so that
/// a pooler between must keep a session's settings.
///
/// # Durability
/// That of the server: with `synchronous_commit=off` a crash loses the last commits, rows together with their checkpoints, and
/// they are folded again.
pub struct PostgresQueryDatabase {
    writer: Arc<Writer>,
    reader: PostgresReader,
    telemetry: Telemetry,
}

/// The reading side alone, of a process that writes nothing. Several addresses take turns; each answers by its own checkpoint,
/// and a standby that lags says so by it.
pub struct PostgresReader {
    addresses: Vec<Arc<Address>>,
    next: AtomicUsize,
    changes: Arc<Changes>,
    runtime: Runtime,
    config: PostgresConfig,
}

/// One that was lost in the middle of a read is asked again, or the next address.
const ATTEMPTS_MAX: usize = 2;

impl PostgresQueryDatabase {
    /// Makes roles and tables in the database at `url`, or brings them up to date: to be called before any process opens it, by
    /// a user who may make roles. It does nothing where there is nothing to do.
    ///
    /// # Errors
    /// [`Error::ForeignDatabase`] and [`Error::DatabaseFormat`] leave the database untouched.
    pub async fn migrate(url: &str, config: &PostgresConfig) -> Result<(), Error> {
        schema::migrate(url, config).await
    }

    /// Opens the database at `url` for writing. Reads go to `read_urls`, or there where none is named.
    ///
    /// # Errors
    /// [`Error::NotMigrated`]; [`Error::Unreachable`] where it does not answer; [`Error::Open`] where it refuses.
    pub async fn open(
        url: &str,
        read_urls: &[&str],
        runtime: &Runtime,
        config: &PostgresConfig,
    ) -> Result<Self, Error> {
        let address = config.connection(url, Role::Handler)?;
        let connections = Connections::new(address, config.writers, config, runtime)?;
        inspect(&connections).await?;
        let urls = if read_urls.is_empty() { &[url] } else { read_urls };
        Ok(Self {
            writer: Arc::new(Writer::new(connections, runtime)),
            reader: PostgresReader::open(urls, runtime, config).await?,
            telemetry: Telemetry::new(),
        })
    }

    /// Adds this box's metrics to `registry`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.telemetry.register_commits(registry);
    }

    fn count(&self, commit: &Commit, name: Option<Arc<str>>, outcome: CommitOutcome) {
        match (outcome, name) {
            (CommitOutcome::Stored, Some(read_model)) => {
                let rows = commit.rows.len() as u64;
                self.telemetry.rows_written.get_or_create(&OfReadModel { read_model }).inc_by(rows);
            }
            (CommitOutcome::Stored, None) => {}
            (CommitOutcome::Fenced, _) => {
                self.telemetry.fenced.inc();
            }
        }
    }

    /// Runs a change and tells whoever waits.
    fn telling<'a, T: Send + 'a>(
        &'a self,
        change: impl Future<Output = Result<T, Error>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(async move {
            let changed = change.await;
            self.reader.changes.tell();
            changed
        })
    }
}

impl PostgresReader {
    /// Opens the database at these addresses for reading, each a primary or a hot standby of it.
    ///
    /// # Errors
    /// [`Error::NotMigrated`]; [`Error::Unreachable`] where none of them answers; [`Error::Open`] where one refuses.
    pub async fn open(urls: &[&str], runtime: &Runtime, config: &PostgresConfig) -> Result<Self, Error> {
        let mut addresses = Vec::with_capacity(urls.len());
        for url in urls {
            let address = config.connection(url, Role::Query)?;
            addresses.push(Arc::new(Address::new(Connections::new(address, config.readers, config, runtime)?)));
        }
        let mut found =
            Err(Error::Setting { setting: "the query database's addresses", reason: "there is none".into() });
        for address in &addresses {
            // One that is down may come back; one that is another's may not be among them.
            match inspect(&address.connections).await {
                Err(error @ Error::Unreachable { .. }) if found.is_err() => found = Err(error),
                Err(Error::Unreachable { .. }) => {}
                other => found = Ok(other?),
            }
        }
        found?;
        let changes = Changes::watch(&addresses, config.poll_interval, runtime);
        Ok(Self { addresses, next: AtomicUsize::new(0), changes, runtime: runtime.clone(), config: config.clone() })
    }

    /// Asks the next address, and another one where that is gone.
    async fn ask<'a, T>(
        &'a self,
        ask: impl Fn(&'a Address) -> BoxFuture<'a, Result<T, Trouble>> + Send,
    ) -> Result<T, Trouble> {
        let mut attempts = 0;
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed) % self.addresses.len();
            let address = &self.addresses[next];
            attempts += 1;
            match ask(address).await {
                Err(trouble) if attempts < ATTEMPTS_MAX && self.may_be_elsewhere(&trouble) => {
                    address.connections.renew();
                }
                answer => return answer,
            }
        }
    }

    fn may_be_elsewhere(&self, trouble: &Trouble) -> bool {
        match trouble {
            Trouble::Lost(_) => true,
            Trouble::Unsent(_) => self.addresses.len() > 1,
            // A standby has undone what was in the way of its primary's changes.
            Trouble::Refused(error) => error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE),
            Trouble::Silent(_) | Trouble::Damaged(_) | Trouble::Known(_) => false,
        }
    }

    fn reading(&self, trouble: Trouble) -> Error {
        let names: Vec<&str> = self.addresses.iter().map(|address| &*address.connections.database).collect();
        trouble.reading(&names.join(", "))
    }

    async fn listed(&self, read_model: &str, list: &List) -> Result<Option<ListRead>, Error> {
        let limit = self.config.list_duration_max;
        let late = || Error::TimeLimit { read_model: read_model.to_owned(), limit };
        let page = self.ask(|address| Box::pin(address.list(read_model, list, limit)));
        match self.runtime.timeout(limit, page).await {
            Err(_) => Err(late()),
            Ok(Err(trouble)) if trouble.code() == Some(&SqlState::QUERY_CANCELED) => Err(late()),
            Ok(page) => page.map_err(|trouble| self.reading(trouble)),
        }
    }
}

impl Drop for PostgresReader {
    fn drop(&mut self) {
        self.changes.close();
    }
}

pub(super) async fn inspect(connections: &Connections) -> Result<(), Error> {
    let inspected = connections
        .read(|connection| async move {
            schema::inspect(&connection).await?;
            Ok((connection, ()))
        })
        .await;
    let database = connections.database.to_string();
    inspected.map_err(|trouble| match named(trouble, &database) {
        Trouble::Unsent(source) | Trouble::Lost(source) => Error::Unreachable { database, source },
        Trouble::Silent(source) => Error::Unreachable { database, source: source.into() },
        Trouble::Refused(source) => Error::Open { database, source: source.into() },
        trouble => trouble.reading(&database),
    })
}

impl RowWriter for PostgresQueryDatabase {
    fn take(&self, read_model: Arc<ReadModel>) -> BoxFuture<'_, Result<Owned, Error>> {
        self.telling(async move { self.writer.take(&read_model).await })
    }

    fn mark_forked(&self, forked: Forked) -> BoxFuture<'_, Result<bool, Error>> {
        self.telling(async move { self.writer.mark_forked(&forked).await })
    }

    fn rows(&self, generation: Generation, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, Error>> {
        Box::pin(async move { self.writer.rows(generation, &keys).await })
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, Error>> {
        let committing = async move {
            let began = self.writer.runtime.now();
            let (outcome, name) = self.writer.commit(&commit).await?;
            let took = self.writer.runtime.now().saturating_sub(began);
            self.telemetry.commit_duration.observe(took.as_secs_f64());
            self.count(&commit, name, outcome);
            Ok(outcome)
        };
        self.telling(committing.instrument(commit_span()))
    }

    fn filled(&self, generation: Generation) {
        let writer = self.writer.clone();
        let counting = async move {
            if let Err(error) = writer.analyze(generation).await {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%generation, %error, cause, "the rows of a generation were not counted; lists may be slower");
            }
        };
        drop(self.writer.runtime.spawn("query-database analyze", counting));
    }

    fn refresh_head(
        &self,
        owned: Vec<(Generation, OwnerToken)>,
        lineage: Arc<Lineage>,
        head: HeadSeen,
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.writer.refresh_head(&owned, &lineage, head).await })
    }

    fn hold(
        &self,
        generation: Generation,
        owner: OwnerToken,
        reason: Option<String>,
    ) -> BoxFuture<'_, Result<CommitOutcome, Error>> {
        self.telling(self.writer.hold(generation, owner, reason))
    }

    fn switch(&self, generation: Generation, owner: OwnerToken) -> BoxFuture<'_, Result<bool, Error>> {
        self.telling(self.writer.switch(generation, owner))
    }

    fn generations(&self) -> BoxFuture<'_, Result<Vec<GenerationStatus>, Error>> {
        Box::pin(self.writer.all())
    }
}

impl RowReader for PostgresReader {
    fn serving(&self, read_model: &str) -> BoxFuture<'_, Result<Serving, Error>> {
        let read_model = read_model.to_owned();
        Box::pin(async move {
            let asked = self.ask(|address| {
                let read_model = read_model.clone();
                Box::pin(async move { address.serving_now(&read_model).await })
            });
            asked.await.map_err(|trouble| self.reading(trouble))
        })
    }

    fn point<'a>(&'a self, read_model: &'a str, key: &'a RowKey) -> BoxFuture<'a, Result<PointRead, Error>> {
        let read = async move {
            let asked = self.ask(|address| Box::pin(address.point(read_model, key)));
            asked.await.map_err(|trouble| self.reading(trouble))
        };
        Box::pin(read.instrument(read_span()))
    }

    fn checkpoint<'a>(&'a self, read_model: &'a str) -> BoxFuture<'a, Result<Checkpoint, Error>> {
        Box::pin(async move {
            let asked = self.ask(|address| Box::pin(address.checkpoint(read_model)));
            asked.await.map_err(|trouble| self.reading(trouble))
        })
    }

    fn list<'a>(&'a self, read_model: &'a str, list: List) -> BoxFuture<'a, Result<Option<ListRead>, Error>> {
        let read = async move { self.listed(read_model, &list).await };
        Box::pin(read.instrument(read_span()))
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        self.changes.changed()
    }
}

impl RowReader for PostgresQueryDatabase {
    fn serving(&self, read_model: &str) -> BoxFuture<'_, Result<Serving, Error>> {
        self.reader.serving(read_model)
    }

    fn point<'a>(&'a self, read_model: &'a str, key: &'a RowKey) -> BoxFuture<'a, Result<PointRead, Error>> {
        self.reader.point(read_model, key)
    }

    fn checkpoint<'a>(&'a self, read_model: &'a str) -> BoxFuture<'a, Result<Checkpoint, Error>> {
        self.reader.checkpoint(read_model)
    }

    fn list<'a>(&'a self, read_model: &'a str, list: List) -> BoxFuture<'a, Result<Option<ListRead>, Error>> {
        self.reader.list(read_model, list)
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        self.reader.changed()
    }
}

impl std::fmt::Debug for PostgresQueryDatabase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let database = &self.writer.connections.database;
        formatter.debug_struct("PostgresQueryDatabase").field("database", database).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PostgresReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(|address| &address.connections.database).collect();
        formatter.debug_struct("PostgresReader").field("addresses", &addresses).finish_non_exhaustive()
    }
}
