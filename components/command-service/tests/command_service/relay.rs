use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use command_database::{EventStore, ReadLimit, SqliteConfig, SqliteEventStore};
use command_service::{CommandService, Config, Metrics, Relay, RelayConfig};
use futures_util::future::BoxFuture;
use message_queue::{
    Acknowledged, Error, Fault, InProcessConfig, InProcessQueue, MessageQueue, QueueLife, Subscription,
};
use model::{Position, StoredEvent};
use runtime::Runtime;
use testkit::{ReplaceableStore, conformance::command_service::Request};

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
    assert_eq!(lease.and_then(|lease| lease.cursor).map(Position::get), Some(10));
}

/// Of three publications one fails, one loses its acknowledgement, one comes back from another life.
struct Shaky {
    queue: InProcessQueue,
    count: AtomicU64,
}

impl MessageQueue for Shaky {
    fn publish(&self, events: Vec<Arc<StoredEvent>>) -> BoxFuture<'_, Result<Acknowledged, Error>> {
        let lost = || Error::Unavailable { reason: "no answer".to_owned() };
        Box::pin(async move {
            match self.count.fetch_add(1, Ordering::SeqCst) % 4 {
                0 => Err(lost()),
                1 => self.queue.publish(events).await.and(Err(lost())),
                2 => {
                    let acknowledged = self.queue.publish(events).await?;
                    Ok(Acknowledged { life: QueueLife(uuid::Uuid::nil()), ..acknowledged })
                }
                _ => self.queue.publish(events).await,
            }
        })
    }

    fn subscribe(&self, after: Option<Position>) -> BoxFuture<'_, Result<Box<dyn Subscription>, Error>> {
        self.queue.subscribe(after)
    }

    fn resume_after(&self, cursor: Option<Position>) -> BoxFuture<'_, Result<Option<Position>, Error>> {
        self.queue.resume_after(cursor)
    }

    fn life(&self) -> BoxFuture<'_, Result<QueueLife, Error>> {
        self.queue.life()
    }

    fn pending(&self) -> u64 {
        self.queue.pending()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_published_until_its_acknowledgement_is_verified() {
    let relayed = relayed();
    let mut subscription = relayed.subscribe().await;
    let shaky = Arc::new(Shaky { queue: relayed.queue.clone(), count: AtomicU64::new(0) });
    let config = RelayConfig { batch: ReadLimit { events_max: 3, bytes_max: usize::MAX }, ..RelayConfig::default() };
    let (log, head) = (Arc::clone(&relayed.service.log), relayed.service.group.head_changed());
    let relay = Relay::start(&relayed.runtime, log, shaky, head, config, &relayed.metrics);
    relayed.open(0..20).await;
    assert_eq!(receive_to(&mut *subscription, 0, 20).await, 20);
    relay.drain().await;
    let mut registry = prometheus_client::registry::Registry::default();
    relayed.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string has room");
    assert!(!text.contains("publish_retries_total 0\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_life_of_the_queue_is_filled_again() {
    let relayed = relayed();
    let mut subscription = relayed.subscribe().await;
    let _relay = relayed.relay();
    relayed.open(0..10).await;
    receive_to(&mut *subscription, 0, 10).await;
    relayed.queue.wipe();
    let mut subscription = relayed.subscribe().await;
    assert_eq!(receive_to(&mut *subscription, 0, 10).await, 10, "what the new reader asks for comes again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_restored_is_published_from_where_its_new_life_begins() {
    let Relayed { runtime, service, queue, metrics } = relayed();
    let append = async |log: &dyn EventStore, count: u32| {
        for _ in 0..count {
            let one = testkit::conformance::event_store::Request::new(&runtime, "a").event("{}").build();
            log.append(vec![one]).await.expect("an append");
        }
    };
    append(&*service.log, 6).await;
    let log = Arc::new(ReplaceableStore::new(Arc::clone(&service.log)));
    let mut subscription = queue.subscribe(None).await.expect("the queue is up");
    let head = service.group.head_changed();
    let relay = Relay::start(&runtime, log.clone(), Arc::new(queue.clone()), head, RelayConfig::default(), &metrics);
    assert_eq!(receive_to(&mut *subscription, 0, 6).await, 6);
    // A copy is taken, in which this relay has the lease, and the log goes on.
    let restored = tempfile::tempdir().expect("a directory");
    for file in ["log.sqlite", "log.sqlite-wal"] {
        std::fs::copy(service.directory.path().join(file), restored.path().join(file)).expect("copied");
    }
    append(&*service.log, 4).await;
    assert_eq!(receive_to(&mut *subscription, 6, 10).await, 10);
    // It has seen which life that was.
    runtime.sleep(3 * RelayConfig::default().life_poll).await;
    let path = restored.path().join("log.sqlite");
    let copy = SqliteEventStore::open(&path, &runtime, SqliteConfig::default()).expect("a log");
    let epoch = copy.begin_epoch().await.expect("begun");
    assert_eq!(epoch.first.get(), 7);
    log.replace(Arc::new(copy));
    append(&*log, 2).await;
    let mut positions = Vec::new();
    while positions.len() < 2 {
        let next = runtime.timeout(Duration::from_secs(10), subscription.next(100)).await;
        let deliveries = next.expect("they are published").expect("the queue is up");
        assert!(deliveries.iter().all(|delivery| delivery.event.epoch == epoch.id));
        positions.extend(deliveries.iter().map(|delivery| delivery.event.position.get()));
    }
    assert_eq!(positions, [7, 8]);
    relay.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_relay_works_and_the_next_takes_over_from_it() {
    let relayed = relayed();
    let mut subscription = relayed.subscribe().await;
    let first = relayed.relay();
    relayed.open(0..10).await;
    receive_to(&mut *subscription, 0, 10).await;
    let config = RelayConfig { lease_ttl: Duration::from_millis(60), ..RelayConfig::default() };
    let (log, head) = (Arc::clone(&relayed.service.log), relayed.service.group.head_changed());
    let _second = Relay::start(&relayed.runtime, log, Arc::new(relayed.queue.clone()), head, config, &relayed.metrics);
    first.drain().await;
    relayed.open(10..20).await;
    assert_eq!(receive_to(&mut *subscription, 10, 20).await, 20);
}
