use std::{sync::Arc, time::Duration};

use command_service::{CommandService, Config, Metrics, Relay, RelayConfig};
use message_queue::{Fault, InProcessConfig, InProcessQueue, MessageQueue, Subscription};
use runtime::Runtime;
use testkit::conformance::command_service::Request;

use crate::support::{Service, service};

struct Relayed {
    runtime: Runtime,
    service: Service,
    queue: InProcessQueue,
    metrics: Metrics,
}

fn relayed() -> Relayed {
    let runtime = Runtime::tokio();
    let service = service(&runtime, Config::default());
    let queue = InProcessQueue::new(runtime.clone(), InProcessConfig::default(), message_queue::Metrics::default());
    Relayed { runtime, service, queue, metrics: Metrics::new() }
}

impl Relayed {
    fn relay(&self) -> Relay {
        let (log, queue) = (Arc::clone(&self.service.log), Arc::new(self.queue.clone()));
        let head = self.service.group.head_changed();
        Relay::start(&self.runtime, log, queue, head, RelayConfig::default(), &self.metrics)
    }

    async fn subscribe(&self) -> Box<dyn Subscription> {
        self.queue.subscribe(None).await.expect("the queue is up")
    }

    async fn open(&self, accounts: std::ops::Range<u32>) {
        for index in accounts {
            self.service.executor.execute(Request::open(&format!("a-{index}")).build()).await;
        }
    }
}

/// Receives up to `last`, drops what came before, and fails where something is missing.
async fn receive_to(subscription: &mut dyn Subscription, mut seen: u64, last: u64) -> u64 {
    while seen < last {
        for delivery in subscription.next(100).await.expect("the queue is up") {
            let position = delivery.event.position.get();
            assert!(position <= seen + 1, "{position} came after {seen}");
            seen = seen.max(position);
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_published_in_order() {
    let relayed = relayed();
    let mut subscription = relayed.subscribe().await;
    let relay = relayed.relay();
    relayed.open(0..50).await;
    assert_eq!(receive_to(&mut *subscription, 0, 50).await, 50);
    relay.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_queue_missed_while_it_was_off_is_published_when_it_is_back() {
    let relayed = relayed();
    let mut subscription = relayed.subscribe().await;
    let _relay = relayed.relay();
    relayed.open(0..10).await;
    let seen = receive_to(&mut *subscription, 0, 10).await;
    relayed.queue.set_fault(Some(Fault::Off));
    relayed.open(10..20).await;
    relayed.runtime.sleep(Duration::from_millis(50)).await;
    relayed.queue.set_fault(None);
    assert_eq!(receive_to(&mut *subscription, seen, 20).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_stores_the_cursor_and_leaves_the_lease_to_the_next() {
    let relayed = relayed();
    let _subscription = relayed.subscribe().await;
    let relay = relayed.relay();
    relayed.open(0..10).await;
    relay.drain().await;
    let ttl = Duration::from_secs(1);
    let lease = relayed.service.log.lease_relay(relayed.runtime.uuid(), ttl).await.expect("the log is open");
    assert_eq!(lease.and_then(|lease| lease.cursor).map(model::Position::get), Some(10));
}
