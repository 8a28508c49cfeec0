//! Lists: one page of rows in order, by statements over declared indexes and bound parameters only.
//!
//! A page that goes on after a row is read in pieces: first the rows that equal it in all ordering fields but the key, then
//! those that equal it in all but the last, and so on. Each piece is a plain conjunction, which an index can answer; the one
//! condition that says the same is a disjunction, which none can.

use std::time::Duration;

use model::{IndexValue, RowKey};
use rusqlite::{
    ToSql,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    file, generations,
    merge::{self, Overlay},
    reader::{Reader, corrupt},
    row::{self, from_sql},
    table::{FIRST_INDEX, Table},
};
use crate::{Comparison, Direction, Error, Filter, List, ListRead, ListedRow, PageStart};

/// What became of a list.
pub(super) enum Page {
    /// It is read; `None` where the generation does not serve.
    Read(Option<ListRead>),
    /// The file is further than what was to be added to it: both are to be looked at anew.
    Overtaken,
    /// The generation lacks indexes: they are to be made before.
    Unindexed,
}

impl Reader {
    /// One page from one snapshot, with what is in memory.
    pub(super) fn list(
        &mut self,
        read_model: &str,
        list: &List,
        overlay: Option<&Overlay>,
        now: Duration,
    ) -> Result<Page, Error> {
        self.connection.execute_batch("BEGIN").map_err(|source| file::reading(&self.path, source))?;
        let page = self.list_in_snapshot(read_model, list, overlay, now);
        let ended = self.connection.execute_batch("ROLLBACK").map_err(|source| file::reading(&self.path, source));
        page.and_then(|page| ended.map(|()| page))
    }

    fn list_in_snapshot(
        &mut self,
        read_model: &str,
        list: &List,
        overlay: Option<&Overlay>,
        now: Duration,
    ) -> Result<Page, Error> {
        let serving = generations::serving(&self.connection, read_model);
        match serving.map_err(|source| file::reading(&self.path, source))? {
            None => return Err(Error::NotServing { read_model: read_model.to_owned() }),
            Some(serving) if serving != list.generation => return Ok(Page::Read(None)),
            Some(_) => {}
        }
        let table = self.table(list.generation)?;
        let is_indexed = table.is_indexed(&self.connection);
        if !is_indexed.map_err(|source| file::reading(&self.path, source))? {
            return Ok(Page::Unindexed);
        }
        let checkpoint = self.checkpoint_of(list.generation, now);
        let Some(mut checkpoint) = checkpoint.map_err(|source| file::reading(&self.path, source))? else {
            return Ok(Page::Read(None));
        };
        if let Some(overlay) = overlay {
            if checkpoint.position > overlay.checkpoint.position {
                return Ok(Page::Overtaken);
            }
            checkpoint = overlay.checkpoint.clone();
        }
        let hidden = overlay.map_or(0, |overlay| overlay.hidden_max(&list.tenant));
        let wanted = list.rows_max.saturating_add(1);
        let mut rows = Vec::new();
        for piece in pieces(list)? {
            if rows.len() < wanted {
                let limit = (wanted - rows.len()).saturating_add(hidden);
                let statement = Statement::of(&table, list, &piece, limit)?;
                self.read_piece(&table, list, &statement, overlay, wanted, &mut rows)?;
            }
        }
        if let Some(overlay) = overlay {
            rows = merge::merged(rows, overlay.page(list, wanted), list);
        }
        let more = rows.len() > list.rows_max;
        rows.truncate(list.rows_max);
        Ok(Page::Read(Some(ListRead { rows, more, checkpoint })))
    }

    fn read_piece(
        &self,
        table: &Table,
        list: &List,
        statement: &Statement<'_>,
        overlay: Option<&Overlay>,
        wanted: usize,
        page: &mut Vec<ListedRow>,
    ) -> Result<(), Error> {
        let failed = |source| file::reading(&self.path, source);
        let mut prepared = self.connection.prepare_cached(&statement.text).map_err(failed)?;
        let mut rows = prepared.query(rusqlite::params_from_iter(&statement.parameters)).map_err(failed)?;
        let key_column = FIRST_INDEX + table.read_model.indexes.len();
        while page.len() < wanted
            && let Some(found) = rows.next().map_err(failed)?
        {
            let key: String = found.get(key_column).map_err(failed)?;
            let key = RowKey { tenant: list.tenant.clone(), key: key.into() };
            if overlay.is_some_and(|overlay| overlay.hides(&key)) {
                continue;
            }
            let listed = listed(found, table, &list.order, &key).map_err(failed)?;
            page.push(listed.ok_or_else(|| corrupt(table, &key))?);
        }
        Ok(())
    }
}

/// The row as a page has it; `None` where it is damaged.
fn listed(
    found: &rusqlite::Row<'_>,
    table: &Table,
    order: &[(usize, Direction)],
    key: &RowKey,
) -> rusqlite::Result<Option<ListedRow>> {
    if !row::indexes_are_sound(found, 1, FIRST_INDEX, table.read_model.indexes.len())? {
        return Ok(None);
    }
    let Some((body, _)) = row::body(found, 0, key.tenant.as_str(), &key.key)? else {
        return Ok(None);
    };
    let values = order.iter().map(|(place, _)| {
        Ok(match found.get_ref(FIRST_INDEX + place)? {
            ValueRef::Null => IndexValue::Null,
            ValueRef::Integer(number) => IndexValue::Integer(number),
            text => IndexValue::Text(text.as_str().map_err(from_sql)?.to_owned()),
        })
    });
    let start = PageStart { values: values.collect::<rusqlite::Result<_>>()?, key: key.key.to_string() };
    Ok(Some(ListedRow { body, start }))
}

