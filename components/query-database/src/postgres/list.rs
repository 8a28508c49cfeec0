//! Lists: one page of rows in order, by statements over declared indexes and bound parameters only, in one snapshot.
//!
//! A page that goes on after a row is read in pieces: first the rows that equal it in all ordering fields but the key, then
//! those that equal it in all but the last, and so on. Each piece is a plain conjunction, which an index can answer; the one
//! condition that says the same is a disjunction, which none can. NULLs come last either way, which an index read backwards
//! does not say; so a descending list is read in two pieces as well, first what is not NULL.

use std::time::Duration;

use futures_util::future::join;
use model::{IndexValue, RowKey};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{
    checkpoint::{self, WIDTH},
    connection::Connection,
    reader::{Address, corrupt, not_serving, row, serving_checkpoint},
    table::{FIRST_INDEX, Table},
    trouble::Trouble,
    values::{self, Column, Parameter},
};
use crate::{Comparison, Direction, Error, Filter, List, ListRead, ListedRow, PageStart};

impl Address {
    /// One page; `None` where the list's generation does not serve.
    pub(super) async fn list(
        &self,
        read_model: &str,
        list: &List,
        limit: Duration,
    ) -> Result<Option<ListRead>, Trouble> {
        self.connections
            .run(|connection| async move {
                let serving = connection.prepare_cached(serving_checkpoint()).await?;
                // The server gives up when whoever asks does, and not later.
                let limit = limit.as_millis().max(1);
                let begin =
                    format!("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL statement_timeout = {limit}");
                let begin = connection.batch_execute(&begin);
                let parameters: [&(dyn ToSql + Sync); 1] = [&read_model];
                // Sent together: the second is in the transaction that the first begins.
                let (begun, found) = join(begin, connection.query_opt(&serving, &parameters)).await;
                begun?;
                let page = self.page(&connection, read_model, list, found?).await;
                if matches!(page, Ok(_) | Err(Trouble::Known(_))) {
                    connection.batch_execute("COMMIT").await?;
                }
                connection.with(page)
            })
            .await
    }

    async fn page(
        &self,
        connection: &Connection,
        read_model: &str,
        list: &List,
        serving: Option<tokio_postgres::Row>,
    ) -> Result<Option<ListRead>, Trouble> {
        let serving = &serving.ok_or_else(|| not_serving(read_model))?;
        if serving.try_get::<_, i64>(WIDTH)?.cast_unsigned() != list.generation.0 {
            return Ok(None);
        }
        let Some(checkpoint) = checkpoint::read(connection, &self.lineages, serving, list.generation).await? else {
            return Ok(None);
        };
        let id: Uuid = serving.try_get(WIDTH + 1)?;
        let mut table = self.serving(connection, read_model).await?;
        if table.id != id {
            self.forget(&table);
            table = self.serving(connection, read_model).await?;
        }
        let wanted = list.rows_max.saturating_add(1);
        let mut rows = Vec::new();
        for piece in pieces(list)? {
            if rows.len() < wanted {
                let statement = Statement::of(&table, list, &piece, wanted - rows.len())?;
                rows.append(&mut statement.read(connection, &table, list).await?);
            }
        }
        let more = rows.len() > list.rows_max;
        rows.truncate(list.rows_max);
        Ok(Some(ListRead { rows, more, checkpoint }))
    }
}

/// How one piece of a page lies to the row that the page goes on after.
enum Condition<'a> {
    /// This field is as it was there, NULL included.
    Same(usize, &'a IndexValue),
    /// This field comes after what it was there, and is not NULL.
    Beyond(usize, Direction, &'a IndexValue),
    /// This field is NULL.
    Null(usize),
    /// This field is not NULL.
    NotNull(usize),
    /// The key comes after what it was there.
    KeyBeyond(&'a str),
}

/// The pieces of a page in the order in which their rows come. All rows of one come before all rows of the next.
fn pieces(list: &List) -> Result<Vec<Vec<Condition<'_>>>, Error> {
    let Some(after) = &list.after else {
        return Ok(match list.order.first() {
            Some((place, Direction::Desc)) => vec![vec![Condition::NotNull(*place)], vec![Condition::Null(*place)]],
            _ => vec![Vec::new()],
        });
    };
    if after.values.len() != list.order.len() {
        return Err(refused(list, "the row to go on after has another number of values than the order has fields"));
    }
    let fields: Vec<_> =
        list.order.iter().zip(&after.values).map(|((place, direction), value)| (*place, *direction, value)).collect();
    let same = |count: usize| fields[..count].iter().map(|(place, _, value)| Condition::Same(*place, value));
    let mut pieces = vec![same(fields.len()).chain([Condition::KeyBeyond(&after.key)]).collect::<Vec<_>>()];
    for (count, (place, direction, value)) in fields.iter().enumerate().rev() {
        // NULLs come last: nothing but NULL comes after one, and those are in the piece before.
        if **value != IndexValue::Null {
            pieces.push(same(count).chain([Condition::Beyond(*place, *direction, value)]).collect());
            pieces.push(same(count).chain([Condition::Null(*place)]).collect());
        }
    }
    Ok(pieces)
}

fn refused(list: &List, reason: &'static str) -> Error {
    Error::List { generation: list.generation, reason }
}

/// SQL and what is bound to it.
struct Statement<'a> {
    text: String,
    parameters: Vec<Parameter<'a>>,
    table: &'a Table,
    list: &'a List,
}

