//! The service over an embedded Query Database keeps what the contract promises, and the suite that says so can fail.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use model::{Tenant, TraceContext};
use prometheus_client::registry::Registry;
use query_database::RowReader;
use query_service::{
    Consistency, Handling, Limits, ListQuery, Metrics, PointQuery, Queries, QueryEndpoint, QueryOutcome, QueryService,
    RemoteQueryService,
};
use runtime::{Runtime, Shutdown};
use testkit::conformance::query_service::{Broken, LAG_MAX, READ_MODEL, broken_promises};
use wire::{Caller, CallerLimits, Endpoint, Instances, ServerLimits};

fn queries(reader: Arc<dyn RowReader>) -> Queries {
    let metrics = Metrics::new(&mut Registry::default());
    let limits = Limits { lag_max: LAG_MAX, epoch_news_max: LAG_MAX, ..Limits::default() };
    Queries::new(Runtime::tokio(), reader, vec![READ_MODEL.to_owned()], &[7; 32], limits, &metrics)
}

#[tokio::test]
async fn the_service_keeps_every_promise() {
    let broken = broken_promises(&|reader| Arc::new(queries(reader))).await;
    assert_eq!(broken, [""; 0]);
}

/// Serves it on a port of its own, and calls it there.
fn across_a_network(reader: Arc<dyn RowReader>) -> Arc<dyn QueryService> {
    let (runtime, shutdown) = (Runtime::tokio(), Shutdown::new());
    let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let instances = Instances::new(vec![endpoint.address().to_string()]).expect("an address");
    let answers = Arc::new(QueryEndpoint::new(Arc::new(queries(reader)), || true));
    let serving = wire::serve(endpoint, answers, ServerLimits::default(), runtime.clone(), shutdown.clone());
    drop(runtime.spawn("endpoint", serving));
    let caller = Caller::start(&runtime, instances, CallerLimits::default(), shutdown.clone());
    Arc::new(Remote { service: RemoteQueryService::new(caller), shutdown })
}

/// The rows' database closes once nobody serves them.
struct Remote {
    service: RemoteQueryService,
    shutdown: Shutdown,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

impl QueryService for Remote {
    fn point(&self, query: PointQuery) -> BoxFuture<'_, QueryOutcome> {
        self.service.point(query)
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, QueryOutcome> {
        self.service.list(query)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_across_a_network_keeps_every_promise() {
    assert_eq!(broken_promises(&across_a_network).await, [""; 0]);
}

#[tokio::test]
async fn without_any_instance_an_answer_is_unavailable() {
    let (runtime, shutdown) = (Runtime::tokio(), Shutdown::new());
    let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let instances = Instances::new(vec![endpoint.address().to_string()]).expect("an address");
    drop(endpoint);
    let caller = Caller::start(&runtime, instances, CallerLimits::default(), shutdown.clone());
    let query = PointQuery {
        tenant: Tenant::default(),
        read_model: READ_MODEL.to_owned(),
        key: "a".to_owned(),
        consistency: Consistency { token: None, handling: Handling::Strict, wait: Duration::ZERO },
        trace: TraceContext { trace_id: 1, parent_id: 2, sampled: false },
        tracestate: None,
    };
    let outcome = RemoteQueryService::new(caller).point(query).await;
    assert!(matches!(outcome, QueryOutcome::Unavailable { .. }), "{outcome:?}");
    shutdown.request();
}

#[tokio::test]
async fn each_broken_service_breaks_its_own_promise_only() {
    for fault in Broken::faults() {
        let make = |reader| -> Arc<dyn QueryService> { Arc::new(Broken::new(fault, Arc::new(queries(reader)))) };
        assert_eq!(broken_promises(&make).await, [fault]);
    }
}
