//! Queues that break one promise each, around one that keeps them all.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use futures_util::future::{BoxFuture, FutureExt};
use message_queue::{Acknowledged, Delivery, Error, MessageQueue, QueueLife, Subscription};
use model::{Position, StoredEvent};
use runtime::Runtime;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::KEPT_MAX;

/// What a broken queue does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Acknowledges what it does not keep while nobody reads.
    ForgetsWithoutReaders,
    /// Gives the messages of a batch in another order.
    Reorders,
    /// Leaves out a part of the event.
    DropsTracestates,
    /// Drops a whole batch because it begins with a message it has.
    DropsBatchesThatRepeat,
    /// Takes the position alone for the message's id.
    IdIsThePosition,
    /// Gives each message to one reader only.
    ReadersCompete,
    /// Starts one message too late.
    StartsTooLate,
    /// Goes on after an overrun without a word.
    HidesOverruns,
    /// Lets the slowest of several readers stop the relay.
    WaitsForReaders,
    /// Answers with nothing instead of waiting.
    GivesNothing,
    /// Gives whatever there is.
    GivesTooMuch,
    /// Acknowledges for another life.
    NamesAnotherLife,
    /// Lets a relay go on from its cursor whatever readers want.
    IgnoresReaders,
}

impl Mistake {
    /// All of them, each with the one test that it fails.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::ForgetsWithoutReaders, "an_acknowledged_message_waits_for_a_reader_that_comes_later"),
        (Self::Reorders, "messages_come_in_the_order_in_which_they_were_published"),
        (Self::DropsTracestates, "an_event_comes_out_as_it_went_in"),
        (Self::DropsBatchesThatRepeat, "what_is_new_in_a_batch_that_repeats_messages_is_not_lost"),
        (Self::IdIsThePosition, "a_new_epochs_message_at_a_known_position_is_not_taken_for_a_repeat"),
        (Self::ReadersCompete, "each_reader_has_a_place_of_its_own"),
        (Self::StartsTooLate, "a_reader_gets_all_that_comes_after_the_position_it_names"),
        (Self::HidesOverruns, "a_reader_that_is_overrun_is_told_so_once_and_goes_on_with_the_oldest"),
        (Self::WaitsForReaders, "publishing_waits_for_no_reader"),
        (Self::GivesNothing, "a_reader_waits_until_there_is_something_for_it"),
        (Self::GivesTooMuch, "a_reader_gets_no_more_messages_at_once_than_it_asked_for"),
        (Self::NamesAnotherLife, "an_acknowledgement_names_the_life_and_the_last_position"),
        (Self::IgnoresReaders, "a_relay_goes_back_to_what_the_furthest_reader_wants"),
    ];
}

/// A queue with one mistake.
pub struct Broken {
    mistake: Mistake,
    good: Arc<dyn MessageQueue>,
    runtime: Runtime,
    readers: AtomicUsize,
    published: AtomicU64,
    shared: Arc<Mutex<Option<Box<dyn Subscription>>>>,
}

impl Broken {
    /// `good`, but for `mistake`.
    pub fn new(mistake: Mistake, good: Arc<dyn MessageQueue>, runtime: Runtime) -> Self {
        let (readers, published, shared) = (AtomicUsize::new(0), AtomicU64::new(0), Arc::default());
        Self { mistake, good, runtime, readers, published, shared }
    }

    /// What of `events` the good queue gets to see.
    fn admitted(&self, mut events: Vec<Arc<StoredEvent>>) -> Vec<Arc<StoredEvent>> {
        let last = self.published.load(Ordering::SeqCst);
        let is_known = |event: &Arc<StoredEvent>| event.position.get() <= last;
        match self.mistake {
            Mistake::ForgetsWithoutReaders if self.readers.load(Ordering::SeqCst) == 0 => events.clear(),
            Mistake::DropsBatchesThatRepeat => {
                // Of the same epoch only: that is the other mistake.
                let first = events.first().filter(|event| is_known(event) && event.epoch.0 == super::EPOCH);
                if first.is_some() {
                    events.clear();
                }
            }
            Mistake::IdIsThePosition => events.retain(|event| !is_known(event)),
            _ => {}
        }
        events
    }
}

