//! The relay, from a log on PostgreSQL to JetStream, beside bare asynchronous publishing of the messages that it makes.

use std::{
    collections::VecDeque,
    future::IntoFuture,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap,
    jetstream::{self, consumer::pull::OrderedConfig, message::PublishMessage},
};
use benchmarks::{Spread, figure, report};
use bytes::Bytes;
use cluster::{NatsServer, Postgres, PostgresServer};
use command_database::{EventStore, PostgresConfig, PostgresEventStore, ReadLimit};
use command_service::{Relay, RelayConfig};
use futures_util::{StreamExt, future::BoxFuture};
use message_queue::{Acknowledged, Error, JetStreamConfig, JetStreamQueue, MessageQueue, QueueLife, Subscription};
use model::{Position, StoredEvent};
use runtime::Runtime;
use testkit::conformance::event_store::Request;
use tokio::sync::{Notify, watch};

/// Published before anything is measured.
const WARM_UP: usize = 4_096;
const EVENTS: usize = 20_480;
const ALL: usize = WARM_UP + EVENTS;
/// As the benchmarks' events have on average.
const PAYLOAD_BYTES: usize = 250;
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) fn publish(rounds: usize) {
    let threads = tokio::runtime::Runtime::new().expect("threads");
    let (postgres, nats) = (Postgres::new().start().expect("a PostgreSQL"), NatsServer::start().expect("a NATS"));
    threads.block_on(async {
        let log: Arc<dyn EventStore> = Arc::new(full_log(&postgres).await);
        let events = all_events(&*log).await;
        let taken = Place::fresh(&nats, "taken");
        relayed(&postgres, &log, &taken).await;
        let messages = taken.messages().await;
        let (mut shares, mut rates, mut of_queue) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let place = |name: &str| Place::fresh(&nats, &format!("{name}{round}"));
            let relay = relayed(&postgres, &log, &place("relay")).await;
            let queue = queued(&events, &place("queue")).await;
            let bare = bare(&messages, &place("bare")).await;
            shares.push(relay / bare);
            rates.push(relay);
            of_queue.push(queue / bare);
        }
        report("", "events relayed, of bare asynchronous JetStream publishing", Spread::of(shares), 0.5, true);
        figure("  events/s", Spread::of(rates));
        figure("  the queue without the log and the relay", Spread::of(of_queue));
    });
}

/// When the warm-up was acknowledged, and when everything, each with how much that was.
#[derive(Default)]
struct Times([Option<(usize, Instant)>; 2]);

impl Times {
    /// `count` messages are acknowledged.
    fn note(&mut self, count: usize) {
        for (time, reached) in self.0.iter_mut().zip([WARM_UP, ALL]) {
            if count >= reached {
                time.get_or_insert_with(|| (count, Instant::now()));
            }
        }
    }

    fn rate(&self) -> Option<f64> {
        let [(before, began), (after, ended)] = [self.0[0]?, self.0[1]?];
        Some((after - before) as f64 / ended.duration_since(began).as_secs_f64())
    }
}

/// A stream that nobody else has.
struct Place {
    client_url: String,
    config: JetStreamConfig,
}

impl Place {
    fn fresh(nats: &NatsServer, application: &str) -> Self {
        let config = JetStreamConfig {
            servers: vec![nats.url()],
            application: application.to_owned(),
            stream: format!("{application}-events"),
            // There is one server.
            replicas: 1,
            publish_timeout: WAIT_MAX,
            ..JetStreamConfig::default()
        };
        Self { client_url: nats.url(), config }
    }

    /// The queue there; its stream is made.
    async fn queue(&self) -> JetStreamQueue {
        let metrics = message_queue::Metrics::default();
        JetStreamQueue::connect(Runtime::tokio(), self.config.clone(), metrics).await.expect("connected")
    }

    async fn client(&self) -> async_nats::Client {
        async_nats::connect(&self.client_url).await.expect("connected")
    }

    /// All that was published, as a client sees it.
    async fn messages(&self) -> Vec<Message> {
        let context = jetstream::new(self.client().await);
        let stream = context.get_stream(&self.config.stream).await.expect("it is there");
        let reader = stream.create_consumer(OrderedConfig::default()).await.expect("made");
        let messages = reader.messages().await.expect("listening").take(ALL);
        messages.map(|message| Message::of(&message.expect("it comes").message)).collect().await
    }
}

struct Message {
    /// What comes after the application's name.
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
}

