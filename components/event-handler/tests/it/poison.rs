//! What cannot be folded holds its projection, and is never skipped.

use std::{sync::atomic::Ordering, time::Duration};

use event_handler::Config;
use model::Position;
use query_database::RowReader;

use crate::{
    domain::{self, ANTIDOTE, Delicate, Ledger},
    world::{World, eventually, with},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_folded_holds_its_projection_and_no_other() {
    let world = World::new();
    let config = Config { hold_retry: Duration::from_millis(200), ..Config::default() };
    let handler = world.handler(with::<Delicate>(with::<Ledger>(domain::registry())), config);
    world.write(20).await;
    world.write_text("poison").await;
    world.write(20).await;
    world.expect_exact("ledger").await;
    eventually("the projection to be held", async || {
        let is_known = handler.status().projections.iter().any(|each| each.held.is_some());
        is_known && world.rows.checkpoint("delicate").await.is_ok_and(|checkpoint| checkpoint.held.is_some())
    })
    .await;
    world.expect_prefix("delicate").await;
    let status = handler.status();
    let delicate = status.projections.iter().find(|each| each.name == "delicate").expect("it is declared");
    assert_eq!(
        delicate.checkpoint,
        Position::new(20),
        "what came before the poison is folded, the poison is not skipped"
    );
    assert!(delicate.held.as_deref().is_some_and(|reason| reason.contains("this note is poison")), "{delicate:?}");
    assert_eq!(delicate.lag_events, 21);

    // A restart does not skip it either, and still knows that it is held.
    handler.stop().await;
    let config = Config { hold_retry: Duration::from_millis(200), ..Config::default() };
    let handler = world.handler(with::<Delicate>(with::<Ledger>(domain::registry())), config);
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.expect_prefix("delicate").await;
    let held = world.rows.checkpoint("delicate").await.expect("it serves");
    assert!(held.held.is_some() && held.position == Position::new(20), "{held:?}");

    ANTIDOTE.store(true, Ordering::SeqCst);
    world.expect_exact("delicate").await;
    eventually("the projection to be let go", async || {
        world.rows.checkpoint("delicate").await.is_ok_and(|checkpoint| checkpoint.held.is_none())
    })
    .await;
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_type_that_this_binary_does_not_know_holds_every_projection() {
    let world = World::new();
    let handler = world.ledger_handler();
    world.write(5).await;
    world.write_type("note.of_the_future").await;
    world.write(5).await;
    eventually("the projection to be held", async || handler.status().projections[0].held.is_some()).await;
    let ledger = &handler.status().projections[0];
    assert_eq!(ledger.checkpoint, Position::new(5));
    assert!(ledger.held.as_deref().is_some_and(|reason| reason.contains("note.of_the_future.v1")), "{ledger:?}");
    world.expect_prefix("ledger").await;
    handler.stop().await;
}
