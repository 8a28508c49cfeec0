//! Commits, and whatever else moves or marks a checkpoint: each fenced, each one transaction.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::future::join;
use model::{Lineage, RowKey};
use parking_lot::Mutex;
use runtime::Runtime;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{
    connection::{Connection, Connections},
    reader::{self, corrupt, row},
    schema::{GENERATIONS_LOCK, SCHEMA},
    table::{FIRST_INDEX, Table},
    trouble::Trouble,
    values::{number, read_index},
    write::{ROWS_MAX, finish, writes},
};
use crate::{Commit, CommitOutcome, Error, Generation, HeadSeen, OwnerToken};

/// The primary, and what need not be asked of it twice.
pub(super) struct Writer {
    pub(super) connections: Connections,
    pub(super) runtime: Runtime,
    tables: Mutex<Vec<Arc<Table>>>,
    /// The id of the lineage last stored.
    lineage: Mutex<Option<(Arc<Lineage>, Uuid)>>,
    clock: Mutex<Option<ServerClock>>,
}

/// What the server's clock has shown at least at one moment of the process's own time, and so at each other one.
///
/// When the log was looked at is stored by the server's clock, and must never seem later than it was: whoever asks with a token
/// beyond the head that was seen would be told that the log has not got it. Read when the row is written, the clock would count
/// neither the way there nor the wait for a lock as a part of the look's age.
#[derive(Clone, Copy)]
struct ServerClock {
    /// Microseconds since 1970, when an answer was made.
    shown: i64,
    /// When that answer had come.
    at: Duration,
}

/// Generations that are kept in mind.
const TABLES_MAX: usize = 256;

/// No head is taken to be older: PostgreSQL's times end somewhere.
const AGE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

impl Writer {
    pub(super) fn new(connections: Connections, runtime: &Runtime) -> Self {
        Self {
            connections,
            runtime: runtime.clone(),
            tables: Mutex::default(),
            lineage: Mutex::default(),
            clock: Mutex::default(),
        }
    }

    /// Stores rows and checkpoint, or nothing. Says of which read model, where that is known.
    pub(super) async fn commit(&self, commit: &Commit) -> Result<(CommitOutcome, Option<Arc<str>>), Error> {
        let called_at = self.runtime.now();
        let committed = self
            .connections
            .run(|connection| async move {
                let Some(table) = self.table(&connection, commit.generation).await? else {
                    return Ok((connection, (CommitOutcome::Fenced, None)));
                };
                let lineage = self.lineage(&connection, &commit.lineage).await?;
                let outcome = self.store(&connection, &table, commit, lineage, called_at).await?;
                Ok((connection, (outcome, Some(table.metric.clone()))))
            })
            .await;
        if !matches!(committed, Ok((CommitOutcome::Stored, _))) {
            // What was known of the database may be of another life of it.
            self.forget();
        }
        committed.map_err(|trouble| trouble.committing(&self.connections.database))
    }

    async fn store(
        &self,
        connection: &Connection,
        table: &Table,
        commit: &Commit,
        lineage: Uuid,
        called_at: Duration,
    ) -> Result<CommitOutcome, Trouble> {
        let writes = writes(connection, table, &commit.rows).await?;
        let advance = format!(
            "UPDATE {SCHEMA}.checkpoints SET position = $1, hash = $2, lineage = $3, head = $4, \
             head_seen_at = {SEEN_AT} $5::bigint * interval '1 microsecond' \
             WHERE generation = $6 AND id = $7 AND owner = $8 AND position IS NOT DISTINCT FROM $9 RETURNING {SHOWN}"
        );
        let advance = connection.prepare_cached(&advance).await?;
        let seen_at = self.seen_at(connection, commit.head, called_at).await?;
        let hash: &[u8] = &commit.hash.0;
        let parameters: [&(dyn ToSql + Sync); 9] = [
            &number(commit.to),
            &hash,
            &lineage,
            &commit.head.position.map(number),
            &seen_at,
            &commit.generation.0.cast_signed(),
            &table.id,
            &commit.owner.0.cast_signed(),
            &commit.from.map(number),
        ];
        // First the checkpoint: whoever is fenced has not written a row, and whoever is not holds it until the end.
        let (begun, advanced) =
            join(connection.batch_execute(BEGIN), connection.query_opt(&advance, &parameters)).await;
        begun?;
        let Some(advanced) = advanced? else {
            connection.batch_execute("ROLLBACK").await?;
            return Ok(CommitOutcome::Fenced);
        };
        self.note_clock(advanced.try_get(0)?);
        finish(connection, &writes).await?;
        Ok(CommitOutcome::Stored)
    }

