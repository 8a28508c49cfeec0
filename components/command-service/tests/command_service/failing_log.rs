//! What a command is answered when the log fails, and what the service then knows.

use command_service::{CommandOutcome, CommandService, Config, UnavailableReason};
use futures_util::future::join_all;
use model::StreamVersion;
use testkit::conformance::command_service::Request;

use crate::{
    faulty::Fault,
    support::{Harmed, again, harmed, is_accepted},
};

async fn execute(service: &Harmed, request: Request) -> CommandOutcome {
    service.executor.execute(request.build()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_the_next_command_is_decided_on_what_is_there() {
    let service = harmed(Config::default());
    assert!(is_accepted(&execute(&service, Request::open("a")).await));
    service.log.faults.lock().expect("no panic").push(Fault::Full);
    let refused = execute(&service, Request::deposit("a", 5)).await;
    let reason = UnavailableReason::StorageFull;
    assert!(matches!(refused, CommandOutcome::Unavailable { reason: found, .. } if found == reason), "{refused:?}");
    let outcome = execute(&service, Request::withdraw("a", 5)).await;
    assert!(matches!(outcome, CommandOutcome::Refused { .. }), "the deposit is not in the account: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_unknown_and_the_key_tells_what_came_of_it() {
    let service = harmed(Config::default());
    assert!(is_accepted(&execute(&service, Request::open("a")).await));
    service.log.faults.lock().expect("no panic").push(Fault::AnswerLost);
    let deposit = || Request::deposit("a", 5).keyed("k");
    assert_eq!(execute(&service, deposit()).await, CommandOutcome::Unknown);
    let again = execute(&service, deposit()).await;
    assert!(matches!(again, CommandOutcome::Accepted { replayed: true, .. }), "{again:?}");
    assert!(is_accepted(&execute(&service, Request::withdraw("a", 5)).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_panics_ends_neither_its_shard_nor_the_commands_after_it() {
    let service = harmed(Config { shards: 1, ..Config::default() });
    assert!(is_accepted(&execute(&service, Request::open("a")).await));
    service.log.faults.lock().expect("no panic").push(Fault::Panic);
    assert_eq!(execute(&service, Request::deposit("a", 5)).await, CommandOutcome::Unknown);
    assert!(is_accepted(&execute(&service, Request::deposit("a", 7)).await));
    let outcome = execute(&service, Request::withdraw("a", 8)).await;
    assert!(matches!(outcome, CommandOutcome::Refused { .. }), "the first deposit is not there: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_on_events_that_never_came_is_decided_again_in_its_order() {
    let service = harmed(Config::default());
    assert!(is_accepted(&execute(&service, Request::open("a")).await));
    service.log.hold();
    // The first is alone in its commit, since nothing else waits then; the others follow in the next.
    let first = service.executor.execute(Request::deposit("a", 100).build());
    service.runtime.sleep(std::time::Duration::from_millis(20)).await;
    let rest: Vec<_> = [Request::withdraw("a", 60), Request::deposit("a", 50), Request::withdraw("a", 40)]
        .into_iter()
        .map(|request| service.executor.execute(request.build()))
        .collect();
    service.runtime.sleep(std::time::Duration::from_millis(20)).await;
    service.log.faults.lock().expect("no panic").push(Fault::Full);
    service.log.release();
    assert!(matches!(first.await, CommandOutcome::Unavailable { .. }));
    let outcomes = join_all(rest).await;
    assert!(matches!(outcomes[0], CommandOutcome::Refused { .. }), "there was nothing to take: {outcomes:?}");
    assert!(is_accepted(&outcomes[1]) && is_accepted(&outcomes[2]), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_not_told_on_the_strength_of_events_that_never_came() {
    let service = harmed(Config::default());
    assert!(is_accepted(&execute(&service, Request::open("a")).await));
    service.log.hold();
    let deposit = service.executor.execute(Request::deposit("a", 100).build());
    service.runtime.sleep(std::time::Duration::from_millis(20)).await;
    // Refused on what is under way, accepted on what will be.
    let version = StreamVersion::FIRST;
    let demanding = Request::deposit("a", 1).demanding(command_service::Precondition::Version(version));
    let demanding = service.executor.execute(demanding.build());
    service.runtime.sleep(std::time::Duration::from_millis(20)).await;
    service.log.faults.lock().expect("no panic").push(Fault::Full);
    service.log.release();
    assert!(matches!(deposit.await, CommandOutcome::Unavailable { .. }));
    let outcome = demanding.await;
    assert!(is_accepted(&outcome), "its version is that of the log: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_read_fails_its_own_commands_only() {
    let config = || Config { shards: 1, ..Config::default() };
    let service = harmed(config());
    for id in ["a", "bad", "b"] {
        assert!(is_accepted(&execute(&service, Request::open(id)).await));
    }
    let service = again(service, config());
    *service.log.unreadable.lock().expect("no panic") = Some("bad".to_owned());
    let requests = ["a", "bad", "b"].map(|id| service.executor.execute(Request::deposit(id, 1).build()));
    let outcomes = join_all(requests).await;
    assert!(is_accepted(&outcomes[0]) && is_accepted(&outcomes[2]), "{outcomes:?}");
    let reason = UnavailableReason::Database;
    assert!(matches!(outcomes[1], CommandOutcome::Unavailable { reason: found, .. } if found == reason));
    *service.log.unreadable.lock().expect("no panic") = None;
    assert!(is_accepted(&execute(&service, Request::deposit("bad", 1)).await));
}
