//! Figures for people: `cargo test --release -p diptych-event-handler figures -- --ignored --nocapture --test-threads=1`.

use std::time::{Duration, Instant};

use event_handler::Config;
use model::Position;
use query_database::RowReader;

use crate::{
    domain::{self, Fifth, Fourth, Ledger, Second, Third},
    world::{World, eventually, with},
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and asserts nothing"]
async fn figures_of_latency() {
    let world = World::new();
    let handler = world.ledger_handler();
    world.write(100).await;
    world.expect_exact("ledger").await;
    let mut head = world.head().await;
    let mut spans = Vec::new();
    for _ in 0..3000 {
        tokio::time::sleep(Duration::from_micros(500)).await;
        world.write(1).await;
        let began = Instant::now();
        head = head.map(Position::next);
        loop {
            let changed = world.rows.changed();
            if world.rows.checkpoint("ledger").await.expect("it serves").position >= head {
                break;
            }
            changed.await;
        }
        spans.push(began.elapsed());
    }
    spans.sort();
    let at = |share: f64| spans[((spans.len() - 1) as f64 * share) as usize];
    println!("acknowledged to visible: p50 {:?}, p90 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.9), at(0.99), at(1.0));
    world.expect_healthy();
    handler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and asserts nothing"]
async fn figures_of_throughput() {
    const EVENTS: usize = 200_000;
    let five = with::<Fifth>(with::<Fourth>(with::<Third>(with::<Second>(with::<Ledger>(domain::registry())))));
    for (registry, projections) in [(with::<Ledger>(domain::registry()), 1), (five, 5)] {
        let world = World::without_relay();
        world.write(EVENTS).await;
        let names: Vec<String> =
            registry.projections().map(|projection| projection.read_model().name.clone()).collect();
        let began = Instant::now();
        let handler = world.handler(registry, Config::default());
        let head = world.head().await;
        for name in names {
            eventually("the head", async || {
                world.rows.checkpoint(&name).await.is_ok_and(|checkpoint| checkpoint.position >= head)
            })
            .await;
        }
        let span = began.elapsed();
        let rate = EVENTS as f64 / span.as_secs_f64();
        println!("{projections} projections filled with {EVENTS} events in {span:?}: {rate:.0} events/s");
        handler.stop().await;
    }
}
