//! The feed, as the shop reads it and as the oracle does.

use std::collections::BTreeMap;

use diptych::Money;
use shop::feed::{Class, Feed, Import, submissions};

use crate::{
    oracle::{self, Kind, Models, Source, pounds},
    which_feed::{TestFeed, feed, made_up},
};

/// Invoices, lines, units and money of one kind.
type Totals = (usize, usize, i64, String);

fn import(feed: &TestFeed) -> Import {
    submissions(Feed::open(&feed.path).expect("the feed opens")).expect("the feed can be read")
}

fn totals(source: &Source, kind: Kind) -> Totals {
    let lines = || source.of(kind).flat_map(|(_, lines)| lines);
    let units = lines().map(|line| line.quantity).sum();
    (source.of(kind).count(), lines().count(), units, pounds(lines().map(oracle::Entry::amount).sum()))
}

fn totals_of_the_shop(import: &Import, class: Class) -> Totals {
    let bodies = || import.submissions.iter().filter(|submission| submission.class == class).map(|found| &found.body);
    let lines = || bodies().flat_map(|body| &body.lines);
    let money: Money<3> = bodies().map(shop::invoice::Invoice::total).sum();
    (bodies().count(), lines().count(), lines().map(|line| line.quantity).sum(), money.to_string())
}

#[test]
fn the_oracle_reproduces_the_known_totals_of_the_real_feed() {
    let feed = feed();
    let source = oracle::read(&feed.path);
    if feed.is_real {
        assert_eq!(totals(&source, Kind::Order), (22_100, 513_131, 6_011_584, "10305892.024".to_owned()));
        assert_eq!(totals(&source, Kind::CreditNote), (4_591, 10_205, -213_419, "-630228.940".to_owned()));
        assert_eq!(totals(&source, Kind::Adjustment).1, 2_124);
        assert_eq!(source.refused, BTreeMap::from([(76_801, "credit-note-positive-quantity")]));
        assert_eq!(source.line_count, 525_461);
    }
    let models = oracle::models(&source);
    let expected = [totals(&source, Kind::Order).3, totals(&source, Kind::CreditNote).3.replacen('-', "", 1)];
    // Every line has a product, a country and a day, so each of these read models adds up to the whole feed.
    for model in ["product_sales", "country_sales", "daily_sales"] {
        assert_eq!([sum(&models, model, "gross"), sum(&models, model, "refunded")], expected, "{model}");
    }
    assert_eq!(sum(&models, "order_summary", "total"), expected[0]);
}

fn sum(models: &Models, model: &str, field: &str) -> String {
    let amount = |row: &serde_json::Value| {
        let digits = row[field].as_str().expect("money is a string").replace('.', "");
        digits.parse::<i128>().expect("money is digits and a point")
    };
    pounds(models[model].values().map(amount).sum())
}

#[test]
fn shop_and_oracle_agree_on_every_class_and_every_refusal() {
    for feed in [feed(), made_up(2, 30), made_up(3, 500)] {
        let (import, source) = (import(&feed), oracle::read(&feed.path));
        for (class, kind) in
            [(Class::Order, Kind::Order), (Class::CreditNote, Kind::CreditNote), (Class::Adjustment, Kind::Adjustment)]
        {
            assert_eq!(totals_of_the_shop(&import, class), totals(&source, kind), "{class:?}");
        }
        let refused: BTreeMap<u64, &str> =
            import.refused.iter().map(|refused| (refused.line, refused.reason.code())).collect();
        assert_eq!(refused, source.refused);
    }
}

#[test]
fn every_line_of_the_feed_comes_out_once() {
    let feed = feed();
    let import = import(&feed);
    let used = import.submissions.iter().flat_map(|submission| submission.feed_lines.iter().copied());
    let mut lines: Vec<u64> = used.chain(import.refused.iter().map(|refused| refused.line)).collect();
    lines.sort_unstable();
    let all: Vec<u64> = (2..oracle::read(&feed.path).line_count + 2).collect();
    assert!(lines == all, "{} lines came out of {}", lines.len(), all.len());
}

#[test]
fn an_invoice_is_one_command_a_class_with_lines_in_order() {
    let import = import(&feed());
    let mut seen = std::collections::BTreeSet::new();
    for submission in &import.submissions {
        assert!(seen.insert((submission.class, &submission.id)), "{} comes twice", submission.id);
        assert!(!submission.body.lines.is_empty());
        assert_eq!(submission.body.lines.len(), submission.feed_lines.len());
        assert!(submission.body.lines.is_sorted_by_key(|line| line.line), "{}", submission.id);
        assert!(submission.feed_lines.is_sorted(), "{}", submission.id);
    }
}
