//! What is stored of a row, and how it is known to be what was written.

use bytes::Bytes;
use model::{IndexValue, Position, RowKey};
use rusqlite::types::{FromSqlError, ValueRef};

/// The two checksums of a row in one column: over what a point read serves, and over what lists compare and sort by.
///
/// Apart, so that a point read need not fetch the index columns. CRC-32 (IEEE 802.3): against accidents, not against people.
///
/// `bytes` is only worked with: a checksum of one long piece takes a fraction of what those of many short ones do.
pub(super) fn checksum(
    bytes: &mut Vec<u8>,
    key: &RowKey,
    position: Position,
    body: &[u8],
    index: &[IndexValue],
) -> i64 {
    bytes.clear();
    for value in index {
        let value = match value {
            IndexValue::Null => ValueRef::Null,
            IndexValue::Integer(number) => ValueRef::Integer(*number),
            IndexValue::Text(text) => ValueRef::Text(text.as_bytes()),
        };
        index_parts(value, |part| bytes.extend_from_slice(part));
    }
    let of_index = crc32fast::hash(bytes);
    bytes.clear();
    body_parts(key.tenant.as_str(), &key.key, position, body, |part| bytes.extend_from_slice(part));
    ((u64::from(crc32fast::hash(bytes)) << 32) | u64::from(of_index)).cast_signed()
}

fn body_parts(tenant: &str, key: &str, position: Position, body: &[u8], mut each: impl FnMut(&[u8])) {
    // Neither a tenant nor an encoded key has a byte of 0xff: the three cannot run into each other.
    each(tenant.as_bytes());
    each(&[0xff]);
    each(key.as_bytes());
    each(&[0xff]);
    each(&position.get().to_le_bytes());
    each(body);
}

fn body_checksum(tenant: &str, key: &str, position: Position, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    body_parts(tenant, key, position, body, |part| hasher.update(part));
    hasher.finalize()
}

fn index_parts(value: ValueRef<'_>, mut each: impl FnMut(&[u8])) {
    match value {
        ValueRef::Integer(number) => {
            each(&[1]);
            each(&number.to_le_bytes());
        }
        ValueRef::Text(text) => {
            each(&[2]);
            each(&(text.len() as u64).to_le_bytes());
            each(text);
        }
        _ => each(&[0]),
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
        index_parts(row.get_ref(column)?, |part| hasher.update(part));
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
