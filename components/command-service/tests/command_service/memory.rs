//! What the service keeps in memory and in snapshots: hints, all of it.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use command_database::{EventStore, Snapshot};
use command_service::{CommandOutcome, CommandService, Config, Precondition};
use model::{EpochId, StreamId, StreamVersion, Tenant};
use testkit::conformance::command_service::Request;
use uuid::Uuid;

use crate::support::{Harmed, again, harmed, is_accepted};

async fn execute(service: &Harmed, request: Request) -> CommandOutcome {
    service.executor.execute(request.build()).await
}

fn loads(service: &Harmed) -> usize {
    service.log.loaded.lock().expect("no panic").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_aggregate_is_loaded_once() {
    let service = harmed(Config::default());
    assert!(is_accepted(&execute(&service, Request::open("a")).await));
    let service = again(service, Config::default());
    for request in [Request::deposit("a", 1), Request::withdraw("a", 1)] {
        assert!(is_accepted(&execute(&service, request).await));
    }
    assert_eq!(loads(&service), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_begins_a_stream_needs_no_look_for_it() {
    let service = harmed(Config::default());
    for request in [Request::open("a"), Request::deposit("a", 1), Request::open("b")] {
        assert!(is_accepted(&execute(&service, request).await));
    }
    assert_eq!(loads(&service), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_taken_for_new_that_is_not_is_loaded_and_decided_on_again() {
    let service = harmed(Config { conflict_retries_max: 0, ..Config::default() });
    let ids: Vec<String> = (0..20).map(|index| format!("a-{index}")).collect();
    for id in &ids {
        assert!(is_accepted(&execute(&service, Request::open(id)).await));
    }
    let service = again(service, Config { conflict_retries_max: 0, ..Config::default() });
    for id in &ids {
        let outcome = execute(&service, Request::open(id)).await;
        assert!(matches!(&outcome, CommandOutcome::Refused { .. }), "it was opened in a former life: {outcome:?}");
    }
    assert_eq!(loads(&service), ids.len(), "once each, guessed or not");
    assert!(is_accepted(&execute(&service, Request::open("new")).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_demands_that_there_is_no_stream_makes_it_without_a_look() {
    let service = harmed(Config::default());
    let open = || Request::open("a").demanding(Precondition::Absent);
    assert!(is_accepted(&execute(&service, open()).await));
    assert!(is_accepted(&execute(&service, Request::deposit("a", 1)).await));
    assert_eq!(loads(&service), 0);
    // Another life of the service does not know the stream: its guess is wrong, and the append finds out.
    let service = again(service, Config::default());
    let current = StreamVersion::new(2);
    assert_eq!(execute(&service, open()).await, CommandOutcome::PreconditionFailed { current });
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_that_do_not_fit_are_dropped_and_loaded_again() {
    let config = || Config { shards: 1, cache_bytes_max: 4096, ..Config::default() };
    let service = harmed(config());
    let ids: Vec<String> = (0..20).map(|index| format!("a-{index}")).collect();
    for id in &ids {
        execute(&service, Request::open(id)).await;
    }
    for id in ids.iter().chain(&ids) {
        assert!(is_accepted(&execute(&service, Request::deposit(id, 1)).await));
    }
    assert!(loads(&service) > 30, "twenty streams of 0.5 KiB are too many for 4 KiB: {} loads", loads(&service));
    execute(&service, Request::deposit("a-19", 1)).await;
    let before = loads(&service);
    execute(&service, Request::deposit("a-19", 1)).await;
    assert_eq!(loads(&service), before, "the latest one stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_epoch_empties_the_memory() {
    let service = harmed(Config { shards: 1, ..Config::default() });
    for id in ["a", "b"] {
        execute(&service, Request::open(id)).await;
    }
    *service.log.epoch.lock().expect("no panic") = Some(EpochId(Uuid::from_u128(5)));
    execute(&service, Request::deposit("a", 1)).await;
    assert!(is_accepted(&execute(&service, Request::deposit("b", 1)).await));
    assert_eq!(*service.log.loaded.lock().expect("no panic"), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_is_loaded_from_a_snapshot_and_what_came_after_it() {
    let service = harmed(Config::default());
    execute(&service, Request::open("a")).await;
    for snapshots in 1..=3 {
        assert!(is_accepted(&execute(&service, Request::deposit_parts("a", 1, 500)).await));
        // Saved beside the commands, and one at a time.
        service.saved(snapshots).await;
    }
    let service = again(service, Config::default());
    assert!(is_accepted(&execute(&service, Request::withdraw("a", 1500)).await));
    let read = service.log.events_read.load(Ordering::SeqCst);
    assert_eq!(read, 0, "{read} events of 1501 were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_without_a_snapshot_is_read_page_by_page_and_gets_one() {
    let config = Config { snapshot_every_events: u64::MAX, ..Config::default() };
    let service = harmed(config);
    execute(&service, Request::open("a")).await;
    for _ in 0..5 {
        assert!(is_accepted(&execute(&service, Request::deposit_parts("a", 1, 999)).await));
    }
    let service = again(service, Config::default());
    assert!(is_accepted(&execute(&service, Request::withdraw("a", 5 * 999)).await));
    assert_eq!(service.log.events_read.load(Ordering::SeqCst), 1 + 5 * 999);
    service.saved(1).await;
    let service = again(service, Config::default());
    assert!(matches!(execute(&service, Request::withdraw("a", 1)).await, CommandOutcome::Refused { .. }));
    let read = service.log.events_read.load(Ordering::SeqCst);
    assert!(read <= 1, "{read} events were read despite the snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_events_that_never_came_is_not_kept() {
    let service = harmed(Config { snapshot_every_events: 2, ..Config::default() });
    execute(&service, Request::open("a")).await;
    service.log.faults.lock().expect("no panic").push(crate::faulty::Fault::Full);
    execute(&service, Request::deposit("a", 1)).await;
    assert_eq!(*service.log.snapshots.lock().expect("no panic"), []);
    assert!(is_accepted(&execute(&service, Request::deposit("a", 2)).await));
    service.saved(1).await;
    let states: Vec<Bytes> =
        service.log.snapshots.lock().expect("no panic").iter().map(|snapshot| snapshot.state.clone()).collect();
    assert_eq!(states, [Bytes::from_static(br#"{"is_open":true,"balance":2}"#)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_none_is_passed_over() {
    let service = harmed(Config::default());
    for request in [Request::open("a"), Request::deposit("a", 7)] {
        execute(&service, request).await;
    }
    let registry = testkit::domain::registry();
    let account = registry.find_aggregate("account").expect("it is registered");
    let stream = StreamId { tenant: Tenant::default(), aggregate: "account".into(), id: "a".into() };
    let snapshot = Snapshot {
        stream,
        version: StreamVersion::FIRST.next(),
        state_shape: account.state_shape(),
        state: Bytes::from_static(b"[]"),
    };
    service.log.save_snapshot(snapshot).await.expect("the log is open");
    let service = again(service, Config::default());
    assert!(is_accepted(&execute(&service, Request::withdraw("a", 7)).await));
}
