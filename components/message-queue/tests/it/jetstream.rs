//! The queue on JetStream keeps every promise of the contract, on a real server.

use std::{sync::Arc, time::Duration};

use message_queue::{Error, JetStreamConfig, MessageQueue};
use model::Position;
use runtime::Runtime;
use testkit::conformance::message_queue::{Setup, failures};

use crate::server::{SHARED, connect, events, fresh, next, positions_until, queue, stranger};

async fn on_jetstream(setup: Setup) -> Arc<dyn MessageQueue> {
    // The suite publishes to idle readers more than the number that a ring may keep, and a stream that refuses when it is
    // full lets nothing go by number: here it is age alone.
    let config = JetStreamConfig { stream_age_max: setup.kept_for, ..fresh(&SHARED) };
    Arc::new(queue(&config).await)
}

#[tokio::test]
async fn the_queue_on_jetstream_keeps_every_promise() {
    assert_eq!(failures(on_jetstream, &Runtime::tokio()).await, []);
}

#[tokio::test]
async fn a_life_is_the_same_to_every_process_and_over_reconnects() {
    let config = fresh(&SHARED);
    let (one, other) = (queue(&config).await, queue(&config).await);
    let life = one.life().await.expect("it answers");
    assert_eq!(other.life().await, Ok(life));
    drop(one);
    assert_eq!(queue(&config).await.life().await, Ok(life));
    assert_ne!(queue(&fresh(&SHARED)).await.life().await, Ok(life), "another stream is another life");
}

#[tokio::test]
async fn a_reader_of_a_long_stream_starts_near_what_it_wants_and_never_after_it() {
    let config = fresh(&SHARED);
    let queue = queue(&config).await;
    for first in (1..=3000).step_by(500) {
        queue.publish(events(first..=first + 499)).await.expect("published");
    }
    for after in [0, 1, 700, 1500, 2999, 3000] {
        let mut reader = queue.subscribe(Position::new(after)).await.expect("it answers");
        queue.publish(events(3001..=3001)).await.expect("published");
        let positions = positions_until(&mut reader, 3001).await;
        assert!(
            positions[0] <= after + 1 && positions[0] + 600 > after,
            "after {after} it starts with {}",
            positions[0]
        );
        assert!(positions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "in order and without a hole");
    }
}

#[tokio::test]
async fn a_relay_goes_on_where_the_stream_ends_and_back_where_it_has_nothing() {
    let config = JetStreamConfig { resume_events_max: 100, ..fresh(&SHARED) };
    let queue = queue(&config).await;
    assert_eq!(queue.resume_after(Position::new(1000)).await, Ok(Position::new(900)), "a new stream is empty");
    queue.publish(events(901..=950)).await.expect("published");
    for (cursor, expected) in [(1000, 950), (950, 950), (920, 920), (5000, 4900), (0, 0)] {
        let resumed = queue.resume_after(Position::new(cursor)).await;
        assert_eq!(resumed, Ok(Position::new(expected)), "from cursor {cursor}");
    }
}

#[tokio::test]
async fn a_stream_whose_messages_went_by_age_sends_no_relay_back() {
    let config = JetStreamConfig { stream_age_max: Duration::from_secs(1), ..fresh(&SHARED) };
    let queue = queue(&config).await;
    queue.publish(events(1..=5)).await.expect("published");
    Runtime::tokio().sleep(Duration::from_secs(3)).await;
    assert_eq!(queue.resume_after(Position::new(5)).await, Ok(Position::new(5)));
}