impl Message {
    fn of(message: &async_nats::Message) -> Self {
        let (_, subject) = message.subject.split_once('.').expect("an application and more");
        let headers = message.headers.as_ref().expect("it has headers").iter();
        // With the id by which JetStream knows it again; without the order, which the bare client does not promise.
        let kept = headers.filter(|(name, _)| !name.to_string().starts_with("Nats-Expected"));
        let headers = kept.map(|(name, values)| (name.clone(), values[0].clone())).collect();
        Self { subject: subject.to_owned(), headers, payload: message.payload.clone() }
    }
}

/// A log with all events.
async fn full_log(server: &PostgresServer) -> PostgresEventStore {
    let config = PostgresConfig::new(server.url("postgres"));
    PostgresEventStore::migrate(&config).await.expect("a log");
    let runtime = Runtime::tokio();
    let store = PostgresEventStore::open(config, &runtime).await.expect("the log opens");
    let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES - 11));
    let numbers: Vec<usize> = (0..ALL).collect();
    for numbers in numbers.chunks(1_024) {
        let command =
            |number: &usize| Request::new(&runtime, &format!("stream-{number}")).event(payload.clone()).build();
        store.append(numbers.iter().map(command).collect()).await.expect("appended");
    }
    store
}

async fn all_events(log: &dyn EventStore) -> Vec<Arc<StoredEvent>> {
    let mut events: Vec<Arc<StoredEvent>> = Vec::new();
    while events.len() < ALL {
        let after = events.last().map(|event| event.position);
        events.extend(log.read(after, ReadLimit::default()).await.expect("read"));
    }
    events
}

/// The queue, and how far it has acknowledged.
struct Watched {
    queue: JetStreamQueue,
    times: Mutex<Times>,
    acknowledged: Notify,
}

impl Watched {
    fn rate(&self) -> Option<f64> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).rate()
    }
}

impl MessageQueue for Watched {
    fn publish(&self, events: Vec<Arc<StoredEvent>>) -> BoxFuture<'_, Result<Acknowledged, Error>> {
        Box::pin(async move {
            let acknowledged = self.queue.publish(events).await?;
            let count = usize::try_from(acknowledged.last.get()).expect("a few");
            self.times.lock().unwrap_or_else(PoisonError::into_inner).note(count);
            self.acknowledged.notify_one();
            Ok(acknowledged)
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

/// Events a second that a relay with the usual settings takes from the log to the queue.
async fn relayed(server: &PostgresServer, log: &Arc<dyn EventStore>, place: &Place) -> f64 {
    let (client, connection) =
        tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls).await.expect("connected");
    tokio::spawn(connection);
    client.batch_execute("UPDATE diptych.relay SET cursor = NULL; CHECKPOINT").await.expect("from the beginning");
    let queue = Arc::new(Watched { queue: place.queue().await, times: Mutex::default(), acknowledged: Notify::new() });
    let (_head, head) = watch::channel(Position::new(ALL as u64));
    let runtime = Runtime::tokio();
    let metrics = command_service::Metrics::default();
    let relay = Relay::start(&runtime, log.clone(), queue.clone(), head, RelayConfig::default(), &metrics);
    let through = async {
        loop {
            if let Some(rate) = queue.rate() {
                return rate;
            }
            queue.acknowledged.notified().await;
        }
    };
    let rate = runtime.timeout(WAIT_MAX, through).await.expect("everything is relayed");
    relay.drain().await;
    rate
}

/// Events a second that the queue takes in batches of a relay's.
async fn queued(events: &[Arc<StoredEvent>], place: &Place) -> f64 {
    let (queue, mut times) = (place.queue().await, Times::default());
    let mut count = 0;
    for batch in events.chunks(ReadLimit::default().events_max) {
        queue.publish(batch.to_vec()).await.expect("published");
        count += batch.len();
        times.note(count);
    }
    times.rate().expect("everything is published")
}

/// Messages a second: a window of publishes, each acknowledged, and nothing else.
async fn bare(messages: &[Message], place: &Place) -> f64 {
    // It makes the stream, with the same settings.
    drop(place.queue().await);
    let context = jetstream::new(place.client().await);
    let (mut waiting, mut times) = (VecDeque::new(), Times::default());
    for (acknowledged, message) in messages.iter().enumerate() {
        if waiting.len() == place.config.publish_window {
            let first: jetstream::context::PublishAckFuture = waiting.pop_front().expect("one waits");
            first.into_future().await.expect("acknowledged");
            times.note(acknowledged + 1 - place.config.publish_window);
        }
        let subject = format!("{}.{}", place.config.application, message.subject);
        let message = PublishMessage::build().headers(message.headers.clone()).payload(message.payload.clone());
        waiting.push_back(context.send_publish(subject, message).await.expect("sent"));
    }
    for acknowledgement in waiting {
        acknowledgement.into_future().await.expect("acknowledged");
    }
    times.note(messages.len());
    times.rate().expect("everything is published")
}
