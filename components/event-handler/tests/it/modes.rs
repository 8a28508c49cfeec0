//! The queue goes and comes back.

use std::time::Duration;

use event_handler::{Mode, Reason};
use message_queue::Fault;

use crate::world::{World, eventually, until_mode};

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_while_the_queue_is_off_and_the_queue_again_when_it_is_back() {
    let world = World::new();
    let handler = world.ledger_handler();
    world.write(10).await;
    world.expect_exact("ledger").await;
    world.expect_healthy();

    // Past the grace of the start.
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.queue.set_fault(Some(Fault::Off));
    world.write(10).await;
    let noticed = until_mode(&handler, Mode::Direct).await;
    assert!(noticed < Duration::from_millis(250), "noticed after {noticed:?}");
    let mut slowest = Duration::ZERO;
    for _ in 0..30 {
        world.write(7).await;
        let head = world.head().await;
        let seen = async || handler.status().projections[0].checkpoint >= head;
        slowest = slowest.max(eventually("a write to be seen", seen).await);
    }
    assert!(slowest < Duration::from_millis(250), "seen after {slowest:?}");
    world.expect_exact("ledger").await;

    world.queue.set_fault(None);
    until_mode(&handler, Mode::Probing).await;
    let writes = async {
        loop {
            world.write(3).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        biased;
        () = writes => {}
        back = until_mode(&handler, Mode::Queue) => assert!(back < Duration::from_secs(5), "back after {back:?}"),
    }
    world.expect_exact("ledger").await;
    assert_eq!(handler.status().last_switch.map(|switch| switch.reason), Some(Reason::Steady));

    let reads = world.direct_reads("outage");
    world.write(100).await;
    world.expect_exact("ledger").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.direct_reads("outage"), reads, "back on the queue the log is left alone");
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_comes_back_is_relied_on_again_even_when_nothing_more_is_written() {
    let world = World::new();
    let handler = world.ledger_handler();
    world.write(1).await;
    world.expect_exact("ledger").await;
    world.queue.set_fault(Some(Fault::Off));
    world.write(1).await;
    until_mode(&handler, Mode::Direct).await;
    world.expect_exact("ledger").await;
    world.queue.set_fault(None);
    until_mode(&handler, Mode::Queue).await;
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_loses_everything_costs_nothing_but_direct_reads() {
    let world = World::new();
    let handler = world.ledger_handler();
    for _ in 0..10 {
        world.write(40).await;
        world.queue.wipe();
        world.write(40).await;
    }
    world.expect_exact("ledger").await;
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_system_never_leaves_the_queue() {
    let world = World::new();
    let handler = world.ledger_handler();
    world.write(1).await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        world.write(1).await;
    }
    world.expect_exact("ledger").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(handler.status().last_switch, None);
    world.expect_healthy();
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_a_queue_ends_in_reading_the_log() {
    let world = World::without_relay();
    world.write(20).await;
    let handler = world.ledger_handler();
    world.expect_exact("ledger").await;
    world.write(20).await;
    let noticed = until_mode(&handler, Mode::Direct).await;
    assert!(noticed > Duration::from_millis(700), "the relay was given time to start, but only {noticed:?}");
    world.expect_exact("ledger").await;
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_written_to_without_a_pause_goes_to_the_log_and_back_to_the_queue() {
    let world = World::new();
    let handler = world.ledger_handler();
    let busy = async {
        loop {
            world.write(5).await;
        }
    };
    let outage = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.queue.set_fault(Some(Fault::Off));
        until_mode(&handler, Mode::Direct).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.queue.set_fault(None);
        until_mode(&handler, Mode::Queue).await;
    };
    tokio::select! {
        biased;
        () = outage => {}
        () = busy => {}
    }
    world.expect_exact("ledger").await;
    handler.stop().await;
}
