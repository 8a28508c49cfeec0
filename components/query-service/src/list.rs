//! The parameters of a list, checked against the declared indexes of the generation that serves.

use std::fmt::Write;

use model::ReadModel;
use query_database::{Direction, Filter, List, Serving};

use crate::{
    ListQuery, QueryOutcome, filter,
    page_token::{Sealer, TokenFault},
};

pub(crate) const PAGE_SIZE: &str = "page_size";
pub(crate) const PAGE_TOKEN: &str = "page_token";
const ORDER_BY: &str = "order_by";

/// Most filters of one list.
const FILTERS_MAX: usize = 32;

/// Limits of one page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSize {
    pub(crate) default: usize,
    pub(crate) max: usize,
}

/// What the database is to be asked, or the outcome that says what is wrong.
pub(crate) fn parse(
    query: &ListQuery,
    serving: &Serving,
    sealer: &Sealer,
    page_size: PageSize,
) -> Result<List, QueryOutcome> {
    let read_model = &*serving.read_model;
    let mut filters = Vec::new();
    for (name, value) in &query.parameters {
        if matches!(name.as_str(), PAGE_SIZE | PAGE_TOKEN | ORDER_BY) {
            continue;
        }
        let Some(index) = index_of(read_model, name) else {
            return Err(QueryOutcome::UnknownParameter { name: name.clone(), possible: possible(read_model) });
        };
        let comparison = filter::parse(value, read_model.indexes[index].kind).map_err(|why| invalid(name, why))?;
        filters.push(Filter { index, comparison });
    }
    if filters.len() > FILTERS_MAX {
        return Err(invalid("filters", format!("there are {}, the limit is {FILTERS_MAX}", filters.len())));
    }
    let order = order(read_model, only(query, ORDER_BY)?)?;
    let rows_max = rows_max(only(query, PAGE_SIZE)?, page_size)?;
    let after = only(query, PAGE_TOKEN)?
        .map(|token| sealer.open(query, serving.generation, token).map_err(refuse_token))
        .transpose()?;
    if after.as_ref().is_some_and(|after| after.values.len() != order.len()) {
        return Err(refuse_token(TokenFault::Foreign));
    }
    Ok(List { generation: serving.generation, tenant: query.tenant.clone(), filters, order, after, rows_max })
}

fn index_of(read_model: &ReadModel, field: &str) -> Option<usize> {
    read_model.indexes.iter().position(|index| index.field == field)
}

fn invalid(name: &str, detail: impl Into<String>) -> QueryOutcome {
    QueryOutcome::InvalidFilter { name: name.to_owned(), detail: detail.into() }
}

fn refuse_token(fault: TokenFault) -> QueryOutcome {
    let detail = match fault {
        TokenFault::Rebuilt => "the read model was rebuilt: start again from the first page",
        TokenFault::Foreign => {
            "this page token was not made for this query: send it unchanged, with the same filters and order"
        }
    };
    QueryOutcome::InvalidPageToken { detail: detail.to_owned() }
}

/// The value of a parameter that may be sent once.
fn only<'a>(query: &'a ListQuery, name: &str) -> Result<Option<&'a str>, QueryOutcome> {
    let mut sent = query.parameters.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let first = sent.next();
    if sent.next().is_some() {
        return Err(invalid(name, "it was sent several times: send it once"));
    }
    Ok(first)
}

