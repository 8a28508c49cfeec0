//! A queue that does not always say what it did.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use message_queue::{Acknowledged, Error, InProcessQueue, MessageQueue, QueueLife, Subscription};
use model::{Position, StoredEvent};
use runtime::Runtime;

/// How often a publish fails.
pub(super) const FAILS_EVERY: u64 = 3;

/// The real queue, on a way to it that takes time and, if asked for, lets every third publish fail: nothing was taken, or a
/// part, or all of it and the acknowledgement was lost.
pub(super) struct FlakyQueue {
    pub(super) queue: InProcessQueue,
    pub(super) runtime: Runtime,
    pub(super) is_flaky: bool,
    /// Over all lives of the process: its queue is another one in each of them.
    pub(super) published: Arc<AtomicU64>,
}

impl MessageQueue for FlakyQueue {
    fn publish(&self, mut events: Vec<Arc<StoredEvent>>) -> BoxFuture<'_, Result<Acknowledged, Error>> {
        Box::pin(async move {
            self.runtime.sleep(Duration::from_micros(self.runtime.random_u64() % 2000)).await;
            let count = self.published.fetch_add(1, Ordering::Relaxed) + 1;
            if !self.is_flaky || !count.is_multiple_of(FAILS_EVERY) {
                return self.queue.publish(events).await;
            }
            let reason = match self.runtime.random_u64() % 3 {
                0 => "nothing was taken",
                1 => {
                    events.truncate(events.len().div_ceil(2));
                    self.queue.publish(events).await?;
                    "a part was taken"
                }
                _ => {
                    self.queue.publish(events).await?;
                    "the acknowledgement was lost"
                }
            };
            Err(Error::Unavailable { reason: reason.to_owned() })
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
