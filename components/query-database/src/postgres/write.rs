//! Rows into a generation's table, many with one statement.

use futures_util::future::join;
use model::{RowChange, RowWrite};
use tokio_postgres::{Statement, types::ToSql};

use super::{
    connection::Connection,
    table::Table,
    trouble::Trouble,
    values::{Column, number},
    writer::committed,
};
use crate::checksum::checksum;

/// Rows of one statement. It is sent whole, and has a copy of them on either side.
pub(super) const ROWS_MAX: usize = 5_000;
const BYTES_MAX: usize = 8 << 20;

/// One statement and its rows.
pub(super) enum Write<'a> {
    Put(Statement, Puts<'a>),
    Delete(Statement, Vec<&'a str>, Vec<&'a str>),
    DropIndex(String),
}

/// Rows by columns.
pub(super) struct Puts<'a> {
    tenants: Vec<&'a str>,
    keys: Vec<&'a str>,
    bodies: Vec<&'a str>,
    checksums: Vec<i64>,
    positions: Vec<i64>,
    index: Vec<Column<'a>>,
}

/// The statements that `rows` take.
pub(super) async fn writes<'a>(
    connection: &Connection,
    table: &Table,
    rows: &'a [RowWrite],
) -> Result<Vec<Write<'a>>, Trouble> {
    let mut writes = Vec::new();
    let is_delete = |row: &&RowWrite| row.change == RowChange::Delete;
    let deleted: Vec<&RowWrite> = rows.iter().filter(is_delete).collect();
    for deleted in deleted.chunks(ROWS_MAX) {
        let tenants = deleted.iter().map(|row| row.key.tenant.as_str()).collect();
        let keys = deleted.iter().map(|row| &*row.key.key).collect();
        writes.push(Write::Delete(connection.prepare_cached(&table.delete).await?, tenants, keys));
    }
    let mut put = rows.iter().peekable();
    while put.peek().is_some() {
        let puts = Puts::of(table, &mut put)?;
        for (place, _) in puts.index.iter().enumerate().filter(|(_, column)| !column.can_be_indexed()) {
            // Lists by this field sort from now on, instead of following an index. That is slower than to follow one, and
            // better than a projection that cannot go on for the sake of one long text.
            writes.push(Write::DropIndex(table.drop_index(place)));
        }
        if !puts.keys.is_empty() {
            writes.push(Write::Put(connection.prepare_cached(&table.put).await?, puts));
        }
    }
    Ok(writes)
}

impl<'a> Puts<'a> {
    /// As many of the rows as one statement may have.
    fn of(table: &Table, rows: &mut std::iter::Peekable<std::slice::Iter<'a, RowWrite>>) -> Result<Self, Trouble> {
        let indexes = &table.read_model.indexes;
        let mut puts = Self {
            tenants: Vec::new(),
            keys: Vec::new(),
            bodies: Vec::new(),
            checksums: Vec::new(),
            positions: Vec::new(),
            index: indexes.iter().map(|index| Column::new(index.kind)).collect(),
        };
        let (mut bytes, mut scratch) = (0, Vec::new());
        while puts.keys.len() < ROWS_MAX
            && bytes < BYTES_MAX
            && let Some(row) = rows.next()
        {
            let RowChange::Put { body, index } = &row.change else { continue };
            let fits = index.len() == indexes.len();
            let added = puts.index.iter_mut().zip(index).map(|(column, value)| column.push(value));
            if !fits || added.collect::<Option<Vec<()>>>().is_none() {
                return Err(misshapen(table, row));
            }
            bytes += body.len();
            puts.tenants.push(row.key.tenant.as_str());
            puts.keys.push(&row.key.key);
            puts.bodies.push(body);
            puts.checksums.push(checksum(&mut scratch, &row.key, row.position, body.as_bytes(), index));
            puts.positions.push(number(row.position));
        }
        Ok(puts)
    }
}

fn misshapen(table: &Table, row: &RowWrite) -> Trouble {
    let (name, key) = (&table.read_model.name, &row.key.key);
    Trouble::Unsent(format!("the indexed values of row {key:?} are none of read model {name:?}").into())
}

impl Write<'_> {
    async fn run(&self, connection: &Connection) -> Result<(), tokio_postgres::Error> {
        match self {
            Self::Delete(statement, tenants, keys) => connection.execute(statement, &[tenants, keys]).await.map(drop),
            Self::DropIndex(statement) => connection.batch_execute(statement).await,
            Self::Put(statement, puts) => {
                let mut parameters: Vec<&(dyn ToSql + Sync)> =
                    vec![&puts.tenants, &puts.keys, &puts.bodies, &puts.checksums, &puts.positions];
                parameters.extend(puts.index.iter().map(Column::parameter));
                connection.execute(statement, &parameters).await.map(drop)
            }
        }
    }
}

/// Runs all of it and commits. The last statement and the commit are sent together.
pub(super) async fn finish(connection: &Connection, writes: &[Write<'_>]) -> Result<(), Trouble> {
    let Some((last, before)) = writes.split_last() else { return committed(connection.batch_execute("COMMIT").await) };
    for write in before {
        write.run(connection).await?;
    }
    let (written, ended) = join(last.run(connection), connection.batch_execute("COMMIT")).await;
    // Where the statement failed the commit was none: it ended a transaction that was undone already, and says nothing of that.
    written?;
    committed(ended)
}
