//! Virtual time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use simulator::Simulation;

#[test]
fn sleeping_tasks_wake_in_the_order_of_their_deadlines() {
    for seed in 0..50 {
        let mut simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        let woken = Arc::new(Mutex::new(Vec::new()));
        for milliseconds in [30, 10, 3_600_000, 20] {
            let (sleeper, woken) = (runtime.clone(), Arc::clone(&woken));
            runtime.spawn("sleeper", async move {
                sleeper.sleep(Duration::from_millis(milliseconds)).await;
                woken.lock().expect("nobody panics").push((milliseconds, sleeper.now().as_millis()));
            });
        }
        simulation.run_for(Duration::from_secs(3601));
        let woken = woken.lock().expect("nobody panics");
        assert_eq!(*woken, [(10, 10), (20, 20), (30, 30), (3_600_000, 3_600_000)], "seed {seed}");
    }
}

#[test]
fn the_wall_clock_moves_with_virtual_time_and_begins_at_the_same_moment() {
    let mut simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    assert_eq!(runtime.wall_clock().to_string(), "2030-01-01T00:00:00Z");
    simulation.run_for(Duration::from_secs(90));
    assert_eq!(runtime.now(), Duration::from_secs(90));
    assert_eq!(runtime.wall_clock().to_string(), "2030-01-01T00:01:30Z");
}

#[test]
fn a_timeout_ends_what_takes_longer_and_leaves_what_does_not() {
    for seed in 0..50 {
        let mut simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        let second = Duration::from_secs(1);
        let (late, early) = simulation.run_until(async {
            let late = runtime.timeout(second, runtime.sleep(second * 2)).await;
            (late, runtime.timeout(second * 2, runtime.sleep(second)).await)
        });
        assert_eq!((late, early), (Err(runtime::Elapsed(second)), Ok(())), "seed {seed}");
        assert_eq!(runtime.now(), second * 2, "a dropped sleep does not hold the clock back or push it on");
    }
}

#[test]
fn a_sleep_of_for_ever_does_not_move_the_clock() {
    let mut simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    drop(runtime.spawn("for ever", runtime.sleep(Duration::MAX)));
    simulation.run_for(Duration::from_secs(1));
    assert_eq!(runtime.now(), Duration::from_secs(1));
}

#[test]
#[should_panic(expected = "seed 7, step 2, 0ns of virtual time: nothing is ready")]
fn a_run_that_can_never_end_says_so() {
    let mut simulation = Simulation::new(7);
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    // Whoever could send waits for something that never comes.
    let task = simulation.runtime().spawn("holder", async move {
        std::future::pending::<()>().await;
        drop(sender);
    });
    let _ = simulation.run_until(receiver);
    drop(task);
}

#[test]
#[should_panic(expected = "seed 7, step 1000, 0ns of virtual time: the steps are used up")]
fn a_run_that_spins_says_so() {
    let mut simulation = Simulation::new(7);
    simulation.set_step_count_max(1000);
    let runtime = simulation.runtime();
    drop(simulation.runtime().spawn("spinning", async {
        loop {
            let mut yielded = false;
            std::future::poll_fn(|context| {
                if std::mem::replace(&mut yielded, true) {
                    return std::task::Poll::Ready(());
                }
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
        }
    }));
    simulation.run_until(runtime.sleep(Duration::from_secs(1)));
}

#[test]
#[should_panic(expected = "woken from another thread")]
#[allow(clippy::disallowed_methods, reason = "the thread is what the simulation has to find out about")]
fn a_thread_beside_the_simulation_is_found_out() {
    let mut simulation = Simulation::new(7);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let runtime = simulation.runtime();
    let task = runtime.spawn("waits for a thread", receiver);
    // Polled once, so that the task waits when the thread answers.
    simulation.run_for(Duration::from_secs(1));
    std::thread::spawn(move || sender.send(1)).join().expect("the thread sends").expect("the task listens");
    let _ = simulation.run_until(task);
}
