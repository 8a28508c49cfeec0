use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

use serde_json::{Value, json};

use super::{Entry, Kind, Source, pounds};

/// Read model, then key (not percent-encoded), then the row.
pub(crate) type Models = BTreeMap<&'static str, BTreeMap<String, Value>>;

/// All rows of all read models, after every command of the feed and nothing else.
pub(crate) fn models(source: &Source) -> Models {
    BTreeMap::from([
        ("order_summary", order_summary(source)),
        ("product_sales", product_sales(source)),
        ("customer_value", customer_value(source)),
        ("country_sales", sales_by(source, "country", |line| Some(line.country.clone()))),
        // A line counts on its own day, also where its invoice runs past midnight.
        ("daily_sales", sales_by(source, "date", |line| Some(line.time[..10].to_owned()))),
    ])
}

fn order_summary(source: &Source) -> BTreeMap<String, Value> {
    let row = |(invoice, lines): (&str, &[Entry])| {
        let row = json!({
            "invoice": invoice,
            "customer": Some(&lines[0].customer).filter(|customer| !customer.is_empty()),
            "country": lines[0].country,
            "status": "placed",
            "units": lines.iter().map(|line| line.quantity).sum::<i64>(),
            "total": pounds(lines.iter().map(Entry::amount).sum()),
            "placed_at": placed_at(lines),
        });
        (invoice.to_owned(), row)
    };
    source.of(Kind::Order).map(row).collect()
}

fn product_sales(source: &Source) -> BTreeMap<String, Value> {
    let by_product = group(source, |line| Some(line.stock_code.clone()));
    let row = |(stock_code, sales): (String, Sales<'_>)| {
        let lines = sales.sold.iter().chain(&sales.returned).filter(|(_, line)| !line.description.trim().is_empty());
        let last = lines.max_by_key(|(invoice, line)| (&line.time, *invoice, line.line));
        let row = json!({
            "stock_code": stock_code,
            "units_sold": units(&sales.sold),
            "units_returned": -units(&sales.returned),
            "gross": pounds(amount(&sales.sold)),
            "refunded": pounds(-amount(&sales.returned)),
            "orders": sales.orders().len(),
            "description": last.map(|(_, line)| &line.description),
        });
        (stock_code, row)
    };
    by_product.into_iter().map(row).collect()
}

fn customer_value(source: &Source) -> BTreeMap<String, Value> {
    let placed: BTreeMap<&str, &str> = source.of(Kind::Order).map(|(id, lines)| (id, placed_at(lines))).collect();
    let by_customer = group(source, |line| Some(line.customer.clone()).filter(|customer| !customer.is_empty()));
    let row = |(customer, sales): (String, Sales<'_>)| {
        let times: BTreeSet<&str> = sales.orders().into_iter().map(|invoice| placed[invoice]).collect();
        let row = json!({
            "customer": customer,
            "orders": sales.orders().len(),
            "gross": pounds(amount(&sales.sold)),
            "refunded": pounds(-amount(&sales.returned)),
            "net": pounds(sales.net()),
            "first_order": times.first(),
            "last_order": times.last(),
        });
        (customer, row)
    };
    by_customer.into_iter().map(row).collect()
}

/// The two read models that differ in their key alone.
fn sales_by(source: &Source, key: &str, key_of: fn(&Entry) -> Option<String>) -> BTreeMap<String, Value> {
    let row = |(value, sales): (String, Sales<'_>)| {
        let row = json!({
            key: value,
            "orders": sales.orders().len(),
            "units": units(&sales.sold),
            "gross": pounds(amount(&sales.sold)),
            "refunded": pounds(-amount(&sales.returned)),
            "net": pounds(sales.net()),
        });
        (value, row)
    };
    group(source, key_of).into_iter().map(row).collect()
}

/// Lines of one row, each with its invoice.
#[derive(Default)]
struct Sales<'a> {
    sold: Vec<(&'a str, &'a Entry)>,
    returned: Vec<(&'a str, &'a Entry)>,
}

impl<'a> Sales<'a> {
    fn orders(&self) -> BTreeSet<&'a str> {
        self.sold.iter().map(|(invoice, _)| *invoice).collect()
    }

    fn net(&self) -> i128 {
        // What came back is negative as it stands.
        amount(&self.sold) + amount(&self.returned)
    }
}

fn group(source: &Source, key_of: impl Fn(&Entry) -> Option<String>) -> BTreeMap<String, Sales<'_>> {
    let mut rows: BTreeMap<String, Sales<'_>> = BTreeMap::new();
    let lines_of = |kind| source.of(kind).flat_map(|(invoice, lines)| iter::repeat(invoice).zip(lines));
    for (invoice, line) in lines_of(Kind::Order) {
        if let Some(key) = key_of(line) {
            rows.entry(key).or_default().sold.push((invoice, line));
        }
    }
    for (invoice, line) in lines_of(Kind::CreditNote) {
        if let Some(key) = key_of(line) {
            rows.entry(key).or_default().returned.push((invoice, line));
        }
    }
    rows
}

fn placed_at(lines: &[Entry]) -> &str {
    lines.iter().map(|line| line.time.as_str()).min().expect("an invoice has lines")
}

fn units(lines: &[(&str, &Entry)]) -> i64 {
    lines.iter().map(|(_, line)| line.quantity).sum()
}

fn amount(lines: &[(&str, &Entry)]) -> i128 {
    lines.iter().map(|(_, line)| line.amount()).sum()
}
