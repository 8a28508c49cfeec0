//! The binary `shop`.

use std::process::ExitCode;

use diptych::App;
use shop::{
    domain::{
        CountrySales, CustomerValue, DailySales, OrderSummary, ProductSales, adjustment::Adjustment,
        credit_note::CreditNote, order::Order,
    },
    feed, import,
};

const PLACE: &str = r#"curl -si $API/commands/order/o-$NEXT/place --json '{"customer":"c-7","country":"France","lines":[{"stock_code":"tea-100","quantity":2,"price":"4.500","time":"2026-11-23T10:00"}]}' -w '\n\n'"#;
const READ: &str = "curl -si $API/queries/order_summary/o-$NEXT -w '\\n'";

fn main() -> ExitCode {
    App::new("shop")
        .aggregate::<Order>()
        .aggregate::<CreditNote>()
        .aggregate::<Adjustment>()
        .projection::<OrderSummary>()
        .projection::<ProductSales>()
        .projection::<CustomerValue>()
        .projection::<CountrySales>()
        .projection::<DailySales>()
        .example(PLACE)
        .example(READ)
        .subcommand(feed::command(), feed::run)
        .subcommand(import::command(), import::run)
        .run()
}
