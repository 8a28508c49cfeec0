//! Checkpoints as statements read them.

use std::{sync::Arc, time::Duration};

use model::{Hash, Lineage, Position};
use rusqlite::{Connection, types::ValueRef};

use super::row::{from_sql, optional_position};
use crate::{Checkpoint, Generation, HeadSeen, OwnerToken};

/// Tells this process's monotonic time from that of the processes before it.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) id: i64,
    pub(super) opened_at: Duration,
}

impl Clock {
    /// How long ago it was `seen_at`. Another process's time says nothing here: that counts as seen when we opened.
    pub(super) fn age(self, now: Duration, clock: i64, seen_at: i64) -> Duration {
        let seen_at = if clock == self.id { seen_at } else { micros(self.opened_at) };
        Duration::from_micros(u64::try_from(micros(now).saturating_sub(seen_at)).unwrap_or(0))
    }
}

impl Clock {
    /// How long ago it was `seen_at`, by this process's time.
    pub(super) fn since(self, now: Duration, seen_at: i64) -> Duration {
        self.age(now, self.id, seen_at)
    }
}

/// A generation's checkpoint as it is in the file, whether it serves or not.
pub(super) struct Stored {
    pub(super) owner: OwnerToken,
    pub(super) serving: bool,
    pub(super) position: Option<Position>,
    pub(super) hash: Hash,
    pub(super) lineage: Arc<Lineage>,
    pub(super) head: Option<Position>,
    /// By this process's time.
    pub(super) seen_at: i64,
    pub(super) held: Option<Arc<str>>,
}

/// Reads it; `None` where there is none, or the log does not have it.
pub(super) fn stored(
    connection: &Connection,
    lineages: &mut Lineages,
    generation: Generation,
    clock: Clock,
) -> rusqlite::Result<Option<Stored>> {
    let mut statement = connection.prepare_cached(
        "SELECT owner, serving, position, hash, lineage, head, head_seen_at, clock, held FROM diptych_checkpoints \
         WHERE generation = ?1 AND forked IS NULL",
    )?;
    let mut rows = statement.query([generation.0.cast_signed()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let seen_at = if row.get::<_, i64>(7)? == clock.id { row.get(6)? } else { micros(clock.opened_at) };
    Ok(Some(Stored {
        owner: OwnerToken(row.get::<_, i64>(0)?.cast_unsigned()),
        serving: row.get(1)?,
        position: optional_position(row.get_ref(2)?)?,
        hash: Hash(row.get(3)?),
        lineage: lineages.get(connection, row.get(4)?)?,
        head: optional_position(row.get_ref(5)?)?,
        seen_at,
        held: row.get_ref(8)?.as_str_or_null().map_err(from_sql)?.map(Arc::from),
    }))
}

/// Of a point in time of this process. One that lies before the process is negative.
pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Lineages by their number, each with what those stored before it had and it has not. Stored ones never change, so that each
/// is parsed once; few are ever in use.
#[derive(Default)]
pub(super) struct Lineages {
    known: Vec<(i64, Arc<Lineage>)>,
    none: Arc<Lineage>,
}

const LINEAGES_MAX: usize = 64;

impl Lineages {
    fn get(&mut self, connection: &Connection, number: Option<i64>) -> rusqlite::Result<Arc<Lineage>> {
        let Some(number) = number else {
            return Ok(self.none.clone());
        };
        if let Some((_, known)) = self.known.iter().find(|(known, _)| *known == number) {
            return Ok(known.clone());
        }
        let mut statement =
            connection.prepare_cached("SELECT epochs FROM diptych_lineages WHERE lineage <= ?1 ORDER BY lineage")?;
        let stored = statement.query_map([number], |row| parsed(row.get_ref(0)?))?;
        let mut stored = stored.collect::<rusqlite::Result<Vec<_>>>()?;
        let lineage = stored.pop().ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let lineage = Arc::new(lineage.remembering(&stored));
        if self.known.len() == LINEAGES_MAX {
            self.known.clear();
        }
        self.known.push((number, lineage.clone()));
        Ok(lineage)
    }
}

/// A lineage as it is stored.
pub(super) fn parsed(epochs: ValueRef<'_>) -> rusqlite::Result<Lineage> {
    serde_json::from_str(epochs.as_str().map_err(from_sql)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

/// The checkpoint in the first columns of `row`, which are [`super::table::CHECKPOINT_COLUMNS`]; `None` where the
/// generation does not serve and `serving` asks for one that does.
pub(super) fn read(
    connection: &Connection,
    lineages: &mut Lineages,
    row: &rusqlite::Row<'_>,
    generation: Generation,
    clock: Clock,
    now: Duration,
) -> rusqlite::Result<Option<Checkpoint>> {
    let integer = |column: usize| row.get_ref(column)?.as_i64().map_err(from_sql);
    if integer(0)? == 0 {
        return Ok(None);
    }
    let optional = |column: usize| row.get_ref(column)?.as_i64_or_null().map_err(from_sql);
    let forked = optional(7)?;
    Ok(Some(Checkpoint {
        generation,
        position: optional_position(row.get_ref(1)?)?,
        lineage: lineages.get(connection, optional(2)?)?,
        head: HeadSeen { position: optional_position(row.get_ref(3)?)?, age: clock.age(now, integer(5)?, integer(4)?) },
        held: row.get_ref(6)?.as_str_or_null().map_err(from_sql)?.map(Arc::from),
        forked: forked.map(|number| lineages.get(connection, Some(number))).transpose()?,
    }))
}
