//! The sorting suite: the engines' orders and comparisons are those of the domain, to the last digit.

use model::{IndexValue, RowWrite};
use query_database::{
    Comparison,
    Direction::{Asc, Desc},
    Filter, List, Owned,
};

use super::{Database, Subject, fixture::*};

/// Stores rows whose keys are in disorder and whose field at `place` has these values, then compares both orders.
async fn sorts(subject: &dyn Subject, place: usize, in_order: &[&str]) {
    let database = subject.open().await;
    let name = |number: usize| format!("k{}", (number * 7 + 3) % 101);
    let rows = in_order.iter().enumerate().map(|(number, text)| row(&name(number), text, 1, &[(place, text)]));
    let owned = with_rows(&*database, rows.rev().collect()).await;
    let ascending = page(&*database, list(&owned, &[(place, Asc)])).await;
    assert!(ascending.rows.iter().map(|row| row.body.as_ref()).eq(in_order.iter().map(|text| text.as_bytes())));
    let descending = page(&*database, list(&owned, &[(place, Desc)])).await;
    assert!(descending.rows.iter().map(|row| row.body.as_ref()).eq(in_order.iter().rev().map(|text| text.as_bytes())));
    for (listed, text) in ascending.rows.iter().zip(in_order) {
        assert_eq!(listed.start.values, [value(place, text)], "{text:?} comes back as it was stored");
    }
}

pub(super) async fn text_sorts_by_its_bytes(subject: &dyn Subject) {
    let in_order = [
        "", " ", "!", "10", "9", "A", "B", "Zebra", "_", "a", "a ", "aa", "b", "zebra", "Ä", "Äpfel", "ß", "ä", "é",
        "Ω", "я", "日", "日本", "\u{ffff}", "😀",
    ];
    sorts(subject, TEXT, &in_order).await;
}

pub(super) async fn integers_sort_exactly(subject: &dyn Subject) {
    let in_order = [
        "-9223372036854775808",
        "-9223372036854775807",
        "-10",
        "-9",
        "-1",
        "0",
        "1",
        "9",
        "10",
        "9007199254740992",
        "9007199254740993",
        "9223372036854775806",
        "9223372036854775807",
    ];
    sorts(subject, INTEGER, &in_order).await;
}

pub(super) async fn money_sorts_exactly(subject: &dyn Subject) {
    let in_order = ["-100", "-99.999", "-0.5", "0", "0.001", "0.01", "0.1", "4.5", "4.501", "10", "100000000000.001"];
    sorts(subject, MONEY, &in_order).await;
}

pub(super) async fn times_sort_by_instant(subject: &dyn Subject) {
    let in_order = [
        "1899-12-31",
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00Z",
        "2011-01-04T10:00:00",
        "2026-11-23T08:00:00+09:00",
        "2026-11-23T00:00:00Z",
        "2026-11-23T00:00:00.000001Z",
        "2026-11-22T23:00:00-02:00",
        "2026-11-24",
    ];
    sorts(subject, TIME, &in_order).await;
}

pub(super) async fn false_sorts_before_true(subject: &dyn Subject) {
    sorts(subject, TRUTH, &["false", "true"]).await;
}

pub(super) async fn nulls_come_last_either_way(subject: &dyn Subject) {
    let database = subject.open().await;
    let rows = vec![
        put("null", "", 1),
        row("one", "", 1, &[(INTEGER, "1"), (TEXT, "1")]),
        row("two", "", 1, &[(INTEGER, "2"), (TEXT, "2")]),
    ];
    let owned = with_rows(&*database, rows).await;
    for place in [INTEGER, TEXT] {
        assert_eq!(keys(&page(&*database, list(&owned, &[(place, Asc)])).await), ["one", "two", "null"]);
        assert_eq!(keys(&page(&*database, list(&owned, &[(place, Desc)])).await), ["two", "one", "null"]);
    }
}