impl MessageQueue for Broken {
    fn publish(&self, events: Vec<Arc<StoredEvent>>) -> BoxFuture<'_, Result<Acknowledged, Error>> {
        async move {
            let last = events.last().map_or(Position::FIRST, |event| event.position);
            let admitted = self.admitted(events);
            self.published.fetch_max(last.get(), Ordering::SeqCst);
            let readers = self.readers.load(Ordering::SeqCst);
            if self.mistake == Mistake::WaitsForReaders && readers > 2 && last.get() > KEPT_MAX as u64 {
                self.runtime.sleep(std::time::Duration::from_secs(3600)).await;
            }
            if !admitted.is_empty() {
                self.good.publish(admitted).await?;
            }
            let life = match self.mistake {
                Mistake::NamesAnotherLife => QueueLife(Uuid::from_u128(0xDEAD)),
                _ => self.good.life().await?,
            };
            Ok(Acknowledged { life, last })
        }
        .boxed()
    }

    fn subscribe(&self, after: Option<Position>) -> BoxFuture<'_, Result<Box<dyn Subscription>, Error>> {
        async move {
            self.readers.fetch_add(1, Ordering::SeqCst);
            let after = match self.mistake {
                Mistake::StartsTooLate if self.published.load(Ordering::SeqCst) > 0 => after.map(Position::next),
                _ => after,
            };
            let good = self.good.subscribe(after).await?;
            if self.mistake == Mistake::ReadersCompete && after.is_none() {
                self.shared.lock().await.get_or_insert(good);
                return Ok(Box::new(Competing(self.shared.clone())) as Box<dyn Subscription>);
            }
            Ok(Box::new(BrokenReader { mistake: self.mistake, good }) as Box<dyn Subscription>)
        }
        .boxed()
    }

    fn resume_after(&self, cursor: Option<Position>) -> BoxFuture<'_, Result<Option<Position>, Error>> {
        match self.mistake {
            Mistake::IgnoresReaders => std::future::ready(Ok(cursor)).boxed(),
            _ => self.good.resume_after(cursor),
        }
    }

    fn life(&self) -> BoxFuture<'_, Result<QueueLife, Error>> {
        self.good.life()
    }

    fn pending(&self) -> u64 {
        self.good.pending()
    }
}

struct BrokenReader {
    mistake: Mistake,
    good: Box<dyn Subscription>,
}

impl Subscription for BrokenReader {
    fn next(&mut self, messages_max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        async move {
            let messages_max = if self.mistake == Mistake::GivesTooMuch { KEPT_MAX } else { messages_max };
            if self.mistake == Mistake::GivesNothing {
                // Only what is there at this moment.
                return self.good.next(messages_max).now_or_never().unwrap_or(Ok(Vec::new()));
            }
            let mut messages = match self.good.next(messages_max).await {
                Err(Error::Overrun { .. }) if self.mistake == Mistake::HidesOverruns => {
                    self.good.next(messages_max).await?
                }
                received => received?,
            };
            match self.mistake {
                Mistake::Reorders => messages.reverse(),
                Mistake::DropsTracestates => {
                    messages
                        .iter_mut()
                        .for_each(|message| Arc::make_mut(&mut message.event).metadata.tracestate = None);
                }
                _ => {}
            }
            Ok(messages)
        }
        .boxed()
    }
}

/// Readers that share one place.
struct Competing(Arc<Mutex<Option<Box<dyn Subscription>>>>);

impl Subscription for Competing {
    fn next(&mut self, messages_max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        async move {
            match self.0.lock().await.as_mut() {
                Some(shared) => shared.next(messages_max).await,
                None => Err(Error::Unavailable { reason: "nobody subscribed".to_owned() }),
            }
        }
        .boxed()
    }
}