fn rows_max(page_size: Option<&str>, limits: PageSize) -> Result<usize, QueryOutcome> {
    let Some(text) = page_size else {
        return Ok(limits.default);
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number of more than 64 bits is too large like any other.
    let size = if digits { text.parse().unwrap_or(usize::MAX) } else { 0 };
    match size {
        0 => Err(invalid(PAGE_SIZE, format!("{text:?} is no whole number from 1"))),
        size => Ok(size.min(limits.max)),
    }
}

/// `placed_at desc,total`: the key, ascending, decides last, which is the database's affair.
fn order(read_model: &ReadModel, text: Option<&str>) -> Result<Vec<(usize, Direction)>, QueryOutcome> {
    let mut order: Vec<(usize, Direction)> = Vec::new();
    for term in text.into_iter().flat_map(|text| text.split(',')) {
        let mut words = term.split_ascii_whitespace();
        let (field, direction) = (words.next().unwrap_or_default(), words.next());
        let direction = match direction {
            None | Some("asc") => Direction::Asc,
            Some("desc") => Direction::Desc,
            Some(other) => return Err(invalid(ORDER_BY, format!("{other:?} is no direction: use asc or desc"))),
        };
        if words.next().is_some() {
            return Err(invalid(ORDER_BY, format!("{term:?} is no field with a direction, as in placed_at desc")));
        }
        let Some(index) = index_of(read_model, field) else {
            return Err(invalid(ORDER_BY, format!("there is no field {field:?} to sort by: {}", possible(read_model))));
        };
        if order.iter().any(|(other, _)| *other == index) {
            return Err(invalid(ORDER_BY, format!("{field} is named twice")));
        }
        order.push((index, direction));
    }
    Ok(order)
}

/// Everything that a list of this read model may be asked, for people.
fn possible(read_model: &ReadModel) -> String {
    let mut text = String::new();
    if read_model.indexes.is_empty() {
        text.push_str("this read model has no indexed fields");
    } else {
        text.push_str("indexed fields are ");
        for (place, index) in read_model.indexes.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            // Writing into a string does not fail.
            let _ = write!(text, "{separator}{} ({})", index.field, index.kind);
        }
        let _ = write!(text, ", each filtered by {}", filter::OPERATORS);
    }
    text + "; also possible are order_by, page_size, page_token and consistency_token"
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Hash, Index, IndexKind, IndexValue, Tenant, TraceContext};
    use proptest::prelude::*;
    use query_database::{Comparison, Generation, PageStart};

    use super::*;
    use crate::{Consistency, Handling};

    fn serving(generation: u64) -> Serving {
        let index = |field: &str, kind| Index { field: field.to_owned(), kind };
        let indexes = vec![index("status", IndexKind::Text), index("total", IndexKind::Money { scale: 3 })];
        let read_model = ReadModel {
            name: "order_summary".into(),
            version: 1,
            shape: Hash::default(),
            fields: Vec::new(),
            indexes,
            schema: serde_json::Value::Null,
        };
        Serving { generation: Generation(generation), read_model: Arc::new(read_model) }
    }

    fn query(parameters: &[(&str, &str)]) -> ListQuery {
        ListQuery {
            tenant: Tenant::default(),
            read_model: "order_summary".into(),
            parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            consistency: Consistency { token: None, handling: Handling::Strict, wait: std::time::Duration::ZERO },
            trace: TraceContext::default(),
            tracestate: None,
        }
    }

    fn sealer() -> Sealer {
        Sealer::new(&[7; 32])
    }

    fn parsed(parameters: &[(&str, &str)]) -> Result<List, QueryOutcome> {
        parse(&query(parameters), &serving(1), &sealer(), PageSize { default: 50, max: 500 })
    }

    #[test]
    fn filters_of_one_field_all_count() {
        let list = parsed(&[("total", "gte.1"), ("total", "lt.2"), ("status", "is.null")]).expect("well-formed");
        let integer = IndexValue::Integer;
        let expected =
            [(1, Comparison::Gte(integer(1000))), (1, Comparison::Lt(integer(2000))), (0, Comparison::IsNull)];
        assert_eq!(list.filters, expected.map(|(index, comparison)| Filter { index, comparison }));
        assert_eq!((list.order, list.rows_max), (vec![], 50));
    }

    #[test]
    fn an_order_is_fields_and_directions() {
        let list = parsed(&[("order_by", "total desc,status")]).expect("well-formed");
        assert_eq!(list.order, [(1, Direction::Desc), (0, Direction::Asc)]);
        for order in ["", "name", "total down", "total desc now", "total,total", "total,", "TOTAL"] {
            let refused = parsed(&[("order_by", order)]).expect_err("no order");
            assert!(matches!(&refused, QueryOutcome::InvalidFilter { name, .. } if name == ORDER_BY), "{order:?}");
        }
    }

    #[test]
    fn a_page_has_a_size_between_one_and_the_limit() {
        for (text, size) in [("1", 1), ("500", 500), ("501", 500), ("99999999999999999999999", 500)] {
            assert_eq!(parsed(&[("page_size", text)]).expect("a number").rows_max, size);
        }
        for text in ["0", "-1", "", "ten", "1.5", "+1"] {
            assert!(matches!(parsed(&[("page_size", text)]), Err(QueryOutcome::InvalidFilter { .. })), "{text:?}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_told_what_is_possible() {
        let refused = parsed(&[("colour", "eq.red")]).expect_err("no such index");
        let QueryOutcome::UnknownParameter { name, possible } = refused else { panic!("{refused:?}") };
        assert_eq!(name, "colour");
        for word in ["status (text)", "total (money with 3 decimals)", "gte", "order_by", "page_size", "page_token"] {
            assert!(possible.contains(word), "{word} in {possible}");
        }
    }

    #[test]
    fn a_parameter_that_counts_once_is_sent_once() {
        for name in [PAGE_SIZE, PAGE_TOKEN, ORDER_BY] {
            let refused = parsed(&[(name, "total"), (name, "total")]);
            assert!(matches!(refused, Err(QueryOutcome::InvalidFilter { .. })), "{name}: {refused:?}");
        }
        assert!(parsed(&vec![("total", "gte.1"); 33]).is_err());
    }

    #[test]
    fn a_page_token_fits_its_own_query_only() {
        let start = PageStart { values: vec![IndexValue::Integer(5)], key: "o-1".into() };
        let asked = [("status", "eq.placed"), ("order_by", "total")];
        let token = sealer().seal(&query(&asked), Generation(1), &start).expect("JSON");
        let with = |parameters: &[(&str, &str)]| {
            let mut parameters = parameters.to_vec();
            parameters.push(("page_token", &token));
            parsed(&parameters).map(|list| list.after)
        };
        assert_eq!(with(&asked), Ok(Some(start.clone())));
        assert_eq!(with(&[asked[1], ("page_size", "7"), asked[0]]), Ok(Some(start)), "neither size nor order matter");
        for other in [
            &[("status", "eq.paid"), asked[1]][..],
            &[asked[0], ("order_by", "total desc")],
            &[asked[1]],
            &[asked[0], asked[1], ("total", "gte.1")],
        ] {
            assert!(matches!(with(other), Err(QueryOutcome::InvalidPageToken { .. })), "{other:?}");
        }
        let rebuilt = sealer().open(&query(&asked), Generation(2), &token);
        assert_eq!(rebuilt, Err(TokenFault::Rebuilt));
        let mut elsewhere = query(&asked);
        elsewhere.tenant = Tenant::new("other");
        assert_eq!(sealer().open(&elsewhere, Generation(1), &token), Err(TokenFault::Foreign));
        let stranger = Sealer::new(&[8; 32]);
        assert_eq!(stranger.open(&query(&asked), Generation(1), &token), Err(TokenFault::Foreign));
    }

    #[test]
    fn a_page_token_with_any_byte_changed_is_refused() {
        let start = PageStart { values: Vec::new(), key: "o-1".into() };
        let asked = query(&[]);
        let token = sealer().seal(&asked, Generation(1), &start).expect("JSON");
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(sealer().open(&asked, Generation(1), &changed), Err(TokenFault::Foreign), "{place}");
        }
        for foreign in ["", "p1.", "p1.!", "p2.AAAA", &token[..token.len() - 4]] {
            assert_eq!(sealer().open(&asked, Generation(1), foreign), Err(TokenFault::Foreign), "{foreign}");
        }
    }

    fn parameters() -> impl Strategy<Value = Vec<(String, String)>> {
        let names = prop_oneof![8 => "status|total|order_by|page_size|page_token", 1 => ".{0,8}"];
        let values = prop_oneof![
            "(eq|gt|in|is)\\.(null|[0-9.]{0,6}|\\([a-z,]{0,6}\\))",
            "((status|total)( asc| desc| up)?,?){0,3}",
            "[0-9]{0,22}",
            "p1\\.[A-Za-z0-9_-]{0,80}",
            ".{0,12}",
        ];
        prop::collection::vec((names, values), 0..6)
    }

    fn starts() -> impl Strategy<Value = PageStart> {
        let values = prop_oneof![
            Just(IndexValue::Null),
            any::<i64>().prop_map(IndexValue::Integer),
            any::<String>().prop_map(IndexValue::Text),
        ];
        (prop::collection::vec(values, 0..3), any::<String>()).prop_map(|(values, key)| PageStart { values, key })
    }

    fn owned(parameters: &[(String, String)]) -> Vec<(&str, &str)> {
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_asked_is_a_list_or_refused_as_the_clients_mistake(parameters in parameters()) {
            match parsed(&owned(&parameters)) {
                Ok(list) => prop_assert!((1..=500).contains(&list.rows_max) && list.filters.len() <= FILTERS_MAX),
                Err(outcome) => prop_assert!(
                    matches!(
                        outcome,
                        QueryOutcome::UnknownParameter { .. }
                            | QueryOutcome::InvalidFilter { .. }
                            | QueryOutcome::InvalidPageToken { .. }
                    ),
                    "{:?}",
                    outcome
                ),
            }
        }

        #[test]
        fn every_order_can_be_written(fields in Just(vec![0, 1]).prop_shuffle(), count in 1..=2_usize, words in (0..3_usize, 0..3_usize)) {
            let (mut order, mut terms) = (Vec::new(), Vec::new());
            for (index, word) in fields.into_iter().take(count).zip([words.0, words.1]) {
                order.push((index, [Direction::Asc, Direction::Asc, Direction::Desc][word]));
                terms.push(["status", "total"][index].to_owned() + ["", " asc", " desc"][word]);
            }
            prop_assert_eq!(parsed(&[("order_by", &terms.join(","))]).map(|list| list.order), Ok(order));
        }

        #[test]
        fn where_a_page_ended_comes_back_from_its_token(start in starts(), parameters in parameters(), generation: u64) {
            let query = query(&owned(&parameters));
            let token = sealer().seal(&query, Generation(generation), &start).expect("JSON");
            prop_assert_eq!(sealer().open(&query, Generation(generation), &token), Ok(start));
        }

        #[test]
        fn no_text_is_taken_for_a_page_token(text in "(p1\\.)?([A-Za-z0-9_-]{0,200}|\\PC{0,40})") {
            prop_assert_eq!(sealer().open(&query(&[]), Generation(1), &text), Err(TokenFault::Foreign));
        }
    }
}