pub(super) async fn equal_rows_are_ordered_by_their_keys(subject: &dyn Subject) {
    let database = subject.open().await;
    let names = ["b", "a", "%C3%A4", "c/2", "c/10", "B"];
    let owned = with_rows(&*database, names.iter().map(|name| row(name, "", 1, &[(INTEGER, "7")])).collect()).await;
    for direction in [Asc, Desc] {
        let page = page(&*database, list(&owned, &[(INTEGER, direction)])).await;
        assert_eq!(keys(&page), ["%C3%A4", "B", "a", "b", "c/10", "c/2"], "{direction:?}");
    }
}

pub(super) async fn several_fields_sort_in_turn_each_its_own_way(subject: &dyn Subject) {
    let database = subject.open().await;
    let rows = [("a", "1", "x"), ("b", "1", "y"), ("c", "2", "x"), ("d", "2", "y"), ("e", "2", "z")];
    let rows = rows.iter().map(|(at, number, text)| row(at, "", 1, &[(INTEGER, number), (TEXT, text)])).collect();
    let owned = with_rows(&*database, rows).await;
    for (order, expected) in [
        ([(INTEGER, Asc), (TEXT, Asc)], "abcde"),
        ([(INTEGER, Asc), (TEXT, Desc)], "baedc"),
        ([(INTEGER, Desc), (TEXT, Asc)], "cdeab"),
        ([(INTEGER, Desc), (TEXT, Desc)], "edcba"),
        ([(TEXT, Desc), (INTEGER, Asc)], "ebdac"),
    ] {
        assert_eq!(keys(&page(&*database, list(&owned, &order)).await).concat(), expected, "{order:?}");
    }
}

pub(super) async fn without_an_order_rows_come_by_their_keys(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, ["b", "a", "B", "10", "9"].map(|name| put(name, "", 1)).to_vec()).await;
    assert_eq!(keys(&page(&*database, list(&owned, &[])).await), ["10", "9", "B", "a", "b"]);
}

/// 30 rows with many ties and many NULLs.
fn tied() -> Vec<RowWrite> {
    let tied = |number: usize| {
        let (integer, text) = ((number % 3).to_string(), ["x", "ä", "z"][number / 3 % 3]);
        let mut fields = Vec::new();
        if !number.is_multiple_of(4) {
            fields.push((INTEGER, integer.as_str()));
        }
        if !number.is_multiple_of(5) {
            fields.push((TEXT, text));
        }
        row(&format!("{:02}", number * 13 % 30), "", 1, &fields)
    };
    (0..30).map(tied).collect()
}

pub(super) async fn pages_visit_each_row_once(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, tied()).await;
    // Whatever it begins now is not seen by those who read.
    database.filled(owned.generation);
    for order in orders() {
        for rows_max in [1, 2, 3, 7, 29, 30, 31] {
            let visited = keys_by_pages(&*database, list(&owned, &order), rows_max).await;
            assert_eq!(
                visited,
                keys(&page(&*database, list(&owned, &order)).await),
                "in pages of {rows_max} by {order:?}"
            );
            let each: std::collections::BTreeSet<_> = visited.iter().collect();
            assert_eq!((visited.len(), each.len()), (30, 30), "in pages of {rows_max} by {order:?}");
        }
        let filters = vec![Filter { index: TEXT, comparison: Comparison::Neq(value(TEXT, "z")) }];
        let some = List { filters, ..list(&owned, &order) };
        assert_eq!(keys_by_pages(&*database, some.clone(), 3).await, keys(&page(&*database, some).await));
    }
}

fn orders() -> Vec<Vec<(usize, query_database::Direction)>> {
    let mut orders = vec![vec![]];
    for first in [Asc, Desc] {
        orders.push(vec![(INTEGER, first)]);
        orders.push(vec![(TEXT, first)]);
        for second in [Asc, Desc] {
            orders.push(vec![(INTEGER, first), (TEXT, second)]);
            orders.push(vec![(TEXT, first), (INTEGER, second)]);
        }
    }
    orders
}

pub(super) async fn a_page_says_whether_there_are_more(subject: &dyn Subject) {
    let database = subject.open().await;
    let owned = with_rows(&*database, ["a", "b", "c"].map(|name| put(name, "", 1)).to_vec()).await;
    for (rows_max, rows, more) in [(1, 1, true), (2, 2, true), (3, 3, false), (4, 3, false)] {
        let page = page(&*database, List { rows_max, ..list(&owned, &[]) }).await;
        assert_eq!((page.rows.len(), page.more), (rows, more), "at most {rows_max} of 3 rows");
    }
}

