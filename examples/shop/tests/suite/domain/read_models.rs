//! What the rows say, whichever way their events came.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::log::{Log, given};

const READ_MODELS: [&str; 5] = ["order_summary", "product_sales", "customer_value", "country_sales", "daily_sales"];

/// An invoice with one line of tea, called `text`.
fn tea(quantity: i64, text: &str, time: &str) -> Value {
    json!({"customer": "c-7", "country": "EIRE", "lines": [
        {"stock_code": "tea", "description": text, "quantity": quantity, "price": "4.500", "time": time},
    ]})
}

#[test]
fn the_description_is_the_text_of_the_greatest_time_then_invoice_then_line() {
    let (early, late) = ("2009-12-01T07:45:00", "2009-12-01T07:46:00");
    let two_lines = json!({"country": "EIRE", "lines": [
        {"line": 2, "stock_code": "tea", "description": "second", "quantity": 1, "price": "1", "time": early},
        {"line": 1, "stock_code": "tea", "description": "first", "quantity": 1, "price": "1", "time": early},
    ]});
    for (commands, description) in [
        (vec![("order/1/place", tea(1, "late", late)), ("order/2/place", tea(1, "early", early))], json!("late")),
        (vec![("order/2/place", tea(1, "two", early)), ("order/1/place", tea(1, "one", early))], json!("two")),
        (vec![("order/9/place", tea(1, "nine", early)), ("order/10/place", tea(1, "ten", early))], json!("nine")),
        (vec![("order/1/place", two_lines)], json!("second")),
        (vec![("order/1/place", tea(1, "kept ", early)), ("order/2/place", tea(1, "  ", late))], json!("kept ")),
        (vec![("credit_note/C1/issue", tea(-1, "back", late)), ("order/1/place", tea(1, "out", early))], json!("back")),
        (vec![("adjustment/1/record", tea(-1, "lost", late)), ("order/1/place", tea(1, "tea", early))], json!("tea")),
        (vec![("order/1/place", tea(1, " ", late))], Value::Null),
    ] {
        assert_eq!(given(commands.clone()).row("product_sales", "tea")["description"], description, "{commands:?}");
        let backwards = commands.into_iter().rev();
        assert_eq!(given(backwards).row("product_sales", "tea")["description"], description);
    }
}

#[test]
fn money_and_units_come_back_by_credit_note() {
    let time = "2009-12-01T07:45:00";
    let log = given([("order/1/place", tea(5, "tea", time)), ("credit_note/C1/issue", tea(-2, "tea", time))]);
    let row = log.row("product_sales", "tea");
    assert_eq!((&row["units_sold"], &row["units_returned"]), (&json!(5), &json!(2)));
    assert_eq!((&row["gross"], &row["refunded"], &row["orders"]), (&json!("22.500"), &json!("9.000"), &json!(1)));
    for (read_model, key) in [("country_sales", "EIRE"), ("daily_sales", "2009-12-01"), ("customer_value", "c-7")] {
        let row = log.row(read_model, key);
        assert_eq!((&row["orders"], &row["net"]), (&json!(1), &json!("13.500")), "{read_model}");
    }
}

#[test]
fn a_customer_who_only_gave_back_has_no_first_order() {
    let log = given([("credit_note/C1/issue", tea(-2, "tea", "2009-12-01T07:45:00"))]);
    let row = log.row("customer_value", "c-7");
    assert_eq!((&row["first_order"], &row["last_order"], &row["net"]), (&Value::Null, &Value::Null, &json!("-9.000")));
}

#[test]
fn an_adjustment_is_in_no_read_model() {
    let log = given([("adjustment/1/record", tea(-2, "tea", "2009-12-01T07:45:00"))]);
    for read_model in READ_MODELS {
        assert!(log.rows(read_model, 1).is_empty(), "{read_model}");
    }
}

#[test]
fn a_line_counts_on_its_own_day_and_its_order_once_on_each() {
    let line =
        |quantity: i64, time: &str| json!({"stock_code": "tea", "quantity": quantity, "price": "1", "time": time});
    let lines = [line(1, "2009-12-01T23:58"), line(2, "2009-12-01T23:59"), line(4, "2009-12-02T00:01")];
    let log = given([("order/1/place", json!({"country": "EIRE", "lines": lines}))]);
    for (day, units) in [("2009-12-01", 3), ("2009-12-02", 4)] {
        let row = log.row("daily_sales", day);
        assert_eq!((&row["orders"], &row["units"]), (&json!(1), &json!(units)), "{day}");
    }
    assert_eq!(log.row("order_summary", "1")["placed_at"], "2009-12-01T23:58:00");
}

/// One command among few invoices, products, days and customers, so that they meet in the rows.
fn command() -> impl Strategy<Value = (String, Value)> {
    let line = (0..3, 0..4_i64, -1..3, 1..3, 0..3_usize).prop_map(|(code, quantity, price, day, text)| {
        json!({"stock_code": format!("p{code}"), "quantity": quantity, "price": format!("{price}.125"),
            "time": format!("2010-01-0{day}T00:00"), "description": (["", "red", "blue"][text])})
    });
    let invoice = (prop::collection::vec(line, 1..4), prop::option::of(0..2), 0..2_usize).prop_map(
        |(lines, customer, country)| {
            let customer = customer.map(|number| format!("c{number}"));
            json!({"customer": customer, "country": (["EIRE", "France"][country]), "lines": lines})
        },
    );
    (invoice, 0..6_u8, 0..6).prop_map(|(mut invoice, kind, id)| match kind {
        0..3 => (format!("order/{id}/place"), invoice),
        3 => (format!("order/{id}/cancel"), json!({})),
        4 => (format!("order/{id}/pay"), json!({"amount": "0.125"})),
        _ => {
            for line in invoice["lines"].as_array_mut().into_iter().flatten() {
                line["quantity"] = json!(-line["quantity"].as_i64().unwrap_or_default());
            }
            // The same numbers as orders have: nothing stops a client from that.
            (format!("credit_note/{id}/issue"), invoice)
        }
    })
}

/// A log, and the names of its streams in another order of their events.
fn log_and_another_order() -> impl Strategy<Value = (Vec<(String, Value)>, Vec<String>)> {
    prop::collection::vec(command(), 1..20).prop_flat_map(|commands| {
        let order = accepted(&commands).stream_ids();
        (Just(commands), Just(order).prop_shuffle())
    })
}

/// What is refused leaves no events.
fn accepted(commands: &[(String, Value)]) -> Log {
    let mut log = Log::default();
    for (path, fields) in commands {
        drop(log.execute(path, fields));
    }
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_depend_neither_on_the_order_of_invoices_nor_on_batches(
        (commands, order) in log_and_another_order(), batch_events in 1..20_usize,
    ) {
        let log = accepted(&commands);
        let other = log.interleaved(&order);
        for read_model in READ_MODELS {
            prop_assert_eq!(log.rows(read_model, 1), other.rows(read_model, batch_events), "{}", read_model);
        }
    }
}
