//! Rows in memory among those of the file, as one list: what SQLite does with the rows of the file, in the same order.

use std::cmp::Ordering;

use bytes::Bytes;
use model::{IndexValue, RowChange};

use super::memtable::Overlay;
use crate::{Comparison, Direction, List, ListedRow, PageStart};

/// The rows in memory that belong to the list, after its page's start, in its order.
pub(super) fn of(overlay: &Overlay, list: &List) -> Vec<ListedRow> {
    let mut rows: Vec<ListedRow> = overlay
        .rows
        .iter()
        .filter_map(|(key, row)| {
            let RowChange::Put { body, index } = &row.change else { return None };
            let value = |place: usize| index.get(place).unwrap_or(&IndexValue::Null);
            if !list.filters.iter().all(|filter| holds(value(filter.index), &filter.comparison)) {
                return None;
            }
            let values = list.order.iter().map(|(place, _)| value(*place).clone()).collect();
            let start = PageStart { values, key: key.to_string() };
            let is_after = list.after.as_ref().is_none_or(|after| compare(&start, after, list) == Ordering::Greater);
            is_after.then(|| ListedRow { body: Bytes::copy_from_slice(body.as_bytes()), start })
        })
        .collect();
    rows.sort_by(|one, other| compare(&one.start, &other.start, list));
    rows
}

/// Both in one, each of them in the order of the list and none in both.
pub(super) fn with(stored: Vec<ListedRow>, fresh: Vec<ListedRow>, list: &List) -> Vec<ListedRow> {
    if fresh.is_empty() {
        return stored;
    }
    let mut merged = Vec::with_capacity(stored.len() + fresh.len());
    let (mut stored, mut fresh) = (stored.into_iter().peekable(), fresh.into_iter().peekable());
    while let (Some(one), Some(other)) = (stored.peek(), fresh.peek()) {
        let first = compare(&one.start, &other.start, list) == Ordering::Less;
        merged.extend(if first { stored.next() } else { fresh.next() });
    }
    merged.extend(stored);
    merged.extend(fresh);
    merged
}

fn compare(one: &PageStart, other: &PageStart, list: &List) -> Ordering {
    let fields = list.order.iter().zip(one.values.iter().zip(&other.values));
    let by_fields = fields.map(|((_, direction), (one, other))| match (one, other) {
        // NULLs come last either way.
        (IndexValue::Null, IndexValue::Null) => Ordering::Equal,
        (IndexValue::Null, _) => Ordering::Greater,
        (_, IndexValue::Null) => Ordering::Less,
        _ if *direction == Direction::Asc => order(one, other),
        _ => order(other, one),
    });
    by_fields.fold(Ordering::Equal, Ordering::then).then_with(|| one.key.cmp(&other.key))
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
