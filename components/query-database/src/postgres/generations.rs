//! Generations: taking one, making one, and marking one that the log has left behind.

use std::sync::Arc;

use model::ReadModel;
use tokio_postgres::Row;

use super::{
    checkpoint::{HEAD_AGE, age, hash, optional},
    connection::Connection,
    schema::SCHEMA,
    table::{Table, check},
    trouble::Trouble,
    values::{number, position},
    writer::{BEGIN, Writer, committed, lock_generations},
};
use crate::{Error, Forked, Generation, GenerationStatus, Owned, OwnerToken};

impl Writer {
    /// Takes over the newest generation of this version and shape, or makes it: one taker at a time.
    pub(super) async fn take(&self, read_model: &Arc<ReadModel>) -> Result<Owned, Error> {
        check(read_model)?;
        self.change(|connection| async move {
            connection.batch_execute(BEGIN).await?;
            lock_generations(&connection).await?;
            let generation = match newest(&connection, read_model).await? {
                Some(generation) => generation,
                None => self.make(&connection, read_model).await?,
            };
            let owned = own(&connection, generation).await?;
            committed(connection.batch_execute("COMMIT").await)?;
            Ok((connection, owned))
        })
        .await
    }

    async fn make(&self, connection: &Connection, read_model: &Arc<ReadModel>) -> Result<Generation, Trouble> {
        let definition = serde_json::to_string(&**read_model).map_err(|error| Trouble::Unsent(error.into()))?;
        let insert = format!(
            "INSERT INTO {SCHEMA}.generations (generation, id, read_model, version, shape, definition) \
             SELECT coalesce(max(generation), 0) + 1, $1, $2, $3, $4, $5 FROM {SCHEMA}.generations RETURNING generation"
        );
        let (id, version) = (self.runtime.uuid(), i64::from(read_model.version));
        let shape: &[u8] = &read_model.shape.0;
        let made = connection.query_one(&insert, &[&id, &read_model.name, &version, &shape, &definition]).await?;
        let generation = Generation(made.try_get::<_, i64>(0)?.cast_unsigned());
        let table = Table::new(generation, id, read_model.clone());
        connection.batch_execute(&table.create()).await?;
        let insert = format!(
            "INSERT INTO {SCHEMA}.checkpoints (generation, id, read_model, serving, owner, hash, head_seen_at) \
             SELECT $1, $2, $3, NOT EXISTS (SELECT FROM {SCHEMA}.checkpoints WHERE read_model = $3 AND serving), $4, \
             decode(repeat('00', 32), 'hex'), clock_timestamp() RETURNING serving"
        );
        let number = generation.0.cast_signed();
        // Anywhere: an owner of the one that had this number in another life of the database is none of this one's.
        let owner = i64::from(self.runtime.random_u64() as u32);
        let made = connection.query_one(&insert, &[&number, &id, &read_model.name, &owner]).await?;
        if made.try_get(0)? {
            show(connection, &table).await?;
        }
        Ok(generation)
    }

    /// Marks the generation whose checkpoint this is, if it still is.
    pub(super) async fn mark_forked(&self, forked: &Forked) -> Result<bool, Error> {
        let marked = self.change(|connection| async move {
            let lineage = self.lineage(&connection, &forked.lineage).await?;
            // The owner is fenced: rows do not unfold, and what it would add follows on what is gone.
            let mark = format!(
                "UPDATE {SCHEMA}.checkpoints SET forked = $1, owner = owner + 1 \
                 WHERE generation = $2 AND position = $3 AND hash = $4"
            );
            let (generation, position) = (forked.generation.0.cast_signed(), number(forked.position));
            let hash: &[u8] = &forked.hash.0;
            let marked = connection.execute(&mark, &[&lineage, &generation, &position, &hash]).await?;
            Ok((connection, marked))
        });
        Ok(marked.await? == 1)
    }