#[tokio::test]
async fn what_is_published_again_is_acknowledged_and_given_once() {
    let queue = queue(&fresh(&SHARED)).await;
    let mut reader = queue.subscribe(None).await.expect("it answers");
    for positions in [1..=3, 2..=3, 1..=4, 3..=6] {
        let last = *positions.end();
        assert_eq!(queue.publish(events(positions)).await.expect("acknowledged").last.get(), last);
    }
    assert_eq!(positions_until(&mut reader, 6).await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_batch_that_does_not_follow_on_the_last_message_gets_in_all_the_same() {
    let queue = queue(&fresh(&SHARED)).await;
    // Two relays at once: one is further, the other repeats and goes on.
    queue.publish(events(1..=4)).await.expect("published");
    queue.publish(events(10..=12)).await.expect("published");
    queue.publish(events(3..=14)).await.expect("published");
    let mut reader = queue.subscribe(None).await.expect("it answers");
    let mut positions = Vec::new();
    while positions.len() < 14 {
        let deliveries = next(&mut reader).await.expect("nothing is wrong");
        positions.extend(deliveries.iter().map(|delivery| delivery.event.position.get()));
    }
    assert_eq!(positions[..7], [1, 2, 3, 4, 10, 11, 12], "what one relay left out is a hole to readers");
    positions.sort_unstable();
    assert_eq!(positions, (1..=14).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_stream_refuses_and_what_it_has_stays_in_order() {
    let config = JetStreamConfig { stream_bytes_max: 64 * 1024, ..fresh(&SHARED) };
    let queue = queue(&config).await;
    let mut published = 0;
    let refusal = loop {
        match queue.publish(events(published + 1..=published + 10)).await {
            Ok(acknowledged) => published = acknowledged.last.get(),
            Err(error) => break error,
        }
    };
    assert!(matches!(&refusal, Error::Unavailable { reason } if reason.contains("stream_bytes_max")), "{refusal}");
    assert!(published > 20, "{published}");
    let mut reader = queue.subscribe(None).await.expect("it answers");
    // A part of the refused batch got in before there was no more room.
    let mut positions = Vec::new();
    while positions.last() < Some(&published) {
        let deliveries = next(&mut reader).await.expect("nothing is wrong");
        positions.extend(deliveries.iter().map(|delivery| delivery.event.position.get()));
    }
    assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_follows_on_an_event_that_does_not_get_in_is_not_stored_before_it() {
    let config = JetStreamConfig { stream_bytes_max: 64 * 1024, ..fresh(&SHARED) };
    let queue = queue(&config).await;
    queue.publish(events(1..=10)).await.expect("published");
    let mut batch = events(11..=14);
    Arc::make_mut(&mut batch[1]).payload = vec![b'x'; 100 * 1024].into();
    queue.publish(batch).await.expect_err("there is room for three of them, and not for the second");
    let jetstream = async_nats::jetstream::new(stranger(&SHARED).await);
    let stream = jetstream.get_stream(&config.stream).await.expect("it is there");
    assert_eq!(stream.cached_info().state.messages, 11);
    queue.publish(events(11..=14)).await.expect("published");
    let mut reader = queue.subscribe(None).await.expect("it answers");
    assert_eq!(positions_until(&mut reader, 14).await, (1..=14).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_that_no_server_takes_says_which_limit_it_meets() {
    let queue = queue(&fresh(&SHARED)).await;
    let mut large = testkit::conformance::message_queue::sample_event(1);
    large.payload = vec![b'x'; 2 * 1024 * 1024].into();
    let refusal = queue.publish(vec![Arc::new(large)]).await.expect_err("it is larger than the server takes");
    assert!(matches!(&refusal, Error::Unavailable { reason } if reason.contains("max_payload")), "{refusal}");
}

#[tokio::test]
async fn what_waits_is_known_from_what_came_last() {
    let queue = queue(&fresh(&SHARED)).await;
    let mut reader = queue.subscribe(None).await.expect("it answers");
    queue.publish(events(1..=9)).await.expect("published");
    assert_eq!(queue.pending(), 0, "nothing is known before something came");
    let first = reader.next(1).await.expect("nothing is wrong");
    assert_eq!((first.len(), queue.pending()), (1, 8));
    let rest = next(&mut reader).await.expect("nothing is wrong");
    assert_eq!(rest.len() as u64 + queue.pending(), 8);
}

#[tokio::test]
async fn nobody_is_at_the_address() {
    let config = JetStreamConfig { servers: vec!["nats://127.0.0.1:1".to_owned()], ..fresh(&SHARED) };
    let refusal = connect(&config).await.err().expect("nobody listens there");
    assert!(matches!(&refusal, Error::Unreachable { server, .. } if server == "127.0.0.1:1"), "{refusal}");
    assert!(refusal.to_string().contains("message_queue.servers"), "{refusal}");
}

#[tokio::test]
async fn an_address_with_a_password_in_it_is_refused() {
    let config = JetStreamConfig { servers: vec!["nats://relay:secret@127.0.0.1:1".to_owned()], ..fresh(&SHARED) };
    let refusal = connect(&config).await.err().expect("it is in the wrong place").to_string();
    assert!(refusal.contains("message_queue.credentials") && !refusal.contains("secret"), "{refusal}");
}
