//! `field=operator.value`: how one parameter of a list reads.

use model::{IndexKind, IndexValue};
use query_database::Comparison;

/// Most values of one `in.(…)`.
const VALUES_MAX: usize = 100;

pub(crate) const OPERATORS: &str = "eq, neq, gt, gte, lt, lte, in.(a,b) or is.null";

/// The condition that `text`, such as `gte.100`, puts on a field of this kind, or what was expected.
pub(crate) fn parse(text: &str, kind: IndexKind) -> Result<Comparison, String> {
    let Some((operator, value)) = text.split_once('.') else {
        return Err(format!("expected an operator and a value, as in eq.value; operators are {OPERATORS}"));
    };
    let one = || parse_value(value, kind);
    Ok(match operator {
        "eq" => Comparison::Eq(one()?),
        "neq" => Comparison::Neq(one()?),
        "gt" => Comparison::Gt(one()?),
        "gte" => Comparison::Gte(one()?),
        "lt" => Comparison::Lt(one()?),
        "lte" => Comparison::Lte(one()?),
        "in" => Comparison::In(parse_values(value, kind)?),
        "is" if value == "null" => Comparison::IsNull,
        "is" => return Err("the only value of is is null, as in is.null".to_owned()),
        _ => return Err(format!("there is no operator {operator:?}, there are {OPERATORS}")),
    })
}

fn parse_value(value: &str, kind: IndexKind) -> Result<IndexValue, String> {
    kind.parse(value).ok_or_else(|| format!("{value:?} is no {kind}"))
}

fn parse_values(list: &str, kind: IndexKind) -> Result<Vec<IndexValue>, String> {
    let inner = list.strip_prefix('(').and_then(|list| list.strip_suffix(')'));
    let Some(mut rest) = inner else {
        return Err("expected values in parentheses, as in in.(a,b)".to_owned());
    };
    let mut values = Vec::new();
    loop {
        if values.len() == VALUES_MAX {
            return Err(format!("in takes up to {VALUES_MAX} values: ask several times"));
        }
        let (value, after) = next_value(rest)?;
        values.push(parse_value(&value, kind)?);
        match after {
            Some(after) => rest = after,
            None => return Ok(values),
        }
    }
}

