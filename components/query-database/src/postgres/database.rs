//! The two contracts on top of connections.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::{Lineage, ReadModel, RowKey};
use prometheus_client::registry::Registry;
use runtime::Runtime;
use tracing::Instrument;

use super::{
    config::Role,
    connection::Connections,
    readers::{PostgresReader, inspect},
    schema,
    writer::Writer,
};
use crate::{
    Checkpoint, Commit, CommitOutcome, Error, Forked, Generation, GenerationStatus, HeadSeen, List, ListRead, Owned,
    OwnerToken, PointRead, PostgresConfig, RowReader, RowWriter, Serving,
    telemetry::{OfReadModel, Telemetry, commit_span},
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
