//! What is stored of a row, and how it is known to be what was written.

use bytes::Bytes;
use model::{IndexValue, Position, RowKey};
use rusqlite::types::{FromSqlError, ValueRef};

/// The two checksums of a row in one column: over what a point read serves, and over what lists compare and sort by.
///
/// Apart, so that a point read need not fetch the index columns. CRC-32 (IEEE 802.3): against accidents, not against people.
pub(super) fn checksum(key: &RowKey, position: Position, body: &[u8], index: &[IndexValue]) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    for value in index {
        match value {
            IndexValue::Null => hash_index(&mut hasher, ValueRef::Null),
            IndexValue::Integer(number) => hash_index(&mut hasher, ValueRef::Integer(*number)),
            IndexValue::Text(text) => hash_index(&mut hasher, ValueRef::Text(text.as_bytes())),
        }
    }
    let both =
        (u64::from(body_checksum(key.tenant.as_str(), &key.key, position, body)) << 32) | u64::from(hasher.finalize());
    both.cast_signed()
}

fn body_checksum(tenant: &str, key: &str, position: Position, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(0);
    // Neither a tenant nor an encoded key has a byte of 0xff: the three cannot run into each other.
    hasher.update(tenant.as_bytes());
    hasher.update(&[0xff]);
    hasher.update(key.as_bytes());
    hasher.update(&[0xff]);
    hasher.update(&position.get().to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn hash_index(hasher: &mut crc32fast::Hasher, value: ValueRef<'_>) {
    match value {
        ValueRef::Integer(number) => {
            hasher.update(&[1]);
            hasher.update(&number.to_le_bytes());
        }
        ValueRef::Text(text) => {
            hasher.update(&[2]);
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        _ => hasher.update(&[0]),
    }
}

/// Body, checksum and position of a row as a statement gives them, from column `first` on. `None` where the row is none
/// that was written so.
pub(super) fn body(
    row: &rusqlite::Row<'_>,
    first: usize,
    tenant: &str,
    key: &str,
) -> rusqlite::Result<Option<(Bytes, Position)>> {
    let body = row.get_ref(first)?.as_bytes().map_err(from_sql)?;
    let stored = row.get_ref(first + 1)?.as_i64().map_err(from_sql)?;
    let Some(position) = position(row.get_ref(first + 2)?.as_i64().map_err(from_sql)?) else {
        return Ok(None);
    };
    let sound = (stored.cast_unsigned() >> 32) == u64::from(body_checksum(tenant, key, position, body));
    Ok(sound.then(|| (Bytes::copy_from_slice(body), position)))
}

/// Whether the `count` index columns from `first` on are what was written with the checksum in column `checksum`.
pub(super) fn indexes_are_sound(
    row: &rusqlite::Row<'_>,
    checksum: usize,
    first: usize,
    count: usize,
) -> rusqlite::Result<bool> {
    let stored = row.get_ref(checksum)?.as_i64().map_err(from_sql)?;
    let mut hasher = crc32fast::Hasher::new();
    for column in first..first + count {
        hash_index(&mut hasher, row.get_ref(column)?);
    }
    Ok(stored.cast_unsigned() & u64::from(u32::MAX) == u64::from(hasher.finalize()))
}

pub(super) fn position(number: i64) -> Option<Position> {
    Position::new(number.cast_unsigned())
}

pub(super) fn optional_position(value: ValueRef<'_>) -> rusqlite::Result<Option<Position>> {
    Ok(value.as_i64_or_null().map_err(from_sql)?.and_then(position))
}

pub(super) fn number(position: Position) -> i64 {
    position.get().cast_signed()
}

pub(super) fn from_sql(error: FromSqlError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Null, Box::new(error))
}
