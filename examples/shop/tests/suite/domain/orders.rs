//! The life of an order.

use serde_json::{Value, json};

use super::log::{Log, given};

/// An order that comes to 9.000.
fn tea() -> Value {
    json!({"customer": "c-7", "country": "France", "lines": [
        {"stock_code": "tea-100", "quantity": 2, "price": "4.500", "time": "2026-11-23T10:00"},
    ]})
}

/// An order that `verbs` have been done to, after it was placed.
fn order_after(verbs: &[&str]) -> Log {
    given(std::iter::once(("order/o-1/place", tea())).chain(verbs.iter().map(|verb| (path(verb), fields(verb)))))
}

fn path(verb: &str) -> &'static str {
    match verb {
        "place" => "order/o-1/place",
        "pay" => "order/o-1/pay",
        "ship" => "order/o-1/ship",
        "deliver" => "order/o-1/deliver",
        "cancel" => "order/o-1/cancel",
        other => panic!("{other} is no command of an order"),
    }
}

fn fields(verb: &str) -> Value {
    match verb {
        "place" => tea(),
        "pay" => json!({"amount": "9"}),
        "ship" => json!({"carrier": "post"}),
        _ => json!({}),
    }
}

#[test]
fn an_order_is_placed_paid_shipped_and_delivered() {
    let mut log = Log::default();
    for (verb, event, status) in [
        ("place", "order.placed.v1", "placed"),
        ("pay", "order.paid.v2", "paid"),
        ("ship", "order.shipped.v2", "shipped"),
        ("deliver", "order.delivered.v1", "delivered"),
    ] {
        assert_eq!(log.execute(path(verb), &fields(verb)), Ok(vec![event.to_owned()]));
        assert_eq!(log.row("order_summary", "o-1")["status"], status);
    }
}

#[test]
fn what_an_order_refuses_depends_on_how_far_it_has_come() {
    for (done, verb, code) in [
        (&["pay"][..], "place", "already-placed"),
        (&["cancel"], "place", "already-placed"),
        (&["cancel"], "pay", "cancelled"),
        (&["cancel"], "cancel", "cancelled"),
        (&["pay"], "pay", "already-paid"),
        (&[], "ship", "not-paid"),
        (&[], "deliver", "not-shipped"),
        (&["pay"], "deliver", "not-shipped"),
        (&["pay", "ship"], "ship", "already-shipped"),
        (&["pay", "ship"], "cancel", "already-shipped"),
        (&["pay", "ship", "deliver"], "ship", "already-shipped"),
        (&["pay", "ship", "deliver"], "cancel", "already-shipped"),
        (&["pay", "ship", "deliver"], "deliver", "already-delivered"),
    ] {
        assert_eq!(order_after(done).refusal(path(verb), &fields(verb)), code, "{verb} after {done:?}");
    }
    for verb in ["pay", "ship", "deliver", "cancel"] {
        assert_eq!(Log::default().refusal(path(verb), &fields(verb)), "not-placed", "{verb}");
    }
}

#[test]
fn an_order_can_be_paid_in_parts_but_not_beyond_what_is_due() {
    let mut log = order_after(&[]);
    for (amount, code) in [("0", "amount-not-positive"), ("-1", "amount-not-positive"), ("9.001", "overpaid")] {
        assert_eq!(log.refusal("order/o-1/pay", &json!({"amount": amount})), code, "{amount}");
    }
    log.execute("order/o-1/pay", &json!({"amount": "4"})).expect("a part is accepted");
    let row = log.row("order_summary", "o-1");
    assert_eq!((&row["status"], &row["paid"]), (&json!("placed"), &json!("4.000")));
    assert_eq!(log.refusal("order/o-1/ship", &json!({"carrier": "post"})), "not-paid");
    assert_eq!(log.refusal("order/o-1/pay", &json!({"amount": "5.001"})), "overpaid");
    log.execute("order/o-1/pay", &json!({"amount": "5"})).expect("the rest is accepted");
    assert_eq!(log.row("order_summary", "o-1")["status"], "paid");
}

#[test]
fn a_payment_and_a_shipment_may_carry_a_note_of_some_length() {
    let mut log = order_after(&[]);
    let long = "x".repeat(1_001);
    assert_eq!(log.refusal("order/o-1/pay", &json!({"amount": "9", "note": long})), "text-too-long");
    log.execute("order/o-1/pay", &json!({"amount": "9", "note": "by transfer"})).expect("a note of some words");
    log.execute("order/o-1/ship", &json!({"carrier": "post", "note": " "})).expect("a blank note is none");
    assert_eq!(log.row("order_summary", "o-1")["status"], "shipped");
}

#[test]
fn an_order_of_no_worth_is_shipped_without_a_payment() {
    for price in ["0", "-12.500"] {
        let mut gift = tea();
        gift["lines"][0]["price"] = json!(price);
        let mut log = given([("order/o-1/place", gift)]);
        assert_eq!(log.refusal("order/o-1/pay", &json!({"amount": "1"})), "already-paid");
        log.execute("order/o-1/ship", &json!({"carrier": "courier"})).expect("nothing is due");
    }
}

#[test]
fn a_cancellation_changes_the_status_and_nothing_else() {
    let (before, after) = (order_after(&["pay"]), order_after(&["pay", "cancel"]));
    for read_model in ["product_sales", "customer_value", "country_sales", "daily_sales"] {
        assert_eq!(before.rows(read_model, 1), after.rows(read_model, 1), "{read_model}");
    }
    let mut row = before.row("order_summary", "o-1");
    row["status"] = json!("cancelled");
    assert_eq!(after.row("order_summary", "o-1"), row);
}
