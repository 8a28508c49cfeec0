//! The distributed log: one PostgreSQL database, to which any number of processes append.
//!
//! [ADR 0015](../../../../docs/adr/0015-one-row-orders-the-log.md) says why it is ordered as it is.

mod alone;
mod batch;
mod check;
mod clock;
mod config;
mod connections;
mod copy;
mod copy_columns;
mod driver;
mod epoch;
mod failure;
mod foresight;
mod migrate;
mod reading;
mod row;
mod scan;
mod streams;
mod text;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use model::{Hash, Lineage, Position, StoredEvent, StreamId, StreamVersion};
use runtime::Runtime;
use tokio_postgres::Row;
use uuid::Uuid;

use self::{
    batch::{APPEND, Batch, Moment},
    clock::Clock,
    connections::Connections,
    failure::{Failure, Result},
    foresight::{Foreseen, Known, Sent},
    row::number,
    streams::snapshot_checksum,
};
pub use self::{config::PostgresConfig, copy::PostgresCopy, scan::PostgresLogScan};
use crate::{
    Append, Error, EventStore, Head, IdempotencyRecord, Load, Loaded, Outcome, ReadLimit, RelayLease, Snapshot,
    chain::Prepared, telemetry,
};

/// The log in a PostgreSQL database. Cheap to clone.
///
/// Any number of processes may have it open, each as a user that is a member of the roles for what it does:
/// `<prefix>_append` and `<prefix>_relay` for a Command Service, `<prefix>_handler` for an Event Handler.
#[derive(Clone)]
pub struct PostgresEventStore {
    connections: Arc<Connections>,
    clock: Arc<Clock>,
    config: Arc<PostgresConfig>,
}

impl std::fmt::Debug for PostgresEventStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PostgresEventStore").field("log", &self.connections.log()).finish_non_exhaustive()
    }
}

impl PostgresEventStore {
    /// Makes the log's tables, roles and first epoch in an empty database, or brings an older log to this binary's format.
    /// Does nothing where there is nothing to do. Several may do it at once.
    ///
    /// The first time it takes a user that may make roles and owns the database; later, a member of `<prefix>_migrator`.
    /// Directly on the server, not through a pooler.
    /// # Errors
    /// [`Error::Foreign`], [`Error::FormatTooNew`], [`Error::UnsafeSetting`]: nothing was touched. [`Error::Migrate`]: nothing
    /// of it was kept.
    pub async fn migrate(config: &PostgresConfig) -> std::result::Result<(), Error> {
        let address = config.parse()?;
        migrate::migrate(&address).await.map_err(|failure| match failure {
            Failure::Unconnected(_) => failure.while_connecting(&address.log),
            failure => failure.while_migrating(&address.log),
        })
    }

