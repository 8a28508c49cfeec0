//! What is no invoice.

use diptych::model::Rejection;
use serde_json::{Value, json};

use super::log::{Log, given};

fn line(quantity: i64) -> Value {
    json!({"stock_code": "tea-100", "quantity": quantity, "price": "4.500", "time": "2026-11-23"})
}

fn invoice(lines: impl Into<Vec<Value>>) -> Value {
    json!({"country": "France", "lines": lines.into()})
}

/// An invoice whose only line has another value in one field.
fn with(field: &str, value: Value) -> Value {
    let mut line = line(1);
    line[field] = value;
    invoice([line])
}

#[test]
fn each_aggregate_takes_its_own_sign_of_quantities() {
    for (path, quantity, code) in [
        ("order/1/place", -1, Some("negative-quantity")),
        ("order/1/place", 0, None),
        ("credit_note/C1/issue", 1, Some("positive-quantity")),
        ("credit_note/C1/issue", 0, None),
        ("credit_note/C1/issue", -1, None),
        ("adjustment/A1/record", -1, None),
        ("adjustment/A1/record", 1, None),
    ] {
        let fields = invoice([line(0), line(quantity)]);
        match code {
            Some(code) => assert_eq!(Log::default().refusal(path, &fields), code, "{path}, {quantity} units"),
            None => assert!(Log::default().execute(path, &fields).is_ok(), "{path}, {quantity} units"),
        }
    }
}

#[test]
fn a_number_is_used_once_in_each_aggregate() {
    for (path, same, otherwise) in [
        ("order/1/place", "already-placed", "placed-otherwise"),
        ("credit_note/1/issue", "already-issued", "issued-otherwise"),
        ("adjustment/1/record", "already-recorded", "recorded-otherwise"),
    ] {
        let stored = || invoice([line(0), line(0)]);
        let mut log = given([(path, stored())]);
        let spelt_otherwise = json!({"customer": " ", "country": "France ", "lines": stored()["lines"]});
        for fields in [stored(), spelt_otherwise] {
            assert_eq!(log.refusal(path, &fields), same);
        }
        let mut dearer = stored();
        dearer["lines"][1]["price"] = json!("4.501");
        for fields in [dearer, invoice([line(0)]), invoice([line(0), line(-1)]), invoice([])] {
            assert_eq!(log.refusal(path, &fields), otherwise, "whatever else is wrong");
        }
    }
}

#[test]
fn every_aggregate_refuses_what_is_no_invoice() {
    let numbered = |line_number: u32| {
        let mut line = line(0);
        line["line"] = json!(line_number);
        line
    };
    let mut nowhere = invoice([line(0)]);
    nowhere["country"] = json!(" ");
    for (fields, code) in [
        (invoice([]), "empty"),
        (invoice(vec![line(0); 5_001]), "too-many-lines"),
        (nowhere, "blank"),
        (with("stock_code", json!("  ")), "blank"),
        (with("stock_code", json!("x".repeat(81))), "text-too-long"),
        (with("description", json!("x".repeat(4_097))), "text-too-long"),
        (invoice([numbered(3), numbered(3)]), "line-repeated"),
        (invoice([numbered(2), line(0)]), "line-repeated"),
        (with("time", json!("9999-12-31T23:59:59")), "time-out-of-range"),
        (with("time", json!("-000001-01-01")), "time-out-of-range"),
        (with("quantity", json!(i64::MIN)), "too-large"),
        (with("quantity", json!(1_000_000_001)), "too-large"),
        (with("price", json!("79228162514264337593543950.335")), "too-large"),
        (with("price", json!("-1000000000.001")), "too-large"),
    ] {
        for path in ["order/1/place", "credit_note/C1/issue", "adjustment/A1/record"] {
            assert_eq!(Log::default().refusal(path, &fields), code, "{path}");
        }
    }
}

#[test]
fn the_greatest_invoice_that_is_accepted_can_be_folded() {
    let mut greatest = line(1_000_000_000);
    (greatest["price"], greatest["time"]) = (json!("1"), json!("9998-12-31T23:59:59.999999999"));
    greatest["stock_code"] = json!("\u{10FFFF}".repeat(20));
    let log = given([("order/1/place", invoice([greatest]))]);
    for read_model in ["order_summary", "product_sales", "country_sales", "daily_sales"] {
        assert_eq!(log.rows(read_model, 1).len(), 1, "{read_model}");
    }
}

#[test]
fn fields_that_nobody_knows_and_values_of_another_kind_are_named() {
    for (fields, pointer) in [
        (with("colour", json!("red")), "/lines/0/colour"),
        (with("price", json!(4.5)), "/lines/0/price"),
        (with("price", json!("4.5001")), "/lines/0/price"),
        (with("quantity", json!("two")), "/lines/0/quantity"),
        (with("time", json!("yesterday")), "/lines/0/time"),
        (with("line", json!(0)), "/lines/0/line"),
    ] {
        match Log::default().execute("order/1/place", &fields) {
            Err(Rejection::Invalid(errors)) => assert_eq!(errors[0].pointer, pointer, "{errors:?}"),
            other => panic!("{pointer} is answered with {other:?}"),
        }
    }
}

#[test]
fn blanks_go_from_the_ends_of_codes_and_names() {
    let mut fields = with("stock_code", json!(" 47503J "));
    (fields["customer"], fields["country"]) = (json!(" c-7"), json!("France "));
    let log = given([("order/1/place", fields)]);
    assert_eq!(log.row("product_sales", "47503J")["units_sold"], 1);
    assert_eq!(log.row("customer_value", "c-7")["orders"], 1);
    assert_eq!(log.row("country_sales", "France")["orders"], 1);
}
