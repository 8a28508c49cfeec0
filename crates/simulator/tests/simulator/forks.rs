//! The log begins another life, at any moment: where the last one ended, at an earlier state, or as another log altogether;
//! under a running event handler or between two of its lives, which may be of different versions. Real boxes from the log to
//! the answer, with one seed and virtual time.

mod asking;
mod history;
mod world;
mod writing;

use std::{cell::RefCell, time::Duration};

use runtime::{Runtime, Shutdown};
use simulator::{Simulation, check};

use self::{asking::Asked, world::World};

const SEEDS: u64 = 100;
const ROUNDS: u32 = 10;
/// Within this time after the last trouble everything is as it should be.
const CALM_MAX: Duration = Duration::from_secs(10);

/// What happened, to show that it did.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    lives: usize,
    starts: u32,
    switches: u32,
    fresh: usize,
    stale: usize,
    not_yet: usize,
    refused: usize,
    kept_at_the_end: usize,
    refused_at_the_end: usize,
}

#[test]
fn whatever_becomes_of_the_log_rows_are_its_fold_again_and_no_answer_passes_off_what_is_gone() {
    let tally = RefCell::default();
    check(0..SEEDS, |simulation| {
        simulation.set_step_count_max(500_000);
        run(simulation, &tally);
    });
    let tally: Tally = tally.into_inner();
    if tally.runs >= SEEDS {
        assert!(tally.switches > 0 && tally.starts > 0, "{tally:?}");
        assert!([tally.fresh, tally.stale, tally.not_yet, tally.refused].iter().all(|count| *count > 0), "{tally:?}");
        assert!(tally.kept_at_the_end > 0 && tally.refused_at_the_end > 0, "{tally:?}");
    }
}

fn run(simulation: &mut Simulation, tally: &RefCell<Tally>) {
    let mut world = World::new(simulation);
    let runtime = simulation.runtime();
    let calm = Shutdown::new();
    let writing = runtime.spawn("writer", writing::write(runtime.clone(), world.log.clone(), calm.clone()));
    let asking = runtime.spawn("reader", asking::ask(world.questions(), calm.clone()));
    drop(runtime.spawn("disturbance", world::disturb(runtime.clone(), world.queue.clone(), calm.clone())));
    for _ in 0..ROUNDS {
        simulation.run_for(Duration::from_micros(runtime.random_u64() % 200_000));
        world.copy_log();
        match runtime.random_u64() % 8 {
            0 | 1 => simulation.run_until(world.begin_epoch()),
            2 | 3 => simulation.run_until(world.restore()),
            4 => world.replace_log(),
            5 | 6 => {
                world.crash();
                simulation.run_for(Duration::from_micros(runtime.random_u64() % 100_000));
                // As an operator restores: while nothing runs.
                if runtime.random_u64().is_multiple_of(2) {
                    simulation.run_until(world.restore());
                }
                world.start();
            }
            _ => {}
        }
    }
    calm.request();
    let tokens = simulation.run_until(writing).expect("the writer ends");
    let asked: Vec<Asked> = simulation.run_until(asking).expect("the reader ends");
    if let Some(queue) = &*world.queue.lock() {
        queue.set_fault(None);
    }
    // A log of another history may be as long as the one before, and that is all one sees of it from here.
    simulation.run_for(asking::UNKNOWN_MAX);
    simulation.run_until(converge(&world, &runtime));
    let histories = simulation.run_until(world.histories());
    histories.expect_folded(&world.rows_path());
    let mut tally = tally.borrow_mut();
    asking::expect_honest(&asked, &histories, &mut tally);
    let (kept, refused) = simulation.run_until(asking::expect_judged(&world, &tokens));
    (tally.kept_at_the_end, tally.refused_at_the_end) =
        (tally.kept_at_the_end + kept, tally.refused_at_the_end + refused);
    tally.runs += 1;
    tally.lives += histories.count();
    tally.starts += world.starts();
    tally.switches += world.switches();
}

async fn converge(world: &World, runtime: &Runtime) {
    let began = runtime.now();
    while !world.has_converged().await {
        assert!(runtime.now() - began < CALM_MAX, "not calm after {CALM_MAX:?}: {:?}", world.status());
        runtime.sleep(Duration::from_millis(10)).await;
    }
}
