//! Publishing: pipelined, in order, and acknowledged only once it is sure by whom.
//!
//! Each message but the first of a round names the one before it, and the server stores it only where that one is the last:
//! a message that was lost on the way, by a reconnect or for lack of room, takes those behind it with it.

use std::{collections::VecDeque, future::IntoFuture, sync::Arc};

use async_nats::{
    header::{NATS_EXPECTED_LAST_MESSAGE_ID, NATS_MESSAGE_ID},
    jetstream::{
        self, ErrorCode,
        context::{PublishAckFuture, PublishError, PublishErrorKind},
        message::PublishMessage,
    },
};
use model::StoredEvent;

use super::{
    Shared,
    stream::{chain, unavailable},
};
use crate::{Acknowledged, Error, QueueLife, cloud_event::encoded, message_id, telemetry};

/// Why a round ended before its end.
enum Stop {
    /// What this message follows is not the last one of the stream.
    OutOfOrder,
    Failed(Error),
}

impl Shared {
    pub(super) async fn publish(&self, events: Vec<Arc<StoredEvent>>) -> Result<Acknowledged, Error> {
        let Some(last) = events.last().map(|event| event.position) else {
            return Err(Error::Unavailable {
                reason: "nothing was published: a batch has at least one event".to_owned(),
            });
        };
        // Before it is sent: a reader may have it before its acknowledgement is here.
        if telemetry::hops_are_watched() {
            events.iter().for_each(|event| telemetry::hop(event));
        }
        let published = self.runtime.timeout(self.config.publish_timeout, self.publish_verified(&events)).await;
        let result = published.unwrap_or_else(|elapsed| {
            Err(Error::Unavailable { reason: format!("the acknowledgements of a batch were {elapsed}") })
        });
        *self.began.lock() = result.as_ref().ok().copied();
        let life = result?;
        Ok(Acknowledged { life, last })
    }

    /// Publishes, and asks afterwards whether the stream is still the one that it was before: an acknowledgement itself names
    /// the stream and not its life.
    async fn publish_verified(&self, events: &[Arc<StoredEvent>]) -> Result<QueueLife, Error> {
        self.link.ready()?;
        let known = *self.began.lock();
        let began = match known {
            Some(began) => began,
            None => self.ensure().await?.life,
        };
        let mut rest = events;
        while !rest.is_empty() {
            let (stored, stop) = self.round(rest).await;
            rest = &rest[stored..];
            match stop {
                None => {}
                // A part was stored before, and something else after it. The first of a round follows on anything.
                Some(Stop::OutOfOrder) if stored > 0 => {}
                Some(Stop::OutOfOrder) => {
                    return Err(Error::Unavailable { reason: "a message was refused for its order".to_owned() });
                }
                Some(Stop::Failed(error)) => return Err(error),
            }
        }
        let now = self.ensure().await?.life;
        if now == began { Ok(now) } else { Err(Error::WrongLife) }
    }

    /// Publishes `events` in one go. Returns how many of them, from the first on, are acknowledged.
    async fn round(&self, events: &[Arc<StoredEvent>]) -> (usize, Option<Stop>) {
        let context = self.link.context();
        let mut waiting = VecDeque::new();
        let mut stored = 0;
        let mut before = None;
        for event in events {
            if waiting.len() >= self.config.publish_window.max(1)
                && let Err(stop) = self.settle(&mut waiting, &mut stored, 1).await
            {
                return (stored, Some(stop));
            }
            let id = message_id(event);
            let message = self.message(event, &id, before.as_deref());
            match context.send_publish(self.names.subject(event), message).await {
                Ok(acknowledgement) => waiting.push_back(acknowledgement),
                Err(error) => {
                    let sent = self.settle(&mut waiting, &mut stored, usize::MAX).await;
                    return (stored, Some(sent.err().unwrap_or_else(|| self.stop(&error))));
                }
            }
            before = Some(id);
        }
        let settled = self.settle(&mut waiting, &mut stored, usize::MAX).await;
        (stored, settled.err())
    }

    fn message(&self, event: &StoredEvent, id: &str, before: Option<&str>) -> PublishMessage {
        let mut headers = encoded(&self.names, event);
        headers.insert(NATS_MESSAGE_ID, id);
        if let Some(before) = before {
            headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, before);
        }
        PublishMessage::build().headers(headers).payload(event.payload.clone())
    }

    /// Waits for the first `count` acknowledgements. After one that fails, for all: what was sent behind it is refused.
    async fn settle(
        &self,
        waiting: &mut VecDeque<PublishAckFuture>,
        stored: &mut usize,
        count: usize,
    ) -> Result<(), Stop> {
        for _ in 0..count {
            let Some(acknowledgement) = waiting.pop_front() else { break };
            match acknowledgement.into_future().await {
                Ok(acknowledged) if acknowledged.stream == self.config.stream => *stored += 1,
                Ok(_) => return Err(Stop::Failed(Error::WrongLife)),
                Err(error) => {
                    for acknowledgement in waiting.drain(..) {
                        let _ = acknowledgement.into_future().await;
                    }
                    return Err(self.stop(&error));
                }
            }
        }
        Ok(())
    }

    fn stop(&self, error: &PublishError) -> Stop {
        Stop::Failed(match error.kind() {
            PublishErrorKind::WrongLastMessageId => return Stop::OutOfOrder,
            PublishErrorKind::StreamNotFound => Error::Unavailable {
                reason: format!(
                    "no stream takes what is published: {} is gone or its servers start",
                    self.config.stream
                ),
            },
            PublishErrorKind::MaxPayloadExceeded => Error::Unavailable {
                reason: format!("an event is too large, raise `max_payload` of the server: {}", chain(error)),
            },
            _ if is_full(error) => Error::Unavailable {
                reason: format!(
                    "stream {} is full: raise `message_queue.stream_bytes_max` or lower `message_queue.stream_age_max`: {}",
                    self.config.stream,
                    chain(error)
                ),
            },
            _ => unavailable("a message was not acknowledged", error),
        })
    }
}

/// The server says with one code that it cannot store, and only in words why.
fn is_full(error: &PublishError) -> bool {
    let said = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    said.is_some_and(|said| said.error_code() == ErrorCode::STREAM_STORE_FAILED && said.to_string().contains("maximum"))
}
