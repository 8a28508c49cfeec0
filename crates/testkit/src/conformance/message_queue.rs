//! What every [`MessageQueue`] must do.
//!
//! ```no_run
//! # use testkit::conformance::message_queue::{Setup, failures};
//! # async fn start(setup: Setup) -> std::sync::Arc<dyn message_queue::MessageQueue> { todo!() }
//! # async fn example() {
//! let failures = failures(async |setup| start(setup).await, &runtime::Runtime::tokio()).await;
//! assert_eq!(failures, []);
//! # }
//! ```

pub mod broken;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use message_queue::{Error, MessageQueue, Subscription};
use model::{
    CommandId, EpochId, EventId, EventType, Hash, Metadata, Position, Principal, StoredEvent, StreamId, StreamVersion,
    Tenant, TraceContext,
};
use runtime::Runtime;
use uuid::Uuid;

/// What a test asks of the queue it gets: an empty one.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it is to run.
    pub runtime: Runtime,
    /// Most messages that it may keep, if it lets the oldest go for new ones.
    pub messages_max: usize,
    /// How long it keeps a message, if it lets them go by their age. Long, but in the test of readers that are too slow.
    pub kept_for: Duration,
}

/// A test that failed, and what was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The promise that was broken, as a sentence.
    pub test: &'static str,
    /// What was seen.
    pub reason: String,
}

struct Subject {
    queue: Arc<dyn MessageQueue>,
    runtime: Runtime,
}

type Checked = Result<(), String>;
type Test = (&'static str, for<'a> fn(&'a Subject) -> BoxFuture<'a, Checked>);

/// Runs every test, each on a queue of its own, and returns those that failed.
pub async fn failures(start: impl AsyncFn(Setup) -> Arc<dyn MessageQueue>, runtime: &Runtime) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (test, check) in TESTS {
        let kept_for = if *test == OVERRUN { KEPT_BRIEFLY } else { KEPT_LONG };
        let queue = start(Setup { runtime: runtime.clone(), messages_max: KEPT_MAX, kept_for }).await;
        let subject = Subject { queue, runtime: runtime.clone() };
        if let Err(reason) = check(&subject).await {
            failures.push(Failure { test, reason });
        }
    }
    failures
}

/// Small enough to overrun a reader in a test.
const KEPT_MAX: usize = 64;
/// The test for which messages have to go before they are read.
const OVERRUN: &str = "a_reader_that_is_overrun_is_told_so_once_and_goes_on_with_the_oldest";
/// As little as servers take.
const KEPT_BRIEFLY: Duration = Duration::from_secs(1);
const KEPT_LONG: Duration = Duration::from_secs(3600);
/// Far more than any queue needs for what the tests ask of it.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a test watches for something that must not happen.
const QUIET: Duration = Duration::from_millis(50);

macro_rules! promises {
    ($($name:ident),+ $(,)?) => {
        const TESTS: &[Test] = &[$({
            fn boxed(subject: &Subject) -> BoxFuture<'_, Checked> {
                Box::pin($name(subject))
            }
            (stringify!($name), boxed)
        }),+];
    };
}

macro_rules! ensure {
    ($condition:expr, $($seen:tt)+) => {
        if !$condition {
            return Err(format!($($seen)+));
        }
    };
}

promises! {
    an_acknowledged_message_waits_for_a_reader_that_comes_later,
    messages_come_in_the_order_in_which_they_were_published,
    an_event_comes_out_as_it_went_in,
    what_is_new_in_a_batch_that_repeats_messages_is_not_lost,
    a_new_epochs_message_at_a_known_position_is_not_taken_for_a_repeat,
    each_reader_has_a_place_of_its_own,
    a_reader_gets_all_that_comes_after_the_position_it_names,
    a_reader_that_is_overrun_is_told_so_once_and_goes_on_with_the_oldest,
    publishing_waits_for_no_reader,
    a_reader_waits_until_there_is_something_for_it,
    a_reader_gets_no_more_messages_at_once_than_it_asked_for,
    an_acknowledgement_names_the_life_and_the_last_position,
    a_relay_goes_back_to_what_the_furthest_reader_wants,
}

