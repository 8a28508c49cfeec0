//! Which generation answers: the only place where that changes.

use tokio_postgres::types::ToSql;

use super::{
    checkpoint::{optional, parsed},
    connection::Connection,
    generations::show,
    schema::SCHEMA,
    trouble::Trouble,
    values::position,
    writer::{BEGIN, Writer, committed, lock_generations},
};
use crate::{
    Error, Generation, OwnerToken,
    succession::{Stand, may_replace},
};

impl Writer {
    /// Lets `generation` answer, if it may replace the one that does.
    pub(super) async fn switch(&self, generation: Generation, owner: OwnerToken) -> Result<bool, Error> {
        self.change(|connection| async move {
            connection.batch_execute(BEGIN).await?;
            let switched = self.switch_in_transaction(&connection, generation, owner).await?;
            if switched {
                committed(connection.batch_execute("COMMIT").await)?;
            } else {
                connection.batch_execute("ROLLBACK").await?;
            }
            Ok((connection, switched))
        })
        .await
    }

    async fn switch_in_transaction(
        &self,
        connection: &Connection,
        generation: Generation,
        owner: OwnerToken,
    ) -> Result<bool, Trouble> {
        lock_generations(connection).await?;
        let Some(table) = self.table(connection, generation).await? else { return Ok(false) };
        let name = &table.read_model.name;
        // Both stay where they stand until this is over, locked in the order of their numbers: no commit, mark or owner
        // comes in between.
        let both = format!(
            "SELECT FROM {SCHEMA}.checkpoints WHERE generation = $1 OR (read_model = $2 AND serving) \
             ORDER BY generation FOR UPDATE"
        );
        let number = generation.0.cast_signed();
        connection.query(&both, &[&number, name]).await?;
        let which = "c.generation = $1 AND c.owner = $2";
        let Some(ours) = stand(connection, which, &[&number, &owner.0.cast_signed()]).await? else {
            return Ok(false);
        };
        // Where no generation serves there is nothing to replace.
        let theirs = stand(connection, "c.read_model = $1 AND c.serving", &[name]).await?.unwrap_or_default();
        if !may_replace(&ours, &theirs) {
            return Ok(false);
        }
        // In two steps, since no two may serve even in between.
        let end = format!("UPDATE {SCHEMA}.checkpoints SET serving = false WHERE read_model = $1 AND serving");
        connection.execute(&end, &[name]).await?;
        let begin = format!("UPDATE {SCHEMA}.checkpoints SET serving = true WHERE generation = $1");
        connection.execute(&begin, &[&number]).await?;
        show(connection, &table).await?;
        Ok(true)
    }
}

async fn stand(
    connection: &Connection,
    which: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<Stand>, Trouble> {
    let read = format!(
        "SELECT c.position, c.head, c.forked IS NOT NULL, l.epochs FROM {SCHEMA}.checkpoints AS c \
         LEFT JOIN {SCHEMA}.lineages AS l ON l.id = c.lineage WHERE {which}"
    );
    let Some(row) = connection.query_opt(&read, parameters).await? else { return Ok(None) };
    let lineage = match row.try_get::<_, Option<&str>>(3)? {
        Some(_) => Some(parsed(&row, 3)?),
        None => None,
    };
    Ok(Some(Stand {
        position: optional::<i64>(&row, 0)?.and_then(position),
        head: optional::<i64>(&row, 1)?.and_then(position),
        forked: row.try_get(2)?,
        lineage,
    }))
}
