//! What answers say of how fresh they are: of rows that are filled anew, and to tokens of another system.

use std::{
    fs,
    time::{Duration, Instant},
};

use model::{ConsistencyToken, EpochId, Position};
use testkit::domain;
use uuid::Uuid;

use crate::system::{System, wait_until};

const ALL: &str = "/queries/ledger/log/all";

#[test]
fn a_token_that_this_log_never_gave_is_refused_and_not_waited_for_in_vain() {
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path(), domain::registry(), |_| {});
    system.open_account("a-1");
    let answer = system.ask("GET", ALL, "", "");
    let own: ConsistencyToken = header(&answer, "consistency-token").expect("a token").parse().expect("one of ours");
    let strange = EpochId(Uuid::from_u128(7));
    let far = Position::new(1_000_000).expect("not zero");
    for token in [ConsistencyToken { epoch: strange, ..own }, ConsistencyToken { position: far, ..own }] {
        for preference in ["", "Prefer: handling=lenient\r\n"] {
            let began = Instant::now();
            let answer = system.ask("GET", ALL, &format!("Consistency-Token: {token}\r\n{preference}"), "");
            assert!(answer.starts_with("HTTP/1.1 409") && answer.contains("epoch-changed"), "{token}: {answer}");
            assert!(answer.contains("\"retryable\":false"), "{answer}");
            assert!(began.elapsed() < Duration::from_secs(2), "{token}: {:?}", began.elapsed());
        }
    }
    system.stop();
}

#[test]
fn rows_that_are_filled_from_nothing_never_pass_for_all_there_is() {
    const ACCOUNTS: usize = 3_000;
    let directory = tempfile::tempdir().expect("a directory");
    let system = System::start(directory.path(), domain::registry(), |_| {});
    (0..ACCOUNTS).for_each(|number| system.open_account(&format!("a-{number}")));
    wait_until("all is folded", || system.status()["projections"][0]["position"] == ACCOUNTS);
    system.stop();
    for name in ["rows.sqlite3", "rows.sqlite3-wal", "rows.sqlite3-shm"] {
        let _ = fs::remove_file(directory.path().join(name));
    }

    let system = System::start(directory.path(), domain::registry(), |settings| {
        settings.event_handler.batch_events_max = 1;
    });
    let (mut stale, mut alarmed) = (0, false);
    loop {
        let status = system.status();
        let is_incomplete = status["projections"][0]["incomplete"] == true;
        let alerts = status["alerts"].to_string();
        assert_eq!(alerts.contains("read-model-incomplete"), is_incomplete, "{status}");
        alarmed |= is_incomplete;
        let answer = system.ask("GET", ALL, "", "");
        if answer.starts_with("HTTP/1.1 503") {
            // Nothing is there to answer from.
            continue;
        }
        match header(&answer, "consistency") {
            Some(said) => assert!(said.starts_with("stale"), "{said}"),
            None => {
                assert!(answer.contains(&format!("\"n\":{ACCOUNTS}")), "fresh, it says: {answer}");
                break;
            }
        }
        stale += 1;
    }
    assert!(stale > 0 && alarmed, "it was looked at too late: {stale} stale answers");
    wait_until("the alert is over", || system.status()["alerts"] == serde_json::json!([]));
    system.stop();
}

/// The value of a header of a whole answer.
fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