async fn an_acknowledged_message_waits_for_a_reader_that_comes_later(subject: &Subject) -> Checked {
    subject.publish(EPOCH, 1..=5).await?;
    let mut reader = subject.subscribe(None).await?;
    let positions = subject.receive_sorted(&mut reader, 5).await?;
    ensure!(positions == [1, 2, 3, 4, 5], "{positions:?}");
    Ok(())
}

async fn messages_come_in_the_order_in_which_they_were_published(subject: &Subject) -> Checked {
    let mut reader = subject.subscribe(None).await?;
    subject.publish(EPOCH, 1..=7).await?;
    subject.publish(EPOCH, 8..=9).await?;
    let received = subject.receive(&mut reader, 9).await?;
    let positions: Vec<u64> = received.iter().map(|event| event.position.get()).collect();
    ensure!(positions.is_sorted(), "{positions:?}");
    Ok(())
}

async fn an_event_comes_out_as_it_went_in(subject: &Subject) -> Checked {
    let mut reader = subject.subscribe(None).await?;
    for position in 1..=2 {
        let sent = event(EPOCH, position);
        subject.queue.publish(vec![Arc::new(sent.clone())]).await.map_err(|error| error.to_string())?;
        let received = subject.receive(&mut reader, 1).await?;
        ensure!(received == [sent], "{received:?}");
    }
    Ok(())
}

async fn what_is_new_in_a_batch_that_repeats_messages_is_not_lost(subject: &Subject) -> Checked {
    let mut reader = subject.subscribe(None).await?;
    subject.publish(EPOCH, 1..=3).await?;
    subject.publish(EPOCH, 2..=5).await?;
    let positions = subject.receive_sorted(&mut reader, 5).await?;
    ensure!(positions == [1, 2, 3, 4, 5], "{positions:?}");
    Ok(())
}

async fn a_new_epochs_message_at_a_known_position_is_not_taken_for_a_repeat(subject: &Subject) -> Checked {
    let mut reader = subject.subscribe(None).await?;
    subject.publish(EPOCH, 1..=3).await?;
    subject.receive_sorted(&mut reader, 3).await?;
    subject.publish(NEXT_EPOCH, 3..=3).await?;
    let received = subject.receive(&mut reader, 1).await?;
    ensure!(received.iter().all(|event| event.epoch == EpochId(NEXT_EPOCH)), "{received:?}");
    Ok(())
}

async fn each_reader_has_a_place_of_its_own(subject: &Subject) -> Checked {
    let mut readers = [subject.subscribe(None).await?, subject.subscribe(None).await?];
    subject.publish(EPOCH, 1..=6).await?;
    for reader in &mut readers {
        let positions = subject.receive_sorted(reader, 6).await?;
        ensure!(positions == [1, 2, 3, 4, 5, 6], "{positions:?}");
    }
    Ok(())
}

async fn a_reader_gets_all_that_comes_after_the_position_it_names(subject: &Subject) -> Checked {
    let mut early = subject.subscribe(Position::new(2)).await?;
    subject.publish(EPOCH, 1..=5).await?;
    let mut late = subject.subscribe(Position::new(4)).await?;
    for (reader, wanted) in [(&mut early, vec![3, 4, 5]), (&mut late, vec![5])] {
        // What lies at or below the position may come too.
        let last = subject.receive_until(reader, 5).await?;
        let positions: Vec<u64> = last.into_iter().filter(|position| wanted.contains(position)).collect();
        ensure!(positions == wanted, "{positions:?} instead of {wanted:?}");
    }
    Ok(())
}

