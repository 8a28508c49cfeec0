//! The queue of a single process: a bounded ring of messages in memory. It claims no durability.
//!
//! Nothing is encoded: a message is the event itself, shared by all who have it.

use std::sync::{Arc, Weak};

use futures_util::future::{BoxFuture, FutureExt};
use model::{EpochId, Position, StoredEvent};
use parking_lot::Mutex;
use runtime::Runtime;
use std::time::Duration;
use tokio::sync::Notify;

use crate::{
    Acknowledged, Delivery, Error, MessageQueue, Metrics, QueueLife, Subscription,
    ring::{Ring, Taken},
    telemetry,
};

/// Limits of an [`InProcessQueue`].
#[derive(Clone, Copy, Debug)]
pub struct InProcessConfig {
    /// Most messages kept; the oldest goes first.
    pub messages_max: usize,
    /// Most bytes of messages kept, payloads and texts with their fixed part; the last message stays whatever its size.
    pub bytes_max: usize,
    /// How long a relay that starts waits for a first reader to say where it stands. At a start both begin at once, and
    /// a relay that went first would leave out what the reader still wants.
    pub first_subscriber_wait: Duration,
}

impl Default for InProcessConfig {
    fn default() -> Self {
        Self { messages_max: 65_536, bytes_max: 64 * 1024 * 1024, first_subscriber_wait: Duration::from_secs(2) }
    }
}

/// What an operator or a test can make the queue do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes nothing and gives nothing, and says nothing of it to its readers.
    Off,
}

/// The [`MessageQueue`] of a single process.
///
/// Publishing never waits for a reader: a slow one is overrun and told so. All messages vanish with the process.
#[derive(Clone)]
pub struct InProcessQueue {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    config: InProcessConfig,
    metrics: Metrics,
    state: Mutex<State>,
    published: Notify,
    subscribed: Notify,
}

struct State {
    life: QueueLife,
    fault: Option<Fault>,
    ring: Ring,
    /// The last position taken in each of the latest epochs, most recent epoch last.
    last: Vec<(EpochId, Position)>,
}

/// A new epoch is an operator's doing: more than a few in one life of a process are not to be expected.
const EPOCHS_MAX: usize = 8;

impl State {
    /// Whether a message of this epoch and position was acknowledged before.
    fn has(&self, event: &StoredEvent) -> bool {
        self.last.iter().any(|(epoch, last)| *epoch == event.epoch && event.position <= *last)
    }

    fn take(&mut self, event: Arc<StoredEvent>) {
        self.last.retain(|(epoch, _)| *epoch != event.epoch);
        if self.last.len() == EPOCHS_MAX {
            self.last.remove(0);
        }
        self.last.push((event.epoch, event.position));
        self.ring.push(event);
    }

    fn checked(&self) -> Result<(), Error> {
        match self.fault {
            Some(Fault::Off) => Err(Error::Unavailable { reason: "it was turned off".to_owned() }),
            None => Ok(()),
        }
    }
}

impl InProcessQueue {
    /// An empty queue, in a life of its own.
    #[must_use]
    pub fn new(runtime: Runtime, config: InProcessConfig, metrics: Metrics) -> Self {
        let life = QueueLife(runtime.uuid());
        metrics.replicas.set(1);
        let state = State {
            life,
            fault: None,
            ring: Ring::new(config.messages_max, config.bytes_max),
            last: Vec::with_capacity(EPOCHS_MAX),
        };
        let shared = Shared {
            runtime,
            config,
            metrics,
            state: Mutex::new(state),
            published: Notify::new(),
            subscribed: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Breaks the queue, or with `None` repairs it. Its life and its messages outlast that.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shared.state.lock().fault = fault;
        self.shared.published.notify_waiters();
    }

    /// What is broken.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.shared.state.lock().fault
    }

    /// Loses all messages and begins another life; readers must subscribe again. For drills and tests.
    pub fn wipe(&self) {
        let mut state = self.shared.state.lock();
        state.life = QueueLife(self.shared.runtime.uuid());
        state.ring.wipe();
        state.last.clear();
        drop(state);
        self.shared.published.notify_waiters();
    }
}

