//! What is stored of a row, and how it is known to be what was written.

use bytes::Bytes;
use model::Position;
use rusqlite::types::{FromSqlError, ValueRef};

use crate::checksum::{self, Value};

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
    let sound = checksum::fits_body(stored, tenant, key, position, body);
    Ok(sound.then(|| (Bytes::copy_from_slice(body), position)))
}

/// Whether the `count` index columns from `first` on are what was written with the checksum in column `checksum`.
pub(super) fn indexes_are_sound(
    row: &rusqlite::Row<'_>,
    checksum_column: usize,
    first: usize,
    count: usize,
) -> rusqlite::Result<bool> {
    let stored = row.get_ref(checksum_column)?.as_i64().map_err(from_sql)?;
    checksum::fits_index(
        stored,
        (first..first + count).map(|column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Text(text) => Value::Text(text),
                _ => Value::Null,
            })
        }),
    )
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