/// How one piece of a page lies to the row that the page goes on after.
enum Condition<'a> {
    /// This field is as it was there, NULL included.
    Same(usize, &'a IndexValue),
    /// This field comes after what it was there, and is not NULL.
    Beyond(usize, Direction, &'a IndexValue),
    /// This field is NULL.
    Null(usize),
    /// The key comes after what it was there.
    KeyBeyond(&'a str),
}

/// The pieces of a page in the order in which their rows come. All rows of one come before all rows of the next.
fn pieces(list: &List) -> Result<Vec<Vec<Condition<'_>>>, Error> {
    let Some(after) = &list.after else {
        return Ok(vec![Vec::new()]);
    };
    if after.values.len() != list.order.len() {
        let reason = "the row to go on after has another number of values than the order has fields";
        return Err(Error::List { generation: list.generation, reason });
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

/// SQL and what is bound to it.
struct Statement<'a> {
    text: String,
    parameters: Vec<Parameter<'a>>,
}

impl<'a> Statement<'a> {
    fn of(table: &Table, list: &'a List, piece: &[Condition<'a>], rows_max: usize) -> Result<Self, Error> {
        let reason = "a field is named that is none of its indexes";
        let column = |place| table.index_column(place).ok_or(Error::List { generation: list.generation, reason });
        let mut statement = Self { text: String::new(), parameters: Vec::new() };
        statement.push(&format!("SELECT {}, key FROM {} WHERE tenant = ", table.row_columns(), table.name));
        statement.bind(Parameter::Text(list.tenant.as_str()));
        for Filter { index, comparison } in &list.filters {
            statement.push(" AND ");
            statement.compare(&column(*index)?, comparison);
        }
        for condition in piece {
            statement.push(" AND ");
            match condition {
                Condition::Same(place, value) => statement.with_value(&column(*place)?, " IS ", value),
                Condition::Beyond(place, Direction::Asc, value) => statement.with_value(&column(*place)?, " > ", value),
                Condition::Beyond(place, Direction::Desc, value) => {
                    statement.with_value(&column(*place)?, " < ", value);
                }
                Condition::Null(place) => statement.push(&format!("{} IS NULL", column(*place)?)),
                Condition::KeyBeyond(key) => {
                    statement.push("key > ");
                    statement.bind(Parameter::Text(key));
                }
            }
        }
        statement.push(" ORDER BY ");
        for (place, direction) in &list.order {
            let direction = if *direction == Direction::Asc { "ASC" } else { "DESC" };
            statement.push(&format!("{} {direction} NULLS LAST, ", column(*place)?));
        }
        statement.push("key LIMIT ");
        statement.bind(Parameter::Integer(i64::try_from(rows_max).unwrap_or(i64::MAX)));
        Ok(statement)
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn bind(&mut self, parameter: Parameter<'a>) {
        self.parameters.push(parameter);
        self.push("?");
    }

    fn with_value(&mut self, column: &str, operator: &str, value: &'a IndexValue) {
        self.push(column);
        self.push(operator);
        self.bind(value.into());
    }

    fn compare(&mut self, column: &str, comparison: &'a Comparison) {
        match comparison {
            Comparison::Eq(value) => self.with_value(column, " IS ", value),
            Comparison::Neq(value) => self.with_value(column, " IS NOT ", value),
            Comparison::Gt(value) => self.with_value(column, " > ", value),
            Comparison::Gte(value) => self.with_value(column, " >= ", value),
            Comparison::Lt(value) => self.with_value(column, " < ", value),
            Comparison::Lte(value) => self.with_value(column, " <= ", value),
            Comparison::In(values) => self.one_of(column, values),
            Comparison::IsNull => self.push(&format!("{column} IS NULL")),
        }
    }

    fn one_of(&mut self, column: &str, values: &'a [IndexValue]) {
        self.push(&format!("({column} IN ("));
        for (place, value) in values.iter().enumerate() {
            self.push(if place == 0 { "" } else { ", " });
            self.bind(value.into());
        }
        self.push(")");
        // IN never finds NULL.
        if values.contains(&IndexValue::Null) {
            self.push(&format!(" OR {column} IS NULL"));
        }
        self.push(")");
    }
}

enum Parameter<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
}

impl<'a> From<&'a IndexValue> for Parameter<'a> {
    fn from(value: &'a IndexValue) -> Self {
        match value {
            IndexValue::Null => Self::Null,
            IndexValue::Integer(number) => Self::Integer(*number),
            IndexValue::Text(text) => Self::Text(text),
        }
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// The text of each statement that `list` may run, for tests of their plans.
#[cfg(test)]
pub(super) fn statements(table: &Table, list: &List) -> Result<Vec<String>, Error> {
    pieces(list)?.iter().map(|piece| Statement::of(table, list, piece, 1).map(|statement| statement.text)).collect()
}