impl<'a> Statement<'a> {
    fn of(table: &'a Table, list: &'a List, piece: &[Condition<'a>], rows_max: usize) -> Result<Self, Error> {
        let mut statement = Self { text: String::new(), parameters: Vec::new(), table, list };
        statement.push(&format!("SELECT {} FROM {} WHERE tenant = ", table.listed_columns(), table.name));
        statement.bind((Box::new(list.tenant.as_str()), Type::TEXT));
        for Filter { index, comparison } in &list.filters {
            statement.push(" AND ");
            statement.compare(*index, comparison)?;
        }
        for condition in piece {
            statement.push(" AND ");
            match condition {
                Condition::Same(place, value) => statement.equal(*place, value)?,
                Condition::Beyond(place, Direction::Asc, value) => statement.with(*place, ">", value)?,
                Condition::Beyond(place, Direction::Desc, value) => statement.with(*place, "<", value)?,
                Condition::Null(place) => statement.column(*place, " IS NULL")?,
                Condition::NotNull(place) => statement.column(*place, " IS NOT NULL")?,
                Condition::KeyBeyond(key) => {
                    statement.push("key > ");
                    statement.bind((Box::new(*key), Type::TEXT));
                }
            }
        }
        statement.order()?;
        statement.bind((Box::new(i64::try_from(rows_max).unwrap_or(i64::MAX)), Type::INT8));
        Ok(statement)
    }

    fn order(&mut self) -> Result<(), Error> {
        self.push(" ORDER BY ");
        for (count, (place, direction)) in self.list.order.iter().enumerate() {
            self.column(*place, "")?;
            self.push(match (direction, count) {
                (Direction::Asc, _) => " ASC NULLS LAST, ",
                // No piece has both NULL and others in its first field: the order of the index read backwards is as good.
                (Direction::Desc, 0) => " DESC NULLS FIRST, ",
                (Direction::Desc, _) => " DESC NULLS LAST, ",
            });
        }
        self.push("key LIMIT ");
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn bind(&mut self, parameter: Parameter<'a>) {
        self.parameters.push(parameter);
        self.text.push_str(&format!("${}", self.parameters.len()));
    }

    fn column(&mut self, place: usize, then: &str) -> Result<(), Error> {
        if place >= self.table.read_model.indexes.len() {
            return Err(refused(self.list, "a field is named that is none of its indexes"));
        }
        self.push(&format!("i{place}{then}"));
        Ok(())
    }

    /// The column, the operator and the value. Nothing is greater or less than NULL.
    fn with(&mut self, place: usize, operator: &str, value: &'a IndexValue) -> Result<(), Error> {
        self.column(place, "")?;
        if *value == IndexValue::Null {
            self.push(&format!(" {operator} NULL"));
            return Ok(());
        }
        let parameter = values::parameter(self.table.read_model.indexes[place].kind, value);
        let parameter = parameter.ok_or_else(|| refused(self.list, "a value is of another kind than its field"))?;
        self.push(&format!(" {operator} "));
        self.bind(parameter);
        Ok(())
    }

    fn equal(&mut self, place: usize, value: &'a IndexValue) -> Result<(), Error> {
        match value {
            IndexValue::Null => self.column(place, " IS NULL"),
            value => self.with(place, "=", value),
        }
    }

    fn compare(&mut self, place: usize, comparison: &'a Comparison) -> Result<(), Error> {
        match comparison {
            Comparison::Eq(value) => self.equal(place, value),
            Comparison::Neq(IndexValue::Null) => self.column(place, " IS NOT NULL"),
            Comparison::Neq(value) => self.with(place, "IS DISTINCT FROM", value),
            Comparison::Gt(value) => self.with(place, ">", value),
            Comparison::Gte(value) => self.with(place, ">=", value),
            Comparison::Lt(value) => self.with(place, "<", value),
            Comparison::Lte(value) => self.with(place, "<=", value),
            Comparison::In(values) => self.one_of(place, values),
            Comparison::IsNull => self.column(place, " IS NULL"),
        }
    }

    fn one_of(&mut self, place: usize, values: &'a [IndexValue]) -> Result<(), Error> {
        // NULL is equal to no member of an array.
        self.push("(false");
        if values.contains(&IndexValue::Null) {
            self.push(" OR ");
            self.column(place, " IS NULL")?;
        }
        self.push(" OR ");
        self.column(place, " = ANY(")?;
        let mut members = Column::new(self.table.read_model.indexes[place].kind);
        for value in values.iter().filter(|value| **value != IndexValue::Null) {
            members.push(value).ok_or_else(|| refused(self.list, "a value is of another kind than its field"))?;
        }
        self.bind(members.into());
        self.push("))");
        Ok(())
    }

    async fn read(&self, connection: &Connection, table: &Table, list: &List) -> Result<Vec<ListedRow>, Trouble> {
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> = self
            .parameters
            .iter()
            .map(|(value, of)| {
                let value: &(dyn ToSql + Sync) = &**value;
                (value, of.clone())
            })
            .collect();
        let rows = connection.query_typed(&self.text, &parameters).await?;
        rows.iter().map(|found| listed(found, table, list)).collect()
    }
}

/// The row as a page has it.
fn listed(found: &tokio_postgres::Row, table: &Table, list: &List) -> Result<ListedRow, Trouble> {
    let indexes = &table.read_model.indexes;
    let key: String = found.try_get(FIRST_INDEX + indexes.len())?;
    let key = RowKey { tenant: list.tenant.clone(), key: key.into() };
    let stored = values::read_index(found, FIRST_INDEX, indexes, found.try_get(1)?)?;
    let stored = stored.ok_or_else(|| corrupt(table, &key))?;
    let body = row(found, 0, table, &key)?.body;
    let values = list.order.iter().map(|(place, _)| stored.get(*place).cloned().unwrap_or(IndexValue::Null));
    Ok(ListedRow { body, start: PageStart { values: values.collect(), key: key.key.to_string() } })
}
