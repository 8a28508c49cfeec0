//! Rows into a generation's table, each at the cost of what changed.
//!
//! An index entry is deleted and inserted anew whenever its column is written, the same value or not, and most writes change
//! few of a row's indexed fields. So what is stored is looked at first, on pages that the write needs anyway.

use model::{IndexValue, RowChange, RowKey, RowWrite};
use rusqlite::{
    CachedStatement, Connection, Error,
    types::{Null, ValueRef},
};

use super::{
    row::number,
    table::{Columns, Table},
};
use crate::checksum::checksum;

/// Stores `rows`, in their order. To be called within a transaction.
pub(super) fn rows<'a>(
    connection: &Connection,
    table: &Table,
    rows: impl IntoIterator<Item = &'a RowWrite>,
) -> rusqlite::Result<()> {
    let is_indexed = table.is_indexed(connection)?;
    // Where there is no index, or not yet each of them, looking at what is stored spares nothing.
    let stored = table.stored.as_deref().filter(|_| is_indexed);
    let put = if stored.is_some() { &table.put } else { &table.replace };
    let mut statements = Statements {
        connection,
        table,
        put: connection.prepare_cached(put)?,
        stored: stored.map(|stored| connection.prepare_cached(stored)).transpose()?,
        update: None,
        bytes: Vec::new(),
    };
    let mut delete = connection.prepare_cached(&table.delete)?;
    for row in rows {
        match &row.change {
            RowChange::Put { body, index } => statements.put(row, body, index)?,
            RowChange::Delete => {
                delete.execute((row.key.tenant.as_str(), &*row.key.key))?;
            }
        }
    }
    Ok(())
}

/// What putting rows takes. Prepared once for all rows of a commit; the update until a row needs another one.
struct Statements<'a> {
    connection: &'a Connection,
    table: &'a Table,
    stored: Option<CachedStatement<'a>>,
    put: CachedStatement<'a>,
    update: Option<(Columns, CachedStatement<'a>)>,
    /// For checksums.
    bytes: Vec<u8>,
}

impl<'a> Statements<'a> {
    fn put(&mut self, row: &RowWrite, body: &str, index: &[IndexValue]) -> rusqlite::Result<()> {
        let width = self.table.read_model.indexes.len();
        if index.len() != width {
            return Err(Error::InvalidParameterCount(index.len(), width));
        }
        let checksum = checksum(&mut self.bytes, &row.key, row.position, body.as_bytes(), index);
        let (columns, statement) = match self.changed(&row.key, index)? {
            Some(changed) => (changed, self.update(changed)?),
            None => (Columns::ALL, &mut self.put),
        };
        statement.raw_bind_parameter(1, row.key.tenant.as_str())?;
        statement.raw_bind_parameter(2, &*row.key.key)?;
        statement.raw_bind_parameter(3, body)?;
        statement.raw_bind_parameter(4, checksum)?;
        statement.raw_bind_parameter(5, number(row.position))?;
        for (place, value) in index.iter().enumerate().filter(|(place, _)| columns.contain(*place)) {
            match value {
                IndexValue::Null => statement.raw_bind_parameter(6 + place, Null)?,
                IndexValue::Integer(number) => statement.raw_bind_parameter(6 + place, number)?,
                IndexValue::Text(text) => statement.raw_bind_parameter(6 + place, text.as_str())?,
            }
        }
        statement.raw_execute().map(drop)
    }

    /// Which index columns differ from the stored row's; `None` where none is stored, or nothing to compare.
    ///
    /// Compared is what the table has, not what was written last: a value that a bad disk changed is put right.
    fn changed(&mut self, key: &RowKey, index: &[IndexValue]) -> rusqlite::Result<Option<Columns>> {
        let Some(stored) = &mut self.stored else {
            return Ok(None);
        };
        let mut rows = stored.query((key.tenant.as_str(), &*key.key))?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let mut changed = Columns::default();
        for (place, value) in index.iter().enumerate() {
            if !same(row.get_ref(place)?, value) {
                changed = changed.with(place);
            }
        }
        Ok(Some(self.table.settable(changed)))
    }

    fn update(&mut self, columns: Columns) -> rusqlite::Result<&mut CachedStatement<'a>> {
        let update = match self.update.take() {
            Some((of, prepared)) if of == columns => prepared,
            _ => self.connection.prepare_cached(&self.table.update(columns))?,
        };
        Ok(&mut self.update.insert((columns, update)).1)
    }
}

fn same(stored: ValueRef<'_>, value: &IndexValue) -> bool {
    match (stored, value) {
        (ValueRef::Null, IndexValue::Null) => true,
        (ValueRef::Integer(stored), IndexValue::Integer(number)) => stored == *number,
        (ValueRef::Text(stored), IndexValue::Text(text)) => stored == text.as_bytes(),
        _ => false,
    }
}
