//! Index values as PostgreSQL stores them, so that its order is the domain's.

use std::borrow::Cow;

use model::{Index, IndexKind, IndexValue, Position};
use tokio_postgres::{
    Error, Row,
    types::{ToSql, Type},
};

use crate::checksum::Value;

/// Most bytes of a text that an index's entry has room for, beside tenant and key: PostgreSQL allows 2,704 for all of them.
pub(super) const INDEXED_BYTES_MAX: usize = 2_000;

pub(super) type Parameter<'a> = (Box<dyn ToSql + Sync + Send + 'a>, Type);

/// The type of the column of an index. Text in binary order; amounts and times as whole numbers, which 64 bits hold exactly.
pub(super) fn column_type(kind: IndexKind) -> &'static str {
    match kind {
        IndexKind::Text => "text COLLATE \"C\"",
        IndexKind::Boolean => "boolean",
        IndexKind::Integer | IndexKind::Money { .. } | IndexKind::Time => "bigint",
    }
}

/// The type of an array of such values.
pub(super) fn array_type(kind: IndexKind) -> &'static str {
    match kind {
        IndexKind::Text => "text[]",
        IndexKind::Boolean => "boolean[]",
        IndexKind::Integer | IndexKind::Money { .. } | IndexKind::Time => "bigint[]",
    }
}

/// PostgreSQL's text has no U+0000. It and U+0001 become two characters each, which sort as the one did; nothing else changes.
fn stored_text(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', '\u{1}']) {
        Cow::Owned(text.replace('\u{1}', "\u{1}\u{2}").replace('\0', "\u{1}\u{1}"))
    } else {
        Cow::Borrowed(text)
    }
}

fn text(stored: &str) -> Cow<'_, str> {
    if !stored.contains('\u{1}') {
        return Cow::Borrowed(stored);
    }
    let mut text = String::with_capacity(stored.len());
    let mut characters = stored.chars();
    while let Some(character) = characters.next() {
        text.push(match (character, &mut characters) {
            ('\u{1}', rest) => match rest.next() {
                Some('\u{1}') => '\0',
                _ => '\u{1}',
            },
            (other, _) => other,
        });
    }
    Cow::Owned(text)
}

fn truth(number: i64) -> Option<bool> {
    match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// What is compared with a column of this kind; `None` for NULL and for what no such column holds.
pub(super) fn parameter(kind: IndexKind, value: &IndexValue) -> Option<Parameter<'_>> {
    match (kind, value) {
        (IndexKind::Text, IndexValue::Text(text)) => Some((Box::new(stored_text(text)), Type::TEXT)),
        (IndexKind::Boolean, IndexValue::Integer(number)) => Some((Box::new(truth(*number)?), Type::BOOL)),
        (IndexKind::Integer | IndexKind::Money { .. } | IndexKind::Time, IndexValue::Integer(number)) => {
            Some((Box::new(*number), Type::INT8))
        }
        _ => None,
    }
}

/// The values of one index, of many rows.
pub(super) enum Column<'a> {
    Text(Vec<Option<Cow<'a, str>>>),
    Integer(Vec<Option<i64>>),
    Boolean(Vec<Option<bool>>),
}

impl<'a> Column<'a> {
    pub(super) fn new(kind: IndexKind) -> Self {
        match kind {
            IndexKind::Text => Self::Text(Vec::new()),
            IndexKind::Boolean => Self::Boolean(Vec::new()),
            IndexKind::Integer | IndexKind::Money { .. } | IndexKind::Time => Self::Integer(Vec::new()),
        }
    }

    /// Adds a value; `None` where it is none of this kind.
    pub(super) fn push(&mut self, value: &'a IndexValue) -> Option<()> {
        match (self, value) {
            (Self::Text(all), IndexValue::Text(text)) => all.push(Some(stored_text(text))),
            (Self::Text(all), IndexValue::Null) => all.push(None),
            (Self::Integer(all), IndexValue::Integer(number)) => all.push(Some(*number)),
            (Self::Integer(all), IndexValue::Null) => all.push(None),
            (Self::Boolean(all), IndexValue::Integer(number)) => all.push(Some(truth(*number)?)),
            (Self::Boolean(all), IndexValue::Null) => all.push(None),
            _ => return None,
        }
        Some(())
    }

    pub(super) fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Text(all) => all,
            Self::Integer(all) => all,
            Self::Boolean(all) => all,
        }
    }

    /// Whether an index has room for each value.
    pub(super) fn can_be_indexed(&self) -> bool {
        match self {
            Self::Text(all) => all.iter().flatten().all(|text| text.len() <= INDEXED_BYTES_MAX),
            _ => true,
        }
    }
}

impl<'a> From<Column<'a>> for Parameter<'a> {
    fn from(column: Column<'a>) -> Self {
        match column {
            Column::Text(all) => (Box::new(all), Type::TEXT_ARRAY),
            Column::Integer(all) => (Box::new(all), Type::INT8_ARRAY),
            Column::Boolean(all) => (Box::new(all), Type::BOOL_ARRAY),
        }
    }
}

/// The value in `column` of a row.
pub(super) fn read(row: &Row, column: usize, kind: IndexKind) -> Result<IndexValue, Error> {
    Ok(match kind {
        IndexKind::Text => row.try_get::<_, Option<&str>>(column)?.map(|stored| IndexValue::Text(text(stored).into())),
        IndexKind::Boolean => row.try_get::<_, Option<bool>>(column)?.map(|truth| IndexValue::Integer(truth.into())),
        IndexKind::Integer | IndexKind::Money { .. } | IndexKind::Time => {
            row.try_get::<_, Option<i64>>(column)?.map(IndexValue::Integer)
        }
    }
    .unwrap_or(IndexValue::Null))
}

/// The values of all indexes, from column `first` on; `None` where they are not those that `checksum` was made of.
pub(super) fn read_index(
    row: &Row,
    first: usize,
    indexes: &[Index],
    checksum: i64,
) -> Result<Option<Vec<IndexValue>>, Error> {
    let values = indexes.iter().enumerate().map(|(place, index)| read(row, first + place, index.kind));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let sound = crate::checksum::fits_index(checksum, values.iter().map(|value| Ok::<_, Error>(Value::from(value))));
    Ok(sound?.then_some(values))
}

pub(super) fn position(number: i64) -> Option<Position> {
    Position::new(number.cast_unsigned())
}

pub(super) fn number(position: Position) -> i64 {
    position.get().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::{stored_text, text};

    #[test]
    fn text_with_every_character_comes_back_and_sorts_as_it_did() {
        let mut texts =
            ["", "\0", "\0\0", "\0\u{1}", "\0a", "\u{1}", "\u{1}\0", "\u{1}\u{2}", "\u{2}", "a\0b", "a\u{1}", "ab"];
        texts.sort_unstable();
        let stored: Vec<_> = texts.iter().map(|text| stored_text(text)).collect();
        assert!(stored.is_sorted() && stored.iter().all(|stored| !stored.contains('\0')), "{stored:?}");
        assert!(stored.iter().zip(texts).all(|(stored, before)| text(stored) == before));
    }
}
