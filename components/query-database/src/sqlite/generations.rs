//! Generations: taking one, making one, and marking one that the log has left behind.

use std::{sync::Arc, time::Duration};

use model::{Hash, ReadModel};
use rusqlite::{Connection, OptionalExtension};

use super::{
    checkpoint::Clock,
    row::{number, position},
    table::{Table, check},
    writer::Writer,
};
use crate::{Error, Forked, Generation, GenerationStatus, Owned, OwnerToken};

impl Writer {
    pub(super) fn take(&mut self, read_model: &Arc<ReadModel>) -> Result<Owned, Error> {
        check(read_model)?;
        let owned = self.transact(|writer| {
            let generation = match newest(&writer.connection, read_model)? {
                Some(generation) => generation,
                None => writer.make(read_model)?,
            };
            own(&writer.connection, generation).map(Some)
        });
        match owned {
            // `work` always has an owner to give, so this is one that just rolled back.
            Ok(None) => Err(Error::WorkerGone),
            Ok(Some(owned)) => Ok(owned),
            Err(error) => {
                // A table that this transaction made is gone again.
                self.tables.clear();
                Err(error)
            }
        }
    }

    fn make(&mut self, read_model: &Arc<ReadModel>) -> rusqlite::Result<Generation> {
        let definition = serde_json::to_string(&**read_model)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        self.connection
            .prepare_cached(
                "INSERT INTO diptych_generations (read_model, version, shape, definition) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((&read_model.name, read_model.version, read_model.shape.0, definition))?;
        let generation = Generation(self.connection.last_insert_rowid().cast_unsigned());
        let table = Table::new(generation, read_model.clone());
        self.connection.execute_batch(&table.create())?;
        let serves = serving(&self.connection, &read_model.name)?.is_none();
        if serves {
            self.connection.execute_batch(&table.show())?;
        }
        self.connection
            .prepare_cached(
                "INSERT INTO diptych_checkpoints (generation, serving, head_seen_at, clock, owner, hash, read_model) \
                 VALUES (?1, ?2, 0, 0, 0, zeroblob(32), ?3)",
            )?
            .execute((generation.0.cast_signed(), serves, &read_model.name))?;
        self.tables.insert(generation, Arc::new(table));
        Ok(generation)
    }

    /// Marks the generation whose checkpoint this is, if it still is.
    pub(super) fn mark_forked(&mut self, forked: &Forked) -> Result<bool, Error> {
        let marked = self.transact(|writer| {
            let lineage = writer.lineage(&forked.lineage)?;
            // The owner is fenced: rows do not unfold, and what it would add follows on what is gone.
            let marked = writer
                .connection
                .prepare_cached(
                    "UPDATE diptych_checkpoints SET forked = ?1, owner = owner + 1 \
                     WHERE generation = ?2 AND position = ?3 AND hash = ?4",
                )?
                .execute((lineage, forked.generation.0.cast_signed(), number(forked.position), forked.hash.0))?;
            Ok((marked == 1).then_some(()))
        })?;
        Ok(marked.is_some())
    }
}

/// The generation that `read_model` is answered from.
pub(super) fn serving(connection: &Connection, read_model: &str) -> rusqlite::Result<Option<Generation>> {
    connection
        .prepare_cached("SELECT generation FROM diptych_checkpoints WHERE read_model = ?1 AND serving")?
        .query_row([read_model], |row| row.get(0).map(i64::cast_unsigned).map(Generation))
        .optional()
}

fn newest(connection: &Connection, read_model: &ReadModel) -> rusqlite::Result<Option<Generation>> {
    connection
        .prepare_cached(
            "SELECT max(generation) FROM diptych_generations AS g JOIN diptych_checkpoints AS c USING (generation) \
             WHERE g.read_model = ?1 AND g.version = ?2 AND g.shape = ?3 AND c.forked IS NULL",
        )?
        .query_row((&read_model.name, read_model.version, read_model.shape.0), |row| {
            row.get(0).map(|generation: Option<i64>| generation.map(|number| Generation(number.cast_unsigned())))
        })
}

fn own(connection: &Connection, generation: Generation) -> rusqlite::Result<Owned> {
    connection
        .prepare_cached(
            "UPDATE diptych_checkpoints SET owner = owner + 1 WHERE generation = ?1 \
             RETURNING owner, position, hash, serving",
        )?
        .query_row([generation.0.cast_signed()], |row| {
            Ok(Owned {
                generation,
                owner: OwnerToken(row.get::<_, i64>(0)?.cast_unsigned()),
                position: row.get::<_, Option<i64>>(1)?.and_then(position),
                hash: Hash(row.get(2)?),
                serving: row.get(3)?,
            })
        })
}

/// Every generation, oldest first.
pub(super) fn all(connection: &Connection, clock: Clock, now: Duration) -> rusqlite::Result<Vec<GenerationStatus>> {
    let mut statement = connection.prepare_cached(
        "SELECT g.read_model, g.version, g.generation, c.serving, c.position, c.held, c.hash, c.forked IS NOT NULL, \
         c.clock, c.head_seen_at \
         FROM diptych_generations AS g JOIN diptych_checkpoints AS c USING (generation) ORDER BY g.generation",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(GenerationStatus {
            read_model: row.get(0)?,
            version: row.get(1)?,
            generation: Generation(row.get::<_, i64>(2)?.cast_unsigned()),
            serving: row.get(3)?,
            position: row.get::<_, Option<i64>>(4)?.and_then(position),
            held: row.get(5)?,
            hash: Hash(row.get(6)?),
            forked: row.get(7)?,
            head_age: clock.age(now, row.get(8)?, row.get(9)?),
        })
    })?;
    rows.collect()
}