async fn a_reader_that_is_overrun_is_told_so_once_and_goes_on_with_the_oldest(subject: &Subject) -> Checked {
    let mut reader = subject.subscribe(None).await?;
    let (gone, last) = (3 * KEPT_MAX as u64, 3 * KEPT_MAX as u64 + 8);
    subject.publish(EPOCH, 1..=gone).await?;
    // A queue that lets messages go by age does so now, and not to the moment; the next ones are of another age.
    subject.runtime.sleep(3 * KEPT_BRIEFLY).await;
    subject.publish(EPOCH, gone + 1..=last).await?;
    let told = subject.next(&mut reader, KEPT_MAX).await?;
    let Err(Error::Overrun { resume_after }) = told else {
        return Err(format!("{told:?} instead of being told"));
    };
    let positions = subject.receive_until(&mut reader, last).await?;
    ensure!(resume_after > 0 && resume_after < last, "told to resume after {resume_after} of {last}");
    let expected: Vec<u64> = (resume_after + 1..=last).collect();
    ensure!(positions == expected, "told to resume after {resume_after}, then came {positions:?}");
    Ok(())
}

async fn publishing_waits_for_no_reader(subject: &Subject) -> Checked {
    let idle = [subject.subscribe(None).await?, subject.subscribe(None).await?, subject.subscribe(None).await?];
    for first in (1..=4 * KEPT_MAX as u64).step_by(16) {
        subject.publish(EPOCH, first..=first + 15).await?;
    }
    drop(idle);
    Ok(())
}

async fn a_reader_waits_until_there_is_something_for_it(subject: &Subject) -> Checked {
    let mut reader = subject.subscribe(None).await?;
    let early = subject.runtime.timeout(QUIET, reader.next(8)).await;
    ensure!(early.is_err(), "it was given {early:?}");
    subject.publish(EPOCH, 1..=1).await?;
    let received = subject.next(&mut reader, 8).await?;
    ensure!(received.as_ref().is_ok_and(|messages| messages.len() == 1), "{received:?}");
    Ok(())
}

async fn a_reader_gets_no_more_messages_at_once_than_it_asked_for(subject: &Subject) -> Checked {
    let mut reader = subject.subscribe(None).await?;
    subject.publish(EPOCH, 1..=10).await?;
    let mut received = 0;
    while received < 10 {
        let messages = subject.next(&mut reader, 4).await?.map_err(|error| error.to_string())?;
        ensure!((1..=4).contains(&messages.len()), "{} messages for at most 4", messages.len());
        received += messages.len();
    }
    Ok(())
}

async fn an_acknowledgement_names_the_life_and_the_last_position(subject: &Subject) -> Checked {
    let events = (1..=3).map(|position| Arc::new(event(EPOCH, position))).collect();
    let acknowledged = subject.queue.publish(events).await.map_err(|error| error.to_string())?;
    let life = subject.queue.life().await.map_err(|error| error.to_string())?;
    ensure!((acknowledged.life, acknowledged.last.get()) == (life, 3), "{acknowledged:?} in life {life:?}");
    Ok(())
}

async fn a_relay_goes_back_to_what_the_furthest_reader_wants(subject: &Subject) -> Checked {
    let _near = subject.subscribe(Position::new(9)).await?;
    let _far = subject.subscribe(Position::new(4)).await?;
    for (cursor, latest) in [(Some(12), 4), (Some(4), 4), (Some(2), 2), (None, 0)] {
        let cursor = cursor.and_then(Position::new);
        let resumed = subject.queue.resume_after(cursor).await.map_err(|error| error.to_string())?;
        ensure!(Position::count(resumed) <= latest, "from cursor {cursor:?} it resumes after {resumed:?}");
    }
    Ok(())
}

const EPOCH: Uuid = Uuid::from_u128(0xA);
const NEXT_EPOCH: Uuid = Uuid::from_u128(0xB);

