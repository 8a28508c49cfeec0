//! Rows in memory among those of the file, as one list: what SQLite does with the rows of the file, in the same order.

use std::{cmp::Ordering, sync::Arc};

use bytes::Bytes;
use model::{IndexValue, RowChange, RowKey, RowWrite, Tenant};

use super::layers::Rows;
use crate::{Checkpoint, Comparison, Direction, Filter, List, ListedRow, PageStart};

/// The rows in memory and the checkpoint that they lead to, at one instant.
pub(super) struct Overlay {
    pub(super) checkpoint: Checkpoint,
    /// Oldest first.
    pub(super) layers: Vec<Arc<Rows>>,
}

impl Overlay {
    /// How many rows of the file it hides at most. One that was deleted hides, too.
    pub(super) fn hidden_max(&self, tenant: &Tenant) -> usize {
        self.layers.iter().map(|layer| of_tenant(layer, tenant).count()).sum()
    }

    pub(super) fn hides(&self, key: &RowKey) -> bool {
        self.layers.iter().any(|layer| layer.contains_key(key))
    }

    /// The first rows that belong to the list, after its page's start, in its order.
    pub(super) fn page(&self, list: &List, rows_max: usize) -> Vec<ListedRow> {
        let is_after = |row: &RowWrite| {
            list.after
                .as_ref()
                .is_none_or(|after| compare(list, place_of(row, list), start_of(after)) == Ordering::Greater)
        };
        let mut rows = Vec::new();
        for (age, layer) in self.layers.iter().enumerate() {
            let newer = &self.layers[age + 1..];
            let is_newest = |key: &RowKey| !newer.iter().any(|newer| newer.contains_key(key));
            let found = of_tenant(layer, &list.tenant).map(|(key, row)| (key, &**row));
            rows.extend(found.filter(|(key, row)| is_listed(row, list) && is_after(row) && is_newest(key)));
        }
        rows.sort_unstable_by(|(_, one), (_, other)| compare(list, place_of(one, list), place_of(other, list)));
        rows.into_iter().take(rows_max).filter_map(|(_, row)| listed(row, list)).collect()
    }
}

fn of_tenant<'a>(layer: &'a Rows, tenant: &'a Tenant) -> impl Iterator<Item = (&'a RowKey, &'a Arc<RowWrite>)> {
    let first = RowKey { tenant: tenant.clone(), key: "".into() };
    layer.range(first..).take_while(|(key, _)| key.tenant == *tenant)
}

fn is_listed(row: &RowWrite, list: &List) -> bool {
    let holds = |filter: &Filter| holds(value(row, filter.index), &filter.comparison);
    matches!(row.change, RowChange::Put { .. }) && list.filters.iter().all(holds)
}

fn listed(row: &RowWrite, list: &List) -> Option<ListedRow> {
    let RowChange::Put { body, .. } = &row.change else { return None };
    let (values, key) = place_of(row, list);
    let start = PageStart { values: values.cloned().collect(), key: key.to_owned() };
    Some(ListedRow { body: Bytes::copy_from_slice(body.as_bytes()), start })
}

fn value(row: &RowWrite, place: usize) -> &IndexValue {
    match &row.change {
        RowChange::Put { index, .. } => index.get(place).unwrap_or(&IndexValue::Null),
        RowChange::Delete => &IndexValue::Null,
    }
}

/// Both in one, each of them in the order of the list and none in both.
pub(super) fn merged(stored: Vec<ListedRow>, fresh: Vec<ListedRow>, list: &List) -> Vec<ListedRow> {
    if fresh.is_empty() {
        return stored;
    }
    let mut merged = Vec::with_capacity(stored.len() + fresh.len());
    let (mut stored, mut fresh) = (stored.into_iter().peekable(), fresh.into_iter().peekable());
    while let (Some(one), Some(other)) = (stored.peek(), fresh.peek()) {
        let is_first = compare(list, start_of(&one.start), start_of(&other.start)) == Ordering::Less;
        merged.extend(if is_first { stored.next() } else { fresh.next() });
    }
    merged.extend(stored);
    merged.extend(fresh);
    merged
}

/// By what a row is ordered: the values of the ordering fields, and its key.
fn place_of<'a>(row: &'a RowWrite, list: &'a List) -> (impl Iterator<Item = &'a IndexValue>, &'a str) {
    (list.order.iter().map(|(place, _)| value(row, *place)), &row.key.key)
}

fn start_of(start: &PageStart) -> (impl Iterator<Item = &IndexValue>, &str) {
    (start.values.iter(), &start.key)
}

fn compare<'a>(
    list: &List,
    (one, one_key): (impl Iterator<Item = &'a IndexValue>, &str),
    (other, other_key): (impl Iterator<Item = &'a IndexValue>, &str),
) -> Ordering {
    let fields = list.order.iter().zip(one.zip(other)).map(|((_, direction), (one, other))| match (one, other) {
        // NULLs come last either way.
        (IndexValue::Null, IndexValue::Null) => Ordering::Equal,
        (IndexValue::Null, _) => Ordering::Greater,
        (_, IndexValue::Null) => Ordering::Less,
        _ if *direction == Direction::Asc => order(one, other),
        _ => order(other, one),
    });
    fields.fold(Ordering::Equal, Ordering::then).then_with(|| one_key.cmp(other_key))
}

/// As SQLite orders values of a column: numbers before text, text by its bytes.
fn order(one: &IndexValue, other: &IndexValue) -> Ordering {
    match (one, other) {
        (IndexValue::Integer(one), IndexValue::Integer(other)) => one.cmp(other),
        (IndexValue::Text(one), IndexValue::Text(other)) => one.as_bytes().cmp(other.as_bytes()),
        (IndexValue::Null, IndexValue::Null) => Ordering::Equal,
        (IndexValue::Null, _) | (IndexValue::Integer(_), IndexValue::Text(_)) => Ordering::Less,
        _ => Ordering::Greater,
    }
}

fn holds(value: &IndexValue, comparison: &Comparison) -> bool {
    let is = |wanted: &[Ordering], other: &IndexValue| {
        *value != IndexValue::Null && *other != IndexValue::Null && wanted.contains(&order(value, other))
    };
    match comparison {
        Comparison::Eq(other) => value == other,
        Comparison::Neq(other) => value != other,
        Comparison::Gt(other) => is(&[Ordering::Greater], other),
        Comparison::Gte(other) => is(&[Ordering::Greater, Ordering::Equal], other),
        Comparison::Lt(other) => is(&[Ordering::Less], other),
        Comparison::Lte(other) => is(&[Ordering::Less, Ordering::Equal], other),
        Comparison::In(others) => others.contains(value),
        Comparison::IsNull => *value == IndexValue::Null,
    }
}