    /// Every generation, oldest first.
    pub(super) async fn all(&self) -> Result<Vec<GenerationStatus>, Error> {
        let read = self.connections.read(|connection| async move {
            let all = format!(
                "SELECT g.read_model, g.version, g.generation, c.serving, c.position, c.hash, c.held, c.forked IS NOT NULL, {HEAD_AGE} \
                 FROM {SCHEMA}.generations AS g JOIN {SCHEMA}.checkpoints AS c USING (generation) ORDER BY g.generation"
            );
            let rows = connection.query(&all, &[]).await?;
            let all = rows.iter().map(status).collect::<Result<Vec<_>, _>>()?;
            Ok((connection, all))
        });
        read.await.map_err(|trouble| trouble.reading(&self.connections.database))
    }

    /// Lets the server count what a generation that was just filled contains, so that it plans lists by that.
    pub(super) async fn analyze(&self, generation: Generation) -> Result<(), Error> {
        self.change(|connection| async move {
            if let Some(table) = self.table(&connection, generation).await? {
                connection.batch_execute(&format!("ANALYZE {}", table.name)).await?;
            }
            Ok((connection, ()))
        })
        .await
    }
}

/// Shows the generation in the view called as its read model. Nothing of ours reads that, so that somebody whose query holds
/// it, or who has made another view of it, does not hold up what answers.
pub(super) async fn show(connection: &Connection, table: &Table) -> Result<(), Trouble> {
    connection.batch_execute("SAVEPOINT show; SET LOCAL lock_timeout = 1000").await?;
    match connection.batch_execute(&table.show()).await.map_err(Trouble::from) {
        Ok(()) => Ok(connection.batch_execute("RELEASE show").await?),
        Err(Trouble::Refused(error)) => {
            let read_model = &table.read_model.name;
            tracing::warn!(%error, read_model, "the view of a read model could not be replaced; it shows what it did");
            Ok(connection.batch_execute("ROLLBACK TO show").await?)
        }
        Err(trouble) => Err(trouble),
    }
}

async fn newest(connection: &Connection, read_model: &ReadModel) -> Result<Option<Generation>, Trouble> {
    let newest = format!(
        "SELECT max(generation) FROM {SCHEMA}.generations AS g JOIN {SCHEMA}.checkpoints AS c USING (generation) \
         WHERE g.read_model = $1 AND g.version = $2 AND g.shape = $3 AND c.forked IS NULL"
    );
    let (version, shape): (i64, &[u8]) = (read_model.version.into(), &read_model.shape.0);
    let row = connection.query_one(&newest, &[&read_model.name, &version, &shape]).await?;
    Ok(optional::<i64>(&row, 0)?.map(|number| Generation(number.cast_unsigned())))
}

async fn own(connection: &Connection, generation: Generation) -> Result<Owned, Trouble> {
    let own = format!(
        "UPDATE {SCHEMA}.checkpoints SET owner = owner + 1 WHERE generation = $1 \
         RETURNING owner, position, hash, serving"
    );
    let row = connection.query_one(&own, &[&generation.0.cast_signed()]).await?;
    Ok(Owned {
        generation,
        owner: OwnerToken(row.try_get::<_, i64>(0)?.cast_unsigned()),
        position: optional::<i64>(&row, 1)?.and_then(position),
        hash: hash(&row, 2)?,
        serving: row.try_get(3)?,
    })
}

fn status(row: &Row) -> Result<GenerationStatus, Trouble> {
    Ok(GenerationStatus {
        read_model: row.try_get(0)?,
        version: u32::try_from(row.try_get::<_, i64>(1)?).unwrap_or(u32::MAX),
        generation: Generation(row.try_get::<_, i64>(2)?.cast_unsigned()),
        serving: row.try_get(3)?,
        position: optional::<i64>(row, 4)?.and_then(position),
        hash: hash(row, 5)?,
        held: row.try_get(6)?,
        forked: row.try_get(7)?,
        head_age: age(row, 8)?,
    })
}
