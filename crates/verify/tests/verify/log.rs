use crate::system::{System, system, tamper};

async fn damaged(statements: &str) -> System {
    let system = system().await;
    tamper(&system.log, statements);
    system
}

#[tokio::test]
async fn each_damage_to_the_log_is_found_and_named() {
    for (statements, expected) in [
        (
            "UPDATE events SET payload = CAST('{\"amount\":6}' AS BLOB) WHERE position = 4",
            ["event_checksum", "hash_chain"],
        ),
        ("UPDATE events SET decided_ago = decided_ago + 1 WHERE position = 4", ["event_checksum", "hash_chain"]),
        ("UPDATE events SET correlation = zeroblob(16) WHERE position = 4", ["event_checksum", "hash_chain"]),
        ("UPDATE principals SET name = 'mallory'", ["event_checksum", "hash_chain"]),
        ("UPDATE events SET hash = zeroblob(32) WHERE position = 4", ["event_checksum", "hash_chain"]),
        ("UPDATE events SET version = 9 WHERE position = 6", ["event_checksum", "version"]),
        ("UPDATE events SET back = 4 WHERE position = 6", ["event_checksum", "previous_link"]),
        ("UPDATE events SET recorded_at = -1 WHERE position = 4", ["event_checksum", "recorded_before"]),
        ("UPDATE events SET command_index = 2 WHERE position = 8", ["event_checksum", "command_incomplete"]),
        ("DELETE FROM events WHERE position = 5", ["positions_missing", "version"]),
        ("DELETE FROM events WHERE position = 8", ["positions_missing", "command_incomplete"]),
        ("DELETE FROM events WHERE position = 10", ["stream", "checkpoint_beyond_head"]),
        ("UPDATE events SET position = 50 WHERE position = 5", ["positions_missing", "event_checksum"]),
        ("UPDATE events SET position = -3 WHERE position = 5", ["position_impossible", "positions_missing"]),
        ("UPDATE events SET stream = 77 WHERE position = 4", ["event_unreadable", "version"]),
        ("UPDATE streams SET version = 8 WHERE id = 'a'", ["stream", "stream"]),
        ("UPDATE streams SET last_position = 4 WHERE id = 'a'", ["stream", "stream"]),
        ("UPDATE lineage SET epoch = zeroblob(16)", ["hash_chain", "checkpoint_epoch"]),
        ("UPDATE lineage SET first = 3", ["lineage", "event_unreadable"]),
        ("UPDATE idempotency SET events = 2", ["idempotency_record", "idempotency_record"]),
        ("UPDATE snapshots SET state = CAST('{\"balance\":17}' AS BLOB)", ["snapshot", "snapshot"]),
        ("UPDATE event_types SET version = 2 WHERE name = 'account.deposited'", ["unknown_event", "not_judged"]),
    ] {
        let system = damaged(statements).await;
        let report = system.verify();
        let kinds = system.kinds();
        assert!(!report.holds() && expected.iter().all(|kind| kinds.contains(kind)), "{statements}\n{report}");
    }
}

#[tokio::test]
async fn a_snapshot_that_was_written_wrong_is_found_though_its_checksum_fits() {
    let system = system().await;
    system.start().await.snapshot("a", 3, r#"{"balance":17}"#).await;
    assert_eq!(system.kinds(), ["snapshot"]);
}

#[tokio::test]
async fn a_changed_hash_is_blamed_on_its_own_event_only() {
    let system = damaged("UPDATE events SET hash = zeroblob(32) WHERE position = 4").await;
    let report = system.verify();
    assert_eq!(report.counts.get("hash_chain"), Some(&1), "{report}");
    assert!(report.violations.iter().any(|violation| violation.to_string().contains("breaks at 4")), "{report}");
}

#[tokio::test]
async fn rows_are_not_judged_by_a_log_that_is_in_doubt() {
    let system = damaged("UPDATE events SET payload = CAST('{\"amount\":6}' AS BLOB) WHERE position = 4").await;
    let report = system.verify();
    assert!(report.counts.contains_key("not_judged") && !report.counts.contains_key("row_body"), "{report}");
    assert!(report.to_string().contains("restore the log from a backup"), "{report}");
    assert!(report.to_string().ends_with("violations."), "{report}");
}

#[tokio::test]
async fn what_cannot_be_decoded_because_it_was_damaged_is_said_once() {
    let system = damaged("UPDATE events SET payload = CAST('{\"amou' AS BLOB) WHERE position = 4").await;
    let report = system.verify();
    assert!(report.counts.contains_key("event_checksum") && !report.counts.contains_key("payload"), "{report}");
    assert!(!report.to_string().contains("this binary is not the one that wrote the log"), "{report}");
}

#[tokio::test]
async fn an_event_of_an_unknown_type_is_not_passed_over() {
    let system = system().await;
    system.start().await.append("a", vec![("account.closed", "{}".to_owned())]).await;
    let report = system.verify();
    assert_eq!(report.counts.keys().copied().collect::<Vec<_>>(), ["unknown_event"], "{report}");
    assert!(report.generations[0].compared_with_fold, "its rows do not contain that event");
    assert!(report.to_string().contains("VERDICT: cannot be judged by this binary"), "{report}");
}

#[tokio::test]
async fn many_violations_are_counted_and_few_are_listed() {
    let system = system().await;
    system.start().await.append("a", crate::system::deposits(&[1; 500])).await;
    tamper(&system.log, "UPDATE events SET principal = 99");
    let report = system.verify();
    assert!(report.violation_count() >= 510 && report.violations.len() <= 100, "{report}");
}
