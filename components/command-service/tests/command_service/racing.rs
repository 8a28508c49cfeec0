//! Several writers of one log.

use std::sync::Arc;

use command_database::{Append, Decision, EventStore, ExpectedVersion, Outcome};
use command_service::{CommandOutcome, CommandService, Config, Precondition};
use futures_util::future::join_all;
use model::{CommandId, Metadata, NewEvent, Principal, StreamId, StreamVersion, Tenant, TraceContext};
use runtime::Runtime;
use tempfile::TempDir;
use testkit::{
    conformance::command_service::Request,
    domain::{Account, Event},
};

use crate::support::{harmed, is_accepted, log, over};

fn beside_others() -> Config {
    Config { sole_writer: false, ..Config::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_over_one_log_do_not_spend_the_same_money_twice() {
    let (runtime, directory) = (Runtime::tokio(), TempDir::new().expect("a temporary directory"));
    let log = log(&runtime, &directory);
    // Who lost a race has to read before the next one, and may lose as often as the other has commands.
    let config = || Config { conflict_retries_max: 100, ..beside_others() };
    let (one, _) = over(&runtime, Arc::clone(&log), config());
    let (two, _) = over(&runtime, Arc::clone(&log), config());
    one.execute(Request::open("a").build()).await;
    two.execute(Request::deposit("a", 100).build()).await;
    let both = (0..20).flat_map(|_| [&one, &two]);
    let outcomes = join_all(both.map(|service| service.execute(Request::withdraw("a", 10).build()))).await;
    let accepted = outcomes.iter().filter(|outcome| is_accepted(outcome)).count();
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, CommandOutcome::Refused { .. })).count();
    assert_eq!((accepted, refused), (10, 30), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_retried_unless_the_client_named_its_version() {
    let (runtime, directory) = (Runtime::tokio(), TempDir::new().expect("a temporary directory"));
    let log = log(&runtime, &directory);
    let (one, _) = over(&runtime, Arc::clone(&log), beside_others());
    let (two, _) = over(&runtime, Arc::clone(&log), beside_others());
    one.execute(Request::open("a").build()).await;
    // Each knows the stream, and nothing of what the other does from here on.
    assert!(is_accepted(&two.execute(Request::deposit("a", 1).build()).await));
    let retried = one.execute(Request::withdraw("a", 1).build()).await;
    assert!(matches!(retried, CommandOutcome::Accepted { version, .. } if version == StreamVersion::new(3)));
    let stale = Request::deposit("a", 1).demanding(Precondition::Version(StreamVersion::FIRST.next()));
    let current = StreamVersion::new(3);
    assert_eq!(two.execute(stale.build()).await, CommandOutcome::PreconditionFailed { current });
}

/// What somebody else appends.
async fn append_beside(log: &dyn EventStore, expected: u64, event: Event) {
    let command_id = CommandId(uuid::Uuid::from_u128(u128::from(expected)));
    let append = Append {
        stream: StreamId { tenant: Tenant::default(), aggregate: "account".into(), id: "a".into() },
        expected: ExpectedVersion::of(StreamVersion::new(expected)),
        command_id,
        decision: Decision::Accepted(vec![NewEvent::of::<Account>(&event).expect("it has a JSON text")]),
        metadata: Metadata {
            principal: Principal::default(),
            time: jiff::Timestamp::UNIX_EPOCH,
            correlation: command_id.0,
            causation: command_id.0,
            trace: TraceContext::default(),
            tracestate: None,
        },
        idempotency: None,
    };
    let outcomes = log.append(vec![append]).await.expect("the log is open");
    assert!(matches!(outcomes[..], [Outcome::Committed { .. }]), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_others_never_stands_in_for_the_one_that_was_counted_on() {
    let service = harmed(beside_others());
    for request in [Request::open("a"), Request::deposit("a", 10)] {
        service.executor.execute(request.build()).await;
    }
    service.log.hold();
    // Version 3 is to be this deposit, and the withdrawal can only be paid for with it.
    let deposit = service.executor.execute(Request::deposit("a", 5).demanding(Precondition::Exists).build());
    service.runtime.sleep(std::time::Duration::from_millis(20)).await;
    let withdrawal = service.executor.execute(Request::withdraw("a", 15).build());
    service.runtime.sleep(std::time::Duration::from_millis(20)).await;
    // Others were faster: version 3 is a withdrawal of all there is.
    append_beside(&*service.plain, 2, Event::Withdrawn { amount: 10 }).await;
    service.log.release();
    assert!(is_accepted(&deposit.await), "it is decided again");
    let outcome = withdrawal.await;
    assert!(matches!(outcome, CommandOutcome::Refused { .. }), "5 is in the account, not 15: {outcome:?}");
}

/// Both go into one batch: nothing is between them when they are sent.
#[tokio::test]
async fn what_is_decided_on_one_that_loses_loses_with_it() {
    let service = harmed(beside_others());
    for request in [Request::open("a"), Request::deposit("a", 10)] {
        service.executor.execute(request.build()).await;
    }
    service.log.hold();
    let both = join_all([
        service.executor.execute(Request::deposit("a", 5).demanding(Precondition::Exists).build()),
        service.executor.execute(Request::withdraw("a", 15).build()),
    ]);
    let others = async {
        service.runtime.sleep(std::time::Duration::from_millis(20)).await;
        append_beside(&*service.plain, 2, Event::Withdrawn { amount: 10 }).await;
        service.log.release();
    };
    let (outcomes, ()) = futures_util::join!(both, others);
    assert!(is_accepted(&outcomes[0]), "it is decided again");
    assert!(matches!(outcomes[1], CommandOutcome::Refused { .. }), "5 is in the account, not 15: {:?}", outcomes[1]);
}

#[tokio::test]
async fn commands_of_one_aggregate_share_commits_beside_other_writers() {
    let service = harmed(beside_others());
    service.executor.execute(Request::open("a").build()).await;
    let appends = || service.log.appends.load(std::sync::atomic::Ordering::SeqCst);
    let before = appends();
    let outcomes = join_all((0..50).map(|_| service.executor.execute(Request::deposit("a", 1).build()))).await;
    assert!(outcomes.iter().all(is_accepted), "{outcomes:?}");
    let commits = appends() - before;
    assert!(commits <= 5, "50 commands took {commits} commits");
}
