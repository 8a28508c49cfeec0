//! The driver: it alone moves a simulation on.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use runtime::Runtime;

use crate::{
    Process,
    executor::{Executor, Next},
};

const STEP_COUNT_MAX: u64 = 10_000_000;

/// A run that follows from its seed. Dropping it drops all tasks.
///
/// A panic in any task ends the run. In production the process would go on without that task; here it is to be known.
pub struct Simulation {
    executor: Arc<Executor>,
    outside: Process,
    step_count: u64,
    step_count_max: u64,
    hooks: Vec<Hook>,
}

struct Hook {
    every: u64,
    run: Box<dyn FnMut()>,
}

impl Simulation {
    /// A simulation at time zero, without tasks.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let executor = Arc::new(Executor::new(seed));
        let outside = Process::new(Arc::clone(&executor), "outside");
        Self { executor, outside, step_count: 0, step_count_max: STEP_COUNT_MAX, hooks: Vec::new() }
    }

    /// What everything follows from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.executor.seed
    }

    /// A process that can crash. Two of the same name are two processes.
    #[must_use]
    pub fn process(&self, name: &str) -> Process {
        Process::new(Arc::clone(&self.executor), name)
    }

    /// A runtime for the scenario itself: clients, faults and whatever else stands outside the processes.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.outside.runtime()
    }

    /// Calls `hook` after every `steps` steps: the place for what must hold at every instant. It says no by a panic.
    ///
    /// # Panics
    /// If `steps` is zero.
    pub fn after_every(&mut self, steps: u64, hook: impl FnMut() + 'static) {
        assert!(steps > 0, "a hook runs after every so many steps, and 0 is not a number of steps: give 1 or more");
        self.hooks.push(Hook { every: steps, run: Box::new(hook) });
    }

    /// Sets how many steps the simulation may take in all, 10,000,000 unless told.
    pub fn set_step_count_max(&mut self, steps: u64) {
        self.step_count_max = steps;
    }

    /// Runs everything until `future` is done. The others stay where they are until the next call.
    ///
    /// # Panics
    /// When a task or a hook panics; when `future` can never be done, because nothing is ready and no timer is set; when the
    /// steps are used up; when a task was woken from another thread. The message says the seed.
    pub fn run_until<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let (guest, waker) = self.executor.reserve();
        let mut context = Context::from_waker(&waker);
        self.executor.ready.insert(guest);
        loop {
            let mut output = Poll::Pending;
            match self.executor.next(guest) {
                Next::Poll(task) if task == guest => {
                    output = self.executor.step(|| future.as_mut().poll(&mut context));
                }
                Next::Poll(task) => self.executor.step(|| self.executor.poll(task)),
                Next::Jumped => continue,
                Next::Nothing => self.fail("nothing is ready, no timer is set, and the run is not done"),
            }
            self.count_step();
            if let Poll::Ready(output) = output {
                self.executor.ready.remove(guest);
                return output;
            }
        }
    }

    /// Runs everything for `span` of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        let runtime = self.runtime();
        self.run_until(runtime.sleep(span));
    }

    /// How many steps were taken: polls of a task, or of the future that [`run_until`](Self::run_until) waits for.
    #[must_use]
    pub fn step_count(&self) -> u64 {
        self.step_count
    }

    /// A hash over each task picked and the time it was picked at. The same seed gives the same hash; if it does not, the
    /// scenario depends on something beside its seed.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.executor.trace_hash()
    }

    fn count_step(&mut self) {
        self.step_count += 1;
        for hook in &mut self.hooks {
            if self.step_count.is_multiple_of(hook.every) {
                (hook.run)();
            }
        }
        if self.executor.ready.was_woken_from_elsewhere() {
            self.fail("a task was woken from another thread, so the seed does not determine the run: find the thread");
        }
        if self.step_count >= self.step_count_max {
            self.fail("the steps are used up: something spins, or `set_step_count_max` is too low");
        }
    }

    fn fail(&self, what: &str) -> ! {
        panic!(
            "seed {}, step {}, {:?} of virtual time: {what}; tasks: {}",
            self.seed(),
            self.step_count,
            self.executor.now(),
            self.executor.task_list(),
        )
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.executor.end_all();
    }
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Simulation").field("seed", &self.seed()).finish_non_exhaustive()
    }
}
