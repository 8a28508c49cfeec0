//! The queue in process keeps every promise of the contract, and the suite notices each that is broken.

use std::sync::Arc;

use futures_util::future::join_all;
use message_queue::{InProcessConfig, InProcessQueue, MessageQueue, Metrics};
use runtime::Runtime;
use testkit::conformance::message_queue::{
    Setup,
    broken::{Broken, Mistake},
    failures,
};

fn in_process(setup: &Setup) -> Arc<dyn MessageQueue> {
    let config = InProcessConfig { messages_max: setup.messages_max, ..InProcessConfig::default() };
    Arc::new(InProcessQueue::new(setup.runtime.clone(), config, Metrics::default()))
}

#[tokio::test]
async fn the_queue_in_process_keeps_every_promise() {
    assert_eq!(failures(async |setup| in_process(&setup), &Runtime::tokio()).await, []);
}

#[tokio::test]
async fn each_mistake_fails_its_own_test_and_no_other() {
    let runtime = Runtime::tokio();
    // Most of them fail by a wait in vain: they wait together.
    let failed = Mistake::ALL.map(async |(mistake, test)| {
        let start = async |setup: Setup| {
            let broken: Arc<dyn MessageQueue> = Arc::new(Broken::new(mistake, in_process(&setup), setup.runtime));
            broken
        };
        let failed: Vec<_> = failures(start, &runtime).await.into_iter().map(|failure| failure.test).collect();
        (mistake, failed, [test])
    });
    for (mistake, failed, expected) in join_all(failed).await {
        assert_eq!(failed, expected, "{mistake:?}");
    }
}
