use command_service::{CommandOutcome, CommandService, Config, UnavailableReason};
use futures_util::FutureExt;
use testkit::conformance::command_service::Request;

use crate::support::{harmed, is_accepted};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_refuses_new_commands_and_waits_for_those_under_way() {
    let service = harmed(Config::default());
    service.executor.drain().now_or_never().expect("nothing is under way");

    let service = harmed(Config::default());
    service.log.hold();
    let before = service.executor.execute(Request::open("a").build());
    let mut drain = Box::pin(service.executor.drain());
    assert!(drain.as_mut().now_or_never().is_none(), "a command is under way");
    let after = service.executor.execute(Request::open("b").build()).await;
    let reason = UnavailableReason::Draining;
    assert!(matches!(after, CommandOutcome::Unavailable { reason: found, .. } if found == reason), "{after:?}");
    service.log.release();
    drain.await;
    assert!(is_accepted(&before.now_or_never().expect("it is answered")));
}
