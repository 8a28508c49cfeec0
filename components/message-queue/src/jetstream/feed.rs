//! One consumer of the whole stream, in order. It lives as long as nothing is missing in it; then the reader makes another.

use std::time::Duration;

use async_nats::{
    Client, HeaderMap, StatusCode, Subscriber,
    header::NATS_LAST_CONSUMER,
    jetstream::{
        Context, Message,
        consumer::{AckPolicy, DeliverPolicy, push},
    },
};
use futures_util::StreamExt;

use super::{Shared, stream::unavailable};
use crate::Error;

/// The least that the server takes.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
/// How long the server keeps a consumer that nobody listens to.
const ABANDONED_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Feed {
    context: Context,
    client: Client,
    subscriber: Subscriber,
    /// How many messages the consumer has sent, as far as they came.
    count: u64,
}

/// What came.
pub(super) enum Heard {
    Message {
        message: async_nats::Message,
        sequence: u64,
        /// How many wait behind it.
        pending: u64,
    },
    /// The consumer is there and has nothing.
    Heartbeat,
    /// Something is missing, or nothing will come any more.
    Broken(&'static str),
}

impl Feed {
    /// A consumer that begins with the message at `start`.
    pub(super) async fn open(shared: &Shared, start: u64) -> Result<Self, Error> {
        let (context, client) = (shared.link.context(), shared.link.client());
        let inbox = client.new_inbox();
        let subscribing = client.subscribe(inbox.clone());
        let subscriber = match shared.runtime.timeout(shared.config.request_timeout, subscribing).await {
            Ok(subscribed) => subscribed.map_err(|error| unavailable("a reader cannot listen", &error))?,
            Err(elapsed) => return Err(unavailable("a reader cannot listen", &elapsed)),
        };
        let config = push::Config {
            deliver_subject: inbox,
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start.max(1) },
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            flow_control: true,
            idle_heartbeat: (shared.config.idle_check / 3).max(HEARTBEAT_MIN),
            inactive_threshold: ABANDONED_AFTER,
            num_replicas: 1,
            memory_storage: true,
            ..push::Config::default()
        };
        let made = context.create_consumer_on_stream(config, &shared.config.stream).await;
        made.map_err(|error| unavailable("the server makes no consumer", &error))?;
        Ok(Self { context, client, subscriber, count: 0 })
    }

    /// Waits for what comes next. Dropped half-way, it loses nothing.
    pub(super) async fn hear(&mut self) -> Heard {
        let Some(message) = self.subscriber.next().await else {
            return Heard::Broken("the connection was given up");
        };
        match message.status {
            None => self.message(message),
            Some(StatusCode::IDLE_HEARTBEAT) => self.control(message).await,
            Some(_) => Heard::Broken("the server ended the consumer"),
        }
    }

    fn message(&mut self, message: async_nats::Message) -> Heard {
        let message = Message { message, context: self.context.clone() };
        let Ok((count, sequence, pending)) =
            message.info().map(|info| (info.consumer_sequence, info.stream_sequence, info.pending))
        else {
            // Whoever knows the inbox can write to it.
            return Heard::Heartbeat;
        };
        if count != self.count + 1 {
            return Heard::Broken("a message did not arrive");
        }
        self.count = count;
        Heard::Message { message: message.message, sequence, pending }
    }

    /// Flow control wants to be answered; a heartbeat says how many messages there were.
    async fn control(&mut self, message: async_nats::Message) -> Heard {
        let number = |headers: &HeaderMap| headers.get(NATS_LAST_CONSUMER)?.as_str().parse::<u64>().ok();
        let stalled = message.headers.as_ref().and_then(|headers| headers.get("Nats-Consumer-Stalled"));
        let answer = message.reply.clone().or_else(|| stalled.map(|subject| subject.as_str().into()));
        if let Some(subject) = answer
            && self.client.publish(subject, bytes::Bytes::new()).await.is_err()
        {
            return Heard::Broken("the connection was given up");
        }
        match message.headers.as_ref().and_then(number) {
            Some(count) if count != self.count => Heard::Broken("a message did not arrive"),
            _ => Heard::Heartbeat,
        }
    }
}
