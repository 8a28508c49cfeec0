//! `shop import`, as a user runs it.
//!
//! The shop's own domain answers, behind a front door that can be told to fail in ways a real one seldom does.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a client and its opposite, outside of all boxes: they have real time, tasks and sockets"
)]

mod front_door;

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use self::front_door::{Faults, FrontDoor};
use crate::{
    oracle,
    which_feed::{TestFeed, made_up},
};

/// Runs the import in the directory that the feed is in.
fn import(feed: &TestFeed, url: &str) -> Output {
    command(feed, url).output().expect("the shop's binary runs")
}

fn command(feed: &TestFeed, url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.arg("import").arg(&feed.path).args(["--url", url]).current_dir(directory(feed));
    command
}

fn directory(feed: &TestFeed) -> &Path {
    feed.path.parent().expect("a feed is in a directory")
}

/// Invoices and lines of a row of the table; none where there is no such row.
fn row(output: &Output, name: &str) -> Option<(u64, u64)> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = text.lines().find(|line| line.starts_with(&format!("{name} ")))?.replace(',', "");
    let mut numbers = row[name.len()..].split_whitespace().map(|number| number.parse().expect("a number"));
    let (first, second) = (numbers.next()?, numbers.next());
    Some(second.map_or((0, first), |second| (first, second)))
}

fn assert_done(output: &Output) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {message}\n{}", output.status, String::from_utf8_lossy(&output.stdout));
}

/// What the front door's shop knows, compared with the oracle.
fn assert_rows_are_the_oracles(door: &FrontDoor, feed: &TestFeed) {
    for (read_model, expected) in oracle::models(&oracle::read(&feed.path)) {
        let rows = door.with_log(|log| log.rows(read_model, 100));
        assert_eq!(rows.len(), expected.len(), "{read_model}");
        for (key, expected) in expected {
            oracle::assert_row(read_model, &key, rows.get(&diptych::model::encode_part(&key)), &expected);
        }
    }
}

#[test]
fn an_import_brings_all_rows_and_lists_what_it_refused() {
    let (feed, door) = (made_up(1, 300), FrontDoor::open(Faults::None));
    let output = import(&feed, &door.url);
    assert_done(&output);
    assert_rows_are_the_oracles(&door, &feed);
    let source = oracle::read(&feed.path);
    let commands = source.invoices.len() as u64;
    let lines = source.invoices.values().map(Vec::len).sum::<usize>() as u64;
    assert_eq!(row(&output, "accepted"), Some((commands, lines)));
    assert_eq!(row(&output, "already there"), Some((0, 0)));
    assert_eq!(row(&output, "in the feed"), Some((commands, source.line_count)));
    assert_eq!(row(&output, "refused: credit-note-positive-quantity").map(|(commands, _)| commands), Some(0));
    assert_eq!(
        refused_file(&feed),
        source.refused.iter().map(|(line, reason)| (*line, (*reason).to_owned())).collect()
    );
}

/// Line and reason of each row of the file of refused lines, which is beside the feed here.
fn refused_file(feed: &TestFeed) -> BTreeMap<u64, String> {
    let mut reader = csv::Reader::from_path(directory(feed).join("feed.refused.csv")).expect("the file is there");
    assert_eq!(reader.headers().expect("it has a header"), vec!["line", "invoice", "reason", "detail"]);
    let records = reader.records().map(|record| record.expect("it is CSV"));
    records.map(|record| (record[0].parse().expect("a line number"), record[2].to_owned())).collect()
}

#[test]
fn whoever_imports_again_finds_everything_there_with_and_without_the_old_keys() {
    let (feed, door) = (made_up(2, 100), FrontDoor::open(Faults::None));
    let accepted = row(&import(&feed, &door.url), "accepted");
    let events = door.with_log(|log| log.stream_ids().len());
    for forgotten in [false, true] {
        if forgotten {
            door.forget_keys();
        }
        let again = import(&feed, &door.url);
        assert_done(&again);
        assert_eq!(row(&again, "accepted"), Some((0, 0)), "keys forgotten: {forgotten}");
        assert_eq!(row(&again, "already there"), accepted, "keys forgotten: {forgotten}");
    }
    assert_eq!(door.with_log(|log| log.stream_ids().len()), events);
}

