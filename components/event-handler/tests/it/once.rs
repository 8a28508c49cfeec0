//! Every event once and in order, whatever happens in between.

use std::{sync::Arc, time::Duration};

use event_handler::{Config, Handle, HeadPoll};
use message_queue::{InProcessConfig, InProcessQueue, MessageQueue};
use model::Position;

use crate::{
    domain::{self, Ledger, Second},
    world::{World, eventually, until_counted, with},
};

fn polls_off() -> Config {
    Config { head_poll: HeadPoll::Off, ..Config::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_folded_once_and_in_order_and_come_from_the_queue() {
    let world = World::new();
    let handler = world.handler(with::<Second>(with::<Ledger>(domain::registry())), Config::default());
    for count in [1, 2, 300, 1, 1200] {
        world.write(count).await;
    }
    world.expect_exact("ledger").await;
    world.expect_exact("second").await;
    until_counted(&handler, 1504).await;
    for projection in handler.status().projections {
        assert_eq!((projection.applied_from_queue, projection.applied_from_log), (1504, 0), "{}", projection.name);
    }
    world.expect_healthy();
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_alone_brings_everything_when_nobody_looks_at_the_log() {
    let world = World::new();
    let handler = world.handler(with::<Ledger>(domain::registry()), polls_off());
    for _ in 0..20 {
        world.write(50).await;
    }
    world.expect_exact("ledger").await;
    assert_eq!(world.metrics.direct_reads().iter().map(|(_, count)| count).sum::<u64>(), 0);
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_is_stopped_anywhere_goes_on_where_it_was() {
    let mut world = World::new();
    for round in 0..12_u64 {
        let handler = world.ledger_handler();
        world.write(97).await;
        let reached = Position::new(round * 40 + 1);
        eventually("some progress", async || handler.status().projections[0].checkpoint >= reached).await;
        handler.stop().await;
        world.expect_prefix("ledger").await;
        world.restart();
    }
    let handler = world.ledger_handler();
    world.expect_exact("ledger").await;
    world.expect_healthy();
    assert_eq!(handler.status().last_switch, None, "a restart is no outage");
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_while_no_handler_ran_comes_through_the_queue_at_the_next_start() {
    let mut world = World::new();
    let handler = world.ledger_handler();
    world.write(10).await;
    world.expect_exact("ledger").await;
    handler.stop().await;
    world.write(200).await;
    world.restart();
    let handler = world.handler(with::<Ledger>(domain::registry()), polls_off());
    world.expect_exact("ledger").await;
    until_counted(&handler, 200).await;
    assert_eq!(handler.status().projections[0].applied_from_queue, 200);
    assert_eq!(world.metrics.direct_reads().iter().map(|(_, count)| count).sum::<u64>(), 0);
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_is_fenced_and_nothing_is_folded_twice() {
    let world = World::new();
    let config = Config { fenced_pause: Duration::from_millis(100), ..Config::default() };
    let first = world.handler(with::<Ledger>(domain::registry()), config.clone());
    world.write(50).await;
    world.expect_exact("ledger").await;
    let second = world.handler(with::<Ledger>(domain::registry()), config);
    for _ in 0..40 {
        world.write(25).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.expect_prefix("ledger").await;
    }
    world.expect_exact("ledger").await;
    let applied = |status: event_handler::Status| {
        status.projections.iter().map(|each| each.applied_from_queue + each.applied_from_log).sum::<u64>()
    };
    // Each event was stored by one of them, and is counted a moment later.
    eventually("1050 events are counted", async || applied(first.status()) + applied(second.status()) == 1050).await;
    assert!(applied(second.status()) > 0, "the second took over");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_the_queue_is_read_from_the_log() {
    let world = World::without_relay();
    let handler = world.handler(with::<Ledger>(domain::registry()), polls_off());
    until_begun(&handler).await;
    world.write(10).await;
    let events = world.store_events().await;
    world.queue.publish(events[..3].to_vec()).await.expect("the queue takes them");
    eventually("the first three", async || handler.status().received == Position::new(3)).await;
    // 4 to 8 never reach the queue.
    world.queue.publish(events[8..].to_vec()).await.expect("the queue takes them");
    world.expect_exact("ledger").await;
    until_counted(&handler, 10).await;
    let projection = &handler.status().projections[0];
    assert!(projection.applied_from_log >= 5, "{projection:?}");
    assert_eq!((world.direct_reads("hole"), world.direct_reads("outage")), (1, 0));
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_message_is_dropped_and_its_event_read_from_the_log() {
    let world = World::without_relay();
    let handler = world.handler(with::<Ledger>(domain::registry()), polls_off());
    until_begun(&handler).await;
    world.write(5).await;
    let mut events = world.store_events().await;
    let mut forged = (*events[2]).clone();
    forged.payload = b"{\"text\":\"never written\"}".as_slice().into();
    events[2] = Arc::new(forged);
    world.queue.publish(events).await.expect("the queue takes them");
    world.expect_exact("ledger").await;
    assert_eq!(world.direct_reads("hole"), 1);
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_the_queue_overran_catches_up_from_the_log() {
    let mut world = World::without_relay();
    let small = InProcessConfig { messages_max: 8, ..InProcessConfig::default() };
    world.queue = InProcessQueue::new(world.runtime.clone(), small, message_queue::Metrics::default());
    let handler = world.ledger_handler();
    until_begun(&handler).await;
    world.start_relay();
    world.write(5000).await;
    world.expect_exact("ledger").await;
    assert!(world.direct_reads("catch-up") > 0, "{:?}", world.metrics.direct_reads());
    assert_eq!(world.direct_reads("hole"), 0, "being too slow is not the queue's fault");
    handler.stop().await;
}

/// Waits until the handler has seen the log as it is, and what is written later is new to it.
async fn until_begun(handler: &Handle) {
    eventually("a generation", async || handler.status().projections[0].generation.is_some()).await;
}

impl World {
    async fn store_events(&self) -> Vec<Arc<model::StoredEvent>> {
        use command_database::EventStore;
        self.store.read(None, Default::default()).await.expect("the log can be read")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_handlers_one_stands_by_and_takes_over_when_the_other_is_gone() {
    let world = World::new();
    let config = || Config {
        fenced_pause: Duration::from_millis(50),
        standstill: Some(Duration::from_secs(1)),
        ..Config::default()
    };
    let handlers = [(); 2].map(|()| world.handler(with::<Ledger>(domain::registry()), config()));
    // Long enough for them to take it from each other again and again, if they did.
    for _ in 0..20 {
        world.write(5).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.expect_exact("ledger").await;
    let applied = |handler: &Handle| {
        let status = handler.status();
        status.projections[0].applied_from_queue + status.projections[0].applied_from_log
    };
    let counts = handlers.each_ref().map(applied);
    assert!(counts.iter().max() >= Some(&90), "one of them has done nearly all of it: {counts:?}");
    let [first, second] = handlers;
    let (owner, other) = if applied(&first) > applied(&second) { (first, second) } else { (second, first) };
    let (before, reached) = (applied(&other), owner.status().projections[0].checkpoint);
    eventually("it follows", async || other.status().projections[0].checkpoint == reached).await;
    owner.stop().await;
    world.write(10).await;
    world.expect_exact("ledger").await;
    assert!(applied(&other) >= before + 10, "it has taken over");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_gone_is_missed_where_there_is_nothing_to_fold_and_where_it_was_held() {
    for is_held in [false, true] {
        let world = World::new();
        let config = || Config {
            fenced_pause: Duration::from_millis(50),
            standstill: Some(Duration::from_secs(2)),
            ..Config::default()
        };
        world.write(5).await;
        let handlers = [(); 2].map(|()| world.handler(with::<Ledger>(domain::registry()), config()));
        world.expect_exact("ledger").await;
        let projection = |handler: &Handle| handler.status().projections.remove(0);
        if is_held {
            world.write_type("note.of_the_future").await;
            let held = async || handlers.iter().all(|handler| projection(handler).held.is_some());
            eventually("the one is held, and the other one knows it", held).await;
        }
        let one = async || handlers.iter().filter(|handler| projection(handler).owned).count() == 1;
        eventually("one keeps it", one).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(one().await, "and goes on to");
        let [first, second] = handlers;
        let (owner, other) = if projection(&first).owned { (first, second) } else { (second, first) };
        owner.stop().await;
        eventually("the other one keeps it", async || projection(&other).owned).await;
        assert_eq!(projection(&other).held.is_some(), is_held);
        other.stop().await;
    }
}
