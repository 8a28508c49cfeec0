//! Processes crash, and live again.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use runtime::{Runtime, Worker};
use simulator::{Process, Simulation, check};

const TICK: Duration = Duration::from_millis(10);

/// Counts a tick every 10 ms, by a job on a worker.
fn tick(runtime: &Runtime, ticks: &Arc<AtomicU32>) {
    let (ticking, ticks, worker) = (runtime.clone(), Arc::clone(ticks), runtime.worker("ticks"));
    runtime.spawn("tick", async move {
        loop {
            ticking.sleep(TICK).await;
            let ticks = Arc::clone(&ticks);
            worker.run(move || ticks.fetch_add(1, Ordering::Relaxed)).await.expect("the job runs");
        }
    });
}

#[test]
fn a_crash_ends_the_tasks_of_its_process_and_no_others() {
    check(0..50, |simulation| {
        let (victim, witness) = (simulation.process("victim"), simulation.process("witness"));
        let (victims, witnessed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        tick(&victim.runtime(), &victims);
        tick(&witness.runtime(), &witnessed);
        simulation.run_for(TICK * 10 + TICK / 2);
        victim.crash();
        assert_eq!((victim.task_count(), witness.task_count()), (0, 1));
        simulation.run_for(TICK * 10);
        assert_eq!((victims.load(Ordering::Relaxed), witnessed.load(Ordering::Relaxed)), (10, 20));

        tick(&victim.runtime(), &victims);
        simulation.run_for(TICK * 10 + TICK / 4);
        assert_eq!((victims.load(Ordering::Relaxed), witnessed.load(Ordering::Relaxed)), (20, 30));
    });
}

#[test]
fn who_awaits_a_task_of_a_crashed_process_learns_that_it_is_gone() {
    let mut simulation = Simulation::new(1);
    let process = simulation.process("service");
    let runtime = process.runtime();
    let answer = runtime.spawn("answer", runtime.sleep(TICK));
    let outside = simulation.runtime();
    outside.spawn("fault", {
        let outside = outside.clone();
        async move {
            outside.sleep(TICK / 2).await;
            process.crash();
        }
    });
    assert_eq!(simulation.run_until(answer), None);
    assert_eq!(outside.now(), TICK / 2);
}

#[test]
fn the_runtime_of_a_life_that_ended_does_nothing_more() {
    let mut simulation = Simulation::new(1);
    let process = simulation.process("service");
    let (old, worker) = (process.runtime(), process.runtime().worker("jobs"));
    process.crash();
    let (spawned, worked) =
        simulation.run_until(async { (old.spawn("too late", async { 1 }).await, worker.run(|| 1).await) });
    assert_eq!((spawned, worked.is_err()), (None, true));
    let runtime = simulation.runtime();
    assert!(simulation.run_until(runtime.timeout(TICK * 2, old.sleep(TICK))).is_err(), "its sleeps do not end");
}

/// Does from its destructor what a real crash would not let it do.
struct LastWords {
    process: Process,
    worker: Worker,
    old: Runtime,
    said: Arc<AtomicU32>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        assert_eq!(self.process.task_count(), 0);
        let (by_job, by_task) = (Arc::clone(&self.said), Arc::clone(&self.said));
        drop(self.worker.run(move || by_job.fetch_add(1, Ordering::Relaxed)));
        drop(self.old.spawn("last words", async move { by_task.fetch_add(1, Ordering::Relaxed) }));
    }
}

#[test]
fn destructors_that_a_crash_runs_neither_spawn_nor_work() {
    let mut simulation = Simulation::new(1);
    let process = simulation.process("service");
    let (old, said) = (process.runtime(), Arc::new(AtomicU32::new(0)));
    let words =
        LastWords { process: process.clone(), worker: old.worker("jobs"), old: old.clone(), said: said.clone() };
    old.spawn("service", {
        let old = old.clone();
        async move {
            let _words = words;
            old.sleep(TICK * 100).await;
        }
    });
    simulation.run_for(TICK);
    process.crash();
    simulation.run_for(TICK);
    assert_eq!((said.load(Ordering::Relaxed), Arc::strong_count(&said)), (0, 1));
}

#[test]
fn a_task_that_crashes_its_own_process_gets_to_its_next_await() {
    let mut simulation = Simulation::new(1);
    let process = simulation.process("service");
    let reached = Arc::new(AtomicU32::new(0));
    process.runtime().spawn("crashes itself", {
        let (process, runtime, reached) = (process.clone(), process.runtime(), Arc::clone(&reached));
        async move {
            process.crash();
            reached.fetch_add(1, Ordering::Relaxed);
            runtime.sleep(Duration::ZERO).await;
            reached.fetch_add(10, Ordering::Relaxed);
        }
    });
    simulation.run_for(TICK);
    assert_eq!(reached.load(Ordering::Relaxed), 1);
}

/// Writes into the list when it is dropped.
struct Dropped(Arc<Mutex<Vec<&'static str>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().expect("nobody panics").push("the victim is dropped");
    }
}

#[test]
fn a_crash_waits_for_the_end_of_the_step_that_caused_it() {
    let mut simulation = Simulation::new(1);
    let victim = simulation.process("victim");
    let order = Arc::new(Mutex::new(Vec::new()));
    let (runtime, dropped) = (victim.runtime(), Dropped(Arc::clone(&order)));
    victim.runtime().spawn("victim", async move {
        let _dropped = dropped;
        runtime.sleep(TICK * 100).await;
    });
    simulation.run_for(TICK);
    let noted = Arc::clone(&order);
    let outside = simulation.runtime();
    simulation.run_until(outside.spawn("fault", async move {
        victim.crash();
        noted.lock().expect("nobody panics").push("the step is over");
    }));
    assert_eq!(*order.lock().expect("nobody panics"), ["the step is over", "the victim is dropped"]);
}

#[test]
fn jobs_of_a_worker_run_one_at_a_time_in_the_order_of_submission() {
    let mut simulation = Simulation::new(1);
    let worker = simulation.runtime().worker("jobs");
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |order: &Arc<Mutex<Vec<u32>>>, number| order.lock().expect("nobody panics").push(number);
    let (inner, outer) = (worker.clone(), Arc::clone(&order));
    let job = worker.run(move || {
        note(&outer, 1);
        let nested = Arc::clone(&outer);
        drop(inner.run(move || note(&nested, 3)));
        note(&outer, 2);
    });
    simulation.run_until(job).expect("the job runs");
    assert_eq!(*order.lock().expect("nobody panics"), [1, 2, 3]);
}

#[test]
fn dropping_a_simulation_drops_its_tasks() {
    let simulation = Simulation::new(1);
    let held = Arc::new(());
    let runtime = simulation.runtime();
    runtime.spawn("holder", {
        let (held, runtime) = (Arc::clone(&held), runtime.clone());
        async move {
            runtime.sleep(TICK).await;
            drop(held);
        }
    });
    drop(simulation);
    assert_eq!(Arc::strong_count(&held), 1);
}
