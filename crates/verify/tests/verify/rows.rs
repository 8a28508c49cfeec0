use crate::{
    domain::registry,
    system::{system, tamper},
};

const TABLE: &str = "balance__g1";

#[tokio::test]
async fn each_damage_to_the_rows_is_found_and_named() {
    for (statements, expected) in [
        (
            "UPDATE TABLE SET body = '{\"owner\":\"Ada\",\"balance\":17}' WHERE key = 'a'",
            &["index_column", "row_body", "row_checksum"][..],
        ),
        ("UPDATE TABLE SET i_balance = 17 WHERE key = 'a'", &["index_column", "row_checksum", "row_indexes"]),
        ("UPDATE TABLE SET i_owner = NULL WHERE key = 'a'", &["index_column", "row_checksum", "row_indexes"]),
        ("UPDATE TABLE SET checksum = checksum + 1 WHERE key = 'a'", &["row_checksum"]),
        ("UPDATE TABLE SET position = 4 WHERE key = 'a'", &["row_checksum", "row_position"]),
        ("UPDATE TABLE SET body = 'nothing' WHERE key = 'a'", &["row_body", "row_checksum", "row_unreadable"]),
        ("UPDATE TABLE SET key = 'z' WHERE key = 'a'", &["row_checksum", "row_extra", "row_missing"]),
        ("DELETE FROM TABLE WHERE key = 'a'", &["row_missing"]),
        ("UPDATE diptych_checkpoints SET position = 9", &["checkpoint_hash", "row_body"]),
        ("UPDATE diptych_checkpoints SET position = NULL", &["checkpoint_hash", "row_extra"]),
        ("UPDATE diptych_checkpoints SET position = 11", &["checkpoint_beyond_head"]),
        ("UPDATE diptych_checkpoints SET hash = zeroblob(32)", &["checkpoint_hash"]),
        ("DELETE FROM diptych_checkpoints", &["generation"]),
        ("DROP VIEW balance; DROP TABLE TABLE", &["generation"]),
        ("UPDATE diptych_generations SET definition = '{}'", &["generation"]),
    ] {
        let system = system().await;
        tamper(&system.rows, &statements.replace("TABLE", TABLE).replace(&format!("DROP {TABLE}"), "DROP TABLE"));
        let report = system.verify();
        assert_eq!(report.counts.keys().copied().collect::<Vec<_>>(), expected, "{statements}\n{report}");
        assert!(!report.holds());
    }
}

/// What the database itself takes over a row.
fn checksum(key: &str, position: u64, body: &str, owner: &str, balance: i64) -> i64 {
    let mut whole = b"default\xff".to_vec();
    whole.extend_from_slice(key.as_bytes());
    whole.push(0xff);
    whole.extend_from_slice(&position.to_le_bytes());
    whole.extend_from_slice(body.as_bytes());
    let mut index = vec![2];
    index.extend_from_slice(&(owner.len() as u64).to_le_bytes());
    index.extend_from_slice(owner.as_bytes());
    index.push(1);
    index.extend_from_slice(&balance.to_le_bytes());
    ((u64::from(crc32fast::hash(&whole)) << 32) | u64::from(crc32fast::hash(&index))).cast_signed()
}

#[tokio::test]
async fn a_row_that_was_changed_together_with_its_checksum_and_index_is_found() {
    let system = system().await;
    let body = r#"{"owner":"Ada","balance":17}"#;
    let checksum = checksum("a", 6, body, "Ada", 17);
    tamper(
        &system.rows,
        &format!("UPDATE {TABLE} SET body = '{body}', i_balance = 17, checksum = {checksum} WHERE key = 'a'"),
    );
    assert_eq!(system.kinds(), ["row_body"]);
}

#[tokio::test]
async fn a_row_that_nobody_folded_is_found_though_its_checksum_fits() {
    let system = system().await;
    let body = r#"{"owner":"Eve","balance":1}"#;
    let checksum = checksum("e", 6, body, "Eve", 1);
    tamper(
        &system.rows,
        &format!(
            "INSERT INTO {TABLE} (tenant, key, body, checksum, position, i_owner, i_balance)
             VALUES ('default', 'e', '{body}', {checksum}, 6, 'Eve', 1)"
        ),
    );
    assert_eq!(system.kinds(), ["row_extra"]);
}

#[tokio::test]
async fn a_checkpoint_that_was_moved_is_told_from_a_wrong_hash() {
    let system = system().await;
    tamper(&system.rows, "UPDATE diptych_checkpoints SET position = 9");
    let report = system.verify();
    assert!(report.to_string().contains("it is the hash of position 10"), "{report}");
}

#[tokio::test]
async fn a_checkpoint_that_was_moved_with_its_hash_is_found_by_the_rows() {
    let system = system().await;
    let attach = format!("ATTACH '{}' AS log;", system.log.display());
    tamper(
        &system.rows,
        &format!(
            "{attach} UPDATE diptych_checkpoints SET position = 9,
             hash = (SELECT hash FROM log.events WHERE position = 9)"
        ),
    );
    assert_eq!(system.kinds(), ["row_body"]);
}

#[tokio::test]
async fn a_generation_of_another_version_is_checked_by_its_checksums() {
    let system = system().await;
    tamper(
        &system.rows,
        "UPDATE diptych_generations SET version = 7, definition = json_set(definition, '$.version', 7)",
    );
    let report = system.verify();
    assert!(report.holds() && !report.generations[0].is_of_this_binary, "{report}");
    assert!(report.to_string().contains("of another version than this binary"), "{report}");
    tamper(&system.rows, &format!("UPDATE {TABLE} SET body = '{{}}' WHERE key = 'b'"));
    assert_eq!(system.kinds(), ["row_checksum"]);
    assert!(verify::run(&system.log, &system.rows, &registry()).is_ok());
}

#[tokio::test]
async fn what_a_restored_log_left_behind_is_no_violation_once_it_is_replaced() {
    let system = system().await;
    tamper(&system.rows, "UPDATE diptych_checkpoints SET position = 11, forked = lineage");
    assert_eq!(system.kinds(), ["checkpoint_beyond_head"], "it serves still");
    tamper(&system.rows, "UPDATE diptych_checkpoints SET serving = 0");
    let report = system.verify();
    assert!(report.holds() && report.generations[0].is_replaced, "{report}");
    assert!(report.to_string().contains("of a history that the log no longer has"), "{report}");
}