    /// Stores the head as seen for whichever of these owners still own their generation.
    pub(super) async fn refresh_head(
        &self,
        owned: &[(Generation, OwnerToken)],
        lineage: &Arc<Lineage>,
        head: HeadSeen,
    ) -> Result<(), Error> {
        let called_at = self.runtime.now();
        let generations: Vec<i64> = owned.iter().map(|(generation, _)| generation.0.cast_signed()).collect();
        let owners: Vec<i64> = owned.iter().map(|(_, owner)| owner.0.cast_signed()).collect();
        let (generations, owners) = (&generations, &owners);
        let refresh = self.change(|connection| async move {
            let lineage = self.lineage(&connection, lineage).await?;
            // In the order of generations, so that two of these never wait for each other.
            let refresh = format!(
                "WITH theirs AS MATERIALIZED (SELECT c.generation FROM {SCHEMA}.checkpoints AS c \
                 JOIN unnest($4::bigint[], $5::bigint[]) AS o (generation, owner) USING (generation, owner) \
                 ORDER BY c.generation FOR NO KEY UPDATE OF c) \
                 UPDATE {SCHEMA}.checkpoints AS c SET lineage = $1, head = $2, \
                 head_seen_at = {SEEN_AT} $3::bigint * interval '1 microsecond' \
                 FROM theirs WHERE c.generation = theirs.generation RETURNING {SHOWN}"
            );
            let refresh = connection.prepare_cached(&refresh).await?;
            let seen_at = self.seen_at(&connection, head, called_at).await?;
            let position = head.position.map(number);
            let refreshed = connection.query(&refresh, &[&lineage, &position, &seen_at, generations, owners]).await?;
            if let Some(row) = refreshed.last() {
                self.note_clock(row.try_get(0)?);
            }
            Ok((connection, ()))
        });
        refresh.await
    }

    /// Stores why a generation waits.
    pub(super) async fn hold(
        &self,
        generation: Generation,
        owner: OwnerToken,
        reason: Option<String>,
    ) -> Result<CommitOutcome, Error> {
        // It may quote what PostgreSQL's text has no place for.
        let reason = &reason.map(|reason| reason.replace('\0', "\u{fffd}"));
        let held = self.change(|connection| async move {
            let hold = format!("UPDATE {SCHEMA}.checkpoints SET held = $1 WHERE generation = $2 AND owner = $3");
            let hold = connection.prepare_cached(&hold).await?;
            let (generation, owner) = (generation.0.cast_signed(), owner.0.cast_signed());
            let held = connection.execute(&hold, &[reason, &generation, &owner]).await?;
            Ok((connection, held))
        });
        Ok(if held.await? == 1 { CommitOutcome::Stored } else { CommitOutcome::Fenced })
    }

    /// The rows of `keys`, in their order.
    pub(super) async fn rows(
        &self,
        generation: Generation,
        keys: &[RowKey],
    ) -> Result<Vec<Option<bytes::Bytes>>, Error> {
        let read = self.connections.read(|connection| async move {
            let table = self.table(&connection, generation).await?;
            let table = table.ok_or(Error::NoGeneration { generation })?;
            let statement = connection.prepare_cached(&table.rows).await?;
            let mut rows = Vec::with_capacity(keys.len());
            for keys in keys.chunks(ROWS_MAX) {
                let tenants: Vec<&str> = keys.iter().map(|key| key.tenant.as_str()).collect();
                let names: Vec<&str> = keys.iter().map(|key| &*key.key).collect();
                let found = connection.query(&statement, &[&tenants, &names]).await?;
                for (found, key) in found.iter().zip(keys) {
                    rows.push(folded(found, &table, key)?);
                }
            }
            Ok((connection, rows))
        });
        read.await.map_err(|trouble| trouble.reading(&self.connections.database))
    }