/// An event for the tests of a queue, with something in every field.
#[must_use]
pub fn sample_event(position: u64) -> StoredEvent {
    event(EPOCH, position)
}

/// An event in which no field has the value of another, and none but the tracestate is ever missing.
fn event(epoch: Uuid, position: u64) -> StoredEvent {
    let id = |what: u64| Uuid::from_u64_pair(what, position);
    let time = |offset: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_micros(offset + position.cast_signed());
    let trace_id = u128::from(position) + (1 << 100);
    StoredEvent {
        position: Position::new(position).unwrap_or(Position::FIRST),
        epoch: EpochId(epoch),
        event_id: EventId(Uuid::from_u64_pair(epoch.as_u64_pair().1, position)),
        stream: StreamId {
            tenant: Tenant::new("acme"), aggregate: "order".into(), id: format!("ø-{position}").into()
        },
        version: StreamVersion::new(position + 100).unwrap_or(StreamVersion::FIRST),
        event_type: EventType { name: "order.placed".into(), version: 3 },
        command_id: CommandId(id(1)),
        command_events: 2,
        payload: format!("{{\"line\":{position}}}").into(),
        metadata: Metadata {
            principal: Principal::new("tester"),
            time: time(1_000_000),
            correlation: id(2),
            causation: id(3),
            trace: TraceContext { trace_id, parent_id: position + 7, sampled: true },
            // Not all have one, and a queue keeps both kinds.
            tracestate: position.is_multiple_of(2).then(|| format!("rojo={position}").into()),
        },
        recorded_at: time(2_000_000),
        hash: Hash::of(&position.to_be_bytes()),
    }
}

impl Subject {
    async fn publish(&self, epoch: Uuid, positions: std::ops::RangeInclusive<u64>) -> Checked {
        let events = positions.map(|position| Arc::new(event(epoch, position))).collect();
        match self.runtime.timeout(PATIENCE, self.queue.publish(events)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(elapsed) => Err(format!("publishing was {elapsed}")),
        }
    }

    async fn subscribe(&self, after: Option<Position>) -> Result<Box<dyn Subscription>, String> {
        self.queue.subscribe(after).await.map_err(|error| error.to_string())
    }

    async fn next(
        &self,
        reader: &mut Box<dyn Subscription>,
        messages_max: usize,
    ) -> Result<Result<Vec<message_queue::Delivery>, Error>, String> {
        let next = self.runtime.timeout(PATIENCE, reader.next(messages_max)).await;
        next.map_err(|elapsed| format!("a message was {elapsed}"))
    }

    /// Messages until there were `count` different ones.
    async fn receive(&self, reader: &mut Box<dyn Subscription>, count: usize) -> Result<Vec<StoredEvent>, String> {
        let mut received: Vec<StoredEvent> = Vec::new();
        while received.len() < count {
            let messages = self.next(reader, KEPT_MAX).await?.map_err(|error| error.to_string())?;
            for message in messages {
                if !received.iter().any(|known| known.event_id == message.event.event_id) {
                    received.push(Arc::unwrap_or_clone(message.event));
                }
            }
        }
        Ok(received)
    }

    async fn receive_sorted(&self, reader: &mut Box<dyn Subscription>, count: usize) -> Result<Vec<u64>, String> {
        let mut positions: Vec<u64> =
            self.receive(reader, count).await?.iter().map(|event| event.position.get()).collect();
        positions.sort_unstable();
        Ok(positions)
    }

    /// The positions received until `last` is among them, sorted.
    async fn receive_until(&self, reader: &mut Box<dyn Subscription>, last: u64) -> Result<Vec<u64>, String> {
        let mut positions = BTreeSet::new();
        while !positions.contains(&last) {
            let messages = self.next(reader, KEPT_MAX).await?.map_err(|error| error.to_string())?;
            positions.extend(messages.iter().map(|message| message.event.position.get()));
        }
        Ok(positions.into_iter().collect())
    }
}