impl MessageQueue for InProcessQueue {
    fn publish(&self, events: Vec<Arc<StoredEvent>>) -> BoxFuture<'_, Result<Acknowledged, Error>> {
        let result = self.shared.publish(events);
        if result.is_err() {
            self.shared.metrics.publish_failures.inc();
        }
        std::future::ready(result).boxed()
    }

    fn subscribe(&self, after: Option<Position>) -> BoxFuture<'_, Result<Box<dyn Subscription>, Error>> {
        let mut state = self.shared.state.lock();
        let result = state.checked().map(|()| -> Box<dyn Subscription> {
            let reader = state.ring.enter(after);
            Box::new(Reader { queue: Arc::downgrade(&self.shared), reader, life: state.life })
        });
        drop(state);
        self.shared.subscribed.notify_waiters();
        std::future::ready(result).boxed()
    }

    fn resume_after(&self, cursor: Option<Position>) -> BoxFuture<'_, Result<Option<Position>, Error>> {
        async move {
            let wanted = self.shared.wait_for_a_reader();
            // Whether a reader came or not, the relay goes on: a process without readers relays too.
            let _ = self.shared.runtime.timeout(self.shared.config.first_subscriber_wait, wanted).await;
            let state = self.shared.state.lock();
            state.checked()?;
            let asked = state.ring.lowest_asked().unwrap_or(Position::count(cursor));
            let kept = Position::count(cursor).saturating_sub(self.shared.config.messages_max as u64);
            Ok(Position::new(asked.max(kept)).min(cursor))
        }
        .boxed()
    }

    fn life(&self) -> BoxFuture<'_, Result<QueueLife, Error>> {
        let state = self.shared.state.lock();
        let result = state.checked().map(|()| state.life);
        std::future::ready(result).boxed()
    }

    fn pending(&self) -> u64 {
        self.shared.state.lock().ring.pending()
    }
}

impl Shared {
    fn publish(&self, events: Vec<Arc<StoredEvent>>) -> Result<Acknowledged, Error> {
        let Some(last) = events.last().map(|event| event.position) else {
            return Err(Error::Unavailable {
                reason: "nothing was published: a batch has at least one event".to_owned(),
            });
        };
        let watched = telemetry::hops_are_watched();
        let mut state = self.state.lock();
        state.checked()?;
        for event in events {
            if state.has(&event) {
                continue;
            }
            if watched {
                telemetry::hop(&event);
            }
            state.take(event);
        }
        let acknowledged = Acknowledged { life: state.life, last };
        self.metrics.pending.set(i64::try_from(state.ring.pending()).unwrap_or(i64::MAX));
        drop(state);
        self.published.notify_waiters();
        Ok(acknowledged)
    }

    async fn wait_for_a_reader(&self) {
        loop {
            let mut subscribed = std::pin::pin!(self.subscribed.notified());
            subscribed.as_mut().enable();
            if self.state.lock().ring.had_readers() {
                return;
            }
            subscribed.await;
        }
    }
}

struct Reader {
    queue: Weak<Shared>,
    reader: u64,
    life: QueueLife,
}

impl Reader {
    async fn receive(&mut self, messages_max: usize) -> Result<Vec<Delivery>, Error> {
        loop {
            let gone = || Error::Unavailable { reason: "the queue is gone: subscribe to the one there is".to_owned() };
            let queue = self.queue.upgrade().ok_or_else(gone)?;
            let mut published = std::pin::pin!(queue.published.notified());
            published.as_mut().enable();
            if let Some(received) = self.poll(&queue, messages_max) {
                return received;
            }
            published.await;
        }
    }

    /// What is there for this reader now; `None` where it has to wait.
    fn poll(&self, queue: &Shared, messages_max: usize) -> Option<Result<Vec<Delivery>, Error>> {
        let mut state = queue.state.lock();
        if state.fault == Some(Fault::Off) {
            return None;
        }
        if state.life != self.life {
            queue.metrics.consumer_resets.inc();
            return Some(Err(Error::Unavailable { reason: "it began another life: subscribe again".to_owned() }));
        }
        let taken = state.ring.take(self.reader, messages_max.max(1));
        let pending = state.ring.pending();
        drop(state);
        match taken {
            Taken::Nothing => None,
            Taken::Overrun { oldest } => {
                queue.metrics.consumer_resets.inc();
                Some(Err(Error::Overrun { resume_after: oldest.get() - 1 }))
            }
            Taken::Messages(messages) => {
                queue.metrics.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
                Some(Ok(messages.into_iter().map(|event| Delivery { event, life: self.life }).collect()))
            }
        }
    }
}

impl Subscription for Reader {
    fn next(&mut self, messages_max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        self.receive(messages_max).boxed()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.state.lock().ring.leave(self.reader);
        }
    }
}
