//! Checkpoints as statements read them.

use std::{sync::Arc, time::Duration};

use model::{Hash, Lineage};
use parking_lot::Mutex;
use tokio_postgres::{Row, types::FromSqlOwned};
use uuid::Uuid;

use super::{connection::Connection, schema::SCHEMA, trouble::Trouble, values::position};
use crate::{Checkpoint, Generation, HeadSeen};

/// How long ago the head was seen, in microseconds. It is measured where the time was stored: by the database's clock.
macro_rules! head_age {
    () => {
        "(extract(epoch FROM clock_timestamp() - c.head_seen_at) * 1000000)::bigint"
    };
}

pub(super) const HEAD_AGE: &str = head_age!();

/// What [`read`] expects, in this order.
pub(super) const COLUMNS: &str =
    concat!("c.serving, c.position, c.lineage, c.head, ", head_age!(), ", c.held, c.forked");

/// How many of them there are.
pub(super) const WIDTH: usize = 7;

/// Lineages by their id, each with what those stored before it had and it has not. Stored ones never change, and their ids are
/// never used again, so that each is read once; few are ever in use.
#[derive(Default)]
pub(super) struct Lineages(Mutex<Vec<(Uuid, Arc<Lineage>)>>);

const LINEAGES_MAX: usize = 64;

impl Lineages {
    pub(super) async fn get(&self, connection: &Connection, id: Uuid) -> Result<Arc<Lineage>, Trouble> {
        if let Some((_, known)) = self.0.lock().iter().find(|(known, _)| *known == id) {
            return Ok(known.clone());
        }
        let former = format!(
            "SELECT epochs FROM {SCHEMA}.lineages \
             WHERE number <= (SELECT number FROM {SCHEMA}.lineages WHERE id = $1) ORDER BY number"
        );
        let former = connection.prepare_cached(&former).await?;
        let rows = connection.query(&former, &[&id]).await?;
        let mut stored = rows.iter().map(|row| parsed(row, 0)).collect::<Result<Vec<_>, _>>()?;
        let unreadable = || Trouble::Lost(format!("there is no lineage {id}").into());
        let lineage = stored.pop().ok_or_else(unreadable)?;
        let lineage = Arc::new(lineage.remembering(&stored));
        let mut known = self.0.lock();
        if known.len() == LINEAGES_MAX {
            known.clear();
        }
        known.push((id, lineage.clone()));
        Ok(lineage)
    }
}

/// A lineage as it is stored.
pub(super) fn parsed(row: &Row, column: usize) -> Result<Lineage, Trouble> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| Trouble::Damaged(error.into()))
}

/// The checkpoint in the first columns of `row`, which are [`COLUMNS`]; `None` where the generation does not serve.
pub(super) async fn read(
    connection: &Connection,
    lineages: &Lineages,
    row: &Row,
    generation: Generation,
) -> Result<Option<Checkpoint>, Trouble> {
    if !row.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let lineage = match row.try_get(2)? {
        Some(id) => lineages.get(connection, id).await?,
        None => Arc::default(),
    };
    let forked = match row.try_get(6)? {
        Some(id) => Some(lineages.get(connection, id).await?),
        None => None,
    };
    let age = age(row, 4)?;
    Ok(Some(Checkpoint {
        generation,
        position: optional::<i64>(row, 1)?.and_then(position),
        lineage,
        head: HeadSeen { position: optional::<i64>(row, 3)?.and_then(position), age },
        held: optional::<String>(row, 5)?.map(Arc::from),
        forked,
    }))
}

/// What [`HEAD_AGE`] tells.
pub(super) fn age(row: &Row, column: usize) -> Result<Duration, Trouble> {
    // Less than nothing where the clock was set back.
    Ok(Duration::from_micros(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0)))
}

pub(super) fn optional<T: FromSqlOwned>(row: &Row, column: usize) -> Result<Option<T>, Trouble> {
    Ok(row.try_get(column)?)
}

/// The 32 bytes in a column.
pub(super) fn hash(row: &Row, column: usize) -> Result<Hash, Trouble> {
    Ok(Hash::from_slice(row.try_get(column)?).unwrap_or_default())
}
