//! A subscription: goes on over lost consumers, lost connections and lost streams, and says what it could not give.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use model::Position;

use super::{
    Shared,
    feed::{Feed, Heard},
    place::Raw,
    stream::Seen,
};
use crate::{Delivery, Error, QueueLife, Subscription, cloud_event::decoded};

const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// How long a message that the stream has may take to come.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

pub(super) struct Reader {
    shared: Arc<Shared>,
    number: u64,
    life: QueueLife,
    /// The sequence of the next message.
    next: u64,
    /// The last position that was received.
    last: Option<Position>,
    feed: Option<Feed>,
    /// Whether the last attempt to make a feed has brought no message: what is next may be what ends them all.
    is_stuck: bool,
    /// Whether messages went before they could be read, and the first after them has not come.
    is_overrun: bool,
    ready: VecDeque<Result<Delivery, Error>>,
    /// When something came, or the stream was last looked at.
    checked_at: Duration,
    failures: u32,
}

impl Reader {
    pub(super) async fn enter(shared: Arc<Shared>, after: Option<Position>) -> Result<Self, Error> {
        let seen = shared.ensure().await?;
        let next = shared.start_after(&seen, after).await?;
        let number = {
            let mut pending = shared.pending.lock();
            let number = pending.last_key_value().map_or(0, |(number, _)| number + 1);
            pending.insert(number, 0);
            number
        };
        let checked_at = shared.runtime.now();
        Ok(Self {
            shared,
            number,
            life: seen.life,
            next,
            last: after,
            feed: None,
            is_stuck: false,
            is_overrun: false,
            ready: VecDeque::new(),
            checked_at,
            failures: 0,
        })
    }

    async fn receive(&mut self, messages_max: usize) -> Result<Vec<Delivery>, Error> {
        let messages_max = messages_max.max(1);
        loop {
            self.gather(messages_max);
            if !self.ready.is_empty() {
                return self.take(messages_max);
            }
            self.wait().await;
        }
    }

    /// What is there already.
    fn gather(&mut self, messages_max: usize) {
        while self.ready.len() < messages_max
            && let Some(heard) = self.feed.as_mut().and_then(|feed| feed.hear().now_or_never())
        {
            self.heard(heard);
        }
    }

    /// Events up to the next thing that has to be said by itself.
    fn take(&mut self, messages_max: usize) -> Result<Vec<Delivery>, Error> {
        let mut taken = Vec::new();
        while taken.len() < messages_max
            && let Some(ready) = self.ready.pop_front()
        {
            match ready {
                Ok(delivery) => taken.push(delivery),
                Err(error) if taken.is_empty() => return Err(error),
                Err(error) => {
                    self.ready.push_front(Err(error));
                    break;
                }
            }
        }
        Ok(taken)
    }

    async fn wait(&mut self) {
        let idle_check = self.shared.config.idle_check;
        let Some(feed) = &mut self.feed else {
            return self.open().await;
        };
        match self.shared.runtime.timeout(idle_check, feed.hear()).await {
            Ok(heard) => self.heard(heard),
            Err(_) => self.reset("the consumer is silent"),
        }
        if self.shared.runtime.now().saturating_sub(self.checked_at) >= idle_check {
            self.check().await;
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Heartbeat => {}
            Heard::Broken(why) => self.reset(why),
            // Of the past, as after a reconnect.
            Heard::Message { sequence, .. } if sequence < self.next => {}
            Heard::Message { message, sequence, pending } => {
                self.is_stuck = false;
                self.accept(sequence, message.headers.as_ref(), &message.payload);
                self.shared.set_pending(self.number, Some(pending));
            }
        }
    }

    /// Takes the message at `sequence`, which is what is next or lies behind what is no longer there.
    fn accept(&mut self, sequence: u64, headers: Option<&HeaderMap>, payload: &Bytes) {
        self.checked_at = self.shared.runtime.now();
        self.is_overrun |= sequence > self.next;
        self.next = sequence + 1;
        match decoded(&self.shared.names, headers, payload) {
            Ok(event) => {
                if std::mem::take(&mut self.is_overrun) {
                    self.shared.metrics.consumer_resets.inc();
                    let resume_after = event.position.get() - 1;
                    self.ready.push_back(Err(Error::Overrun { resume_after }));
                }
                self.last = Some(event.position);
                self.ready.push_back(Ok(Delivery { event: Arc::new(event), life: self.life }));
            }
            Err(error) => self.ready.push_back(Err(error)),
        }
    }

