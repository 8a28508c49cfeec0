//! Somebody who appends, and was told tokens.

use std::{sync::Arc, time::Duration};

use command_database::{Append, Decision, EventStore, ExpectedVersion, Outcome};
use jiff::Timestamp;
use model::{CommandId, ConsistencyToken, EventType, Metadata, NewEvent, Principal, StreamId, Tenant, TraceContext};
use runtime::{Runtime, Shutdown};
use testkit::ReplaceableStore;

const PAUSE_MILLIS_MAX: u64 = 2000;

/// Appends until it is told to end. The tokens of all that was acknowledged.
pub(super) async fn write(runtime: Runtime, log: Arc<ReplaceableStore>, ends: Shutdown) -> Vec<ConsistencyToken> {
    let mut tokens = Vec::new();
    while !ends.is_requested() {
        // Now and then for so long that checkpoints are idle.
        let pause = if runtime.random_u64().is_multiple_of(64) { PAUSE_MILLIS_MAX } else { 12 };
        runtime.sleep(Duration::from_millis(runtime.random_u64() % pause)).await;
        let outcomes = log.append(vec![command(&runtime)]).await.expect("the log takes it");
        let [Outcome::Committed { head: Some(position), epoch, .. }] = outcomes[..] else {
            panic!("it is committed: {outcomes:?}")
        };
        tokens.push(ConsistencyToken { epoch, position });
    }
    tokens
}

/// Some events of one of few accounts.
fn command(runtime: &Runtime) -> Append {
    let command = runtime.uuid();
    let event = |chance: u64| {
        let (name, payload) = match chance % 4 {
            0 => ("account.opened", r#"{"owner":"Ada"}"#),
            1 => ("account.withdrawn", r#"{"amount":1}"#),
            _ => ("account.deposited", r#"{"amount":2}"#),
        };
        NewEvent { event_type: EventType { name: name.into(), version: 1 }, payload: payload.into() }
    };
    let count = 1 + runtime.random_u64() % 3;
    let id = format!("a-{}", runtime.random_u64() % 4).into();
    Append {
        stream: StreamId { tenant: Tenant::default(), aggregate: "account".into(), id },
        expected: ExpectedVersion::Any,
        command_id: CommandId(command),
        decision: Decision::Accepted((0..count).map(|_| event(runtime.random_u64())).collect()),
        metadata: Metadata {
            principal: Principal::default(),
            time: Timestamp::UNIX_EPOCH,
            correlation: command,
            causation: command,
            trace: TraceContext::default(),
            tracestate: None,
        },
        idempotency: None,
    }
}
