//! One relay of several processes, and a clock that they share.

use std::time::Duration;

use command_database::EventStore;
use model::Position;
use runtime::Runtime;

use super::given::{Database, append, request};

const SHORT: Duration = Duration::from_millis(300);
/// Enough for a holder on a busy machine to come back four times.
const LONG: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_lease_holds_in_all_processes_and_ends_with_its_time() {
    let database = Database::migrated().await;
    let (one, other) = (database.open().await, database.open().await);
    let runtime = Runtime::tokio();
    let (first, second) = (runtime.uuid(), runtime.uuid());
    let lease = one.lease_relay(first, LONG).await.expect("answered").expect("granted");
    assert_eq!(other.lease_relay(second, LONG).await.expect("answered"), None);
    assert!(one.store_relay_cursor(lease.token, Position::FIRST).await.expect("answered"));
    // Held on by who has it, however long.
    for _ in 0..6 {
        runtime.sleep(LONG / 4).await;
        let renewed = one.lease_relay(first, LONG).await.expect("answered").expect("renewed");
        assert_eq!(renewed.token, lease.token);
        assert_eq!(other.lease_relay(second, LONG).await.expect("answered"), None);
    }
    // The holder is gone, without a word.
    drop(one);
    runtime.sleep(LONG * 2).await;
    let taken = other.lease_relay(second, LONG).await.expect("answered").expect("taken over");
    assert!(taken.token > lease.token);
    assert_eq!(taken.cursor, Some(Position::FIRST));
    assert!(!other.store_relay_cursor(lease.token, Position::FIRST).await.expect("answered"), "the former token");
}

#[tokio::test]
async fn who_has_just_come_does_not_know_how_old_a_lease_is() {
    let database = Database::migrated().await;
    let runtime = Runtime::tokio();
    database.open().await.lease_relay(runtime.uuid(), SHORT).await.expect("answered").expect("granted");
    runtime.sleep(SHORT * 2).await;
    let late = database.open().await;
    assert_eq!(late.lease_relay(runtime.uuid(), SHORT).await.expect("answered"), None);
    runtime.sleep(SHORT * 2).await;
    late.lease_relay(runtime.uuid(), SHORT).await.expect("answered").expect("granted at last");
}

#[tokio::test]
async fn keys_do_not_expire_sooner_because_several_processes_measure() {
    let database = Database::migrated().await;
    let runtime = Runtime::tokio();
    let stores = [database.open().await, database.open().await, database.open().await];
    append(&stores[0], vec![request("a", "1").key("k", "body").build()]).await;
    let began = runtime.now();
    for round in 0..6 {
        runtime.sleep(Duration::from_millis(50)).await;
        let holder = runtime.uuid();
        stores[round % 3].lease_relay(holder, Duration::ZERO).await.expect("answered");
    }
    // Kept for longer than has passed: three processes that each count all of it would be beyond.
    let passed = runtime.now() - began;
    assert_eq!(stores[0].expire_idempotency(passed).await.expect("expired"), 0);
    assert_eq!(stores[1].expire_idempotency(passed / 8).await.expect("expired"), 1);
}
