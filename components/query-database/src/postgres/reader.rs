//! What is read at one address: a primary or a standby. Nothing here writes, or takes a lock that a standby has not.

use std::sync::Arc;

use bytes::Bytes;
use model::RowKey;
use parking_lot::Mutex;
use tokio_postgres::Row as PgRow;

use super::{
    checkpoint::{self, Lineages, WIDTH},
    connection::{Connection, Connections},
    schema::SCHEMA,
    table::Table,
    trouble::Trouble,
    values,
};
use crate::{Checkpoint, Error, Generation, PointRead, Row, Serving, checksum};

/// One server, and what need not be asked of it twice.
pub(super) struct Address {
    pub(super) connections: Connections,
    pub(super) lineages: Lineages,
    /// By read model: which generation served when last asked. The statement itself says whether it still does.
    serving: Mutex<Vec<Arc<Table>>>,
}

/// A switch can overtake a read; two in a row hardly do.
const ATTEMPTS_MAX: usize = 8;

impl Address {
    pub(super) fn new(connections: Connections) -> Self {
        Self { connections, lineages: Lineages::default(), serving: Mutex::default() }
    }

    /// One row and the checkpoint, in one statement.
    pub(super) async fn point(&self, read_model: &str, key: &RowKey) -> Result<PointRead, Trouble> {
        self.connections
            .run(|connection| async move {
                let read = self.point_on(&connection, read_model, key).await;
                connection.with(read)
            })
            .await
    }

    async fn point_on(&self, connection: &Connection, read_model: &str, key: &RowKey) -> Result<PointRead, Trouble> {
        for _ in 0..ATTEMPTS_MAX {
            let table = self.serving(connection, read_model).await?;
            if let Some(read) = self.point_of(connection, &table, key).await? {
                return Ok(read);
            }
            self.forget(&table);
        }
        Err(not_serving(read_model))
    }

    async fn point_of(
        &self,
        connection: &Connection,
        table: &Table,
        key: &RowKey,
    ) -> Result<Option<PointRead>, Trouble> {
        let statement = connection.prepare_cached(&table.point).await?;
        let generation = table.generation.0.cast_signed();
        let found =
            connection.query_opt(&statement, &[&generation, &table.id, &key.tenant.as_str(), &&*key.key]).await?;
        let Some(found) = found else { return Ok(None) };
        let Some(checkpoint) = checkpoint::read(connection, &self.lineages, &found, table.generation).await? else {
            return Ok(None);
        };
        let row = match found.try_get::<_, Option<&str>>(WIDTH)? {
            None => None,
            Some(_) => Some(row(&found, WIDTH, table, key)?),
        };
        Ok(Some(PointRead { row, checkpoint }))
    }

    /// The checkpoint of the generation that serves.
    pub(super) async fn checkpoint(&self, read_model: &str) -> Result<Checkpoint, Trouble> {
        self.connections
            .run(|connection| async move {
                let checkpoint = self.checkpoint_on(&connection, read_model).await;
                connection.with(checkpoint)
            })
            .await
    }

    async fn checkpoint_on(&self, connection: &Connection, read_model: &str) -> Result<Checkpoint, Trouble> {
        let statement = connection.prepare_cached(serving_checkpoint()).await?;
        let found = connection.query_opt(&statement, &[&read_model]).await?;
        let found = found.ok_or_else(|| not_serving(read_model))?;
        let generation = Generation(found.try_get::<_, i64>(WIDTH)?.cast_unsigned());
        let checkpoint = checkpoint::read(connection, &self.lineages, &found, generation).await?;
        checkpoint.ok_or_else(|| not_serving(read_model))
    }

    /// The generation that serves now.
    pub(super) async fn serving_now(&self, read_model: &str) -> Result<Serving, Trouble> {
        self.serving.lock().retain(|known| known.read_model.name != read_model);
        self.connections
            .run(|connection| async move {
                let table = self.serving(&connection, read_model).await;
                let serving =
                    |table: Arc<Table>| Serving { generation: table.generation, read_model: table.read_model.clone() };
                connection.with(table.map(serving))
            })
            .await
    }

    /// The generation that served when last asked.
    pub(super) async fn serving(&self, connection: &Connection, read_model: &str) -> Result<Arc<Table>, Trouble> {
        if let Some(known) = self.serving.lock().iter().find(|known| known.read_model.name == read_model) {
            return Ok(known.clone());
        }
        let serving = format!(
            "SELECT g.generation, g.id, g.definition FROM {SCHEMA}.checkpoints AS c \
             JOIN {SCHEMA}.generations AS g USING (generation) WHERE c.read_model = $1 AND c.serving"
        );
        let serving = connection.prepare_cached(&serving).await?;
        let found = connection.query_opt(&serving, &[&read_model]).await?;
        let table = Arc::new(table(&found.ok_or_else(|| not_serving(read_model))?)?);
        let mut known = self.serving.lock();
        known.retain(|known| known.read_model.name != read_model);
        known.push(table.clone());
        Ok(table)
    }

    pub(super) fn forget(&self, table: &Table) {
        self.serving.lock().retain(|known| known.id != table.id);
    }

    /// Changes whenever a checkpoint does. The head as seen is left out: nobody waits for that.
    pub(super) async fn fingerprint(&self) -> Result<String, Trouble> {
        self.connections
            .run(|connection| async move {
                let all = format!(
                    "SELECT md5(coalesce(string_agg(concat_ws(' ', generation, id, serving, coalesce(position, 0), lineage, \
                     forked, held), ',' ORDER BY generation), '')) FROM {SCHEMA}.checkpoints"
                );
                let all = connection.prepare_cached(&all).await?;
                let fingerprint = connection.query_one(&all, &[]).await?.try_get(0)?;
                Ok((connection, fingerprint))
            })
            .await
    }
}

/// The checkpoint of the generation that serves `$1`, with its number and id after it.
pub(super) fn serving_checkpoint() -> &'static str {
    static STATEMENT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let columns = checkpoint::COLUMNS;
        format!(
            "SELECT {columns}, c.generation, c.id FROM {SCHEMA}.checkpoints AS c WHERE c.read_model = $1 AND c.serving"
        )
    });
    &STATEMENT
}

pub(super) fn not_serving(read_model: &str) -> Trouble {
    Error::NotServing { read_model: read_model.to_owned() }.into()
}

/// A generation of which number, id and declaration were read.
pub(super) fn table(row: &PgRow) -> Result<Table, Trouble> {
    let generation = Generation(row.try_get::<_, i64>(0)?.cast_unsigned());
    let read_model = serde_json::from_str(row.try_get(2)?);
    let read_model = read_model.map_err(|error: serde_json::Error| Trouble::Damaged(error.into()))?;
    Ok(Table::new(generation, row.try_get(1)?, Arc::new(read_model)))
}

/// Body, checksum and position of a row as a statement gives them, from column `first` on.
pub(super) fn row(found: &PgRow, first: usize, table: &Table, key: &RowKey) -> Result<Row, Trouble> {
    let body: &str = found.try_get(first)?;
    let stored = found.try_get(first + 1)?;
    let position = values::position(found.try_get(first + 2)?).ok_or_else(|| corrupt(table, key))?;
    let sound = checksum::fits_body(stored, key.tenant.as_str(), &key.key, position, body.as_bytes());
    let row = sound.then(|| Row { body: Bytes::copy_from_slice(body.as_bytes()), position });
    row.ok_or_else(|| corrupt(table, key))
}

pub(super) fn corrupt(table: &Table, key: &RowKey) -> Trouble {
    Error::Corrupt { read_model: table.read_model.name.clone(), key: key.key.to_string() }.into()
}
