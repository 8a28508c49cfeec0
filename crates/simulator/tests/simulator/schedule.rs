//! Who runs next follows from the seed, and from nothing else.

use std::{
    cell::Cell,
    collections::BTreeSet,
    panic::catch_unwind,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use runtime::Runtime;
use simulator::{Simulation, check};
use tokio::sync::{Mutex, Notify, mpsc, watch};

/// Reads, lets others come in between, writes: right only if nobody does.
async fn careless_increment(runtime: Runtime, counter: Arc<AtomicU32>) {
    let before = counter.load(Ordering::Relaxed);
    runtime.sleep(Duration::ZERO).await;
    counter.store(before + 1, Ordering::Relaxed);
}

fn count_of_two_careless_increments(simulation: &mut Simulation) -> u32 {
    let runtime = simulation.runtime();
    let counter = Arc::new(AtomicU32::new(0));
    let tasks = [0; 2].map(|_| runtime.spawn("increment", careless_increment(runtime.clone(), Arc::clone(&counter))));
    simulation.run_until(async {
        for task in tasks {
            task.await.expect("an increment does not panic");
        }
    });
    counter.load(Ordering::Relaxed)
}

/// Producers, a mutex, a watch and a notification, with pauses that are always the same: only the schedule can differ.
async fn busy_world(runtime: Runtime) -> u64 {
    let (sender, mut receiver) = mpsc::channel(2);
    let (progress, watched) = watch::channel(0);
    let (total, finished) = (Arc::new(Mutex::new(0)), Arc::new(Notify::new()));
    for producer in 0..4_u64 {
        let (pausing, sender, total) = (runtime.clone(), sender.clone(), Arc::clone(&total));
        runtime.spawn("producer", async move {
            for number in 0..5 {
                pausing.sleep(Duration::from_millis(number % 3)).await;
                *total.lock().await += number;
                sender.send(producer * 10 + number).await.expect("the receiver is there");
            }
        });
    }
    drop(sender);
    let (waiting, notify) = (Arc::clone(&finished), watched.clone());
    runtime.spawn("watcher", async move {
        let mut watched = notify;
        watched.wait_for(|&count| count == 20).await.expect("the sender is there");
        waiting.notify_one();
    });
    let mut order = 0;
    while let Some(number) = receiver.recv().await {
        order = (order * 31 + number) % 1_000_007;
        progress.send_modify(|count| *count += 1);
    }
    finished.notified().await;
    assert_eq!(*total.lock().await, 4 * (1 + 2 + 3 + 4));
    order
}

fn hash_and_order(seed: u64) -> (u64, u64) {
    let mut simulation = Simulation::new(seed);
    let runtime = simulation.runtime();
    let order = simulation.run_until(busy_world(runtime));
    (simulation.trace_hash(), order)
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    for seed in 0..100 {
        assert_eq!(hash_and_order(seed), hash_and_order(seed), "seed {seed}");
    }
}

#[test]
fn different_seeds_take_different_turns() {
    let (hashes, orders): (BTreeSet<_>, BTreeSet<_>) = (0..100).map(hash_and_order).unzip();
    assert_eq!(hashes.len(), 100);
    assert!(orders.len() > 90, "only {} orders of arrival in 100 seeds", orders.len());
}

#[test]
fn a_race_is_lost_under_some_seeds_and_won_under_others() {
    let counts: BTreeSet<u32> =
        (0..50).map(|seed| count_of_two_careless_increments(&mut Simulation::new(seed))).collect();
    assert_eq!(counts, BTreeSet::from([1, 2]));
}

#[test]
fn check_names_the_seed_that_failed_and_how_to_replay_it() {
    let lost = |seed: &u64| count_of_two_careless_increments(&mut Simulation::new(*seed)) == 1;
    let first = (0..50).find(lost).expect("some seed loses the race");
    let panic = catch_unwind(|| {
        check(0..50, |simulation| assert_eq!(count_of_two_careless_increments(simulation), 2, "an increment was lost"));
    })
    .expect_err("check panics where the race is lost");
    let message = panic.downcast_ref::<String>().expect("the message is text");
    assert!(message.contains("an increment was lost"), "{message}");
    assert!(message.ends_with(&format!(
        "replay seed {first}: DIPTYCH_SEED={first} cargo test \
         schedule::check_names_the_seed_that_failed_and_how_to_replay_it"
    )));
}

#[test]
#[should_panic(expected = "two runs left two traces")]
fn check_notices_a_scenario_that_depends_on_more_than_its_seed() {
    let runs = Cell::new(0);
    check(0..1, |simulation| {
        runs.set(runs.get() + 1);
        simulation.run_for(Duration::from_secs(runs.get()));
    });
}

#[test]
#[should_panic(expected = "a panic nobody awaits")]
fn a_panic_in_a_detached_task_ends_the_run() {
    let mut simulation = Simulation::new(1);
    drop(simulation.runtime().spawn("panics", async { panic!("a panic nobody awaits") }));
    simulation.run_for(Duration::from_secs(1));
}

#[test]
fn a_hook_runs_after_every_so_many_steps() {
    let mut simulation = Simulation::new(1);
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    simulation.after_every(3, move || counted.set(counted.get() + 1));
    let runtime = simulation.runtime();
    simulation.run_until(busy_world(runtime));
    assert!(simulation.step_count() > 30);
    assert_eq!(calls.get(), simulation.step_count() / 3);
}

#[test]
fn random_bytes_follow_from_the_seed() {
    let ids = |seed| {
        let runtime = Simulation::new(seed).runtime();
        [runtime.uuid(), runtime.uuid()]
    };
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1), ids(2));
    assert_ne!(ids(1)[0], ids(1)[1]);
}
