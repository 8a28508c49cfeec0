//! `verify` finds what was changed behind Diptych's back, and only that.

use std::{path::Path, time::Duration};

use rusqlite::Connection;

use super::system::{System, assert_verified, verify};

const ORDERS: usize = 20;

fn filled(data: &Path) -> System {
    let system = System::start(data);
    let mut client = system.client();
    for index in 0..ORDERS {
        let body = r#"{"customer":"13085","country":"France","lines":[{"line":1,"stock_code":"22041","quantity":2,"price":"2.100","time":"2009-12-01T07:45:00"}]}"#;
        let answer = client.post(&format!("/commands/order/t-{index}/place"), &[], body).expect("answered");
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    system.wait_until_caught_up();
    system
}

fn change(file: &Path, statements: &str) {
    let database = Connection::open(file).expect("opened");
    database.execute_batch(statements).expect("changed");
}

/// The table that `order_summary` is answered from.
fn table(data: &Path) -> String {
    let rows = Connection::open(data.join("rows.sqlite3")).expect("opened");
    rows.query_row(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'order_summary!_!_g%' ESCAPE '!'",
        [],
        |row| row.get(0),
    )
    .expect("a table")
}

/// Rows reach the file a moment after they can be read, and would replace what was changed before.
fn wait_until_stored(data: &Path) {
    let rows = Connection::open(data.join("rows.sqlite3")).expect("opened");
    let stored = || rows.query_row("SELECT min(position) FROM diptych_checkpoints", [], |row| row.get(0));
    for _ in 0..500 {
        if stored().is_ok_and(|position: Option<u32>| position == Some(ORDERS as u32)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the rows are not in the file after ten seconds");
}

#[test]
fn verify_passes_beside_a_running_system_and_after_it() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let system = filled(directory.path());
    assert_verified(directory.path());
    assert_eq!(system.stop(), Some(0));
    assert_verified(directory.path());
}

#[test]
fn verify_finds_every_kind_of_change() {
    let _alone = super::alone();
    let log = "log.sqlite3";
    let rows = "rows.sqlite3";
    let changes: [(&str, &str, &str); 6] = [
        (
            "a flipped byte in an event",
            log,
            "DROP TRIGGER events_do_not_change; UPDATE events SET payload = CAST(replace(CAST(payload AS TEXT), 'France', 'Frbnce') AS BLOB) WHERE position = 7",
        ),
        ("a missing position", log, "DROP TRIGGER events_stay; DELETE FROM events WHERE position = 9"),
        ("a cut tail", log, "DROP TRIGGER events_stay; DELETE FROM events WHERE position = 20"),
        (
            "a row changed by hand",
            rows,
            "UPDATE TABLE_NAME SET body = replace(body, '4.200', '4.300') WHERE key = 't-3'",
        ),
        ("an index column changed by hand", rows, "UPDATE TABLE_NAME SET i_total = i_total + 1 WHERE key = 't-3'"),
        ("a checkpoint moved by hand", rows, "UPDATE diptych_checkpoints SET position = position - 1"),
    ];
    for (what, file, statements) in changes {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(filled(directory.path()).stop(), Some(0));
        change(
            &directory.path().join(file),
            &statements.replace("TABLE_NAME", &format!("\"{}\"", table(directory.path()))),
        );
        let output = verify(directory.path());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(3), "{what} was not found: {said}");
    }
}

#[test]
fn verify_finds_a_change_while_the_system_runs() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    let system = filled(directory.path());
    let table = table(directory.path());
    wait_until_stored(directory.path());
    change(&directory.path().join("rows.sqlite3"), &format!("UPDATE \"{table}\" SET i_total = 7 WHERE key = 't-5'"));
    assert_eq!(verify(directory.path()).status.code(), Some(3));
    assert_eq!(system.stop(), Some(0));
}

#[test]
fn a_damaged_row_that_was_asked_for_raises_an_alert_that_says_what_to_do() {
    let _alone = super::alone();
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(filled(directory.path()).stop(), Some(0));
    let statement = format!("UPDATE \"{}\" SET body = replace(body, '4.200', '4.300')", table(directory.path()));
    change(&directory.path().join("rows.sqlite3"), &statement);
    let system = System::start(directory.path());
    assert_eq!(system.status()["alerts"], serde_json::json!([]));
    let answer = system.client().get("/queries/order_summary/t-3", &[]).expect("answered");
    assert_eq!(answer.status, 500, "{}", answer.body);
    let alert = system.status()["alerts"][0].clone();
    assert_eq!(alert["alert"], "rows-damaged");
    assert!(alert["advice"].as_str().is_some_and(|advice| advice.contains("remove rows.sqlite3")), "{alert}");
    assert_eq!(system.stop(), Some(0));
}
