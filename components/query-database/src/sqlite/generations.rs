//! Generations: taking one, making one, and deciding which one answers.

use std::sync::Arc;

use model::{Hash, ReadModel};
use rusqlite::{Connection, OptionalExtension};

use super::{
    file,
    row::position,
    table::{Table, check},
    writer::Writer,
};
use crate::{Error, Generation, GenerationStatus, Owned, OwnerToken};

/// Which generation is wanted where one of the same version and shape exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// The newest of them: after a rebuild has begun that is the rebuilt one, also after a crash.
    Newest,
    /// A new one.
    Anew,
}

impl Writer {
    pub(super) fn take(&mut self, read_model: &Arc<ReadModel>, which: Take) -> Result<Owned, Error> {
        check(read_model)?;
        let owned = self.transact(|writer| {
            let found = match which {
                Take::Newest => newest(&writer.connection, read_model)?,
                Take::Anew => None,
            };
            let generation = match found {
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

    /// Lets `generation` answer, if it has come as far as the one that does.
    pub(super) fn switch(&mut self, generation: Generation, owner: OwnerToken) -> Result<bool, Error> {
        let table = self.table(generation).map_err(|source| file::writing(&self.path, source))?;
        let Some(table) = table else {
            return Ok(false);
        };
        let switched = self.transact(|writer| {
            let connection = &writer.connection;
            // No generation serves: nothing is below nothing.
            let may = connection
                .prepare_cached(
                    "SELECT coalesce(ours.position, 0) >= coalesce(theirs.position, 0) FROM diptych_checkpoints AS ours \
                     LEFT JOIN diptych_checkpoints AS theirs ON theirs.read_model = ours.read_model AND theirs.serving \
                     WHERE ours.generation = ?1 AND ours.owner = ?2",
                )?
                .query_row((generation.0.cast_signed(), owner.0.cast_signed()), |row| row.get(0))
                .optional()?;
            if may != Some(true) {
                return Ok(None);
            }
            // In two steps, since no two may serve even in between.
            connection
                .prepare_cached("UPDATE diptych_checkpoints SET serving = 0 WHERE read_model = ?1 AND serving")?
                .execute([&table.read_model.name])?;
            connection
                .prepare_cached("UPDATE diptych_checkpoints SET serving = 1 WHERE generation = ?1")?
                .execute([generation.0.cast_signed()])?;
            connection.execute_batch(&table.show())?;
            Ok(Some(()))
        })?;
        Ok(switched.is_some())
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
            "SELECT max(generation) FROM diptych_generations WHERE read_model = ?1 AND version = ?2 AND shape = ?3",
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
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<GenerationStatus>> {
    let mut statement = connection.prepare_cached(
        "SELECT g.read_model, g.version, g.generation, c.serving, c.position, c.held FROM diptych_generations AS g \
         JOIN diptych_checkpoints AS c USING (generation) ORDER BY g.generation",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(GenerationStatus {
            read_model: row.get(0)?,
            version: row.get(1)?,
            generation: Generation(row.get::<_, i64>(2)?.cast_unsigned()),
            serving: row.get(3)?,
            position: row.get::<_, Option<i64>>(4)?.and_then(position),
            held: row.get(5)?,
        })
    })?;
    rows.collect()
}
