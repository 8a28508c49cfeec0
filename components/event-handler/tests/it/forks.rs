//! The log begins another life: it is restored, replaced, or cut short, while nobody looks or under a running handler.

use std::time::Duration;

use event_handler::{Config, Handle, Mode};
use message_queue::Fault;
use model::{Position, Verdict};
use query_database::{Generation, RowReader, RowWriter};

use crate::{
    domain::{self, LedgerAnew, Second},
    world::{World, eventually, until_counted, until_mode, with},
};

async fn serving(world: &World, read_model: &str) -> Generation {
    world.rows.serving(read_model).await.expect("it serves").generation
}

/// Waits until what answers is not `former`, and is the fold of the log as it is now.
async fn expect_anew(world: &World, handler: &Handle, former: Generation) {
    eventually("another generation to answer", async || serving(world, "ledger").await != former).await;
    world.expect_exact("ledger").await;
    // Each by its own loop, and the head is looked at now and then.
    eventually("all to answer at the head and without alarm", async || {
        let status = handler.status();
        status.projections.iter().all(|each| each.serving && each.alarm.is_none() && each.checkpoint == status.head)
    })
    .await;
}

/// What is written afterwards comes as it always does.
async fn expect_healthy_afterwards(world: &World, handler: &Handle) {
    until_mode(handler, Mode::Queue).await;
    world.write(20).await;
    world.expect_exact("ledger").await;
    assert_eq!(handler.status().mode, Mode::Queue);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_log_are_noticed_at_the_start_and_replaced_however_short_that_log_is() {
    let mut world = World::new();
    let handler = world.ledger_handler();
    world.write(50).await;
    world.expect_exact("ledger").await;
    handler.stop().await;
    let (former, token) = (serving(&world, "ledger").await, world.token().await);

    world.replace_log();
    world.restart();
    world.write(30).await;
    let handler = world.ledger_handler();
    expect_anew(&world, &handler, former).await;
    assert_eq!(world.judge("ledger", token).await, Verdict::BeyondFork);
    expect_healthy_afterwards(&world, &handler).await;
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_log_that_is_empty_now_are_replaced_by_none() {
    let mut world = World::new();
    let handler = world.ledger_handler();
    world.write(50).await;
    world.expect_exact("ledger").await;
    handler.stop().await;
    let former = serving(&world, "ledger").await;

    world.replace_log();
    world.restart();
    let handler = world.ledger_handler();
    expect_anew(&world, &handler, former).await;
    assert!(world.row("ledger").await.expect("it serves").row.is_none());
    expect_healthy_afterwards(&world, &handler).await;
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_in_the_logs_place_is_noticed_at_the_start_although_its_epoch_is_the_same() {
    let mut world = World::new();
    let handler = world.ledger_handler();
    world.write(20).await;
    let copy = world.copy_log();
    world.write(30).await;
    world.expect_exact("ledger").await;
    handler.stop().await;
    let former = serving(&world, "ledger").await;

    world.copy_over_log(&copy);
    world.restart();
    // As many as there were, in the same epoch: by position and epoch alone nothing has changed.
    world.write(30).await;
    let handler = world.ledger_handler();
    expect_anew(&world, &handler, former).await;
    expect_healthy_afterwards(&world, &handler).await;
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_is_compared_too_when_the_restart_after_a_restore_brings_another_version() {
    let mut world = World::new();
    let handler = world.ledger_handler();
    world.write(20).await;
    let copy = world.copy_log();
    world.write(30).await;
    world.expect_exact("ledger").await;
    handler.stop().await;
    let former = serving(&world, "ledger").await;

    world.copy_over_log(&copy);
    world.restart();
    let handler = world.handler(with::<LedgerAnew>(domain::registry()), Config::default());
    expect_anew(&world, &handler, former).await;
    let generations = world.rows.generations().await.expect("read");
    let forked: Vec<_> = generations.iter().map(|each| (each.version, each.forked, each.serving)).collect();
    assert_eq!(forked, [(1, true, false), (2, false, true)]);
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_log_does_not_have_say_so_until_they_are_replaced() {
    let mut world = World::new();
    let handler = world.ledger_handler();
    world.write(20).await;
    let copy = world.copy_log();
    world.write(40_000).await;
    world.expect_exact("ledger").await;
    handler.stop().await;
    let (former, lost) = (serving(&world, "ledger").await, world.token().await);

    world.restore(&copy).await;
    world.restart();
    world.write(30_000).await;
    let handler = world.ledger_handler();
    let mut answers = 0;
    eventually("an alarm", async || handler.status().projections[0].alarm.is_some()).await;
    loop {
        let checkpoint = world.rows.checkpoint("ledger").await.expect("something answers at every moment");
        if checkpoint.generation != former {
            break;
        }
        let log = checkpoint.forked.expect("it says so");
        assert_eq!(log.judge(&lost), Verdict::BeyondFork);
        // Read before and after the switch, which may come in between.
        let told = (handler.status().projections[0].alarm.clone(), world.forked_metric());
        let is_still_so = serving(&world, "ledger").await == former;
        assert!(!is_still_so || (told.0.is_some() && told.1), "{told:?}");
        answers += 1;
    }
    assert!(answers > 1, "the rebuild was over before anybody could ask");
    expect_anew(&world, &handler, former).await;
    assert!(!world.forked_metric());
    assert_eq!(world.judge("ledger", lost).await, Verdict::BeyondFork);
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_begins_where_the_last_one_ended_costs_nothing() {
    let mut world = World::new();
    let handler = world.handler(with::<Second>(with::<domain::Ledger>(domain::registry())), Config::default());
    world.write(50).await;
    world.expect_exact("ledger").await;
    let (former, before) = (serving(&world, "ledger").await, world.token().await);

    let copy = world.copy_log();
    world.restore(&copy).await;
    world.write(30).await;
    for read_model in ["ledger", "second"] {
        world.expect_exact(read_model).await;
        let after = world.token().await;
        assert_ne!(after.epoch, before.epoch);
        for token in [before, after] {
            assert_eq!(world.judge(read_model, token).await, Verdict::Reach(token.position));
        }
    }
    expect_healthy_afterwards(&world, &handler).await;
    assert_eq!(serving(&world, "ledger").await, former, "nothing had to be built anew");
    until_counted(&handler, 100).await;
    assert!(handler.status().projections.iter().all(|projection| projection.alarm.is_none()));
    assert_eq!(handler.status().last_switch, None, "a new epoch is no outage");
    world.expect_healthy();
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_restored_to_an_earlier_state_under_a_running_handler_is_folded_anew() {
    let mut world = World::new();
    let handler = world.handler(with::<Second>(with::<domain::Ledger>(domain::registry())), Config::default());
    world.write(20).await;
    let (copy, kept) = (world.copy_log(), world.token().await);
    world.write(30).await;
    world.expect_exact("ledger").await;
    world.expect_exact("second").await;
    let (former, lost) = (serving(&world, "ledger").await, world.token().await);

    world.restore(&copy).await;
    // Nothing more is written, so that the new log is shorter than what answers has come.
    expect_anew(&world, &handler, former).await;
    world.expect_exact("second").await;
    world.write(10).await;
    let new = world.token().await;
    for read_model in ["ledger", "second"] {
        world.expect_exact(read_model).await;
        assert_eq!(world.judge(read_model, lost).await, Verdict::BeyondFork);
        for token in [kept, new] {
            assert_eq!(world.judge(read_model, token).await, Verdict::Reach(token.position));
        }
    }
    expect_healthy_afterwards(&world, &handler).await;
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_under_a_running_handler_is_folded_anew_also_while_the_queue_is_out() {
    let mut world = World::new();
    let handler = world.ledger_handler();
    world.write(50).await;
    world.expect_exact("ledger").await;
    let (former, lost) = (serving(&world, "ledger").await, world.token().await);
    world.queue.set_fault(Some(Fault::Off));
    world.write(10).await;
    until_mode(&handler, Mode::Direct).await;

    world.replace_log();
    world.write(5).await;
    expect_anew(&world, &handler, former).await;
    assert_eq!(world.judge("ledger", lost).await, Verdict::BeyondFork);
    world.queue.set_fault(None);
    let writes = async {
        loop {
            world.write(1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        biased;
        () = writes => {}
        _ = until_mode(&handler, Mode::Queue) => {}
    }
    expect_healthy_afterwards(&world, &handler).await;
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_became_shorter_under_a_running_handler_is_folded_anew_although_its_epoch_is_the_same() {
    let mut world = World::new();
    let handler = world.ledger_handler();
    world.write(20).await;
    let copy = world.copy_log();
    world.write(30).await;
    world.expect_exact("ledger").await;
    let former = serving(&world, "ledger").await;

    world.copy_over_log(&copy);
    expect_anew(&world, &handler, former).await;
    assert_eq!(handler.status().projections[0].checkpoint, Position::new(20));
    // The queue takes what has the same positions in the same epoch for what it has: all that an epoch is for.
    world.write(20).await;
    world.expect_exact("ledger").await;
    world.write(20).await;
    world.expect_exact("ledger").await;
    handler.stop().await;
}
