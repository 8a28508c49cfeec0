//! Reads rows and checkpoints for whoever verifies them: past damage, which is told in its place, and without writing.

use futures_util::future::join;
use model::{Hash, ReadModel, RowKey, Tenant};
use runtime::Runtime;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{
    config::Role,
    connection::{Connection, Connections},
    readers::inspect,
    schema::SCHEMA,
    table::{FIRST_INDEX, Table},
    trouble::Trouble,
    values,
};
use crate::{
    Error, Generation, PostgresConfig, ScannedCheckpoint, ScannedGeneration, ScannedRow,
    checksum::checksum as checksum_of,
};

/// A query database that is read only, on its primary or on a standby, beside its writers or without one.
///
/// Unlike [`RowReader`](crate::RowReader) it trusts nothing, and gives numbers as they are stored. A generation is read in slices
/// of its keys, each a snapshot of its own with its own checkpoint, so that none keeps the server from cleaning up for long.
pub struct PostgresScan {
    connections: Connections,
}

/// What one snapshot of some rows said besides.
#[derive(Clone, Debug)]
pub struct ScannedSlice {
    /// How far the rows of this slice are said to be folded.
    pub checkpoint: ScannedCheckpoint,
    /// After which row the next slice begins; `None` where there is none.
    pub last: Option<RowKey>,
}

impl PostgresScan {
    /// Opens the query database at `url`, which is left as it is.
    ///
    /// # Errors
    /// [`Error::NotMigrated`], [`Error::DatabaseFormat`], [`Error::Open`], [`Error::Unreachable`].
    pub async fn open(url: &str, runtime: &Runtime, config: &PostgresConfig) -> Result<Self, Error> {
        let connections = Connections::new(config.connection(url, Role::Query)?, 1, config, runtime)?;
        inspect(&connections).await?;
        Ok(Self { connections })
    }

    /// Every generation, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn generations(&self) -> Result<Vec<ScannedGeneration>, Error> {
        let read = self.connections.read(|connection| async move {
            let all = format!(
                "SELECT generation, read_model, version, shape, definition FROM {SCHEMA}.generations ORDER BY generation"
            );
            let rows = connection.query(&all, &[]).await?;
            let all = rows.iter().map(generation).collect::<Result<Vec<_>, _>>()?;
            Ok((connection, all))
        });
        read.await.map_err(|trouble| trouble.reading(&self.connections.database))
    }

    /// Gives up to `rows_max` rows after `after`, by tenant and key, to `each`, from one snapshot with the checkpoint; `None`
    /// where there is no checkpoint. `each` is given what is wrong with a row instead, where it cannot be read.
    ///
    /// `read_model` names the table's columns: [`ScannedGeneration::read_model`].
    /// # Errors
    /// When the database cannot be read; `each` was not called then.
    pub async fn rows(
        &self,
        generation: Generation,
        read_model: &ReadModel,
        after: Option<&RowKey>,
        rows_max: usize,
        mut each: impl FnMut(Result<ScannedRow<'_>, (RowKey, String)>),
    ) -> Result<Option<ScannedSlice>, Error> {
        let table = &Table::new(generation, Uuid::nil(), read_model.clone().into());
        let read = self.connections.read(|connection| async move {
            let slice = slice(&connection, table, after, rows_max).await?;
            Ok((connection, slice))
        });
        let (checkpoint, rows) = read.await.map_err(|trouble| trouble.reading(&self.connections.database))?;
        let mut last = None;
        for row in &rows {
            let key = key(row, table).map_err(|trouble| trouble.reading(&self.connections.database))?;
            each(scan(row, key.clone(), table).map_err(|error| (key.clone(), error.to_string())));
            last = Some(key);
        }
        let last = last.filter(|_| rows.len() == rows_max);
        Ok(checkpoint.map(|checkpoint| ScannedSlice { checkpoint, last }))
    }
}

