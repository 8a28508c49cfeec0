use std::sync::Arc;

use futures_util::future::BoxFuture;
use model::{Position, StoredEvent};
use uuid::Uuid;

use crate::Error;

/// One life of the queue's stream: created again, it is another one and holds nothing of the former.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueLife(pub Uuid);

/// A verified acknowledgement: these messages are in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The life in which they were taken.
    pub life: QueueLife,
    /// The last position of the batch.
    pub last: Position,
}

/// A message as a subscriber receives it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event.
    pub event: Arc<StoredEvent>,
    /// The life it came in.
    pub life: QueueLife,
}

/// Carries events in order of position, as well as it can.
///
/// # Invariants
/// An acknowledged message is given to every subscriber that keeps up, in order of publication, while the life lasts.
/// Nothing more is promised: messages may come twice, and all may vanish with a life.
pub trait MessageQueue: Send + Sync + 'static {
    /// Publishes `events`, which are in order of position. Message id: `epoch:position:event id`.
    ///
    /// Returns once all of them are acknowledged. After an error any of them may be in the queue: publish them again.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::WrongLife`].
    fn publish(&self, events: Vec<Arc<StoredEvent>>) -> BoxFuture<'_, Result<Acknowledged, Error>>;

    /// Starts reading. `after` is a hint: messages at or below it need not be delivered.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn subscribe(&self, after: Option<Position>) -> BoxFuture<'_, Result<Box<dyn Subscription>, Error>>;

    /// Where a relay whose stored cursor is `cursor` should go on publishing after, for this life of the queue: never
    /// later than `cursor`, earlier where the queue has lost what readers still want.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn resume_after(&self, cursor: Option<Position>) -> BoxFuture<'_, Result<Option<Position>, Error>>;

    /// The present life. Changes tell a relay to ask [`MessageQueue::resume_after`] again.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn life(&self) -> BoxFuture<'_, Result<QueueLife, Error>>;

    /// How many messages wait for the slowest subscriber that keeps up. For a metric.
    fn pending(&self) -> u64;
}

/// One reader's place in the queue.
pub trait Subscription: Send {
    /// Waits for messages and returns up to `messages_max` of them, at least one.
    ///
    /// # Errors
    /// [`Error::Overrun`] once where the reader was too slow; it goes on with the oldest message there is.
    /// [`Error::Unavailable`] when the queue is gone: subscribe again.
    fn next(&mut self, messages_max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>>;
}