    /// Nothing came for a while: is there really nothing?
    async fn check(&mut self) {
        self.checked_at = self.shared.runtime.now();
        match self.shared.ensure().await {
            Ok(seen) if seen.life != self.life => self.reset("the stream is in another life"),
            Ok(seen) if seen.last + 1 < self.next => self.reset("the stream has lost its end"),
            Ok(seen) if seen.last >= self.next => self.hear_or_reset().await,
            Ok(_) => {}
            // The feed's own silence ends it.
            Err(error) => tracing::debug!(error = %error, "the stream cannot be looked at"),
        }
    }

    /// The stream has a message for this reader. It may be on its way at this moment.
    async fn hear_or_reset(&mut self) {
        let Some(feed) = &mut self.feed else { return };
        match self.shared.runtime.timeout(ON_ITS_WAY, feed.hear()).await {
            Ok(heard @ Heard::Message { .. }) => self.heard(heard),
            _ => self.reset("the consumer gives nothing"),
        }
    }

    fn reset(&mut self, why: &'static str) {
        if self.feed.take().is_some() {
            self.shared.metrics.consumer_resets.inc();
            tracing::info!(stream.sequence = self.next, reason = why, "a reader of the queue begins anew");
        }
    }

    /// Makes a consumer; after a failure, waits before the next attempt.
    async fn open(&mut self) {
        match self.try_open().await {
            Ok(()) => self.failures = 0,
            Err(error) => {
                if self.failures == 0 || self.failures.is_power_of_two() {
                    tracing::warn!(error = %error, attempt.count = self.failures + 1, "a reader of the queue cannot go on");
                }
                let longest = self.shared.config.backoff_max;
                let pause = (BACKOFF_MIN * 2_u32.pow(self.failures.min(10))).min(longest);
                self.failures = self.failures.saturating_add(1);
                // Readers of many processes do not come back all at once.
                let jitter = self.shared.runtime.random_u64() % 256;
                self.shared
                    .runtime
                    .sleep(pause.mul_f64(0.5 + f64::from(u8::try_from(jitter).unwrap_or(0)) / 512.0))
                    .await;
            }
        }
    }

    async fn try_open(&mut self) -> Result<(), Error> {
        let seen = self.shared.ensure().await?;
        self.follow(&seen).await?;
        if self.is_stuck && seen.last >= self.next {
            self.fetch(&seen).await?;
        }
        self.is_stuck = true;
        let feed = Feed::open(&self.shared, self.next).await?;
        // A consumer belongs to the life in which it was made: which one that is, is sure if it was so before and after.
        if self.shared.ensure().await?.life != self.life {
            return Err(Error::WrongLife);
        }
        self.checked_at = self.shared.runtime.now();
        self.feed = Some(feed);
        Ok(())
    }

    /// Finds its place in a stream that is not what it was.
    async fn follow(&mut self, seen: &Seen) -> Result<(), Error> {
        if seen.life != self.life {
            tracing::warn!("the queue has begun another life; reading it from its beginning");
            (self.life, self.next, self.is_overrun, self.is_stuck) = (seen.life, seen.first.max(1), false, false);
        } else if seen.last + 1 < self.next {
            tracing::warn!(stream.sequence = seen.last, "the queue has lost its end; going on with what it has");
            self.next = self.shared.start_after(seen, self.last).await?;
        }
        Ok(())
    }

    /// Reads one message without a consumer. Some messages break every connection they come over, and some consumers give
    /// nothing: either way the reader gets on.
    async fn fetch(&mut self, seen: &Seen) -> Result<(), Error> {
        match self.shared.raw(self.next).await? {
            Raw::Message(message) => self.accept(self.next, Some(&message.headers), &message.payload),
            Raw::Unreadable(reason) => {
                self.next += 1;
                self.ready.push_back(Err(Error::Undecodable { reason }));
            }
            Raw::Missing => {
                self.is_overrun = true;
                self.next = seen.first.max(self.next + 1);
            }
        }
        Ok(())
    }
}

impl Shared {
    /// `None` for a reader that is gone.
    fn set_pending(&self, reader: u64, count: Option<u64>) {
        let mut pending = self.pending.lock();
        match count {
            Some(count) => pending.insert(reader, count),
            None => pending.remove(&reader),
        };
        let most = pending.values().copied().max().unwrap_or(0);
        self.metrics.pending.set(i64::try_from(most).unwrap_or(i64::MAX));
    }
}

impl Subscription for Reader {
    fn next(&mut self, messages_max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        self.receive(messages_max).boxed()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.set_pending(self.number, None);
    }
}