/// The first value of `list`, and what comes after its comma.
fn next_value(list: &str) -> Result<(String, Option<&str>), String> {
    let Some(quoted) = list.strip_prefix('"') else {
        let (value, after) = list.split_once(',').map_or((list, None), |(value, after)| (value, Some(after)));
        if value.contains(['"', '(', ')']) {
            return Err(format!("{value:?} has quotes or parentheses: put the value in double quotes"));
        }
        return Ok((value.to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '"' => {
                return match &quoted[place + 1..] {
                    "" => Ok((value, None)),
                    rest => match rest.strip_prefix(',') {
                        Some(after) => Ok((value, Some(after))),
                        None => Err("a quoted value is followed by a comma or the end".to_owned()),
                    },
                };
            }
            plain => value.push(plain),
        }
    }
    Err("a double quote is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> IndexValue {
        IndexValue::Text(text.to_owned())
    }

    #[test]
    fn a_filter_is_an_operator_and_a_value() {
        use Comparison::{Eq, Gt, Gte, In, IsNull, Lt, Lte, Neq};
        let money = IndexKind::Money { scale: 3 };
        for (filter, kind, expected) in [
            ("eq.placed", IndexKind::Text, Eq(text("placed"))),
            ("eq.", IndexKind::Text, Eq(text(""))),
            ("eq.a.b,c", IndexKind::Text, Eq(text("a.b,c"))),
            ("neq.1", IndexKind::Integer, Neq(IndexValue::Integer(1))),
            ("gt.9.5", money, Gt(IndexValue::Integer(9500))),
            ("gte.-1", money, Gte(IndexValue::Integer(-1000))),
            ("lt.true", IndexKind::Boolean, Lt(IndexValue::Integer(1))),
            ("lte.1970-01-01", IndexKind::Time, Lte(IndexValue::Integer(0))),
            ("is.null", IndexKind::Time, IsNull),
            ("in.(a)", IndexKind::Text, In(vec![text("a")])),
            ("in.()", IndexKind::Text, In(vec![text("")])),
            (
                r#"in.(a,"b,(c)","d\"\\e",)"#,
                IndexKind::Text,
                In(vec![text("a"), text("b,(c)"), text("d\"\\e"), text("")]),
            ),
            ("in.(1,2)", IndexKind::Integer, In(vec![IndexValue::Integer(1), IndexValue::Integer(2)])),
        ] {
            assert_eq!(parse(filter, kind), Ok(expected), "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_says_what_was_expected() {
        let many = format!("in.({})", vec!["1"; 101].join(","));
        for (filter, kind) in [
            ("placed", IndexKind::Text),
            ("", IndexKind::Text),
            ("like.a", IndexKind::Text),
            ("EQ.a", IndexKind::Text),
            ("eq.one", IndexKind::Integer),
            ("eq.0.0001", IndexKind::Money { scale: 3 }),
            ("eq.1e3", IndexKind::Integer),
            ("eq.yesterday", IndexKind::Time),
            ("eq.1", IndexKind::Boolean),
            ("is.empty", IndexKind::Text),
            ("in.a,b", IndexKind::Text),
            ("in.(a", IndexKind::Text),
            ("in.(a(b))", IndexKind::Text),
            ("in.(\"a)", IndexKind::Text),
            ("in.(\"a\"b)", IndexKind::Text),
            ("in.(1,x)", IndexKind::Integer),
            (&many, IndexKind::Integer),
        ] {
            let refused = parse(filter, kind);
            assert!(refused.as_ref().is_err_and(|why| !why.is_empty()), "{filter}: {refused:?}");
        }
    }

    fn kinds() -> impl Strategy<Value = IndexKind> {
        prop_oneof![
            Just(IndexKind::Text),
            Just(IndexKind::Integer),
            (0..=6_u32).prop_map(|scale| IndexKind::Money { scale }),
            Just(IndexKind::Time),
            Just(IndexKind::Boolean),
        ]
    }

    fn values(kind: IndexKind) -> BoxedStrategy<IndexValue> {
        match kind {
            IndexKind::Text => any::<String>().prop_map(IndexValue::Text).boxed(),
            IndexKind::Integer => any::<i64>().prop_map(IndexValue::Integer).boxed(),
            // As much as the amounts of 28 digits that are compared have at least.
            IndexKind::Money { .. } => any::<i64>().prop_map(IndexValue::Integer).boxed(),
            IndexKind::Time => {
                (-62_000_000_000_000_000_i64..253_000_000_000_000_000).prop_map(IndexValue::Integer).boxed()
            }
            IndexKind::Boolean => (0..=1_i64).prop_map(IndexValue::Integer).boxed(),
        }
    }

    fn comparisons() -> impl Strategy<Value = (IndexKind, Comparison)> {
        kinds().prop_flat_map(|kind| {
            let one = || values(kind);
            let comparison = prop_oneof![
                one().prop_map(Comparison::Eq),
                one().prop_map(Comparison::Neq),
                one().prop_map(Comparison::Gt),
                one().prop_map(Comparison::Gte),
                one().prop_map(Comparison::Lt),
                one().prop_map(Comparison::Lte),
                prop::collection::vec(one(), 1..5).prop_map(Comparison::In),
                Just(Comparison::IsNull),
            ];
            (Just(kind), comparison)
        })
    }

    /// A value as a client writes it.
    fn printed_value(value: &IndexValue, kind: IndexKind) -> String {
        match (value, kind) {
            (IndexValue::Text(text), _) => text.clone(),
            (IndexValue::Integer(number), IndexKind::Money { scale }) if scale > 0 => {
                let (sign, digits) = (if *number < 0 { "-" } else { "" }, number.unsigned_abs());
                let unit = 10_u64.pow(scale);
                format!("{sign}{}.{:0width$}", digits / unit, digits % unit, width = scale as usize)
            }
            (IndexValue::Integer(number), IndexKind::Time) => {
                Timestamp::from_microsecond(*number).expect("within range").to_string()
            }
            (IndexValue::Integer(number), IndexKind::Boolean) => (*number == 1).to_string(),
            (IndexValue::Integer(number), _) => number.to_string(),
            (IndexValue::Null, _) => panic!("no value is NULL"),
        }
    }

    fn printed(comparison: &Comparison, kind: IndexKind) -> String {
        use Comparison::{Eq, Gt, Gte, In, IsNull, Lt, Lte, Neq};
        let quoted = |value| format!("\"{}\"", printed_value(value, kind).replace('\\', "\\\\").replace('"', "\\\""));
        let (operator, value) = match comparison {
            Eq(value) => ("eq", value),
            Neq(value) => ("neq", value),
            Gt(value) => ("gt", value),
            Gte(value) => ("gte", value),
            Lt(value) => ("lt", value),
            Lte(value) => ("lte", value),
            In(values) => return format!("in.({})", values.iter().map(quoted).collect::<Vec<_>>().join(",")),
            IsNull => return "is.null".to_owned(),
        };
        format!("{operator}.{}", printed_value(value, kind))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_comparison_can_be_written((kind, comparison) in comparisons()) {
            prop_assert_eq!(parse(&printed(&comparison, kind), kind), Ok(comparison));
        }

        #[test]
        fn what_is_taken_prints_back_to_the_same_and_the_rest_is_told_why(
            text in prop_oneof![
                "(eq|neq|gt|gte|lt|lte|is|in)\\.(null|true|-?[0-9]{1,20}(\\.[0-9]{0,30})?|[0-9T:Z.-]{0,20}|\\PC{0,8})",
                "in\\.\\(?([a-z0-9,()\"\\\\]){0,12}\\)?",
                ".{0,20}",
            ],
            kind in kinds(),
        ) {
            match parse(&text, kind) {
                Ok(comparison) => prop_assert_eq!(parse(&printed(&comparison, kind), kind), Ok(comparison)),
                Err(why) => prop_assert!(!why.is_empty()),
            }
        }
    }
}
