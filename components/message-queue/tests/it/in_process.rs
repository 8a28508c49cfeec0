use std::{sync::Arc, time::Duration};

use message_queue::{Error, Fault, InProcessConfig, InProcessQueue, MessageQueue, Metrics, Subscription};
use model::{Position, StoredEvent};
use runtime::Runtime;
use testkit::conformance::message_queue::sample_event;

fn queue(config: InProcessConfig) -> InProcessQueue {
    InProcessQueue::new(Runtime::tokio(), config, Metrics::default())
}

fn events(positions: std::ops::RangeInclusive<u64>) -> Vec<Arc<StoredEvent>> {
    positions.map(sample_event).map(Arc::new).collect()
}

async fn received(reader: &mut Box<dyn Subscription>) -> Option<Result<Vec<u64>, Error>> {
    let next = Runtime::tokio().timeout(Duration::from_millis(50), reader.next(1000)).await.ok()?;
    Some(next.map(|messages| messages.iter().map(|message| message.event.position.get()).collect()))
}

#[tokio::test]
async fn a_queue_that_is_off_takes_nothing_gives_nothing_and_has_kept_what_it_had() {
    let queue = queue(InProcessConfig::default());
    let mut reader = queue.subscribe(None).await.expect("it is on");
    let life = queue.life().await;
    queue.publish(events(1..=2)).await.expect("it is on");
    queue.set_fault(Some(Fault::Off));
    assert!(matches!(queue.publish(events(3..=3)).await, Err(Error::Unavailable { .. })));
    assert!(matches!(queue.subscribe(None).await.map(drop), Err(Error::Unavailable { .. })));
    assert_eq!(received(&mut reader).await, None, "it says nothing, not even that it is off");
    queue.set_fault(None);
    assert_eq!(received(&mut reader).await, Some(Ok(vec![1, 2])));
    queue.publish(events(3..=3)).await.expect("it is on again");
    assert_eq!(received(&mut reader).await, Some(Ok(vec![3])));
    assert_eq!(queue.life().await, life);
}

#[tokio::test]
async fn a_message_that_is_published_again_is_acknowledged_and_not_given_again() {
    let queue = queue(InProcessConfig::default());
    let mut reader = queue.subscribe(None).await.expect("it is on");
    for positions in [1..=3, 2..=3, 1..=4] {
        let last = *positions.end();
        let acknowledged = queue.publish(events(positions)).await.expect("repeats are acknowledged");
        assert_eq!(acknowledged.last.get(), last);
    }
    assert_eq!(received(&mut reader).await, Some(Ok(vec![1, 2, 3, 4])));
    assert_eq!(received(&mut reader).await, None);
}

#[tokio::test]
async fn a_wiped_queue_is_another_life_and_sends_its_readers_away() {
    let queue = queue(InProcessConfig::default());
    let mut reader = queue.subscribe(None).await.expect("it is on");
    let life = queue.life().await;
    queue.publish(events(1..=2)).await.expect("it is on");
    queue.wipe();
    assert_ne!(queue.life().await, life);
    assert!(matches!(received(&mut reader).await, Some(Err(Error::Unavailable { .. }))));
    let mut reader = queue.subscribe(None).await.expect("it is on");
    assert_eq!(received(&mut reader).await, None);
    queue.publish(events(1..=2)).await.expect("a new life remembers no repeats");
    assert_eq!(received(&mut reader).await, Some(Ok(vec![1, 2])));
}

#[tokio::test]
async fn the_queue_keeps_no_more_bytes_than_it_may_but_always_the_last_message() {
    let queue = queue(InProcessConfig { bytes_max: 1, ..InProcessConfig::default() });
    queue.publish(events(1..=9)).await.expect("it never refuses");
    let mut reader = queue.subscribe(None).await.expect("it is on");
    assert_eq!(received(&mut reader).await, Some(Ok(vec![9])));
}

#[tokio::test]
async fn a_relay_that_starts_first_waits_for_a_reader_to_say_where_it_stands() {
    let queue = queue(InProcessConfig::default());
    let relay = queue.clone();
    let resumed = tokio::join!(relay.resume_after(Position::new(9)), async {
        Runtime::tokio().sleep(Duration::from_millis(20)).await;
        queue.subscribe(Position::new(6)).await.expect("it is on")
    });
    assert_eq!(resumed.0, Ok(Position::new(6)));
}

#[tokio::test]
async fn a_relay_goes_back_no_further_than_the_queue_can_keep_and_without_readers_not_at_all() {
    let config = InProcessConfig {
        messages_max: 100,
        first_subscriber_wait: Duration::from_millis(10),
        ..InProcessConfig::default()
    };
    let queue = queue(config);
    assert_eq!(queue.resume_after(Position::new(1000)).await, Ok(Position::new(1000)));
    let _reader = queue.subscribe(Position::new(3)).await.expect("it is on");
    assert_eq!(queue.resume_after(Position::new(1000)).await, Ok(Position::new(900)));
    assert_eq!(queue.resume_after(Position::new(50)).await, Ok(Position::new(3)));
}

#[tokio::test]
async fn what_waits_is_counted_for_the_slowest_reader_that_keeps_up() {
    let queue = queue(InProcessConfig { messages_max: 10, ..InProcessConfig::default() });
    let mut quick = queue.subscribe(None).await.expect("it is on");
    let _slow = queue.subscribe(None).await.expect("it is on");
    queue.publish(events(1..=8)).await.expect("it never refuses");
    assert_eq!(received(&mut quick).await, Some(Ok((1..=8).collect())));
    assert_eq!(queue.pending(), 8);
    queue.publish(events(9..=12)).await.expect("it never refuses");
    assert_eq!(queue.pending(), 4, "the slow one is overrun, and counts no longer");
}
