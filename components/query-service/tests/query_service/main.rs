//! The service over an embedded Query Database keeps what the contract promises, and the suite that says so can fail.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use query_database::RowReader;
use query_service::{Limits, Metrics, Queries, QueryService};
use runtime::Runtime;
use testkit::conformance::query_service::{Broken, LAG_MAX, READ_MODEL, broken_promises};

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

#[tokio::test]
async fn each_broken_service_breaks_its_own_promise_only() {
    for fault in Broken::faults() {
        let make = |reader| -> Arc<dyn QueryService> { Arc::new(Broken::new(fault, Arc::new(queries(reader)))) };
        assert_eq!(broken_promises(&make).await, [fault]);
    }
}
