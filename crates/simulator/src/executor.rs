//! Tasks, clock and generators: what all handles of a simulation share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    ready::{Ready, TaskId, TaskWaker},
    timer::Timers,
};

/// One life of a process: from its start, or from a crash, to the next crash.
pub(crate) struct Life {
    pub(crate) process: String,
    ended: AtomicBool,
}

impl Life {
    pub(crate) fn begin(process: &str) -> Arc<Self> {
        Arc::new(Self { process: process.to_owned(), ended: AtomicBool::new(false) })
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

struct Task {
    name: &'static str,
    life: Arc<Life>,
    /// `None` while it is being polled.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
}

/// What the executor found to do.
pub(crate) enum Next {
    Poll(TaskId),
    /// Nothing was ready, so the clock jumped; now something is.
    Jumped,
    Nothing,
}

pub(crate) struct Executor {
    pub(crate) seed: u64,
    pub(crate) ready: Arc<Ready>,
    state: Mutex<State>,
}

struct State {
    /// Picks tasks. Apart from `entropy`, so that a component which draws one more byte keeps its schedule.
    schedule: StdRng,
    entropy: StdRng,
    timers: Timers,
    tasks: BTreeMap<TaskId, Task>,
    task_ids: TaskId,
    trace: u64,
    /// A task is being polled: who ends now is dropped when it returns, lest destructors run amid another task's step.
    in_step: bool,
    ending: Vec<Arc<Life>>,
    /// The simulation is over. What a destructor still spawns is dropped.
    over: bool,
}

impl Executor {
    pub(crate) fn new(seed: u64) -> Self {
        let mut schedule = StdRng::seed_from_u64(seed);
        let entropy = StdRng::from_rng(&mut schedule);
        Self {
            seed,
            ready: Arc::new(Ready::new()),
            state: Mutex::new(State {
                schedule,
                entropy,
                timers: Timers::default(),
                tasks: BTreeMap::new(),
                task_ids: 0,
                trace: 0,
                in_step: false,
                ending: Vec::new(),
                over: false,
            }),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.state.lock().timers.now()
    }

    pub(crate) fn fill_random(&self, bytes: &mut [u8]) {
        self.state.lock().entropy.fill_bytes(bytes);
    }

    pub(crate) fn with_timers<T>(&self, work: impl FnOnce(&mut Timers) -> T) -> T {
        work(&mut self.state.lock().timers)
    }

    pub(crate) fn trace_hash(&self) -> u64 {
        self.state.lock().trace
    }

    /// An id for a future that the caller polls itself.
    pub(crate) fn reserve(&self) -> (TaskId, Waker) {
        let mut state = self.state.lock();
        state.task_ids += 1;
        let id = state.task_ids;
        (id, TaskWaker::waker(id, &self.ready))
    }

    pub(crate) fn spawn(&self, life: &Arc<Life>, name: &'static str, future: BoxFuture<'static, ()>) {
        if life.has_ended() || self.state.lock().over {
            return;
        }
        let (id, waker) = self.reserve();
        let task = Task { name, life: Arc::clone(life), future: Some(future), waker };
        self.state.lock().tasks.insert(id, task);
        self.ready.insert(id);
    }

    /// Picks what to poll. `guest` is the id of the future that the caller polls itself.
    pub(crate) fn next(&self, guest: TaskId) -> Next {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        while let Some(id) = self.ready.take_one(&mut state.schedule) {
            // The waker of an ended task may still lie in some channel.
            if id == guest || state.tasks.contains_key(&id) {
                state.record(id);
                return Next::Poll(id);
            }
        }
        let Some(due) = state.timers.jump() else {
            return Next::Nothing;
        };
        // Outside the lock: what a waker does is its own business.
        drop(guard);
        due.into_iter().for_each(Waker::wake);
        Next::Jumped
    }

    /// Runs `step` as one step: crashes asked for during it happen when it is over.
    pub(crate) fn step<T>(&self, step: impl FnOnce() -> T) -> T {
        self.state.lock().in_step = true;
        let output = step();
        let ending = {
            let mut state = self.state.lock();
            state.in_step = false;
            std::mem::take(&mut state.ending)
        };
        ending.iter().for_each(|life| self.drop_tasks_of(life));
        output
    }

    pub(crate) fn poll(&self, id: TaskId) {
        let taken =
            self.state.lock().tasks.get_mut(&id).and_then(|task| Some((task.future.take()?, task.waker.clone())));
        let Some((mut future, waker)) = taken else { return };
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            if let Some(task) = self.state.lock().tasks.get_mut(&id) {
                task.future = Some(future);
            }
            return;
        }
        let done = self.state.lock().tasks.remove(&id);
        // Both are dropped here, with nothing locked: destructors may spawn, wake and sleep.
        drop((future, done));
    }

    pub(crate) fn end(&self, life: &Arc<Life>) {
        life.ended.store(true, Ordering::Relaxed);
        {
            let mut state = self.state.lock();
            if state.in_step {
                state.ending.push(Arc::clone(life));
                return;
            }
        }
        self.drop_tasks_of(life);
    }

    fn drop_tasks_of(&self, life: &Arc<Life>) {
        let dropped: Vec<Task> = {
            let mut state = self.state.lock();
            state.tasks.extract_if(.., |_, task| Arc::ptr_eq(&task.life, life)).map(|(_, task)| task).collect()
        };
        drop(dropped);
    }

    /// Ends everything, so that tasks which hold the executor do not keep it alive.
    pub(crate) fn end_all(&self) {
        let tasks = {
            let mut state = self.state.lock();
            state.over = true;
            std::mem::take(&mut state.tasks)
        };
        tasks.values().for_each(|task| task.life.ended.store(true, Ordering::Relaxed));
        drop(tasks);
    }

    pub(crate) fn count_tasks_of(&self, life: &Arc<Life>) -> usize {
        self.state.lock().tasks.values().filter(|task| Arc::ptr_eq(&task.life, life)).count()
    }

    /// The living tasks, for the message of a run that failed.
    pub(crate) fn task_list(&self) -> String {
        let state = self.state.lock();
        let mut counts = BTreeMap::<String, usize>::new();
        for task in state.tasks.values() {
            *counts.entry(format!("{}/{}", task.life.process, task.name)).or_default() += 1;
        }
        if counts.is_empty() {
            return "none".to_owned();
        }
        counts.iter().map(|(name, count)| format!("{name} ×{count}")).collect::<Vec<_>>().join(", ")
    }
}

impl State {
    fn record(&mut self, id: TaskId) {
        let nanoseconds = self.timers.now().as_nanos();
        #[expect(clippy::cast_possible_truncation, reason = "a hash has no use for the upper half")]
        for word in [id, nanoseconds as u64] {
            self.trace = (self.trace.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }
}
