//! What the queue's promises cost beside bare JetStream. Run by hand, alone on the machine:
//! `cargo test --release -p diptych-message-queue --test it throughput -- --ignored --nocapture`.

use std::{collections::VecDeque, future::IntoFuture, time::Duration};

use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{self, message::PublishMessage},
};
use futures_util::StreamExt;
use message_queue::{JetStreamConfig, MessageQueue};
use runtime::Runtime;
use testkit::conformance::message_queue::sample_event;

use crate::server::{SHARED, fresh, positions_until, queue, stranger};

const EVENTS: u64 = 20_000;
/// A relay's batch.
const BATCH: u64 = 1024;

/// What the queue published, as a client sees it.
async fn stored(client: &async_nats::Client, stream: &str) -> Vec<(HeaderMap, bytes::Bytes)> {
    let stream = jetstream::new(client.clone()).get_stream(stream).await.expect("it is there");
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let messages = stream.create_consumer(config).await.expect("made").messages().await.expect("listening");
    let taken = messages.take(usize::try_from(EVENTS).expect("it fits")).map(|message| {
        let message = message.expect("it comes").message;
        let headers = message.headers.expect("it has headers");
        // Everything, but what the bare client does not promise.
        let copied = headers.iter().filter(|(name, _)| !name.to_string().starts_with("Nats-Expected"));
        let headers = copied.map(|(name, values)| (name.clone(), values[0].clone())).collect();
        (headers, message.payload)
    });
    taken.collect().await
}

/// A window of publishes, each acknowledged, and nothing else.
async fn bare(client: &async_nats::Client, config: &JetStreamConfig, messages: &[(HeaderMap, bytes::Bytes)]) {
    let context = jetstream::new(client.clone());
    let mut waiting = VecDeque::new();
    for (headers, payload) in messages {
        if waiting.len() == config.publish_window {
            let acknowledgement: jetstream::context::PublishAckFuture = waiting.pop_front().expect("one waits");
            acknowledgement.into_future().await.expect("acknowledged");
        }
        let message = PublishMessage::build().headers(headers.clone()).payload(payload.clone());
        let subject = format!("{}.events.order.placed", config.application);
        waiting.push_back(context.send_publish(subject, message).await.expect("sent"));
    }
    for acknowledgement in waiting {
        acknowledgement.into_future().await.expect("acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a minute on a machine that does nothing else"]
async fn publishing_through_the_queue_has_half_the_throughput_of_bare_jetstream_or_more() {
    let (runtime, client) = (Runtime::tokio(), stranger(&SHARED).await);
    let payload: bytes::Bytes = format!("{{\"text\":\"{}\"}}", "x".repeat(200)).into();
    let mut ratios = Vec::new();
    for _ in 0..5 {
        let config = JetStreamConfig { publish_timeout: Duration::from_secs(60), ..fresh(&SHARED) };
        let queue = queue(&config).await;
        let events: Vec<_> = (1..=EVENTS)
            .map(|position| {
                let mut event = sample_event(position);
                event.payload = payload.clone();
                std::sync::Arc::new(event)
            })
            .collect();
        let began = runtime.now();
        for batch in events.chunks(usize::try_from(BATCH).expect("it fits")) {
            queue.publish(batch.to_vec()).await.expect("published");
        }
        let through = runtime.now() - began;
        let began = runtime.now();
        let mut reader = queue.subscribe(None).await.expect("it answers");
        let read = positions_until(&mut reader, EVENTS).await;
        let reading = runtime.now() - began;
        assert_eq!(read, (1..=EVENTS).collect::<Vec<_>>(), "in order, without a hole");
        let messages = stored(&client, &config.stream).await;
        assert!(messages[0].0.get(NATS_MESSAGE_ID).is_some());
        let other = fresh(&SHARED);
        let _ = crate::server::queue(&other).await;
        let began = runtime.now();
        bare(&client, &other, &messages).await;
        let plain = runtime.now() - began;
        let ratio = plain.as_secs_f64() / through.as_secs_f64();
        println!("{EVENTS} events: {through:?} through the queue, {plain:?} bare: {ratio:.2}; read in {reading:?}");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[2] >= 0.5, "the median of {ratios:?}");
}
