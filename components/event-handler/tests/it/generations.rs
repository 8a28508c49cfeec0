//! A read model is built anew beside the one that answers.

use event_handler::Config;
use query_database::RowReader;

use crate::{
    domain::{self, Ledger, LedgerAnew},
    world::{World, eventually, with},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_filled_while_the_old_one_answers_and_then_answers_itself() {
    let world = World::new();
    let old = world.ledger_handler();
    world.write(30_000).await;
    world.expect_exact("ledger").await;
    old.stop().await;
    let serving_before = world.rows.serving("ledger").await.expect("it serves").generation;

    let new = world.handler(with::<LedgerAnew>(domain::registry()), Config::default());
    eventually("the new generation to answer", async || {
        world.rows.serving("ledger").await.is_ok_and(|serving| serving.generation != serving_before)
    })
    .await;
    world.expect_prefix("ledger").await;
    world.write(100).await;
    world.expect_exact("ledger").await;
    assert!(world.direct_reads("rebuild") > 0);
    world.expect_healthy();
    assert!(new.status().projections[0].serving);
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_generation_answers_until_the_new_one_has_caught_up() {
    let world = World::new();
    let old = world.ledger_handler();
    world.write(40_000).await;
    world.expect_exact("ledger").await;
    let head = world.head().await;
    old.stop().await;

    let new = world.handler(with::<LedgerAnew>(domain::registry()), Config::default());
    let mut answers = 0;
    while !new.status().projections[0].serving {
        let read = world.row("ledger").await.expect("a generation answers at every moment");
        assert!(read.checkpoint.position >= head, "an answer went back to {:?}", read.checkpoint.position);
        answers += 1;
    }
    assert!(answers > 1, "the rebuild was over before anybody could ask");
    world.expect_exact("ledger").await;
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_is_declared_late_is_filled_from_the_log() {
    let world = World::new();
    world.write(10_000).await;
    let handler = world.handler(with::<Ledger>(domain::registry()), Config::default());
    world.expect_exact("ledger").await;
    world.write(10).await;
    world.expect_exact("ledger").await;
    // A thousand events a read: however much of it is read ahead, no part of the log is read twice.
    let reads = world.direct_reads("rebuild");
    assert!((10..=13).contains(&reads), "{reads} reads of ten thousand events");
    world.expect_healthy();
    handler.stop().await;
}