    /// Opens the log, which has been [migrated](PostgresEventStore::migrate).
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::FormatTooNew`], [`Error::NotMigrated`], [`Error::UnsafeSetting`]: nothing was touched.
    /// [`Error::Connect`]: it cannot be reached. [`Error::Address`].
    pub async fn open(config: PostgresConfig, runtime: &Runtime) -> std::result::Result<Self, Error> {
        let address = config.parse()?;
        let log = address.log.clone();
        let explain = |failure: Failure| failure.while_connecting(&log);
        let connections = Connections::new(address, &config, runtime).map_err(explain)?;
        let store = Self { connections: Arc::new(connections), clock: Arc::default(), config: Arc::new(config) };
        // Once, without patience: whoever starts a process is to hear what is wrong.
        drop(store.connections.for_others().await.map_err(explain)?);
        store.connections.start_clock(&store.clock).await.map_err(explain)?;
        let head = store.connections.read_head().await.map_err(explain)?;
        store.config.metrics.head(Position::count(head.position));
        Ok(store)
    }

    fn check_size(&self, batch: &Prepared) -> std::result::Result<(), Error> {
        let events = batch.events();
        let bytes = batch.appends().flat_map(Append::events).map(|event| event.payload.len()).sum();
        let PostgresConfig { append_events_max: events_max, append_bytes_max: bytes_max, .. } = *self.config;
        if events > events_max || bytes > bytes_max {
            return Err(Error::BatchTooLarge { events, bytes, events_max, bytes_max });
        }
        Ok(())
    }

    async fn append_batch(&self, batch: &Prepared) -> std::result::Result<Vec<Outcome>, Error> {
        self.check_size(batch)?;
        if batch.len() == 0 {
            return Ok(Vec::new());
        }
        let Self { connections, config, .. } = self;
        let began = connections.runtime().now();
        let outcomes = self.send(batch).await?;
        let mut head = None;
        for (outcome, append) in outcomes.iter().zip(batch.appends()) {
            if let Outcome::Committed { head: after, epoch, .. } = outcome {
                connections.seen.lock().note(*epoch, *after);
                head = head.max(*after);
                append.events().iter().for_each(|event| config.metrics.appended(&event.event_type.name, 1));
            }
        }
        if head.is_some() {
            let duration = connections.runtime().now().saturating_sub(began);
            config.metrics.committed(outcomes.len(), duration, Position::count(head));
        }
        Ok(outcomes)
    }

    async fn send(&self, prepared: &Prepared) -> std::result::Result<Vec<Outcome>, Error> {
        let Self { connections, clock, .. } = self;
        let unsent = |failure: Failure| failure.while_writing(connections.log());
        let connection = connections.for_append().await.map_err(unsent)?;
        let statement = async { Ok(connection.prepare_cached(APPEND).await?) };
        let statement = connections.answered(statement).await.map_err(unsent)?;
        let runtime = connections.runtime();
        // Whoever has the connection is alone with this, too.
        let known = connections.memory.lock().take();
        let moment = Moment {
            seen: connections.seen.lock().parameters(),
            fresh_epoch: runtime.uuid(),
            now: known.no_earlier(runtime.wall_clock().as_microsecond()),
            elapsed: clock.claim(runtime.now()),
        };
        let batch = Batch::new(prepared);
        let foreseen = known.foresee(&batch, prepared, moment.now).unwrap_or_default();
        // One statement is one transaction, and all its rows are here only after the server has committed it.
        let parameters = batch.parameters(&moment, &foreseen);
        let unreplicated = connections.unreplicated.count();
        let answer = async { Ok(connection.query(&statement, &parameters).await?) };
        let rows = match connections.answered(answer).await {
            Ok(rows) => rows,
            Err(failure) => {
                if failure.is_of_the_connection() {
                    // Its answer may still come, and is nobody's then.
                    drop(deadpool_postgres::Object::take(connection));
                }
                return Err(failure.while_committing(connections.log()));
            }
        };
        if connections.unreplicated.count() > unreplicated {
            return Err(Failure::Unreplicated.while_committing(connections.log()));
        }
        let sent = Sent { prepared, batch: &batch, now: moment.now };
        // It is committed, whatever cannot be read of the answer.
        self.understand(&rows, &sent, known, foreseen).map_err(|failure| {
            let (log, source) = (connections.log().to_owned(), failure.while_reading(connections.log()).into());
            Error::Commit { log, source }
        })
    }

    fn understand(&self, rows: &[Row], sent: &Sent<'_>, known: Known, mut foreseen: Foreseen) -> Result<Vec<Outcome>> {
        let first = rows.first().ok_or_else(|| Failure::corrupt(0, "an append has no answer"))?;
        let memory = &self.connections.memory;
        let Some(numbers) = batch::foreseen_numbers(first)? else {
            memory.lock().learn(known, batch::end(first)?, None);
            return rows.iter().zip(sent.prepared.appends()).map(|(row, append)| batch::outcome(row, append)).collect();
        };
        foreseen.numbers = numbers;
        let outcomes = foreseen.outcomes();
        memory.lock().learn_foreseen(known, foreseen, sent);
        Ok(outcomes)
    }

    async fn write_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        // Never one ahead of its stream, and never an older one in place of a newer one of the same shape.
        let statement = "INSERT INTO diptych.snapshots AS s (stream, version, checksum, state_shape, state)
            SELECT stream, $4, $5, $6, $7 FROM diptych.streams
            WHERE tenant = $1 AND aggregate = $2 AND id = $3 AND version >= $4
            ON CONFLICT (stream) DO UPDATE SET version = excluded.version, checksum = excluded.checksum,
                state_shape = excluded.state_shape, state = excluded.state
            WHERE excluded.version >= s.version OR excluded.state_shape <> s.state_shape";
        let Snapshot { stream, version, state_shape, state } = snapshot;
        let checksum = snapshot_checksum(*version, &state_shape.0, state);
        let (tenant, aggregate) = (text::store(stream.tenant.as_str()), text::store(&stream.aggregate));
        let (id, version) = (text::store(&stream.id), number(version.get()));
        self.connections
            .write(statement, &[&tenant, &aggregate, &id, &version, &checksum, &&state_shape.0[..], &&state[..]])
            .await?;
        Ok(())
    }

    fn reading(&self) -> impl Fn(Failure) -> Error + '_ {
        |failure| failure.while_reading(self.connections.log())
    }

    fn writing(&self) -> impl Fn(Failure) -> Error + '_ {
        |failure| failure.while_writing(self.connections.log())
    }
}

impl EventStore for PostgresEventStore {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, std::result::Result<Vec<Outcome>, Error>> {
        Box::pin(async move {
            // Digests are made here: the server only chains them.
            let batch = [Prepared::new(batch)];
            let _hops = telemetry::hops(&batch);
            let [prepared] = &batch;
            self.append_batch(prepared).await
        })
    }

    fn read(
        &self,
        after: Option<Position>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, std::result::Result<Vec<Arc<StoredEvent>>, Error>> {
        Box::pin(async move {
            if let Some(events) = self.connections.memory.lock().recent().after(after, limit) {
                return Ok(events);
            }
            self.connections.read_log(after, limit).await.map_err(self.reading())
        })
    }

    fn load(&self, streams: Vec<Load>, limit: ReadLimit) -> BoxFuture<'_, std::result::Result<Vec<Loaded>, Error>> {
        Box::pin(async move { self.connections.load_streams(&streams, limit).await.map_err(self.reading()) })
    }

    fn read_stream(
        &self,
        stream: StreamId,
        after: Option<StreamVersion>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, std::result::Result<Vec<StoredEvent>, Error>> {
        Box::pin(async move { self.connections.read_one_stream(&stream, after, limit).await.map_err(self.reading()) })
    }

    fn head(&self) -> BoxFuture<'_, std::result::Result<Head, Error>> {
        Box::pin(async move { self.connections.read_head().await.map_err(self.reading()) })
    }

    fn lineage(&self) -> BoxFuture<'_, std::result::Result<Lineage, Error>> {
        Box::pin(async move { self.connections.read_lineage().await.map_err(self.reading()) })
    }

    fn idempotency(&self, key: Hash) -> BoxFuture<'_, std::result::Result<Option<IdempotencyRecord>, Error>> {
        Box::pin(async move { self.connections.read_key(key).await.map_err(self.reading()) })
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> BoxFuture<'_, std::result::Result<(), Error>> {
        Box::pin(async move { self.write_snapshot(&snapshot).await.map_err(self.writing()) })
    }

    fn lease_relay(
        &self,
        holder: Uuid,
        ttl: Duration,
    ) -> BoxFuture<'_, std::result::Result<Option<RelayLease>, Error>> {
        Box::pin(async move { self.connections.lease_relay(&self.clock, holder, ttl).await.map_err(self.writing()) })
    }

    fn store_relay_cursor(&self, token: u64, cursor: Position) -> BoxFuture<'_, std::result::Result<bool, Error>> {
        Box::pin(async move { self.connections.store_relay_cursor(token, cursor).await.map_err(self.writing()) })
    }

    fn expire_idempotency(&self, keep: Duration) -> BoxFuture<'_, std::result::Result<u64, Error>> {
        Box::pin(async move { self.connections.expire_idempotency(&self.clock, keep).await.map_err(self.writing()) })
    }

    fn last_recorded_at(&self) -> BoxFuture<'_, std::result::Result<Option<Timestamp>, Error>> {
        Box::pin(async move { self.connections.read_last_recorded_at().await.map_err(self.reading()) })
    }
}
