//! What is remembered under idempotency keys.

use bytes::Bytes;
use model::{CommandId, Hash, Position, StreamVersion};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::{
    failure::{Failure, Result},
    row::number,
};
use crate::{IdempotencyRecord, StoredDecision};

pub(super) fn find(connection: &Connection, key: &Hash) -> Result<Option<IdempotencyRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT fingerprint, command_id, first, events, version, head, refusal, checksum FROM idempotency WHERE key = ?1",
    )?;
    let Some((record, stored)) = statement.query_row([key.0], decode).optional()? else { return Ok(None) };
    if checksum(key, &record) != stored {
        return Err(Failure::corrupt(0, format!("the idempotency record {key} does not fit its checksum")));
    }
    Ok(Some(record))
}

pub(super) fn decode(row: &Row<'_>) -> rusqlite::Result<(IdempotencyRecord, i32)> {
    let counted = |column| row.get::<_, Option<i64>>(column).map(|number| number.map_or(0, i64::cast_unsigned));
    let decision = match row.get::<_, Option<Vec<u8>>>(6)? {
        Some(refusal) => StoredDecision::Refused(Bytes::from(refusal)),
        None => StoredDecision::Accepted {
            first: Position::new(counted(2)?),
            events: row.get(3)?,
            version: StreamVersion::new(counted(4)?),
            head: Position::new(counted(5)?),
        },
    };
    let command_id = CommandId(Uuid::from_bytes(row.get(1)?));
    Ok((IdempotencyRecord { fingerprint: Hash(row.get(0)?), command_id, decision }, row.get(7)?))
}

/// `elapsed` is the log's own clock, in seconds.
pub(super) fn insert(connection: &Connection, key: &Hash, record: &IdempotencyRecord, elapsed: i64) -> Result<()> {
    let (first, events, version, head, refusal) = match &record.decision {
        StoredDecision::Accepted { first, events, version, head } => (*first, *events, *version, *head, None),
        StoredDecision::Refused(reason) => (None, 0, None, None, Some(&reason[..])),
    };
    let position = |position: Option<Position>| position.map(|position| number(position.get()));
    connection.prepare_cached("INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?.execute(
        params![
            key.0,
            record.fingerprint.0,
            record.command_id.0.as_bytes(),
            position(first),
            events,
            version.map(|version| number(version.get())),
            position(head),
            refusal,
            elapsed,
            checksum(key, record),
        ],
    )?;
    Ok(())
}

pub(super) fn checksum(key: &Hash, record: &IdempotencyRecord) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.0);
    hasher.update(&record.fingerprint.0);
    hasher.update(record.command_id.0.as_bytes());
    match &record.decision {
        StoredDecision::Accepted { first, events, version, head } => {
            hasher.update(b"accepted");
            for part in
                [Position::count(*first), u64::from(*events), StreamVersion::count(*version), Position::count(*head)]
            {
                hasher.update(&part.to_be_bytes());
            }
        }
        StoredDecision::Refused(reason) => {
            hasher.update(b"refused");
            hasher.update(reason);
        }
    }
    hasher.finalize().cast_signed()
}

/// A stretch of keys, looked through for what has expired.
pub(super) struct Slice {
    pub(super) expired: Vec<Hash>,
    /// Where the next one starts; `None` at the end.
    pub(super) last: Option<Hash>,
}

/// Looks at the next `keys_max` keys after `after`. Run by a reader, so that appends do not wait for the search.
pub(super) fn find_expired(connection: &Connection, after: Hash, before: i64, keys_max: u32) -> Result<Slice> {
    let mut statement =
        connection.prepare_cached("SELECT key, elapsed FROM idempotency WHERE key > ?1 ORDER BY key LIMIT ?2")?;
    let mut rows = statement.query(params![after.0, keys_max])?;
    let mut slice = Slice { expired: Vec::new(), last: None };
    while let Some(row) = rows.next()? {
        let key = Hash(row.get(0)?);
        if row.get::<_, i64>(1)? < before {
            slice.expired.push(key);
        }
        slice.last = Some(key);
    }
    Ok(slice)
}

pub(super) fn delete(connection: &Connection, keys: &[Hash], before: i64) -> Result<u64> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let deleted = (|| {
        let mut statement = connection.prepare_cached("DELETE FROM idempotency WHERE key = ?1 AND elapsed < ?2")?;
        keys.iter().try_fold(0, |sum, key| Ok(sum + statement.execute(params![key.0, before])? as u64))
    })();
    let end = if deleted.is_ok() { "COMMIT" } else { "ROLLBACK" };
    connection.execute_batch(end)?;
    deleted
}
