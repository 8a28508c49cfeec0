//! Which generation answers: the only place where that changes.

use rusqlite::{Connection, OptionalExtension, Params};

use super::{checkpoint::parsed, file, row::optional_position, writer::Writer};
use crate::{
    Error, Generation, OwnerToken,
    succession::{Stand, may_replace},
};

impl Writer {
    /// Lets `generation` answer, if it may replace the one that does.
    pub(super) fn switch(&mut self, generation: Generation, owner: OwnerToken) -> Result<bool, Error> {
        let table = self.table(generation).map_err(|source| file::writing(&self.path, source))?;
        let Some(table) = table else {
            return Ok(false);
        };
        let name = &table.read_model.name;
        let switched = self.transact(|writer| {
            let connection = &writer.connection;
            let number = generation.0.cast_signed();
            let Some(ours) = stand(connection, "c.generation = ?1 AND c.owner = ?2", (number, owner.0.cast_signed()))?
            else {
                return Ok(None);
            };
            // Where no generation serves there is nothing to replace.
            let theirs = stand(connection, "c.read_model = ?1 AND c.serving", [name])?.unwrap_or_default();
            if !may_replace(&ours, &theirs) {
                return Ok(None);
            }
            // In two steps, since no two may serve even in between.
            connection
                .prepare_cached("UPDATE diptych_checkpoints SET serving = 0 WHERE read_model = ?1 AND serving")?
                .execute([name])?;
            connection
                .prepare_cached("UPDATE diptych_checkpoints SET serving = 1 WHERE generation = ?1")?
                .execute([number])?;
            connection.execute_batch(&table.show())?;
            Ok(Some(()))
        })?;
        Ok(switched.is_some())
    }
}

fn stand(connection: &Connection, which: &str, parameters: impl Params) -> rusqlite::Result<Option<Stand>> {
    let read = format!(
        "SELECT c.position, c.head, c.forked IS NOT NULL, l.epochs FROM diptych_checkpoints AS c \
         LEFT JOIN diptych_lineages AS l ON l.lineage = c.lineage WHERE {which}"
    );
    let mut statement = connection.prepare(&read)?;
    let stand = statement.query_row(parameters, |row| {
        let epochs = row.get_ref(3)?;
        Ok(Stand {
            position: optional_position(row.get_ref(0)?)?,
            head: optional_position(row.get_ref(1)?)?,
            forked: row.get(2)?,
            lineage: if epochs == rusqlite::types::ValueRef::Null { None } else { Some(parsed(epochs)?) },
        })
    });
    stand.optional()
}
