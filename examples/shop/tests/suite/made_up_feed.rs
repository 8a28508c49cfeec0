//! The made-up feed has the dirt of the real one, and depends on its arguments alone.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Output},
};

use shop::{
    feed::{Class, Feed, Import, Reason, Submission, submissions},
    invoice::Line,
};

use crate::which_feed::made_up;

fn import(seed: u64, invoices: u32) -> Import {
    let feed = made_up(seed, invoices);
    submissions(Feed::open(&feed.path).expect("the feed opens")).expect("the feed can be read")
}

fn text(seed: u64, invoices: u32) -> String {
    let feed = made_up(seed, invoices);
    String::from_utf8_lossy(&fs::read(&feed.path).expect("the feed can be read")).into_owned()
}

fn shop(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shop")).args(arguments).output().expect("the shop starts")
}

#[test]
fn equal_seeds_make_equal_feeds_and_others_do_not() {
    assert_eq!(text(7, 200), text(7, 200));
    assert_ne!(text(7, 200), text(8, 200));
}

#[test]
fn even_the_shortest_feed_has_every_refusal() {
    for seed in 0..20 {
        let found: BTreeSet<Reason> = import(seed, 1).refused.iter().map(|refused| refused.reason).collect();
        assert_eq!(found, BTreeSet::from(Reason::ALL), "seed {seed}");
    }
}

#[test]
fn even_the_shortest_feed_has_every_other_kind_of_dirt() {
    for seed in 0..20 {
        let import = import(seed, 1);
        let any = |what: &str, test: &dyn Fn(&Submission) -> bool| {
            assert!(import.submissions.iter().any(test), "seed {seed}: no {what}");
        };
        let classes = |id: &str| import.submissions.iter().filter(|other| other.id == id).count();
        any("invoice in two classes", &|found| classes(&found.id) == 2);
        let two = |found: &Submission, differ: fn(&Line, &Line) -> bool| {
            found.body.lines.iter().any(|line| differ(line, &found.body.lines[0]))
        };
        any("invoice with two times", &|found| two(found, |one, other| one.time != other.time));
        any("invoice on two days", &|found| two(found, |one, other| one.time.date() != other.time.date()));
        any("invoice with lines of others between", &|found| {
            found.feed_lines.windows(2).any(|pair| pair[0] + 1 < pair[1])
        });
        any("order without a customer", &|found| found.class == Class::Order && found.body.customer.is_none());
        any("credit note", &|found| found.class == Class::CreditNote);
        any("bad debt", &|found| found.class == Class::Adjustment && found.id.starts_with('A'));
        any("line without a description", &|found| found.body.lines.iter().any(|line| line.description.is_none()));
        for price in ["0.000", "-3.500", "0.001"] {
            any(price, &|found| found.body.lines.iter().any(|line| line.price.to_string() == price));
        }
        let text = text(seed, 1);
        for piece in [", 47503J ,", "\"A \"\"QUOTED, LONG\"\" NAME\"", ",  ,"] {
            assert!(text.contains(piece), "seed {seed}: no {piece}");
        }
    }
}

#[test]
fn a_feed_has_as_many_invoices_as_asked_for_and_keeps_its_times_in_order() {
    let import = import(5, 400);
    // All but the credit note that is refused as a whole come out.
    let ids: BTreeSet<&str> =
        import.submissions.iter().map(|submission| submission.id.trim_start_matches(['A', 'C'])).collect();
    assert_eq!(ids.len(), 399);
    let lines = import.submissions.iter().flat_map(|found| found.feed_lines.iter().zip(&found.body.lines));
    let mut times: Vec<_> = lines.map(|(number, line)| (number, line.time)).collect();
    times.sort_unstable_by_key(|(number, _)| *number);
    assert!(times.is_sorted_by_key(|(_, time)| *time));
}

#[test]
fn the_command_writes_the_same_feed_to_standard_output_to_a_file_and_compressed() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let arguments = ["feed", "--seed", "7", "--invoices", "60"];
    let written = shop(&arguments);
    assert!(written.status.success());
    for name in ["feed.csv", "feed.csv.gz"] {
        let path = directory.path().join(name);
        let output = shop(&[arguments.as_slice(), &["--out", path.to_str().expect("a path in UTF-8")]].concat());
        assert!(output.status.success() && output.stdout.is_empty(), "{name}");
        let found = submissions(Feed::open(&path).expect("the feed opens")).expect("the feed can be read");
        assert_eq!(found, import(7, 60), "{name}");
    }
    assert_eq!(fs::read(directory.path().join("feed.csv")).expect("it was written"), written.stdout);
}

#[test]
fn a_place_that_cannot_be_written_to_is_named_with_the_cause() {
    let output = shop(&["feed", "--out", "/no/such/directory/feed.csv"]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("/no/such/directory/feed.csv: No such file"), "{message}");
}