#[test]
fn an_invoice_that_says_something_else_than_the_stored_one_is_told_apart_and_listed() {
    let (feed, door) = (made_up(8, 50), FrontDoor::open(Faults::None));
    let dirty = fs::read(&feed.path).expect("a feed");
    let with = |lines: &[&str]| {
        let lines: String =
            lines.iter().map(|line| format!("989989,{line},2009-12-01 07:45:00,1.00,7,EIRE\n")).collect();
        fs::write(&feed.path, [&*dirty, lines.as_bytes()].concat()).expect("it can be written");
    };
    with(&["A,,1", "B,,2"]);
    let all = row(&import(&feed, &door.url), "accepted").expect("a row");
    for (lines, forgets) in [(&["A,,1", "B,,3"][..], false), (&["A,,1"], false), (&["A,,1"], true)] {
        with(lines);
        if forgets {
            door.forget_keys();
        }
        let again = import(&feed, &door.url);
        let message = String::from_utf8_lossy(&again.stderr).into_owned();
        assert_eq!(again.status.code(), Some(1), "{message}");
        assert!(message.contains("1 invoices are there already and say something else"), "{message}");
        let count = lines.len() as u64;
        assert_eq!(row(&again, "differs from what is stored"), Some((1, count)));
        assert_eq!(row(&again, "already there"), Some((all.0 - 1, all.1 - 2)));
        let listed = refused_file(&feed).values().filter(|reason| *reason == "order.placed-otherwise").count();
        assert_eq!(listed as u64, count);
    }
}

#[test]
fn refusals_of_the_shop_are_counted_by_their_codes_and_their_lines_listed() {
    let (feed, door) = (made_up(3, 30), FrontDoor::open(Faults::None));
    let mut file = OpenOptions::new().append(true).open(&feed.path).expect("the feed can be added to");
    file.write_all(b"900001,HUGE,,1000000000,2009-12-01 07:45:00,1000,7,EIRE\n").expect("a line can be written");
    let output = import(&feed, &door.url);
    assert_done(&output);
    assert_eq!(row(&output, "refused: order.too-large"), Some((1, 1)));
    assert_eq!(refused_file(&feed).values().filter(|reason| *reason == "order.too-large").count(), 1);
}

#[test]
fn answers_that_are_lost_or_say_later_are_asked_for_again_and_nothing_is_done_twice() {
    for faults in [Faults::Unavailable, Faults::Hangup] {
        let (feed, door) = (made_up(4, 100), FrontDoor::open(faults));
        assert_done(&import(&feed, &door.url));
        assert_rows_are_the_oracles(&door, &feed);
    }
}

#[test]
fn where_nobody_answers_the_import_ends_with_4_and_says_what_to_start() {
    let output = import(&made_up(5, 10), "http://127.0.0.1:9");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{message}");
    assert!(message.contains("http://127.0.0.1:9") && message.contains("shop dev"), "{message}");
}

#[test]
fn whoever_stops_answering_is_waited_for_with_a_word() {
    let (feed, door) = (made_up(9, 200), FrontDoor::open(Faults::Slow));
    let mut command = command(&feed, &door.url);
    let child = command.args(["--concurrency", "2"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the shop's binary runs");
    while door.with_log(|log| log.stream_ids().is_empty()) {
        thread::sleep(Duration::from_millis(5));
    }
    let url = door.url.clone();
    drop(door);
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().expect("its talk"));
    stderr.read_line(&mut said).expect("text");
    assert!(said.starts_with(&format!("{url} does not answer")) && said.contains("for up to 60 s"), "{said}");
    interrupt(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

#[test]
fn an_address_that_is_none_is_wrong_usage() {
    for url in ["127.0.0.1:8080", "https://127.0.0.1:8080", "http://"] {
        assert_eq!(import(&made_up(5, 10), url).status.code(), Some(2), "{url}");
    }
}

#[test]
fn a_shop_that_answers_nonsense_is_a_failure() {
    let (feed, door) = (made_up(6, 10), FrontDoor::open(Faults::Nonsense));
    let output = import(&feed, &door.url);
    assert_eq!(output.status.code(), Some(1));
    assert!(row(&output, "failed: status-404").is_some(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn an_interrupted_import_says_what_it_knows_and_the_next_one_does_the_rest() {
    let (feed, door) = (made_up(7, 200), FrontDoor::open(Faults::Slow));
    let mut command = command(&feed, &door.url);
    let child = command.args(["--concurrency", "2"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("the shop's binary runs");
    while door.with_log(|log| log.stream_ids().is_empty()) {
        thread::sleep(Duration::from_millis(5));
    }
    interrupt(&child);
    let output = child.wait_with_output().expect("the shop's binary ends");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{message}");
    let (accepted, _) = row(&output, "accepted").expect("the table is there");
    assert!(accepted > 0 && row(&output, "not answered").is_some(), "{}", String::from_utf8_lossy(&output.stdout));
    door.heal();
    let rest = import(&feed, &door.url);
    assert_done(&rest);
    assert_eq!(row(&rest, "already there").map(|(commands, _)| commands), Some(accepted));
    assert_rows_are_the_oracles(&door, &feed);
}

/// As Ctrl-C does.
fn interrupt(child: &std::process::Child) {
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("the system has `kill`");
    assert!(killed.success());
}
