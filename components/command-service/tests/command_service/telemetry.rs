use std::sync::{Arc, Mutex};

use command_database::{GroupCommit, GroupLimits};
use command_service::{CommandService, Config, Executor, Metrics};
use prometheus_client::{encoding::text::encode, registry::Registry};
use runtime::Runtime;
use tempfile::TempDir;
use testkit::conformance::command_service::Request;
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt},
    registry::LookupSpan,
};

use crate::support::log;

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_counted_by_what_came_of_them() {
    let (runtime, directory) = (Runtime::tokio(), TempDir::new().expect("a temporary directory"));
    let log = log(&runtime, &directory);
    let group =
        GroupCommit::start(&runtime, Arc::clone(&log), GroupLimits::default(), command_database::Metrics::default());
    let metrics = Metrics::new();
    let domain = testkit::domain::registry();
    let executor = Executor::start(runtime, &domain, log, group, Config::default(), &metrics);
    for request in [
        Request::open("a"),
        Request::deposit("a", 1).keyed("k"),
        Request::deposit("a", 1).keyed("k"),
        Request::withdraw("a", 9),
        Request::explode("a"),
    ] {
        executor.execute(request.build()).await;
    }
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string has room");
    for line in [
        r#"diptych_command_service_commands_total{aggregate="account",command="open",outcome="accepted"} 1"#,
        r#"diptych_command_service_commands_total{aggregate="account",command="deposit",outcome="accepted"} 2"#,
        r#"diptych_command_service_commands_total{aggregate="account",command="withdraw",outcome="refused"} 1"#,
        r#"diptych_command_service_commands_total{aggregate="account",command="explode",outcome="internal"} 1"#,
        r#"diptych_command_service_command_duration_seconds_count{aggregate="account",command="deposit"} 2"#,
        "diptych_command_service_idempotency_replays_total 1",
        "diptych_command_service_conflicts_total 0",
        "diptych_message_queue_outbox_events 0",
        "diptych_message_queue_outbox_oldest_age_seconds 0.0",
        "diptych_message_queue_publish_retries_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

/// The hops of this box: number and trace.
#[derive(Clone, Default)]
struct Hops(Arc<Mutex<Vec<Hop>>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hop {
    of_box: String,
    number: u64,
    trace_id: String,
}

impl Visit for Hop {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "diptych.hop" {
            self.number = value.unsigned_abs();
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "diptych.box" {
            value.clone_into(&mut self.of_box);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "trace_id" {
            self.trace_id = format!("{value:?}");
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Hops {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        if attributes.metadata().target() == "diptych::hop" && attributes.metadata().name() == "command-service" {
            let mut hop = Hop::default();
            attributes.record(&mut hop);
            self.0.lock().expect("no panic").push(hop);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_a_hop_of_its_trace() {
    // For the whole process: a subscriber of one thread does not learn of spans that another thread met first.
    let hops = Hops::default();
    let subscriber = tracing_subscriber::registry().with(hops.clone());
    tracing::subscriber::set_global_default(subscriber).expect("no other test sets one");
    let service = crate::support::service(&Runtime::tokio(), Config::default());
    let traced = Request::open("a").with(|request| request.trace.trace_id = 0x5b8a);
    service.executor.execute(traced.build()).await;
    let trace_id = "00000000000000000000000000005b8a".to_owned();
    let seen: Vec<Hop> =
        hops.0.lock().expect("no panic").iter().filter(|hop| hop.trace_id == trace_id).cloned().collect();
    assert_eq!(seen, [Hop { of_box: "command-service".to_owned(), number: 3, trace_id }]);
}
