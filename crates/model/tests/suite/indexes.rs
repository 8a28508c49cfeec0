use model::{IndexKind, IndexValue};
use proptest::prelude::*;

const MONEY: IndexKind = IndexKind::Money { scale: 2 };

fn integer(kind: IndexKind, text: &str) -> i64 {
    match kind.parse(text) {
        Some(IndexValue::Integer(number)) => number,
        other => panic!("{text:?} is a {kind}, but came to {other:?}"),
    }
}

#[test]
fn every_kind_has_its_stored_form() {
    for (kind, text, stored) in [
        (IndexKind::Integer, "-7", -7),
        (MONEY, "1.5", 150),
        (MONEY, "-0.01", -1),
        (MONEY, "2", 200),
        (IndexKind::Boolean, "false", 0),
        (IndexKind::Boolean, "true", 1),
        (IndexKind::Time, "1970-01-02", 86_400_000_000),
        (IndexKind::Time, "1970-01-01T00:00:01.5", 1_500_000),
        (IndexKind::Time, "1970-01-01T01:00:01+01:00", 1_000_000),
        (IndexKind::Time, "1969-12-31T23:59:59Z", -1_000_000),
    ] {
        assert_eq!(integer(kind, text), stored, "{kind} {text}");
    }
    assert_eq!(IndexKind::Text.parse("x"), Some(IndexValue::Text("x".to_owned())));
}

#[test]
fn what_is_no_value_of_a_kind_has_no_stored_form() {
    for (kind, text) in [
        (IndexKind::Integer, "1.0"),
        (IndexKind::Integer, "9223372036854775808"),
        (IndexKind::Integer, ""),
        (MONEY, "0.001"),
        (MONEY, "92233720368547758.08"),
        (MONEY, "x"),
        (IndexKind::Boolean, "1"),
        (IndexKind::Time, "yesterday"),
        (IndexKind::Time, "2010-02-30"),
    ] {
        assert_eq!(kind.parse(text), None, "{kind} {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn money_is_stored_in_its_own_order(one in -1_000_000_i64..1_000_000, other in -1_000_000_i64..1_000_000) {
        let text = |cents: i64| format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100);
        prop_assert_eq!(integer(MONEY, &text(one)).cmp(&integer(MONEY, &text(other))), one.cmp(&other));
    }

    #[test]
    fn times_are_stored_in_their_own_order(one in 0_i64..4_000_000_000, other in 0_i64..4_000_000_000) {
        let text = |second| jiff::Timestamp::from_second(second).expect("a time").to_string();
        prop_assert_eq!(integer(IndexKind::Time, &text(one)).cmp(&integer(IndexKind::Time, &text(other))), one.cmp(&other));
    }
}