    /// Runs a change of one transaction.
    pub(super) async fn change<T, F>(&self, work: impl FnOnce(Connection) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<(Connection, T), Trouble>>,
    {
        let changed = self.connections.run(work).await;
        if changed.is_err() {
            self.forget();
        }
        changed.map_err(|trouble| trouble.committing(&self.connections.database))
    }

    /// The id of a lineage, which is stored where it is not known yet, in a transaction before the one that names it. Should
    /// that fail, a lineage is left that the log has had all the same.
    pub(super) async fn lineage(&self, connection: &Connection, lineage: &Arc<Lineage>) -> Result<Uuid, Trouble> {
        let known = self.lineage.lock().clone();
        if let Some((known, id)) = known
            && (Arc::ptr_eq(&known, lineage) || known == *lineage)
        {
            return Ok(id);
        }
        let epochs = serde_json::to_string(lineage).map_err(|error| Trouble::Unsent(error.into()))?;
        let find = format!("SELECT id FROM {SCHEMA}.lineages WHERE epochs = $1");
        let found = connection.query_opt(&find, &[&epochs]).await?;
        let id = match found {
            Some(found) => found.try_get(0)?,
            None => {
                connection.batch_execute(BEGIN).await?;
                lock_generations(connection).await?;
                // Whoever came first has stored it meanwhile. Numbers follow each other: a lineage remembers those before it.
                let id = self.runtime.uuid();
                let store = format!(
                    "INSERT INTO {SCHEMA}.lineages (id, number, epochs) \
                     SELECT $1, (SELECT coalesce(max(number), 0) + 1 FROM {SCHEMA}.lineages), $2 \
                     WHERE NOT EXISTS (SELECT FROM {SCHEMA}.lineages WHERE epochs = $2)"
                );
                connection.execute(&store, &[&id, &epochs]).await?;
                let id = connection.query_one(&find, &[&epochs]).await?.try_get(0)?;
                connection.batch_execute("COMMIT").await?;
                id
            }
        };
        *self.lineage.lock() = Some((lineage.clone(), id));
        Ok(id)
    }

    /// A generation as it was declared.
    pub(super) async fn table(
        &self,
        connection: &Connection,
        generation: Generation,
    ) -> Result<Option<Arc<Table>>, Trouble> {
        if let Some(known) = self.tables.lock().iter().find(|known| known.generation == generation) {
            return Ok(Some(known.clone()));
        }
        let load = format!("SELECT generation, id, definition FROM {SCHEMA}.generations WHERE generation = $1");
        let load = connection.prepare_cached(&load).await?;
        let Some(found) = connection.query_opt(&load, &[&generation.0.cast_signed()]).await? else { return Ok(None) };
        let table = Arc::new(reader::table(&found)?);
        let mut tables = self.tables.lock();
        if tables.len() == TABLES_MAX {
            tables.clear();
        }
        tables.push(table.clone());
        Ok(Some(table))
    }

    fn forget(&self) {
        self.tables.lock().clear();
        *self.lineage.lock() = None;
        *self.clock.lock() = None;
    }

    /// When a head was seen, in microseconds since 1970 by the server's clock, or a little earlier.
    async fn seen_at(&self, connection: &Connection, head: HeadSeen, called_at: Duration) -> Result<i64, Trouble> {
        let known = *self.clock.lock();
        let clock = match known {
            Some(clock) => clock,
            None => {
                let shown = connection.query_one(&format!("SELECT {SHOWN}"), &[]).await?;
                self.note_clock(shown.try_get(0)?)
            }
        };
        let whole = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        let (called_at, age) = (whole(called_at), whole(head.age.min(AGE_MAX)));
        Ok(clock.shown.saturating_sub(whole(clock.at).saturating_sub(called_at)).saturating_sub(age))
    }

    fn note_clock(&self, shown: i64) -> ServerClock {
        let clock = ServerClock { shown, at: self.runtime.now() };
        *self.clock.lock() = Some(clock);
        clock
    }
}

/// What the server's clock shows, and what a time of it is added to.
const SHOWN: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
const SEEN_AT: &str = "timestamptz 'epoch' +";

/// Whatever the server's or the user's default is: each statement sees what was committed before it, the row that it waited
/// for included.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE";

/// Waits for whoever makes or switches generations, or stores a lineage, until the transaction ends.
pub(super) async fn lock_generations(connection: &Connection) -> Result<(), Trouble> {
    let lock = connection.prepare_cached("SELECT pg_advisory_xact_lock($1)").await?;
    connection.execute(&lock, &[&GENERATIONS_LOCK]).await?;
    Ok(())
}

fn folded(found: &tokio_postgres::Row, table: &Table, key: &RowKey) -> Result<Option<bytes::Bytes>, Trouble> {
    if found.try_get::<_, Option<&str>>(0)?.is_none() {
        return Ok(None);
    }
    let body = row(found, 0, table, key)?.body;
    let sound = read_index(found, FIRST_INDEX, &table.read_model.indexes, found.try_get(1)?)?;
    sound.map(|_| Some(body)).ok_or_else(|| corrupt(table, key))
}

/// Of what the commit itself fails with, nothing says whether it was done.
pub(super) fn committed(ended: Result<(), tokio_postgres::Error>) -> Result<(), Trouble> {
    ended.map_err(|error| Trouble::Lost(error.into()))
}
