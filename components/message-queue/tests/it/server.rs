//! A real server, and queues on it.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cluster::NatsServer;
use message_queue::{Delivery, Error, JetStreamConfig, JetStreamQueue, MessageQueue, Metrics, Subscription};
use model::StoredEvent;
use runtime::Runtime;
use std::sync::Arc;
use testkit::conformance::message_queue::sample_event;

/// One for all tests that do it no harm. It ends with this process.
pub(crate) static SHARED: LazyLock<NatsServer> = LazyLock::new(|| NatsServer::start().expect("NATS starts"));

/// For whatever a loaded machine may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A stream, and subjects, that no other test has.
pub(crate) fn fresh(server: &NatsServer) -> JetStreamConfig {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let application = format!("shop{}", COUNT.fetch_add(1, Ordering::Relaxed));
    JetStreamConfig {
        servers: vec![server.url()],
        stream: format!("{application}-events"),
        application,
        event_type_prefix: "com.example.shop.".to_owned(),
        // There is one server.
        replicas: 1,
        stream_bytes_max: 64 * 1024 * 1024,
        request_timeout: Duration::from_secs(2),
        idle_check: Duration::from_millis(300),
        backoff_max: Duration::from_millis(100),
        ..JetStreamConfig::default()
    }
}

pub(crate) async fn connect(config: &JetStreamConfig) -> Result<JetStreamQueue, Error> {
    JetStreamQueue::connect(Runtime::tokio(), config.clone(), Metrics::default()).await
}

pub(crate) async fn queue(config: &JetStreamConfig) -> JetStreamQueue {
    connect(config).await.expect("connected")
}

/// A client as anybody else has it.
pub(crate) async fn stranger(server: &NatsServer) -> async_nats::Client {
    async_nats::connect(server.url()).await.expect("connected")
}

pub(crate) fn events(positions: std::ops::RangeInclusive<u64>) -> Vec<Arc<StoredEvent>> {
    positions.map(sample_event).map(Arc::new).collect()
}

/// Publishes until it is acknowledged, as a relay does.
pub(crate) async fn publish_at_last(queue: &JetStreamQueue, positions: std::ops::RangeInclusive<u64>) {
    let runtime = Runtime::tokio();
    let began = runtime.now();
    loop {
        match queue.publish(events(positions.clone())).await {
            Ok(_) => return,
            Err(error) => assert!(runtime.now() - began < PATIENCE, "still not published: {error}"),
        }
        runtime.sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn next(reader: &mut Box<dyn Subscription>) -> Result<Vec<Delivery>, Error> {
    Runtime::tokio().timeout(PATIENCE, reader.next(100)).await.expect("something comes in time")
}

/// All positions as they come, until `last` is one of them.
pub(crate) async fn positions_until(reader: &mut Box<dyn Subscription>, last: u64) -> Vec<u64> {
    let mut positions = Vec::new();
    while positions.last() != Some(&last) {
        let deliveries = next(reader).await.expect("nothing is wrong");
        positions.extend(deliveries.iter().map(|delivery| delivery.event.position.get()));
    }
    positions
}