async fn slice(
    connection: &Connection,
    table: &Table,
    after: Option<&RowKey>,
    rows_max: usize,
) -> Result<(Option<ScannedCheckpoint>, Vec<Row>), Trouble> {
    let checkpoint = format!(
        "SELECT serving, coalesce(position, 0), hash, epochs, held, forked IS NOT NULL FROM {SCHEMA}.checkpoints AS c \
         LEFT JOIN {SCHEMA}.lineages AS l ON l.id = c.lineage WHERE generation = $1"
    );
    let checkpoint = connection.prepare_cached(&checkpoint).await?;
    let (beyond, from) = match after {
        Some(after) => (" WHERE (tenant, key) > ($2, $3)", (after.tenant.as_str(), &*after.key)),
        None => ("", ("", "")),
    };
    let rows =
        format!("SELECT {}, tenant FROM {}{beyond} ORDER BY tenant, key LIMIT $1", table.listed_columns(), table.name);
    let rows = connection.prepare_cached(&rows).await?;
    let limit = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let parameters: [&(dyn ToSql + Sync); 3] = [&limit, &from.0, &from.1];
    let number = table.generation.0.cast_signed();
    let begin = connection.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    let parameters = if after.is_some() { &parameters[..] } else { &parameters[..1] };
    let of_generation: [&(dyn ToSql + Sync); 1] = [&number];
    let (begun, checkpoint) = join(begin, connection.query_opt(&checkpoint, &of_generation)).await;
    begun?;
    let (rows, ended) = join(connection.query(&rows, parameters), connection.batch_execute("COMMIT")).await;
    let rows = rows?;
    ended?;
    Ok((checkpoint?.as_ref().map(scanned).transpose()?, rows))
}

fn generation(row: &Row) -> Result<ScannedGeneration, Trouble> {
    let definition: &str = row.try_get(4)?;
    Ok(ScannedGeneration {
        generation: Generation(row.try_get::<_, i64>(0)?.cast_unsigned()),
        name: row.try_get(1)?,
        version: u32::try_from(row.try_get::<_, i64>(2)?).unwrap_or(u32::MAX),
        shape: Hash::from_slice(row.try_get(3)?).unwrap_or_default(),
        read_model: serde_json::from_str(definition).ok(),
    })
}

fn scanned(row: &Row) -> Result<ScannedCheckpoint, Trouble> {
    let epochs: Option<&str> = row.try_get(3)?;
    Ok(ScannedCheckpoint {
        serving: row.try_get(0)?,
        position: row.try_get(1)?,
        hash: Hash::from_slice(row.try_get(2)?).unwrap_or_default(),
        lineage: epochs.and_then(|epochs| serde_json::from_str(epochs).ok()),
        held: row.try_get(4)?,
        forked: row.try_get(5)?,
    })
}

fn key(row: &Row, table: &Table) -> Result<RowKey, Trouble> {
    let at = FIRST_INDEX + table.read_model.indexes.len();
    Ok(RowKey { tenant: Tenant::new(row.try_get::<_, &str>(at + 1)?), key: row.try_get::<_, &str>(at)?.into() })
}

fn scan<'a>(row: &'a Row, key: RowKey, table: &Table) -> Result<ScannedRow<'a>, tokio_postgres::Error> {
    let (body, checksum, position) = (row.try_get::<_, &str>(0)?.as_bytes(), row.try_get(1)?, row.try_get(2)?);
    let indexes = table.read_model.indexes.iter().enumerate();
    let index = indexes.map(|(place, index)| values::read(row, FIRST_INDEX + place, index.kind));
    let index = index.collect::<Result<Vec<_>, _>>()?;
    let fits_checksum =
        values::position(position).is_some_and(|at| checksum_of(&mut Vec::new(), &key, at, body, &index) == checksum);
    Ok(ScannedRow { key, body, position, checksum, fits_checksum, index })
}

impl std::fmt::Debug for PostgresScan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PostgresScan").field("database", &self.connections.database).finish_non_exhaustive()
    }
}