async fn filtered(database: &dyn Database, owned: &Owned, index: usize, comparison: Comparison) -> String {
    let filters = vec![Filter { index, comparison }];
    keys(&page(database, List { filters, ..list(owned, &[]) }).await).concat()
}

pub(super) async fn filters_compare_exactly(subject: &dyn Subject) {
    use Comparison::{Eq, Gt, Gte, In, IsNull, Lt, Lte, Neq};
    let database = subject.open().await;
    let (small, large) = ("9007199254740992", "9007199254740993");
    let rows = vec![
        row("a", "", 1, &[(INTEGER, small), (TEXT, "Abc"), (MONEY, "4.500"), (TRUTH, "true")]),
        row("b", "", 1, &[(INTEGER, large), (TEXT, "abc"), (MONEY, "4.501"), (TRUTH, "false")]),
        row("c", "", 1, &[(INTEGER, "-5"), (TEXT, "é%_'"), (MONEY, "-4.5"), (TRUTH, "true")]),
        put("n", "", 1),
    ];
    let owned = with_rows(&*database, rows).await;
    let number = |text| value(INTEGER, text);
    let text = |text| value(TEXT, text);
    for (index, comparison, expected) in [
        (INTEGER, Eq(number(small)), "a"),
        (INTEGER, Neq(number(small)), "bcn"),
        (INTEGER, Gt(number(small)), "b"),
        (INTEGER, Gte(number(small)), "ab"),
        (INTEGER, Lt(number(large)), "ac"),
        (INTEGER, Lte(number(large)), "abc"),
        (INTEGER, In(vec![number("-5"), number(large), number("1")]), "bc"),
        (INTEGER, In(vec![]), ""),
        (INTEGER, In(vec![IndexValue::Null, number("-5")]), "cn"),
        (INTEGER, IsNull, "n"),
        (INTEGER, Eq(IndexValue::Null), "n"),
        (INTEGER, Neq(IndexValue::Null), "abc"),
        (INTEGER, Gt(IndexValue::Null), ""),
        (INTEGER, Gte(IndexValue::Null), ""),
        (INTEGER, Lt(IndexValue::Null), ""),
        (INTEGER, Lte(IndexValue::Null), ""),
        (TEXT, Eq(text("abc")), "b"),
        (TEXT, Eq(text("é%_'")), "c"),
        (TEXT, Eq(text("%")), ""),
        (TEXT, Gt(text("Abc")), "bc"),
        (TEXT, Lt(text("b")), "ab"),
        (TEXT, IsNull, "n"),
        (MONEY, Eq(value(MONEY, "4.5")), "a"),
        (MONEY, Gt(value(MONEY, "4.5")), "b"),
        (MONEY, Lt(value(MONEY, "4.5")), "c"),
        (TRUTH, Eq(value(TRUTH, "true")), "ac"),
    ] {
        let shown = format!("{:?} {comparison:?}", KINDS[index].0);
        assert_eq!(filtered(&*database, &owned, index, comparison).await, expected, "{shown}");
    }
}

pub(super) async fn all_filters_must_hold(subject: &dyn Subject) {
    let database = subject.open().await;
    let rows = [("a", "1", "x"), ("b", "2", "x"), ("c", "2", "y"), ("d", "3", "x")];
    let rows = rows.iter().map(|(at, number, text)| row(at, "", 1, &[(INTEGER, number), (TEXT, text)])).collect();
    let owned = with_rows(&*database, rows).await;
    let is = |index, comparison| Filter { index, comparison };
    let filters = vec![
        is(INTEGER, Comparison::Gt(value(INTEGER, "1"))),
        is(INTEGER, Comparison::Lt(value(INTEGER, "3"))),
        is(TEXT, Comparison::Eq(value(TEXT, "x"))),
    ];
    assert_eq!(keys(&page(&*database, List { filters, ..list(&owned, &[]) }).await), ["b"]);
}
